"""Somebody who writes formulas: from LaTeX tokens to ink, as a neat hand sets them.

Each symbol's strokes come from glyphs.txt, made for this project by hand; a `Hand` never writes
one twice alike: it varies size, slant, place and course a little, from a seeded generator, so that
the same ink comes out every time. A small layout engine sets rows, scripts, fractions, roots and
big operators.

Lengths are in units of the glyph table (a small letter is about 57 high) with y UP from the
baseline, until `Hand.write` turns them into a recorder's units, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

Stroke = NDArray[np.float64]
"""[n, 2] of x and y."""

GLYPHS = Path(__file__).resolve().with_name("glyphs.txt")

AXIS = 30.0
"""Height of fraction bars and of the middle of operators above the baseline."""
SCRIPT = 0.63
LIMIT = 0.6
POINT_SPACING = 4.5
RECORDER_UNITS = 5
"""Of the recorder, in one unit of the glyph table."""

GAPS = {
    **dict.fromkeys(("=", r"\leq", r"\neq", r"\rightarrow"), 42.0),
    **dict.fromkeys(("+", "-", r"\pm", r"\times"), 33.0),
    **dict.fromkeys((r"\sin", r"\cos", r"\lim", r"\frac", r"\sum", r"\int"), 26.0),
    "(": 14.0,
}
"""Room around a symbol; between two neighbours the greater of theirs is left."""
GAP = 19.0
STACKED = (r"\sum", r"\lim")
"""Their limits go below and above; those of an integral go to its side."""


def read_glyphs(path: Path = GLYPHS) -> dict[str, list[list[Stroke]]]:
    """The glyph table: symbol -> strokes -> smooth pieces, each [n, 2] control points."""
    glyphs = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, *strokes = line.split(" | ")
        glyphs[name] = [_pieces(stroke.split()) for stroke in strokes]
    return glyphs


def _pieces(points: Sequence[str]) -> list[Stroke]:
    """The control points of a stroke, cut at its corners; a corner belongs to both pieces."""
    pieces: list[list[tuple[float, ...]]] = [[]]
    for written in points:
        point = tuple(float(number) for number in written.rstrip("*").split(","))
        pieces[-1].append(point)
        if written.endswith("*"):
            pieces.append([point])
    return [np.array(piece) for piece in pieces]


def spline(control: Stroke, spacing: float = POINT_SPACING) -> Stroke:
    """A smooth curve through control points: cubic Hermite pieces with Catmull-Rom tangents,
    weighted by the square root of the chords (centripetal), which keeps tight turns free of loops.

    Args:
        control: [n, 2], n >= 2, no two neighbours equal.

    Returns:
        [m, 2], points about `spacing` apart, all of `control` among them.
    """
    chords = np.hypot(*np.diff(control, axis=0).T)
    steps = np.sqrt(chords)[:, None]
    slopes = np.diff(control, axis=0) / steps
    inner = (slopes[:-1] * steps[1:] + slopes[1:] * steps[:-1]) / (steps[:-1] + steps[1:])
    tangents = np.concatenate([slopes[:1], inner, slopes[-1:]])
    curve = [control[:1]]
    for i, chord in enumerate(chords):
        count = max(1, round(chord / spacing))
        t = np.arange(1, count + 1)[:, None] / count
        curve.append(
            (1 + 2 * t) * (1 - t) ** 2 * control[i]
            + t * (1 - t) ** 2 * steps[i] * tangents[i]
            + t**2 * (3 - 2 * t) * control[i + 1]
            - t**2 * (1 - t) * steps[i] * tangents[i + 1]
        )
    return np.concatenate(curve)


@dataclass(frozen=True)
class Box:
    """Strokes in place, relative to the baseline's left end; its edges are those of its ink."""

    strokes: tuple[Stroke, ...]

    def __add__(self, other: Box) -> Box:
        return Box(self.strokes + other.strokes)

    @property
    def points(self) -> Stroke:
        """All points of all strokes, [n, 2]."""
        return np.concatenate(self.strokes)

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """left, bottom, right, top"""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def changed(self, scale: float = 1.0, left: float | None = None, up: float = 0.0) -> Box:
        """Scaled about the origin, then moved `up`, and so that its ink begins at `left`."""
        box = Box(tuple(stroke * scale for stroke in self.strokes))
        right = 0.0 if left is None else left - box.edges[0]
        return Box(tuple(stroke + np.array([right, up]) for stroke in box.strokes))

    def centred(self, middle: float, scale: float = 1.0, up: float = 0.0) -> Box:
        """Scaled about the origin, then moved `up`, and so that its middle is at `middle`."""
        left, _, right, _ = self.edges
        return self.changed(scale, middle - (right - left) * scale / 2, up)

    def reach(self, bottom: float, top: float) -> float:
        """The right edge of the ink between two heights; the left edge where there is none."""
        points = self.points
        between = points[(points[:, 1] >= bottom) & (points[:, 1] <= top), 0]
        return float(between.max()) if len(between) else self.edges[0]


