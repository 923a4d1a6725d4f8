"""Trees of formulas to ink: symbols as somebody wrote them, placed as people place them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .geometry import Box, middle, union
from .kinds import BRACKETS, kind
from .samples import (
    Gap,
    Glyph,
    Half,
    Hanging,
    Inside,
    Overhang,
    Samples,
    hanging_keys,
    matched,
)
from .tree import ARGUMENTS, HALVES, INDEX, RADICAND, UPPER, Node, Row

FloatArray = NDArray[np.float64]

_CLOSEST = -0.08  # sizes between two symbols of a row: what is written closer runs together


class Placed(NamedTuple):
    """The ink of one symbol of a tree: strokes [n, 2]."""

    node: Node
    strokes: list[FloatArray]


@dataclass
class Laid:
    """A part of a formula on its line, whose left end is (0, 0) and whose size is 1.

    Attributes:
        placed: the ink of its symbols, in the order of the caption.
        box: of all of it.
    """

    placed: list[Placed]
    box: Box

    def moved(self, scale: float, x: float, y: float) -> Laid:
        """On a line `scale` times as large that starts at (x, y)."""
        by = np.array([x, y])
        return Laid(
            [Placed(node, [ink * scale + by for ink in strokes]) for node, strokes in self.placed],
            self.box.scaled(scale).moved(x, y),
        )

    def with_parts(self, *parts: Laid) -> Laid:
        """Together with others on the same line."""
        placed = [each for part in (self, *parts) for each in part.placed]
        return Laid(placed, union([self.box, *(part.box for part in parts)]))


class Layout:
    """Lays out formulas in the hand of one writer.

    Args:
        samples: of how symbols are written and placed.
        writer: whose symbols are taken, as far as there are some; "" takes them from everybody.
        rng: where the randomness comes from.
    """

    def __init__(self, samples: Samples, writer: str, rng: Generator) -> None:
        self.samples, self.writer, self.rng = samples, writer, rng

    def row(self, nodes: Row) -> Laid:
        """A row on its line; the left side of its ink is 0."""
        tokens = [node.token for node in nodes]
        parts: list[Laid | None] = [
            None if node.token in BRACKETS else self.node(node, None) for node in nodes
        ]
        for first, last in matched(tokens):
            inside = [part.box for part in parts[first + 1 : last] if part is not None]
            around = union(inside) if inside else None
            for place in (first, last):
                parts[place] = self.node(nodes[place], around)
        found: list[Laid] = []
        right = 0.0
        for place, (node, part) in enumerate(zip(nodes, parts, strict=True)):
            laid = self.node(node, None) if part is None else part
            if place:
                pair = (kind(tokens[place - 1]), kind(tokens[place]))
                right += max(self.samples.related(Gap, [pair, "gap"], self.rng).across, _CLOSEST)
            laid = laid.moved(1.0, right - laid.box.left, 0.0)
            right = laid.box.right
            found.append(laid)
        return found[0].with_parts(*found[1:])

    def node(self, node: Node, around: Box | None) -> Laid:
        """A symbol with all that hangs on it.

        Args:
            around: what a bracket encloses, on the same line.
        """
        rows = dict(node.parts())
        if node.token == r"\frac":
            own, parts = self.fraction(node, rows)
        elif RADICAND in rows:
            own, parts = self.root(node, rows)
        else:
            own, parts = self.symbol(node, around), {}
        base = union([own.box, *(part.box for part in parts.values())])
        for role in [each for each in rows if each not in ARGUMENTS]:  # a set has no fixed order
            parts[role] = self.hanging(role, rows[role], node.token, base)
        return own.with_parts(*(parts[role] for role in rows))

    def symbol(self, node: Node, around: Box | None) -> Laid:
        """A symbol by itself; as high as what it encloses asks for."""
        if around is None:
            glyph = self.samples.glyph(node.token, self.writer, self.rng)
        else:
            glyph = self.samples.glyph(node.token, self.writer, self.rng, around.height)
            glyph = _fitted(glyph, around)
        return Laid([Placed(node, list(glyph.strokes))], glyph.box)

    def fraction(self, node: Node, rows: Mapping[str, Row]) -> tuple[Laid, dict[str, Laid]]:
        """A bar as long as its two halves ask for, and these above and below it."""
        glyph = self.samples.glyph(node.token, self.writer, self.rng)
        halves = {role: self.row(rows[role]) for role in HALVES}
        stands = {role: self.samples.related(Half, [role], self.rng) for role in HALVES}
        content = max(stands[role].ratio * halves[role].box.width for role in HALVES)
        over = self.samples.related(Overhang, ["bar"], self.rng)
        length = max(content + over.left + over.right, 0.5 * content, 0.2)
        bar = _stretched(glyph, Box(0.0, glyph.box.top, length, glyph.box.bottom))
        parts = {}
        for role, laid in halves.items():
            stand = stands[role]
            box = laid.box.scaled(stand.ratio)
            slack = max(length - box.width, 0.2 * length) / 2
            across = min(max(stand.across, -slack), slack)
            x = length / 2 + across - middle(box)
            y = bar.box.top - stand.gap - box.bottom
            if role != HALVES[0]:
                y = bar.box.bottom + stand.gap - box.top
            parts[role] = laid.moved(stand.ratio, x, y)
        return Laid([Placed(node, list(bar.strokes))], bar.box), parts

    def root(self, node: Node, rows: Mapping[str, Row]) -> tuple[Laid, dict[str, Laid]]:
        """What is under a root, and a sign that reaches around it."""
        inside = self.samples.related(Inside, [RADICAND], self.rng)
        laid = self.row(rows[RADICAND]).moved(inside.ratio, 0.0, inside.down)
        glyph = self.samples.glyph(node.token, self.writer, self.rng, laid.box.height)
        sign = _around(glyph, laid.box)
        return Laid([Placed(node, list(sign.strokes))], sign.box), {RADICAND: laid}

    def hanging(self, role: str, row: Row, token: str, base: Box) -> Laid:
        """A script, a limit or the index of a root, where it hangs on its base."""
        laid = self.row(row)
        stand = self.samples.related(Hanging, hanging_keys(role, token), self.rng)
        box = laid.box.scaled(stand.ratio)
        if role == INDEX:
            x = base.left + stand.across - box.right
        elif stand.beside:
            x = base.right + stand.across - box.left
        else:
            x = middle(base) + stand.across - middle(box)
        y = (base.top if role in UPPER else base.bottom) + stand.down
        return laid.moved(stand.ratio, x, y)


def _fitted(glyph: Glyph, around: Box) -> Glyph:
    """A bracket that reaches as far above and below what it encloses as it did before."""
    inner = glyph.inner
    if inner is None:
        return glyph
    top = around.top + glyph.box.top - inner.top
    bottom = around.bottom + glyph.box.bottom - inner.bottom
    bottom = max(bottom, top + 0.5 * around.height)
    return _stretched(glyph, Box(glyph.box.left, top, glyph.box.right, bottom))


def _around(glyph: Glyph, around: Box) -> Glyph:
    """The sign of a root that stands as far out around a row as it did around another.

    What is to the left of the row keeps its width; the bar above the row takes the row's.
    """
    inner = glyph.inner
    assert inner is not None, "the sign of a root always has a row inside"
    fitted = _fitted(glyph, around)
    left = max(inner.left, 0.1 * glyph.box.width)
    old = max(glyph.box.right - left, 1e-3)
    new = max(around.width + glyph.box.right - inner.right, 0.3)
    strokes = []
    for stroke in fitted.strokes:
        x = stroke[:, 0]
        x = np.where(x < left, x, left + (x - left) * new / old) + around.left - left
        strokes.append(np.stack([x, stroke[:, 1]], axis=1))
    box = fitted.box
    return Glyph(
        tuple(strokes), Box(around.left - left, box.top, around.left + new, box.bottom), None
    )


def _stretched(glyph: Glyph, box: Box) -> Glyph:
    """The same ink in another box; what has no extent in one direction keeps it."""
    old = glyph.box
    scale = np.array([_ratio(box.width, old.width), _ratio(box.height, old.height)])
    origin, start = np.array([old.left, old.top]), np.array([box.left, box.top])
    strokes = tuple((stroke - origin) * scale + start for stroke in glyph.strokes)
    return Glyph(strokes, box, glyph.inner)


def _ratio(new: float, old: float) -> float:
    return new / old if old > 1e-6 else 1.0
