from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from inktex.core.errors import DataError
from inktex.core.ink_file import read_ink
from inktex.training.captions import CaptionTable, read_caption_table, read_captions
from inktex.training.data_import import import_data
from inktex.training.import_settings import ImportSettings


def inkml(
    tree: str = "", truth: str = "", writer: str = "", groups: str = "", annotations: str = ""
) -> str:
    """Four strokes: the two of an x, an =, in one go, and a 2 above."""
    traces = ["0 0, 10 20", "10 0, 0 20", "20 8, 30 8, 20 12, 30 12", "13 -8, 18 -8, 13 0, 18 0"]
    return "\n".join(
        [
            '<ink xmlns="http://www.w3.org/2003/InkML">',
            f'<annotation type="truth">{truth}</annotation>' if truth else "",
            f'<annotation type="writer">{writer}</annotation>' if writer else "",
            annotations,
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
    [power], report = import_data([written(tmp_path, power=POWER)])
    assert (power.identifier, power.writer) == ("power", "w1")
    assert power.caption == ("x", "^", "{", "2", "}", "=")
    assert power.ink == ((0, 1), (), (), (3,), (), (2,))
    assert [stroke.dtype for stroke in power.strokes] == [np.float32] * 4
    np.testing.assert_array_equal(power.strokes[1], [[10, 0], [0, 20]])
    assert (report.imported, report.skipped) == (1, [])
    assert (report.from_tree, report.compared, report.agreeing) == (1, 1, 1)
    assert (report.tokens_with_ink, report.inked_tokens) == (3, 3)


def test_a_layout_tree_that_says_otherwise_than_the_annotated_latex_is_told_of(
    tmp_path: Path,
) -> None:
    folder = written(
        tmp_path,
        alone=inkml(TREE),
        broken=inkml(TREE, truth="x^{2"),
        other=inkml(TREE, truth="$X^2=$"),
        same=POWER,
        accent=inkml(TREE.replace("msup>", "mover>").replace(">2<", ">→<"), truth=r"\vec{x}="),
    )
    expressions, report = import_data([folder])
    captions = {each.identifier: "".join(each.caption) for each in expressions}
    assert captions.pop("accent") == r"\vec{x}="
    assert set(captions.values()) == {"x^{2}="}
    assert (report.from_tree, report.compared, report.agreeing) == (4, 2, 1)
    assert report.disagreements == [("other", "X ^ { 2 } =", "x ^ { 2 } =")]
    told = "1 of 2 annotated captions equal those made from the layout tree, which were taken"
    assert told in str(report)


def test_without_a_tree_the_annotated_latex_is_taken_and_no_ink_is_known(tmp_path: Path) -> None:
    [power], report = import_data([written(tmp_path, power=inkml(truth="$x^2 = $"))])
    assert power.caption == ("x", "^", "{", "2", "}", "=")
    assert power.ink == ((),) * 6
    assert (report.tokens_with_ink, report.inked_tokens) == (0, 3)


def test_given_captions_win_and_tell_how_many_agree(tmp_path: Path) -> None:
    folder = written(tmp_path, same=POWER, other=POWER, longer=POWER, unknown=POWER)
    captions = {"same": "x ^ { 2 } =", "other": "X^2=", "longer": r"x ^ { 2 } = y \, z", "far": "x"}
    settings = ImportSettings(CaptionTable(captions))
    expressions, report = import_data([folder], settings)
    by_name = {each.identifier: each for each in expressions}
    assert {name: " ".join(each.caption) for name, each in by_name.items()} == {
        "same": "x ^ { 2 } =",
        "other": "X ^ { 2 } =",
        "longer": "x ^ { 2 } = y z",
    }
    assert by_name["same"].ink == ((0, 1), (), (), (3,), (), (2,))
    assert by_name["other"].ink == ((0, 1), (), (), (3,), (), (2,))  # one for one: the same ink
    assert by_name["longer"].ink == ((0, 1), (), (), (3,), (), (2,), (), ())
    assert (report.compared, report.agreeing, report.respelt) == (3, 1, 2)
    assert [each[0] for each in report.disagreements] == ["longer", "other"]
    assert report.disagreements[1][1:] == ("X ^ { 2 } =", "x ^ { 2 } =")
    [skipped] = report.skipped
    assert skipped == ("unknown.inkml", "there is no caption of this name", "")
    assert report.without_file == ["far"]
    assert (report.tokens_with_ink, report.inked_tokens) == (9, 11)
    told = str(report)
    assert "3 expressions imported, 1 skipped" in told
    assert "1 of 3 captions equal" in told
    assert "skipped 1: there is no caption of this name (as unknown.inkml)" in told
    assert "1 captions name no file that was found (as far)" in told
    assert "2 captions brought to the convention" in told


def test_a_bad_file_is_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    table = TREE.replace("<msup>", "<mtable>").replace("</msup>", "</mtable>")
    first = written(
        tmp_path / "first",
        power=POWER,
        damaged=POWER[:200],
        table=inkml(table),
        strokeless='<ink xmlns="http://www.w3.org/2003/InkML"/>',
        nameless=inkml(),
        braces=inkml(truth="x^{2"),
        macro=inkml(truth=r"\foo{x}"),
    )
    second = written(tmp_path / "second", power=POWER, last=POWER)
    expressions, report = import_data([first, second])
    assert [each.identifier for each in expressions] == ["power", "last"]
    assert report.imported == 2
    reasons = {each.name: f"{each.reason}: {each.detail}" for each in report.skipped}
    assert set(reasons) == {f"{name}.inkml" for name in ("braces", "damaged", "macro", "table")} | {
        "strokeless.inkml",
        "nameless.inkml",
        "power.inkml",
    }
    assert reasons["damaged.inkml"].startswith("the ink cannot be read: expected InkML, found dam")
    assert "layout tree cannot be read" in reasons["table.inkml"]
    assert "found <mtable>" in reasons["table.inkml"]
    assert "neither a layout tree nor annotated LaTeX" in reasons["nameless.inkml"]
    assert 'or "latex" in JSON' in reasons["nameless.inkml"]
    assert "cannot be read: LaTeX at token 4: expected '}'" in reasons["braces.inkml"]
    assert reasons["macro.inkml"] == r"the caption holds an unknown token: \foo"
    assert "imported already" in reasons["power.inkml"]
    empty = ImportSettings(CaptionTable({"power": " ", "damaged": "x"}))
    _, report = import_data([first], empty)
    assert ("power.inkml", "the caption is empty", "") in report.skipped


def test_a_caption_from_elsewhere_does_without_the_layout_tree(tmp_path: Path) -> None:
    tree = TREE.replace("<msup>", "<mtable>").replace("</msup>", "</mtable>")
    folder = written(tmp_path, given=inkml(tree), annotated=inkml(tree, truth="$y$"))
    [annotated], report = import_data([folder])
    assert (annotated.caption, annotated.ink) == (("y",), ((),))
    assert [each.name for each in report.skipped] == ["given.inkml"]
    texts = CaptionTable({"given": "x^2", "annotated": "z"})
    both, report = import_data([folder], ImportSettings(texts))
    assert [each.caption for each in both] == [("z",), ("x", "^", "{", "2", "}")]
    assert (report.compared, report.skipped) == (0, [])


def test_json_strokes_are_ink_beside_inkml_or_where_there_are_no_images(tmp_path: Path) -> None:
    record = {"strokes": [[[0, 0], [10, 20]]], "latex": "x^2", "writer": "me"}
    folder = tmp_path / "json"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(record))
    [alone], report = import_data([folder])
    assert (alone.identifier, alone.writer) == ("a", "me")
    assert (alone.caption, report.images_left) == (("x", "^", "{", "2", "}"), 0)
    written(folder, power=POWER)
    (folder / "picture.png").write_bytes(b"not looked at")
    both, report = import_data([folder])
    assert [each.identifier for each in both] == ["a", "power"]
    assert report.images_left == 1
    assert "1 images beside the ink are left out" in str(report)
    (folder / "power.inkml").unlink()
    with pytest.raises(DataError, match="expected captions for the images"):
        import_data([folder])  # such a file beside images says something of them
    _, report = import_data([folder], ImportSettings(labelled=False))
    assert "1 JSON files beside the images are left out" in str(report)


def test_what_is_no_text_in_utf_8_is_skipped_and_the_rest_go_on(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    folder = tmp_path / "odd"
    folder.mkdir()
    strokes = [[[0, 0], [10, 20]]]
    for name, record in {
        odd: {"latex": "x"},
        "caption": {"latex": "\ud800"},
        "writer": {"latex": "x", "writer": "\ud800"},
        "well": {"latex": "x"},
    }.items():
        try:
            (folder / f"{name}.json").write_text(json.dumps({"strokes": strokes, **record}))
        except OSError:
            pytest.skip("no file can be called so here")
    expressions, report = import_data([folder])
    assert [each.identifier for each in expressions] == ["well"]
    assert report.skipped == [
        ("caf\\udce9.json", "the name of the file is no text in UTF-8", "caf\\udce9"),
        ("caption.json", "the caption holds an unknown token", "\\ud800"),
        ("writer.json", "the name of the writer is no text in UTF-8", "\\ud800"),
    ]
    json.dumps(report.to_dict(), ensure_ascii=False).encode()
    str(report).encode()


def test_a_file_that_is_too_large_is_not_read_and_the_rest_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "ink", large=POWER + " " * 4000, power=POWER)
    with zipfile.ZipFile(tmp_path / "ink.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in folder.iterdir():
            file.write(path, path.name)
    monkeypatch.setattr("inktex.training.source_files.MAX_BYTES", 4000)
    for source in (folder, tmp_path / "ink.zip"):
        [power], report = import_data([source])
        assert power.identifier == "power"
        told = "expected at most 4,000 bytes, found more"
        assert report.skipped == [("large.inkml", "the file is too large", told)]


def test_points_far_from_the_corner_of_the_recorder_do_not_fall_together(tmp_path: Path) -> None:
    line = ", ".join(f"{10**8 + number} {10**8 + 2 * number}" for number in range(40))
    ink = f'<ink><annotation type="truth">x</annotation><trace>{line}</trace></ink>'
    folder = written(tmp_path, far=ink)
    [far], _ = import_data([folder])
    assert len(np.unique(far.strokes[0], axis=0)) == 40
    np.testing.assert_array_equal(np.ptp(far.strokes[0], axis=0), [39, 78])


def test_ink_is_taken_without_captions_where_none_are_wanted(tmp_path: Path) -> None:
    folder = written(tmp_path, power=POWER, nameless=inkml())
    expressions, report = import_data([folder], ImportSettings(labelled=False))
    assert [(each.identifier, each.caption) for each in expressions] == [
        ("nameless", ()),
        ("power", ()),
    ]
    assert all(len(each.strokes) == 4 for each in expressions)
    assert report.skipped == []


def test_splits_that_files_name_are_counted_and_chosen(tmp_path: Path) -> None:
    def of(split: str) -> str:
        return inkml(
            truth="",
            annotations=f'<annotation type="splitTagOriginal">{split}</annotation>'
            '<annotation type="label">x^2</annotation>'
            '<annotation type="normalizedLabel">x^{2}</annotation>',
        )

    folder = written(tmp_path, a=of("train"), b=of("test"), c=of("train"))
    expressions, report = import_data([folder])
    assert [" ".join(each.caption) for each in expressions] == ["x ^ { 2 }"] * 3
    assert dict(report.splits) == {"train": 2, "test": 1}
    assert "of several splits: 1 test, 2 train; --split takes one of them" in str(report)
    expressions, report = import_data([folder], ImportSettings(splits=("train",)))
    assert [each.identifier for each in expressions] == ["a", "c"]
    assert report.skipped == [("b.inkml", "it is of another split", "test")]
    assert "several splits" not in str(report)


def test_files_of_crohme_as_distributed(data_root: Path, tmp_path: Path) -> None:
    """A small zip made of the large one, with one file twice and one cut short."""
    table = data_root / "crohme" / "images" / "train.tsv"
    captions = read_captions(table)
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
    expressions, report = import_data([sample], ImportSettings(read_caption_table(table)))
    assert len(expressions) == report.imported == len(names) == 50
    assert len(report.skipped) == 2
    skipped = {Path(each.name).stem: each for each in report.skipped}
    assert "imported already" in skipped[Path(names[3]).stem].reason
    assert "damaged XML" in skipped["cut"].detail
    assert len(report.without_file) == 8835 - 50
    assert report.respelt == 0
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
    told = {each.identifier: each.caption for each in import_data([sample])[0]}
    given = {each.identifier: each.caption for each in expressions}
    assert sum(told[name] == given[name] for name in given) == report.agreeing


def test_the_excerpt_of_mathwriting(data_root: Path) -> None:
    folder = data_root / "mathwriting" / "excerpt"
    expressions, report = import_data([folder])
    assert (report.imported, report.skipped) == (11, [])
    assert dict(report.splits) == {"train": 3, "synthetic": 1, "valid": 4, "test": 3}
    captions = {each.identifier: " ".join(each.caption) for each in expressions}
    assert captions["008004981b5b3ee1"] == (r"\tilde { E } = E \times \mathbb { Z } _ { n }")
    assert captions["00015681597577ca"] == r"g ( x ) = G ^ { \prime } ( x ) = 0"
    assert captions["059225965e1e5dd6"] == (
        r"\frac { 1 } { 1 6 } [ \begin{matrix} - & \# & 7 \\ 3 & 5 & 1 \end{matrix} ]"
    )
    assert captions["003169384315282b"] == r"\int x ^ { s } \phi ( x ) d x"
    for each in expressions:
        assert each.ink == ((),) * len(each.caption)  # nobody segmented it
    training = import_data([folder], ImportSettings(splits=("train", "synthetic")))[0]
    assert {each.identifier for each in training} == {
        path.stem for path in (folder / "train").glob("*.inkml")
    }
