"""Ink: the strokes of one expression, what is known about them, and how ink is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

FloatArray = NDArray[np.float64]

MAX_BYTES = 8 * 2**20
"""Ink files above this size are refused: a page of dense handwriting is below 1 MiB."""
MAX_COORDINATE = 1e9
"""Coordinates beyond this (either sign) are taken for damage, whatever the recorder's units."""


@dataclass(frozen=True)
class Symbol:
    r"""One written symbol of an expression.

    Attributes:
        label: what it is, as annotated: `x`, `\alpha`, and `-` for the bar of a fraction.
        strokes: indices into `Ink.strokes`, as annotated (not always in order of writing).
        node: xml id of the element of the layout tree that it is.
    """

    label: str
    strokes: tuple[int, ...]
    node: str | None = None


@dataclass(frozen=True)
class MathNode:
    """One element of a MathML layout tree.

    Attributes:
        tag: the element's name without namespace: `mi`, `msup`, `mfrac`.
        node: its xml id, which `Symbol.node` repeats.
        text: what a leaf holds.
        children: what an inner element holds.
    """

    tag: str
    node: str | None = None
    text: str | None = None
    children: tuple[MathNode, ...] = ()


@dataclass(frozen=True, eq=False)
class Ink:
    """The handwriting of one expression.

    Attributes:
        strokes: float64 [points, 2] each, points >= 1, x to the right and y DOWN, in the
            recorder's units, all finite. A dot is a stroke of one point.
        symbols: which strokes make which symbol; empty where nobody segmented the ink.
        truth: LaTeX as annotated.
        tree: MathML layout tree, whose ids are those in `symbols`.
        writer: who wrote it, "" when unknown.
        identifier: the name under which data sets speak of it, "" when unknown.
        split: the part of its data set that it names, such as "train", "" when it names none.

    Raises:
        InputError: no strokes, a stroke of another shape, type or range, a symbol whose strokes
            are not there.
    """

    strokes: tuple[FloatArray, ...]
    symbols: tuple[Symbol, ...] = ()
    truth: str | None = None
    tree: MathNode | None = None
    writer: str = ""
    identifier: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        if not self.strokes:
            raise InputError("expected ink with at least one stroke, found none: nothing to read")
        for number, stroke in enumerate(self.strokes):
            if stroke.ndim != 2 or stroke.shape[1] != 2 or not len(stroke):
                raise InputError(
                    f"stroke {number}: expected an array [points, 2] of x and y with at least one "
                    f"point, found {list(stroke.shape)}"
                )
            if stroke.dtype != np.float64:
                raise InputError(f"stroke {number}: expected float64, found {stroke.dtype}")
        # NaN fails the comparison too
        if not np.abs(np.concatenate(self.strokes)).max() <= MAX_COORDINATE:
            number, found = _first_beyond(self.strokes)
            raise InputError(
                f"stroke {number}: expected finite coordinates within ±{MAX_COORDINATE:g}, found "
                f"{found}: the recording is damaged"
            )
        for symbol in self.symbols:
            if not all(0 <= index < len(self.strokes) for index in symbol.strokes):
                raise InputError(
                    f"symbol {symbol.label!r}: expected indices of the {len(self.strokes)} "
                    f"strokes, found {list(symbol.strokes)}"
                )


def read_ink(source: Path | bytes | str, name: str = "") -> Ink:
    """Ink from a file, or from a file's content, as InkML or as JSON, told apart by content.

    Args:
        source: a path, or the bytes of a file. InkML: see `core/inkml.py`. JSON: see
            `ink_of_record`.
        name: what errors call it and where `Ink.identifier` comes from; by default the file's
            name.

    Raises:
        InputError: a file that is missing, empty, larger than `MAX_BYTES`, damaged, of another
            format, or without a stroke.
    """
    from .inkml import read_inkml  # builds on this module

    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        name = name or path.name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{str(source)!r}: expected an ink file that can be read: {reason}"
            ) from None
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{_called(name)}expected an ink file of at most {MAX_BYTES} bytes, found more: "
            "it holds more than one expression, or something else"
        )
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"<" or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return read_inkml(data, name)
    if start in (b"{", b"["):
        return ink_of_record(_parsed(data, name), name)
    found = repr(data[:16])[1:] if data else "nothing: the file is empty"
    raise InputError(f"{_called(name)}expected InkML (<ink …>) or JSON strokes, found {found}")


