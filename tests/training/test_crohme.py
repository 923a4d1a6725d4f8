from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from inktex.core.errors import DataError
from inktex.core.ink import read_ink
from inktex.training.crohme import import_inkml, ink_files, read_captions


def inkml(tree: str = "", truth: str = "", writer: str = "", groups: str = "") -> str:
    """Four strokes: the two of an x, an =, in one go, and a 2 above."""
    traces = ["0 0, 10 20", "10 0, 0 20", "20 8, 30 8, 20 12, 30 12", "13 -8, 18 -8, 13 0, 18 0"]
    return "\n".join(
        [
            '<ink xmlns="http://www.w3.org/2003/InkML">',
            f'<annotation type="truth">{truth}</annotation>' if truth else "",
            f'<annotation type="writer">{writer}</annotation>' if writer else "",
            f'<annotationXML type="truth" encoding="Content-MathML">{tree}</annotationXML>'
            if tree
            else "",
            *(f'<trace id="{number}">{points}</trace>' for number, points in enumerate(traces)),
            f'<traceGroup xml:id="all">{groups}</traceGroup>' if groups else "",
            "</ink>",
        ]
    )


def group(label: str, node: str, *traces: int) -> str:
    views = "".join(f'<traceView traceDataRef="{number}"/>' for number in traces)
    return (
        f'<traceGroup><annotation type="truth">{label}</annotation>{views}'
        f'<annotationXML href="{node}"/></traceGroup>'
    )


TREE = (
    '<math xmlns="http://www.w3.org/1998/Math/MathML"><mrow><msup><mi xml:id="x_1">x</mi>'
    '<mn xml:id="2_1">2</mn></msup><mo xml:id="=_1">=</mo></mrow></math>'
)
GROUPS = group("x", "x_1", 0, 1) + group("2", "2_1", 3) + group("=", "=_1", 2)
POWER = inkml(TREE, "$x^2=$", "w1", GROUPS)


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / f"{name}.inkml").write_text(text, encoding="utf-8")
    return folder


def test_captions_and_ink_come_from_the_layout_tree(tmp_path: Path) -> None:
    [power], report = import_inkml([written(tmp_path, power=POWER)])
    assert (power.identifier, power.writer) == ("power", "w1")
    assert power.caption == ("x", "^", "{", "2", "}", "=")
    assert power.ink == ((0, 1), (), (), (3,), (), (2,))
    assert [stroke.dtype for stroke in power.strokes] == [np.float32] * 4
    np.testing.assert_array_equal(power.strokes[1], [[10, 0], [0, 20]])
    assert (report.imported, report.skipped, report.compared) == (1, {}, 0)
    assert (report.tokens_with_ink, report.inked_tokens) == (3, 3)


def test_without_a_tree_the_annotated_latex_is_taken_and_no_ink_is_known(tmp_path: Path) -> None:
    [power], report = import_inkml([written(tmp_path, power=inkml(truth="$x^2 = $"))])
    assert power.caption == ("x", "^", "{", "2", "}", "=")
    assert power.ink == ((),) * 6
    assert (report.tokens_with_ink, report.inked_tokens) == (0, 3)


def test_given_captions_win_and_tell_how_many_agree(tmp_path: Path) -> None:
    folder = written(tmp_path, same=POWER, other=POWER, longer=POWER, unknown=POWER)
    captions = {
        "same": ("x", "^", "{", "2", "}", "="),
        "other": ("X", "^", "{", "2", "}", "="),  # one for one: it is the same ink
        "longer": ("x", "^", "{", "2", "}", "=", "y", "z"),
    }
    expressions, report = import_inkml([folder], captions)
    by_name = {each.identifier: each for each in expressions}
    assert {name: each.caption for name, each in by_name.items()} == captions
    assert by_name["same"].ink == ((0, 1), (), (), (3,), (), (2,))
    assert by_name["other"].ink == ((0, 1), (), (), (3,), (), (2,))
    assert by_name["longer"].ink == ((0, 1), (), (), (3,), (), (2,), (), ())
    assert (report.compared, report.agreeing) == (3, 1)
    assert [each[0] for each in report.disagreements] == ["longer", "other"]
    assert report.disagreements[1][1:] == ("X ^ { 2 } =", "x ^ { 2 } =")
    [(name, reason)] = report.skipped.items()
    assert (name, reason) == ("unknown.inkml", "there is no caption of this name")
    assert (report.tokens_with_ink, report.inked_tokens) == (9, 11)
    told = str(report)
    assert "3 expressions imported, 1 skipped" in told
    assert "1 of 3 captions equal" in told
    assert "skipped 1: there is no caption of this name" in told


