from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from itertools import product
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from inktex.benchmarks.accuracy import Row, load_test_set, measure_accuracy
from inktex.benchmarks.formulas import Formula, inkml
from inktex.core.bundle import Bundle
from inktex.core.errors import DataError
from inktex.core.metrics import score
from inktex.core.raster import canonical_bitmap
from inktex.runtimes import load


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, formulas: list[Formula]
) -> Path:
    """A test set "tiny" of twelve, of which one ink is broken and one bitmap is blank.

    Every other caption is what the tiny bundle reads in the ink, greedily.
    """
    root = tmp_path_factory.mktemp("data")
    for name in ("inkml", "images"):
        (root / "crohme" / name).mkdir(parents=True)
    recognizer = load(tiny_bundle)
    captions = []
    with (
        zipfile.ZipFile(root / "crohme/inkml/tiny.zip", "w") as inks,
        zipfile.ZipFile(root / "crohme/images/tiny.zip", "w") as images,
    ):
        for number, formula in enumerate([*formulas, *formulas[:2]]):
            name = f"f{number:02}"
            ink = inkml(formula.source) if number != 3 else b"<ink"
            inks.writestr(f"{name}.inkml", ink)
            bitmap = canonical_bitmap(formula.source)
            stream = BytesIO()
            Image.fromarray(bitmap if number != 4 else 0 * bitmap).save(stream, "PNG")
            images.writestr(f"{name}.png", stream.getvalue())
            read = " ".join(recognizer(formula.source, beam=1).tokens)
            captions.append(f"{name}\t{read if number % 2 else 'x + 1'}\n")
    (root / "crohme/images/tiny.tsv").write_text("".join(captions))
    return root


def test_the_rows_are_what_the_recognizer_reads(root: Path, tiny_bundle: Bundle) -> None:
    finished: list[Row] = []
    rows = measure_accuracy(
        tiny_bundle,
        root,
        test_sets=["tiny"],
        precisions=["fp32", "int8"],
        beams=[1, 2],
        workers=2,
        finished=finished.append,
    )
    assert rows == finished
    settings = [tuple(vars(row.setting).values()) for row in rows]
    assert settings == list(
        product(["tiny"], ["ink", "bitmaps"], ["fp32", "int8"], [1, 2], [False])
    )
    recognizer = load(tiny_bundle)
    for row in rows:
        samples = load_test_set(root, "tiny", row.setting.kind)
        bad = 3 if row.setting.kind == "ink" else 4
        expected = [
            () if number == bad else recognizer(sample.source, beam=row.setting.beams).tokens
            for number, sample in enumerate(samples)
        ]
        assert [each.tokens for each in row.readings] == expected
        assert row.score == score([sample.caption for sample in samples], expected)
        assert list(row.errors.values()) == [1]
    greedy = rows[0]
    assert greedy.score.count == 12
    assert greedy.score.exact_count == 5, "half the captions, but for the ink that is broken"


def test_the_limit_is_spread_over_the_set(root: Path, tiny_bundle: Bundle) -> None:
    [row] = measure_accuracy(
        tiny_bundle,
        root,
        test_sets=["tiny"],
        kinds=["ink"],
        precisions=["fp32"],
        beams=[1],
        limit=4,
        workers=1,
    )
    assert [each.identifier for each in row.readings] == ["f00", "f03", "f06", "f09"]


def test_the_command_prints_the_table_and_writes_it(
    root: Path, tiny_bundle: Bundle, tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    report, readings = tmp_path / "accuracy.json", tmp_path / "readings"
    done = inktex(
        *("benchmark", "accuracy", tiny_bundle.path, "--data", root, "--sets", "tiny"),
        *("--from", "ink", "--beam", "1,2", "--precision", "int8", "--workers", 1),
        *("--json", report, "--readings", readings),
    )
    assert done.exit_code == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert table[0].startswith("| test set | from | precision | search | formulas | exact % ")
    assert table[2].startswith("| tiny | ink | int8 | greedy | 12 | 41.67 | ")
    assert table[3].startswith("| tiny | ink | int8 | beam 2 | 12 | ")
    assert "1 not read: not imported" in done.stderr
    written = json.loads(report.read_text(encoding="utf-8"))
    assert written["benchmark"] == "accuracy"
    assert [row["beams"] for row in written["rows"]] == [1, 2]
    assert written["rows"][0]["exact_count"] == 5
    names = sorted(each.name for each in readings.iterdir())
    assert names == ["tiny-ink-int8-beam-2.jsonl", "tiny-ink-int8-greedy.jsonl"]
    lines = (readings / names[1]).read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(line)["right"] for line in lines) == 5


def test_a_test_set_that_is_not_there(root: Path) -> None:
    with pytest.raises(DataError, match=r"the test set 1999 at .*1999\.tsv"):
        load_test_set(root, "1999", "ink")


def test_real_test_sets_are_whole(data_root: Path) -> None:
    ink = load_test_set(data_root, "2014", "ink")
    bitmaps = load_test_set(data_root, "2014", "bitmaps")
    assert len(ink) == 986
    assert [each.identifier for each in ink if each.source is None] == []
    assert [(each.identifier, each.caption) for each in ink] == [
        (each.identifier, each.caption) for each in bitmaps
    ]
    assert all(each.source.startswith(b"\x89PNG") for each in bitmaps)
