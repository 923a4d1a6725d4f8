"""What real formulas are made of, to draw from: symbols as written, and how they hang together.

Everything is measured in sizes of the line that a row stands on (see `geometry.py`), from that
line down and from the left edge of a symbol to the right, so that it can be drawn again on any
line. Distributions are the samples themselves: no shape is assumed of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ...core.errors import DataError
from ..inkset import Expression
from .geometry import Box, LaidRow, laid_rows, middle, union
from .kinds import PAIRS, kind
from .tree import ARGUMENTS, HALVES, INDEX, RADICAND, UPPER, Node, Row, written_tree

FloatArray = NDArray[np.float64]
_Sample = TypeVar("_Sample", bound=tuple[float, ...])

_TAILS = (4.0, 96.0)  # per cent: what lies outside is a slip of the pen, or of the segmentation
_SHAPES = 8  # from which a sign is chosen that was around the like
_FEW = 20  # samples of a sort that stand by themselves


class Glyph(NamedTuple):
    """A symbol as somebody wrote it, the left end of its line at (0, 0).

    strokes: arrays [n, 2]
    box: of them; its left side is 0
    inner: the box of what it is around, a bracket or the sign of a root; None for others
    """

    strokes: tuple[FloatArray, ...]
    box: Box
    inner: Box | None


class Hanging(NamedTuple):
    """How a script or a limit hangs on a symbol.

    ratio: its size by that of the line
    beside: 1 if to the right of the symbol, 0 if above or below it
    across: from the right side of the symbol to its left side; if not beside, between the middles
    down: from the top of the symbol to its line (superscripts, upper limits), or from its bottom
    """

    ratio: float
    beside: float
    across: float
    down: float


class Half(NamedTuple):
    """How the numerator, or the denominator, stands at a fraction's bar.

    ratio: its size by that of the line
    gap: between it and the bar
    across: from the middle of the bar to its middle
    """

    ratio: float
    gap: float
    across: float


class Overhang(NamedTuple):
    """How far a bar reaches beyond what stands on it, on the left and on the right."""

    left: float
    right: float


class Inside(NamedTuple):
    """How what is under a root stands: its size by that of the line, and how much lower it is."""

    ratio: float
    down: float


class Gap(NamedTuple):
    """From the right side of a symbol, with all that hangs on it, to the next one's left side."""

    across: float