def test_a_bad_file_is_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    first = written(
        tmp_path / "first",
        power=POWER,
        damaged=POWER[:200],
        strokeless='<ink xmlns="http://www.w3.org/2003/InkML"/>',
        nameless=inkml(),
    )
    second = written(tmp_path / "second", power=POWER, last=POWER)
    expressions, report = import_inkml([first, second])
    assert [each.identifier for each in expressions] == ["power", "last"]
    assert report.imported == 2
    assert set(report.skipped) == {
        "damaged.inkml",
        "strokeless.inkml",
        "nameless.inkml",
        "power.inkml",
    }
    assert "damaged XML" in report.skipped["damaged.inkml"]
    assert "neither a layout tree nor annotated LaTeX" in report.skipped["nameless.inkml"]
    assert "imported already" in report.skipped["power.inkml"]
    _, report = import_inkml([first], {"power": (), "damaged": ("x",)})
    assert report.skipped["power.inkml"] == "the caption is empty"


def test_ink_is_found_in_zips_folders_and_files_in_order(tmp_path: Path) -> None:
    folder = written(tmp_path / "ink", b=POWER, a=POWER)
    written(folder / "deep", c=POWER)
    (folder / "read.me").write_text("not ink")
    names = ["a.inkml", "b.inkml", "deep/c.inkml"]
    assert [name for name, _ in ink_files(folder)] == names
    archive = tmp_path / "ink.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in (*reversed(names), "read.me"):
            file.write(folder / name, name)
    assert [name for name, _ in ink_files(archive)] == names
    assert {data for _, data in ink_files(archive)} == {POWER.encode()}
    assert [name for name, _ in ink_files(folder / "a.inkml")] == ["a.inkml"]


def test_where_there_is_no_ink_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for path in (tmp_path, tmp_path / "text.txt", tmp_path / "empty.zip", tmp_path / "nothing"):
        with pytest.raises(DataError, match=r"expected a \.zip or folder of \.inkml files"):
            list(ink_files(path))


def test_a_damaged_zip_says_which_file(tmp_path: Path) -> None:
    archive = tmp_path / "ink.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.inkml", POWER)
    data = bytearray(archive.read_bytes())
    data[60:80] = bytes(20)
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"ink\.zip: a\.inkml cannot be unpacked"):
        import_inkml([archive])


def test_captions_are_read_as_published(tmp_path: Path) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text('a.png\tx ^ { 2 }\nb\t" \\alpha  + \nc\t\n', encoding="utf-8")
    assert read_captions(path) == {
        "a": ("x", "^", "{", "2", "}"),
        "b": ('"', "\\alpha", "+"),
        "c": (),
    }
    path.write_bytes(b"\xef\xbb\xbfa\tx\r\n")
    assert read_captions(path) == {"a": ("x",)}
    path.write_text("a\tx\nb y\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"captions\.tsv:2: expected an identifier, a tab"):
        read_captions(path)
    path.write_bytes(b"a\tx\n\xff\xfe\0\0")
    with pytest.raises(DataError, match="expected text in UTF-8"):
        read_captions(path)


def test_files_of_crohme_as_distributed(data_root: Path, tmp_path: Path) -> None:
    """A small zip made of the large one, with one file twice and one cut short."""
    captions = read_captions(data_root / "crohme" / "images" / "train.tsv")
    sample = tmp_path / "sample.zip"
    with (
        zipfile.ZipFile(data_root / "crohme" / "inkml" / "train.zip") as source,
        zipfile.ZipFile(sample, "w") as target,
    ):
        names = sorted(name for name in source.namelist() if name.endswith(".inkml"))[::177]
        for name in names:
            target.writestr(name, source.read(name))
        target.writestr(f"again/{Path(names[3]).name}", source.read(names[3]))
        target.writestr("cut.inkml", source.read(names[4])[:-300])
        whole = {Path(name).stem: read_ink(source.read(name), name) for name in names}
    expressions, report = import_inkml([sample], captions)
    assert len(expressions) == report.imported == len(names) == 50
    assert len(report.skipped) == 2
    assert "imported already" in next(
        reason for name, reason in report.skipped.items() if Path(name).stem == Path(names[3]).stem
    )
    assert "damaged XML" in report.skipped["cut.inkml"]
    assert report.compared == 50
    assert report.agreeing >= 49
    assert report.tokens_with_ink >= 0.99 * report.inked_tokens > 300
    for each in expressions:
        ink = whole[each.identifier]
        assert each.caption == captions[each.identifier]
        assert each.writer == ink.writer
        labels = {symbol.strokes: symbol.label for symbol in ink.symbols}
        for token, indices in zip(each.caption, each.ink, strict=True):
            if token.isalnum() and indices in labels:
                assert labels[indices].strip("\\") in (token, f"{token}_{token}"), each.identifier
    told = {each.identifier: each.caption for each in import_inkml([sample])[0]}
    given = {each.identifier: each.caption for each in expressions}
    assert sum(told[name] == given[name] for name in given) == report.agreeing


def test_the_published_captions_are_read_to_the_last(data_root: Path) -> None:
    path = data_root / "crohme" / "images" / "train.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = sum(1 for _ in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    captions = read_captions(path)
    assert len(captions) == lines == 8835
    assert len({token for caption in captions.values() for token in caption}) == 109