class Hand:
    """Somebody who writes formulas.

    Args:
        seed: of all that varies. `random.Random` is used, whose sequence, unlike numpy's, is
            promised to stay the same in later versions.
        neatness: 1 is that of the examples; less varies more.
    """

    def __init__(self, seed: int, neatness: float = 1.0) -> None:
        self.random = Random(seed)
        self.wobble = 1.0 / neatness
        self.slant = self.vary(0.05) + 0.06
        self.glyphs = read_glyphs()
        self.tokens: list[str] = []

    def vary(self, amount: float) -> float:
        """Something between -amount and amount, anew each time."""
        return self.random.uniform(-amount, amount) * self.wobble

    def write(self, caption: str) -> list[Stroke]:
        """The ink of a formula.

        Args:
            caption: space-separated LaTeX tokens in the evaluation convention.

        Returns:
            Strokes [n, 2] in a recorder's whole units, y down, least x and y 0.
        """
        self.tokens = caption.split()
        strokes = self.row(None).strokes
        flipped = [np.round(stroke * (1, -1) * RECORDER_UNITS) for stroke in strokes]
        origin = np.concatenate(flipped).min(axis=0)
        return [stroke - origin for stroke in flipped]

    def pen(self, strokes: Sequence[Sequence[Stroke]], wobble: float = 1.6) -> Box:
        """Strokes along smooth pieces, whose control points are missed a little."""
        drawn = []
        for pieces in strokes:
            curves = []
            missed = [[0.0, 0.0]]
            for piece in pieces:  # begins where the one before ended
                missed = [missed[-1], *([self.vary(wobble), self.vary(wobble)] for _ in piece[1:])]
                curves.append(spline(piece + np.array(missed)))
            drawn.append(np.concatenate([curves[0], *(curve[1:] for curve in curves[1:])]))
        return Box(tuple(drawn))

    def symbol(self, name: str, height: tuple[float, float] | None = None) -> Box:
        """One symbol, stretched to reach from `height[0]` to `height[1]` where that is given."""
        box = self.pen(self.glyphs[name])
        if height is not None:
            _, bottom, _, top = box.edges
            stretch = (height[1] - height[0]) / (top - bottom)
            widen = 1 + (stretch - 1) * 0.35
            rise = height[0] - bottom * stretch
            box = Box(tuple(stroke * (widen, stretch) + (0, rise) for stroke in box.strokes))
        size = 1 + self.vary(0.04)
        slant, tilt = self.slant + self.vary(0.025), self.vary(0.02)
        change = np.array([[size * (1 + self.vary(0.05)), tilt], [slant * size, size]])
        lift = np.array([0.0, self.vary(2.0)])
        return Box(tuple(stroke @ change + lift for stroke in box.strokes))

    def row(self, end: str | None) -> Box:
        """Everything up to the token `end` (which is taken), side by side on one baseline."""
        row: Box | None = None
        before, drift = "", 0.0
        while self.tokens and self.tokens[0] != end:
            name, box = self.tokens[0], self.scripted()
            drift = 0.8 * drift + self.vary(2.0)
            if row is None:
                row = box.changed(left=0.0, up=drift)
            else:
                signed = before in ("", "(", "=") and name == "-"
                gap = max(GAPS.get(before, GAP), GAP if signed else GAPS.get(name, GAP))
                if "(" in (before, name) and gap <= GAP:
                    gap = GAPS["("]
                right = row.edges[2] + gap * (1 + self.vary(0.2))
                row = row + box.changed(left=right, up=drift)
            before = "-sign" if name == "-" and before in ("", "(", "=") else name
        if end is not None:
            self.tokens.pop(0)
        if row is None:
            raise ValueError("expected at least one symbol in every row")
        return row

    def group(self) -> Box:
        """The row in the braces that come next."""
        self.tokens.pop(0)
        return self.row("}")

    def scripted(self) -> Box:
        """One symbol or construction with its scripts or limits."""
        name = self.tokens.pop(0)
        base = self.construction(name)
        scripts: dict[str, Box] = {}
        while self.tokens and self.tokens[0] in (r"\limits", "_", "^"):
            mark = self.tokens.pop(0)
            if mark != r"\limits":
                scripts[mark] = self.group()
        left, bottom, right, top = base.edges
        whole = base
        for mark, script in scripts.items():
            _, low, _, high = script.edges
            if name in STACKED:
                up = bottom - 16 - high * LIMIT if mark == "_" else top + 16 - low * LIMIT
                whole += script.centred((left + right) / 2 + self.vary(4), LIMIT, up)
                continue
            # A subscript's letters hang over the baseline, a superscript's stand above the
            # middle of a small letter and below the top of a high one.
            up = min(-31.0, bottom + 4) if mark == "_" else max(55.0, top - 24)
            up += self.vary(3)
            start = base.reach(up + low * SCRIPT - 10, up + high * SCRIPT + 10)
            if mark == "^":
                start = max(start, right)
            whole += script.changed(SCRIPT, start + 11 + self.vary(2), up)
        return whole

    def construction(self, name: str) -> Box:
        """A symbol, or what a command or parenthesis makes of the tokens after it."""
        if name == r"\frac":
            return self.fraction(self.group(), self.group())
        if name == r"\sqrt":
            return self.root(self.group())
        if name == "(":
            inner = self.row(")")
            _, bottom, _, top = inner.edges
            height = (min(-18.0, bottom - 6), max(98.0, top + 6))
            left = self.symbol("(", height)
            inner = inner.changed(left=left.edges[2] + 12)
            close = self.symbol(")", height).changed(left=inner.edges[2] + 13)
            return left + inner + close
        if name in (r"\sin", r"\cos", r"\lim"):
            word, *letters = (self.symbol(letter) for letter in name[1:])
            for letter in letters:
                word += letter.changed(left=word.edges[2] + 5 + self.vary(1.5))
            return word
        return self.symbol(name)

    def fraction(self, over: Box, under: Box) -> Box:
        """Two rows with a bar between."""
        widths = [box.edges[2] - box.edges[0] for box in (over, under)]
        length = 0.9 * max(widths) + 34
        bar = self.pen([[np.array([[0, AXIS - 1], [length / 2, AXIS + 1], [length, AXIS]])]], 1.5)
        middle = length / 2
        over = over.centred(middle + self.vary(3), 0.9, AXIS + 17 - 0.9 * over.edges[1])
        under = under.centred(middle + self.vary(3), 0.9, AXIS - 19 - 0.9 * under.edges[3])
        return over + bar + under

    def root(self, inner: Box) -> Box:
        """A radical drawn over a row in one stroke, with a hook at either end."""
        _, bottom, _, top = inner.edges
        bottom, top = min(bottom, 0.0) - 6, max(top, 58.0) + 28
        inner = inner.changed(left=50.0)
        right = inner.edges[2] + 14
        knee = bottom + 0.45 * (top - bottom)
        hook = np.array([[0, knee - 4], [8, knee + 3]])
        down = np.array([[8, knee + 3], [20, bottom]])
        up = np.array([[20, bottom], [29, (bottom + top) / 2], [36, top]])
        bar = np.array([[36, top], [(36 + right) / 2, top + 1], [right, top + 1]])
        drop = np.array([[right, top + 1], [right + 1, top - 12]])
        return self.pen([[hook, down, up, bar, drop]]) + inner
