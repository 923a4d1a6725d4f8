from __future__ import annotations

import json
import lzma
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inktex.core.errors import InputError
from inktex.core.ink import MathNode, Symbol
from inktex.core.ink_json import ink_of_record
from inktex.core.inkml import read_inkml
from inktex.core.mathml import latex_tokens

NAMESPACE = ' xmlns="http://www.w3.org/2003/InkML"'
CROHME = rb"""<ink xmlns="http://www.w3.org/2003/InkML">
<traceFormat><channel name="X" type="decimal"/><channel name="Y" type="decimal"/></traceFormat>
<annotation type="UI">2011_IVC_DEPART_F001_E001</annotation>
<annotation type="writer">depart001</annotation>
<annotation type="truth">$\phi^2$</annotation>
<annotationXML type="truth" encoding="Content-MathML">
  <math xmlns='http://www.w3.org/1998/Math/MathML'>
    <msup><mi xml:id="\phi_1">\phi</mi><mn xml:id="2_1">2</mn></msup>
  </math>
</annotationXML>
<trace id="0">
10 20, 11 21, 12.5 22
</trace>
<trace id="1"></trace>
<trace id="2">30 5, 31 6</trace>
<trace id="3">11 15, 11 30</trace>
<traceGroup xml:id="4"><annotation type="truth">Segmentation</annotation>
  <traceGroup xml:id="5"><annotation type="truth">\phi</annotation>
    <traceView traceDataRef="3"/><traceView traceDataRef="0"/><traceView traceDataRef="1"/>
    <annotationXML href="\phi_1"/></traceGroup>
  <traceGroup xml:id="6"><annotation type="truth">2</annotation>
    <annotationXML href="2_1"/><traceView traceDataRef="#2"/></traceGroup>
</traceGroup></ink>"""


def traces(*contents: str, before: str = "", root: str = f"ink{NAMESPACE}") -> bytes:
    written = "".join(f'<trace id="{n}">{content}</trace>' for n, content in enumerate(contents))
    return f"<{root}>{before}{written}</{root.split()[0]}>".encode()


def points(data: bytes) -> list[list[list[float]]]:
    return [stroke.tolist() for stroke in read_inkml(data).strokes]


def channels(names: str) -> str:
    inner = "".join(f'<channel name="{name}" type="decimal"/>' for name in names.split())
    return f"<traceFormat>{inner}</traceFormat>"


def test_all_that_crohme_says_of_its_ink() -> None:
    ink = read_inkml(CROHME, "folder/formulaire001-equation001.inkml")
    assert [stroke.tolist() for stroke in ink.strokes] == [
        [[10, 20], [11, 21], [12.5, 22]],
        [[30, 5], [31, 6]],
        [[11, 15], [11, 30]],
    ]
    assert all(stroke.dtype == np.float64 for stroke in ink.strokes)
    # the empty trace 1 is gone, and the indices follow
    assert ink.symbols == (Symbol(r"\phi", (2, 0), r"\phi_1"), Symbol("2", (1,), "2_1"))
    phi, two = MathNode("mi", r"\phi_1", r"\phi"), MathNode("mn", "2_1", "2")
    assert ink.tree == MathNode("math", children=(MathNode("msup", children=(phi, two)),))
    assert (ink.truth, ink.writer) == (r"$\phi^2$", "depart001")
    assert ink.identifier == "formulaire001-equation001"
    assert read_inkml(CROHME).identifier == "2011_IVC_DEPART_F001_E001"


def test_all_that_mathwriting_says_of_its_ink() -> None:
    ink = read_inkml(
        traces(
            "412.00 259.00 0.0,413.00 254.00 57.0",
            before=r'<annotation type="label">\tilde E</annotation>'
            '<annotation type="sampleId">008004981b5b3ee1</annotation>'
            r'<annotation type="normalizedLabel">\tilde{E}</annotation>' + channels("X Y T"),
        )
    )
    assert (ink.truth, ink.identifier) == (r"\tilde{E}", "008004981b5b3ee1")
    assert ink.strokes[0].tolist() == [[412, 259], [413, 254]]
    assert (ink.symbols, ink.tree) == ((), None)


