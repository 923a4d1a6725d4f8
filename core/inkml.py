"""InkML, as CROHME and MathWriting write it (and, within reason, others: W3C, InkML, 2011)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError, fromstring

import numpy as np

from .errors import InputError
from .ink import FloatArray, Ink, Symbol, identifier_of, without_empty
from .latex import trimmed
from .mathml import read_mathml

_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_ONE_BYTE = frozenset(("iso-8859-1", "latin-1", "latin1", "windows-1252", "cp1252"))
_TRUTHS = ("truth", "normalizedLabel", "label")


def read_inkml(data: bytes, name: str = "") -> Ink:
    """Ink from the content of an InkML file.

    Channels other than X and Y are left out, in whatever order the `traceFormat` names them (X, Y
    where there is none); y stays as recorded, which is downwards in all of CROHME and MathWriting.
    Traces without a point are dropped, and so are symbols that have no other. Bytes that are not
    in the file's encoding are replaced, as one of CROHME's own files needs. A file without
    annotation gives ink without truth, symbols and tree.

    Args:
        data: the file.
        name: what errors call it; the identifier, where it is a file's name, is made from it,
            because that is the name under which CROHME's captions speak of the file.

    Raises:
        InputError: not XML, not InkML, a DOCTYPE (which could define entities that expand without
            end), a point that is not made of finite numbers, or no stroke at all.
    """
    try:
        return _ink(_root(data), name)
    except InputError as error:
        raise InputError(f"{name}: {error}" if name else str(error)) from None


def _root(data: bytes) -> Element:
    text = _decoded(data)
    # An entity can only be defined in a DOCTYPE, and no InkML needs one.
    if "<!DOCTYPE" in text:
        raise InputError(
            "expected InkML without a DOCTYPE, found one: it may hide entities that expand "
            "without end; remove it and try again"
        )
    try:
        root = fromstring(text)
    except (ParseError, ValueError) as error:
        raise InputError(f"expected InkML, found damaged XML: {error}") from None
    if _tag(root) != "ink":
        raise InputError(f"expected InkML, found XML that starts with <{_tag(root)}>")
    return root


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    declared = _DECLARED.match(data)
    encoding = declared.group(1).decode("ascii").lower() if declared else "utf-8"
    return data.decode(encoding if encoding in _ONE_BYTE else "utf-8-sig", "replace")


def _ink(root: Element, name: str) -> Ink:
    traces = [element for element in root.iter() if _tag(element) == "trace"]
    strokes = _points(traces, _channels(root))
    numbers = {key: number for number, trace in enumerate(traces) if (key := _id(trace))}
    kept, symbols = without_empty(strokes, list(_symbols(root, numbers)))
    annotations = _annotations(root)
    tree = next((element for element in root.iter() if _tag(element) == "math"), None)
    return Ink(
        strokes=kept,
        symbols=symbols,
        truth=next((annotations[key] for key in _TRUTHS if annotations.get(key)), None),
        tree=None if tree is None else read_mathml(tree),
        writer=annotations.get("writer", ""),
        identifier=identifier_of(name) or annotations.get("sampleId") or annotations.get("UI", ""),
        split=annotations.get("splitTagOriginal", ""),
    )


class _Channels(NamedTuple):
    """Where in a point x and y stand, and how many values it has at most; None if nobody says."""

    x: int = 0
    y: int = 1
    most: int | None = None


def _channels(root: Element) -> _Channels:
    found = {
        tuple(
            (channel.get("name") or "").upper()
            for channel in each.iter()
            if _tag(channel) == "channel"
        )
        for each in root.iter()
        if _tag(each) == "traceFormat"
    } - {()}
    if not found:
        return _Channels()
    for names in found:
        if "X" not in names or "Y" not in names:
            raise InputError(f"expected a traceFormat with channels X and Y, found {list(names)}")
    if len({(names.index("X"), names.index("Y")) for names in found}) > 1:
        raise InputError(
            "expected one traceFormat for all traces, found several in which X and Y stand in "
            "other places; export the ink with one"
        )
    names = max(found, key=len)
    return _Channels(names.index("X"), names.index("Y"), len(names))


def _points(traces: Sequence[Element], channels: _Channels) -> list[FloatArray]:
    """float64 [points, 2] of every trace; [0, 2] of an empty one, or of a pen above the paper."""
    told = [
        []
        if trace.get("type") == "penUp"
        else [values for point in (trace.text or "").split(",") if (values := point.split())]
        for trace in traces
    ]
    x, y, most = channels
    if most is None:
        # a point has as many values as in other traces; what has more is points without commas
        several = [len(point) for points in told if len(points) > 1 for point in points]
        most = max((3, *several))
    for trace, points in zip(traces, told, strict=True):
        bad = next((point for point in points if not _is_point(point, x, y, most)), None)
        if bad is not None:
            raise InputError(
                f"trace {_id(trace)!r}: expected points, with commas between them, of "
                f"{max(x, y) + 1} to {most} plain numbers, found {' '.join(bad)[:40]!r} "
                "(differences and other notations are not supported: export the ink with explicit "
                "values)"
            )
    return [
        np.array([(float(point[x]), float(point[y])) for point in points]).reshape(-1, 2)
        for points in told
    ]


def _is_point(values: list[str], x: int, y: int, most: int) -> bool:
    try:
        float(values[x]), float(values[y])
    except (ValueError, IndexError):
        return False
    return len(values) <= most


def _symbols(root: Element, numbers: dict[str, int]) -> Iterator[Symbol]:
    """A symbol is a group that names traces itself, and not through inner groups."""
    for group in root.iter():
        if _tag(group) != "traceGroup":
            continue
        strokes = [
            numbers.get((child.get("traceDataRef") or "").rpartition("#")[2], -1)
            if _tag(child) == "traceView"
            else numbers.get(_id(child), -1)
            for child in group
            if _tag(child) in ("traceView", "trace")
        ]
        if not strokes:
            continue
        links = [child.get("href") for child in group if _tag(child) == "annotationXML"]
        label = _annotations(group).get("truth", "")
        node = next((link for link in links if link), None)
        yield Symbol(label, tuple(strokes), node)


def _annotations(element: Element) -> dict[str, str]:
    """type -> text of the annotations directly in the element, the first of each type."""
    found: dict[str, str] = {}
    for child in element:
        if _tag(child) == "annotation":
            found.setdefault(child.get("type", ""), trimmed(child.text or ""))
    return found


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _id(element: Element) -> str:
    return element.get("id") or element.get(_XML_ID) or ""