@dataclass
class Samples:
    """All that can be drawn from; see `collect`.

    Attributes:
        rows: of the formulas, by role.
        writers: the formulas' writers, as often as they wrote; "" stands for nobody knows who.
        glyphs: by (token, writer), and by (token, None) those of all writers.
        relations: samples by what is related.
    """

    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    writers: list[str] = field(default_factory=list)
    glyphs: dict[tuple[str, str | None], list[Glyph]] = field(
        default_factory=lambda: defaultdict(list)
    )
    relations: dict[Hashable, list[tuple[float, ...]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @classmethod
    def collect(cls, expressions: Sequence[Expression]) -> Samples:
        """Take apart all formulas of which it is known what is written where.

        Raises:
            DataError: there is none.
        """
        found = cls()
        trees = [(each, tree) for each in expressions if (tree := written_tree(each)) is not None]
        if not trees:
            raise DataError(
                "expected ink whose strokes are known by symbol, as `inktex data import` finds in "
                f"CROHME's InkML, found none in {len(expressions)} expressions"
            )
        sources = [expression for expression, _ in trees]
        rows = laid_rows(sources, [tree for _, tree in trees])
        _Collecting(found, sources, rows).all()
        found.writers = [each.writer for each in sources]
        found.relations = defaultdict(list, {k: _trimmed(v) for k, v in found.relations.items()})
        return found

    def related(self, shape: type[_Sample], keys: Sequence[Hashable], rng: Generator) -> _Sample:
        """A sample of how things are related.

        Args:
            keys: what is related, from the special to the general; the first is taken of which
                there are enough samples, else the last.

        Raises:
            DataError: there is no sample of the last.
        """
        general = keys[-1]
        for key in keys:
            samples = self.relations.get((shape, key), [])
            if len(samples) >= _FEW or (key == general and samples):
                found = samples[int(rng.integers(len(samples)))]
                assert isinstance(found, shape)
                return found
        raise DataError(
            f"the formulas to learn from show no {general}: expected at least one; take more"
        )

    def glyph(self, token: str, writer: str, rng: Generator, height: float | None = None) -> Glyph:
        """A symbol of a writer, or of anybody if the writer has never written it.

        Args:
            height: of what it will be around, from which one is chosen that was around the like.
        """
        own = self.glyphs.get((token, writer), []) if writer else []
        known: list[Glyph] = own or self.glyphs[token, None]
        if height is None:
            return known[int(rng.integers(len(known)))]
        few = [known[number] for number in rng.integers(len(known), size=_SHAPES)]
        fits = [each for each in few if each.inner is not None] or few

        def misfit(glyph: Glyph) -> float:
            return abs((glyph.inner or glyph.box).height - height)

        best: Glyph = min(fits, key=misfit)
        return best


class _Collecting:
    """Goes once through the rows of real formulas."""

    def __init__(
        self, found: Samples, sources: Sequence[Expression], rows: Sequence[LaidRow]
    ) -> None:
        self.found, self.sources, self.rows = found, sources, rows
        self.inner: list[list[int]] = [[] for _ in rows]
        for number, row in enumerate(rows):
            if row.parent >= 0:
                self.inner[row.parent].append(number)
        self.extents = [union(row.boxes) for row in rows]
        for number in range(len(rows) - 1, -1, -1):  # those inside come later
            parts = [self.extents[each] for each in self.inner[number]]
            self.extents[number] = union([self.extents[number], *parts])

    def all(self) -> None:
        for row, inner in zip(self.rows, self.inner, strict=True):
            self.found.rows[row.role].append(row.nodes)
            hanging = iter(inner)
            parts = [{role: next(hanging) for role, _ in node.parts()} for node in row.nodes]
            whole = [
                union([box, *(self.extents[number] for number in mine.values())])
                for box, mine in zip(row.boxes, parts, strict=True)
            ]
            for node, box, mine in zip(row.nodes, row.boxes, parts, strict=True):
                self.hangings(row, node, box, mine)
            kinds = [kind(node.token) for node in row.nodes]
            for left, right, *pair in zip(whole, whole[1:], kinds, kinds[1:], strict=False):
                self.add(Gap((right.left - left.right) / row.line.size), [tuple(pair), "gap"])
            self.glyphs(row, whole, parts)

    def add(self, sample: tuple[float, ...], keys: Sequence[Hashable]) -> None:
        for each in dict.fromkeys(keys):
            self.found.relations[type(sample), each].append(sample)

    def hangings(self, row: LaidRow, node: Node, own: Box, parts: Mapping[str, int]) -> None:
        """Take how its parts hang on a symbol."""
        size = row.line.size
        extents = {role: self.extents[number] for role, number in parts.items()}
        base = union([own, *(extents[role] for role in extents if role in ARGUMENTS)])
        for role, box in extents.items():
            line = self.rows[parts[role]].line
            ratio = line.size / size
            if role in HALVES:
                gap = own.top - box.bottom if role == "numerator" else box.top - own.bottom
                across = middle(box) - middle(own)
                self.add(Half(ratio, gap / size, across / size), [role])
            elif role == RADICAND:
                self.add(Inside(ratio, (line.y - row.line.y) / size), [role])
            else:
                beside = not base.left < middle(box) < base.right
                across = box.left - base.right if beside else middle(box) - middle(base)
                if role == INDEX:
                    across = box.right - own.left
                down = line.y - (base.top if role in UPPER else base.bottom)
                hanging = Hanging(ratio, float(beside), across / size, down / size)
                self.add(hanging, hanging_keys(role, node.token))
        if node.token == r"\frac":
            content = union(list(extents.values())[:2])
            left, right = content.left - own.left, own.right - content.right
            self.add(Overhang(left / size, right / size), ["bar"])

    def glyphs(
        self, row: LaidRow, whole: Sequence[Box], parts: Sequence[Mapping[str, int]]
    ) -> None:
        """Take the ink of all symbols of a row."""
        inner = {
            place: self.extents[mine[RADICAND]]
            for place, mine in enumerate(parts)
            if RADICAND in mine
        }
        for first, last in matched([node.token for node in row.nodes]):
            if last - first > 1:
                inner[first] = inner[last] = union(whole[first + 1 : last])
        source, size = self.sources[row.expression], row.line.size
        for place, (node, box) in enumerate(zip(row.nodes, row.boxes, strict=True)):
            left = box.left
            origin = np.array([left, row.line.y])
            strokes = tuple((source.strokes[index] - origin) / size for index in node.strokes)
            around = inner.get(place)
            glyph = Glyph(
                strokes,
                box.moved(-left, -row.line.y).scaled(1 / size),
                None if around is None else around.moved(-left, -row.line.y).scaled(1 / size),
            )
            self.found.glyphs[node.token, None].append(glyph)
            if source.writer:
                self.found.glyphs[node.token, source.writer].append(glyph)


def hanging_keys(role: str, token: str) -> list[Hashable]:
    """What tells how a script hangs on a symbol, from the special to the general. A subscript of x
    stands below its line, where one as far from the bottom of a y stands beside it."""
    return [(role, token), (role, kind(token)), role]


def matched(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """The places of brackets that open and close each other, in the order of the closing ones."""
    opened: list[int] = []
    pairs = []
    for place, token in enumerate(tokens):
        if token in PAIRS:
            opened.append(place)
        elif opened and token == PAIRS[tokens[opened[-1]]]:
            pairs.append((opened.pop(), place))
    return pairs


def _trimmed(samples: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The samples without those that are far out in any of their values."""
    values = np.array(samples)
    low, high = np.percentile(values, _TAILS, axis=0)
    kept = ((values >= low) & (values <= high)).all(axis=1)
    return [each for each, keep in zip(samples, kept, strict=True) if keep] or list(samples)