@pytest.mark.parametrize(
    "root", ["ink", f"ink{NAMESPACE}", 'i:ink xmlns:i="http://www.w3.org/2003/InkML"']
)
def test_namespaces_or_none(root: str) -> None:
    data = traces("1 2", root=root)
    if root.startswith("i:"):
        data = data.replace(b"<trace", b"<i:trace").replace(b"</trace", b"</i:trace")
    assert points(data) == [[[1, 2]]]


@pytest.mark.parametrize(
    ("names", "content"),
    [
        ("X Y", "1 2, 3 4"),
        ("X Y T", "1 2 0, 3 4 9"),
        ("X Y F", "1 2 0.5 , 3 4 0.25"),
        ("T Y X", "0 2 1,9 4 3"),
        ("F X T Y", "7 1 0 2, 7 3 9 4,"),
        ("x y", "\n1\t2\n,\n3  4\n"),
        ("", "1 2, 3 4"),
    ],
)
def test_channels_stand_where_the_format_says(names: str, content: str) -> None:
    assert points(traces(content, before=channels(names))) == [[[1, 2], [3, 4]]]


def test_a_dot_may_have_as_many_channels_as_the_lines() -> None:
    lines, dot = "1 2 0 9 7, 3 4 1 9 7", "5 6 2 9 7"
    assert points(traces(lines, dot)) == [[[1, 2], [3, 4]], [[5, 6]]]
    with pytest.raises(InputError, match="of 2 to 3 plain numbers, found '5 6 2 9 7'"):
        read_inkml(traces(dot))


def test_what_nobody_annotated_is_absent() -> None:
    ink = read_inkml(traces("1 2"))
    assert (ink.truth, ink.symbols, ink.tree, ink.writer, ink.identifier) == (
        None,
        (),
        None,
        "",
        "",
    )


def test_a_pen_above_the_paper_writes_nothing() -> None:
    content = (
        b'<ink><trace id="a" type="penDown">1 2, 3 4</trace><trace id="b" type="penUp">5 6</trace>'
        b'<trace id="c">7 8</trace><traceGroup><annotation type="truth">x</annotation>'
        b'<traceView traceDataRef="b"/><traceView traceDataRef="c"/></traceGroup></ink>'
    )
    found = read_inkml(content)
    assert [stroke.tolist() for stroke in found.strokes] == [[[1, 2], [3, 4]], [[7, 8]]]
    assert [each.strokes for each in found.symbols] == [(1,)]


def test_a_symbol_of_traces_that_are_not_there_is_dropped() -> None:
    group = '<traceGroup><annotation type="truth">x</annotation><traceView traceDataRef="9"/>'
    assert read_inkml(traces("1 2", before=group + "</traceGroup>")).symbols == ()


@pytest.mark.parametrize(
    ("encoding", "declaration"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-16", '<?xml version="1.0" encoding="UTF-16"?>'),
        ("iso-8859-1", '<?xml version="1.0" encoding="ISO-8859-1"?>'),
        ("utf-8", '<?xml version="1.0" encoding="utf-8"?>\n'),
    ],
)
def test_encodings(encoding: str, declaration: str) -> None:
    text = traces("1 2", before='<annotation type="writer">Zoë</annotation>').decode()
    assert read_inkml((declaration + text).encode(encoding)).writer == "Zoë"


def test_a_byte_of_another_encoding_does_not_lose_the_ink() -> None:
    # as in CROHME's MfrDB0104: a middle dot in Latin-1 amid UTF-8
    math = '<annotationXML><math><mo xml:id="\\cdot_1">@</mo></math></annotationXML>'
    ink = read_inkml(traces("1 2", before=math).replace(b"@", b"\xb7"))
    assert ink.tree is not None
    assert latex_tokens(ink.tree) == [(r"\cdot", r"\cdot_1")]