def ink_of_record(record: object, name: str = "") -> Ink:
    """Ink from JSON that was parsed already.

    Args:
        record: a list of strokes, or an object with `strokes`. A stroke is `[[x, y], …]`, where
            what follows x and y (time, pressure) is left out, or flat, `[x, y, x, y, …]`; strokes
            without a point are dropped. The object may also have `id`, `writer`, `truth` (or
            `latex`), `symbols` (`[[label, [stroke numbers], xml id], …]`) and `mathml`
            (`[tag, xml id, text or children]`); anything else is left alone.
        name: what errors call it, and the identifier where the record has no `id`.

    Raises:
        InputError: the record is not of this form, or holds no stroke.
    """
    fields: Mapping[str, object] = record if isinstance(record, dict) else {"strokes": record}
    try:
        recorded = fields.get("strokes")
        if not isinstance(recorded, list):
            raise InputError(
                f"expected a list of strokes, or an object with such a list as `strokes`, found "
                f"{'none' if recorded is None else type(recorded).__name__}"
            )
        strokes = [_stroke(number, stroke) for number, stroke in enumerate(recorded)]
        kept, symbols = without_empty(strokes, _symbols(fields.get("symbols") or []))
        tree = fields.get("mathml")
        return Ink(
            strokes=kept,
            symbols=symbols,
            truth=_text(fields, "truth") or _text(fields, "latex") or None,
            tree=None if tree is None else _tree(tree),
            writer=_text(fields, "writer"),
            identifier=_text(fields, "id") or identifier_of(name),
        )
    except InputError as error:
        raise InputError(f"{_called(name)}{error}") from None


def without_empty(
    strokes: Sequence[FloatArray], symbols: Sequence[Symbol]
) -> tuple[tuple[FloatArray, ...], tuple[Symbol, ...]]:
    """The strokes that have a point, and the symbols with their indices among these.

    Symbols none of whose strokes has a point are dropped too, as is an index of no stroke.
    """
    new = {old: number for number, old in enumerate(i for i, s in enumerate(strokes) if len(s))}
    moved = [
        Symbol(symbol.label, tuple(new[i] for i in symbol.strokes if i in new), symbol.node)
        for symbol in symbols
    ]
    return tuple(strokes[old] for old in new), tuple(each for each in moved if each.strokes)


def identifier_of(name: str) -> str:
    """A file's name without folders and without `.inkml` or `.json`."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return last.removesuffix(".inkml").removesuffix(".json")


def _called(name: str) -> str:
    return f"{name}: " if name else ""


def _first_beyond(strokes: Sequence[FloatArray]) -> tuple[int, float]:
    """The first coordinate that is too large, and the number of its stroke."""
    return next(
        (number, value)
        for number, stroke in enumerate(strokes)
        for value in stroke.ravel().tolist()
        if not abs(value) <= MAX_COORDINATE
    )


def _parsed(data: bytes, name: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{_called(name)}expected JSON strokes, found damaged JSON: {error}"
        ) from None


def _stroke(number: int, recorded: object) -> FloatArray:
    """float64 [points, 2] of a recorded stroke in either form; [0, 2] of an empty one."""
    if isinstance(recorded, list) and recorded and isinstance(recorded[0], list):
        if not all(isinstance(point, list) and len(point) >= 2 for point in recorded):
            raise InputError(f"stroke {number}: expected points [x, y], found another thing")
        flat = list(chain.from_iterable(point[:2] for point in recorded))
    elif isinstance(recorded, list) and len(recorded) % 2 == 0:
        flat = recorded
    else:
        raise InputError(
            f"stroke {number}: expected [[x, y], …] or [x, y, x, y, …], found "
            + (f"{len(recorded)} numbers" if isinstance(recorded, list) else repr(recorded)[:40])
        )
    if not set(map(type, flat)) <= {int, float}:
        found = next(value for value in flat if type(value) not in (int, float))
        raise InputError(f"stroke {number}: expected numbers, found {found!r:.40}")
    try:
        return np.array(flat, np.float64).reshape(-1, 2)
    except OverflowError:
        raise InputError(f"stroke {number}: a coordinate is too large for a float") from None


def _symbols(recorded: object) -> list[Symbol]:
    symbols = []
    for entry in recorded if isinstance(recorded, list) else [recorded]:
        match entry:
            case [str() as label, [*numbers], str() | None as node]:
                strokes = tuple(number for number in numbers if type(number) is int)
                if len(strokes) == len(numbers):
                    symbols.append(Symbol(label, strokes, node))
                    continue
        raise InputError(
            f"symbols: expected [label, [stroke numbers], xml id] each, found {entry!r:.60}"
        )
    return symbols


def _tree(recorded: object, depth: int = 0) -> MathNode:
    if depth > 256:
        raise InputError("mathml: expected a tree at most 256 deep, found a deeper one")
    match recorded:
        case [str() as tag, str() | None as node, str() | None as text]:
            return MathNode(tag, node, text or None)
        case [str() as tag, str() | None as node, [*children]]:
            return MathNode(tag, node, None, tuple(_tree(child, depth + 1) for child in children))
    raise InputError(f"mathml: expected [tag, xml id, text or children], found {recorded!r:.60}")


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    return value.strip() if isinstance(value, str) else ""
