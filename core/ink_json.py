"""Ink as JSON: strokes alone, or a record of what else is known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from .errors import InputError
from .ink import FloatArray, Ink, MathNode, Symbol, identifier_of, without_empty
from .latex import trimmed

_MOST_VALUES = 6  # of a point: x, y, time, pressure, and two of tilt
_NUMBERS = frozenset((int, float))


def read_ink_json(data: bytes, name: str = "") -> Ink:
    """Ink from the content of a JSON file, whose form `ink_of_record` tells.

    Args:
        data: the file.
        name: what errors call it, and the identifier where the record has no `id`.

    Raises:
        InputError: damaged JSON, or JSON of another form.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{_called(name)}expected JSON strokes, found damaged JSON: {error}"
        ) from None
    return ink_of_record(record, name)


def ink_of_record(record: object, name: str = "") -> Ink:
    """Ink from JSON that was parsed already.

    Args:
        record: a list of strokes, or an object with `strokes`. A stroke is `[[x, y], …]`, where
            what follows x and y (time, pressure, up to 6 values in all) is left out, or flat,
            `[x, y, x, y, …]`; strokes without a point are dropped. The object may also have `id`,
            `writer`, `truth` (or `latex`), each text or a whole number, `symbols`
            (`[[label, [stroke numbers], xml id], …]`) and `mathml` (`[tag, xml id, text or
            children]`); anything else is left alone.
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
        _check_nesting(recorded)
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


def _called(name: str) -> str:
    return f"{name}: " if name else ""


def _check_nesting(recorded: Sequence[object]) -> None:
    """Raise InputError where what should be points is the coordinates of a stroke, or the other way
    round: all of it numbers, it would be read as another ink."""
    lists = [stroke for stroke in recorded if isinstance(stroke, list) and stroke]
    pairs = [stroke for stroke in lists if len(stroke) == 2 and _types(stroke) <= _NUMBERS]
    if len(pairs) > 1 and len(pairs) == len(lists):
        raise InputError(
            f"expected strokes, found {len(pairs)} pairs {pairs[0]!r:.40}, …; if they are the "
            "points of one stroke, put it in a list; if each is a dot, write it as [[x, y]]"
        )
    sizes = [list(map(len, stroke)) for stroke in lists if _types(stroke) == {list}]
    widths = {size for each in sizes for size in each}
    # lists of x, of y and perhaps of time are as long as each other, and as the stroke
    columns = all(len(each) in (2, 3) and len(set(each)) == 1 for each in sizes) and len(widths) > 1
    if columns or max(widths, default=0) > _MOST_VALUES:
        raise InputError(
            f"expected points [x, y], found lists of up to {max(widths)} numbers; if x and y are "
            "in separate lists, join them: [[x, y], …]"
        )


def _types(values: Sequence[object]) -> set[type]:
    return set(map(type, values))


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
    if not _types(flat) <= _NUMBERS:
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
    if type(value) is int:  # a number that somebody or something goes by
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(
            f"{key}: expected text, found {value!r:.40}; put it in quotes, or leave it out"
        )
    return trimmed(value or "")