LOL = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE ink [<!ENTITY l0 "lol">{LOL}]>',
        '<!DOCTYPE ink [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE ink SYSTEM "http://example.org/ink.dtd">',
    ],
)
def test_no_file_can_define_entities(doctype: str, encoding: str) -> None:
    data = f"{doctype}<ink><trace>1 2</trace><annotation>&l9;</annotation></ink>".encode(encoding)
    with pytest.raises(InputError, match="DOCTYPE"):
        read_inkml(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "damaged XML"),
        (CROHME[:-10], "damaged XML"),
        (CROHME[: len(CROHME) // 2], "damaged XML"),
        (b"<html><body/></html>", "starts with <html>"),
        (b"<ink/>", "at least one stroke"),
        (traces("", " ", ","), "at least one stroke"),
        (traces("1 2", "1 2, 3"), "trace '1': .* found '3'"),
        (traces("1,2 3"), "found '1'"),
        (traces("a b"), "plain numbers, found 'a b'"),
        (traces("1 2, '3 '4"), "differences"),
        (traces("1 2", before=channels("X T")), "channels X and Y"),
        (
            traces("1 2 3", before=channels("X Y")),
            "of 2 to 2 plain numbers, found '1 2 3'",
        ),
        (traces("0 0\n1 1\n2 5"), "commas between them, .* found '0 0 1 1 2 5'"),
        (traces("1 2", before=channels("X Y") + channels("T X Y")), "one traceFormat for all"),
        (traces("1 nan"), "found nan"),
        (traces("inf 1"), "found inf"),
        (traces("1 2, -1e999 1"), "found -inf"),
        (traces("1 1e300"), r"found 1e\+300"),
    ],
)
def test_damage_is_refused_by_name(data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=rf"^f\.inkml: .*{told}"):
        read_inkml(data, "f.inkml")


def test_elements_nested_deeper_than_the_stack() -> None:
    rows = "<mrow>" * 20_000 + "<mi>x</mi>" + "</mrow>" * 20_000
    ink = read_inkml(traces("1 2", before=f"<annotationXML><math>{rows}</math></annotationXML>"))
    assert ink.tree is not None
    assert latex_tokens(ink.tree) == [("x", None)]


def test_a_file_of_many_points() -> None:
    data = traces(*[", ".join(f"{n} {n % 7}" for n in range(500))] * 40)
    ink = read_inkml(data)
    assert [len(stroke) for stroke in ink.strokes] == [500] * 40
    assert ink.strokes[-1][-1].tolist() == [499, 499 % 7]


@given(
    st.lists(
        st.tuples(st.integers(0, len(CROHME) - 1), st.binary(max_size=3), st.integers(0, 40)),
        max_size=4,
    )
)
def test_any_damage_gives_ink_or_says_why_not(edits: list[tuple[int, bytes, int]]) -> None:
    data = CROHME
    for position, inserted, cut in edits:
        data = data[:position] + inserted + data[position + cut :]
    try:
        ink = read_inkml(data, "f.inkml")
    except InputError as error:
        assert str(error).startswith("f.inkml: ")  # noqa: PT017 - either outcome is right
    else:
        assert all(np.isfinite(stroke).all() for stroke in ink.strokes)


@pytest.mark.parametrize("split", ["train", "2014", "2016"])
def test_crohme_as_distributed_is_the_ink_of_the_prepared_files(
    data_root: Path, split: str
) -> None:
    with lzma.open(data_root / "crohme" / "strokes" / f"{split}.jsonl.xz", "rt") as lines:
        sample = [json.loads(line) for number, line in enumerate(lines) if number % 20 == 0]
    with zipfile.ZipFile(data_root / "crohme" / "inkml" / f"{split}.zip") as archive:
        paths = {PurePosixPath(path).stem: path for path in archive.namelist()}
        for record in sample:
            ink = read_inkml(archive.read(paths[record["id"]]), paths[record["id"]])
            prepared = ink_of_record(record)
            for stroke, other in zip(ink.strokes, prepared.strokes, strict=True):
                # the prepared files keep five significant digits
                np.testing.assert_allclose(stroke, other, rtol=5e-5, atol=0)
            assert ink.symbols == prepared.symbols
            assert ink.tree == prepared.tree
            assert (ink.truth, ink.writer) == (prepared.truth, prepared.writer)
            assert ink.identifier == prepared.identifier == record["id"]


def test_mathwriting(data_root: Path) -> None:
    files = sorted((data_root / "mathwriting").rglob("*.inkml"))
    assert len(files) == 11
    for path in files:
        data = path.read_bytes()
        if b"<trace " not in data:  # boxes of symbols without ink
            with pytest.raises(InputError, match="at least one stroke"):
                read_inkml(data, path.name)
            continue
        ink = read_inkml(data, path.name)
        assert ink.identifier == path.stem
        assert ink.truth
        assert ink.strokes
