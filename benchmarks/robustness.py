"""How accuracy holds when the same formulas are written, drawn or photographed otherwise."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..core.errors import DataError, InktexError
from ..core.metrics import Score
from ..core.progress import Progress
from ..core.recognizer import Recognizer
from ..core.rendering import draw_strokes, normalized_strokes
from ..training.evaluation import Reading, score_readings
from ..training.inkset import Expression

Strokes: TypeAlias = "list[NDArray[np.float64]]"
Make: TypeAlias = Callable[[Strokes, Generator], Any]

_SYMBOL_PX, _PEN_PX = 28.0, 3.0  # of a clean bitmap, as CROHME's
_PHOTO_PX, _PHOTO_PEN_PX = 40.0, 4.0
_GAP_PX = 20
HEADER = ("condition", "from", "formulas", "exact %", "change", "≤ 1 %", "token errors %")


@dataclass(frozen=True)
class Condition:
    """One way in which a formula comes.

    Attributes:
        name: for the table.
        kind: "ink" or "image".
        make: strokes, in the recorder's units, to what a recognizer takes.
    """

    name: str
    kind: str
    make: Make


@dataclass(frozen=True)
class Outcome:
    """What was read under a condition.

    Attributes:
        change: of the exact formulas against the plain ones of its kind, in points.
        unread: how many could not be read at all, and count as wrong.
    """

    condition: Condition
    score: Score
    change: float
    unread: int

    def cells(self) -> list[str]:
        """The cells of a row, as `HEADER` names them."""
        score = self.score
        return [
            self.condition.name,
            self.condition.kind,
            str(score.count),
            f"{100 * score.exact:.1f}",
            f"{self.change:+.1f}",
            f"{100 * score.within_1:.1f}",
            f"{100 * score.token_error_rate:.1f}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return {
            "condition": self.condition.name,
            "kind": self.condition.kind,
            "change": self.change,
            "unread": self.unread,
            **self.score.to_dict(),
        }


def conditions(words: str = "") -> tuple[Condition, ...]:
    """All of them, or those with some words in their names; the first of each kind is the plain
    one that the others are compared with.

    Raises:
        DataError: no name has these words.
    """
    known = _conditions()
    plain = {each.kind: each for each in reversed(known)}
    found = [each for each in known if words in each.name]
    if not found:
        names = "; ".join(each.name for each in known)
        raise DataError(
            f"expected words from the name of a condition, found {words!r}; there are: {names}"
        )
    kinds = {each.kind for each in found}
    return tuple(
        each for each in known if each in found or (each.kind in kinds and each is plain[each.kind])
    )


def _conditions() -> tuple[Condition, ...]:
    return (
        Condition("as written", "ink", lambda strokes, rng: strokes),
        *(
            Condition(f"turned by {degrees:+d} degrees", "ink", _linear(rotation(degrees)))
            for degrees in (-10, -5, 5, 10)
        ),
        *(
            Condition(f"slanted by {slant:+.1f}", "ink", _linear(np.array([[1, slant], [0, 1]])))
            for slant in (-0.3, 0.3)
        ),
        Condition("stretched to 1.3 times the width", "ink", _linear(np.diag([1.3, 1.0]))),
        Condition("half of the points", "ink", half_of_the_points),
        Condition("in another order of strokes", "ink", shuffled),
        Condition("half of the strokes backwards", "ink", backwards),
        Condition("clean bitmap", "image", _drawn(_SYMBOL_PX, _PEN_PX)),
        *(
            Condition(
                f"at {scale} times the size", "image", _drawn(scale * _SYMBOL_PX, scale * _PEN_PX)
            )
            for scale in (0.5, 0.75, 1.5, 2)
        ),
        *(
            Condition(f"pen {pen} times as thick", "image", _drawn(_SYMBOL_PX, pen * _PEN_PX))
            for pen in (0.5, 1.5, 2, 3)
        ),
        Condition("photo, even light", "image", lambda strokes, rng: photo(strokes, rng, 0.0)),
        Condition("photo, ruled, shadow, askew", "image", lambda strokes, rng: photo(strokes, rng)),
    )


def measure_robustness(
    recognizer: Recognizer,
    expressions: Sequence[Expression],
    chosen: Sequence[Condition],
    *,
    beam: int | None = None,
    seed: int = 0,
    finished: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Read all formulas under all conditions.

    Args:
        expressions: of ink.
        chosen: a plain condition before the others of its kind.
        beam: hypotheses; by default the bundle's.
        seed: of what is random in a condition; each formula has its own stream of it.
        finished: called with every outcome as soon as it is there.

    Raises:
        DataError: there is no formula, or one is an image or has no caption.
    """
    if not expressions or any(not each.strokes for each in expressions):
        raise DataError("expected formulas of ink, to draw them anew, found images or nothing")
    if any(not each.caption for each in expressions):
        raise DataError("expected a caption of every formula, found some without")
    outcomes: list[Outcome] = []
    plain: dict[str, float] = {}
    with Progress(len(chosen) * len(expressions), "robustness") as progress:
        for condition in chosen:
            readings = []
            for number, expression in enumerate(expressions):
                strokes = [stroke.astype(np.float64) for stroke in expression.strokes]
                source = condition.make(strokes, np.random.default_rng([seed, number]))
                readings.append(_reading(recognizer, expression, source, beam))
                progress.advance()
            score = score_readings(readings)
            plain.setdefault(condition.kind, score.exact)
            change = 100 * (score.exact - plain[condition.kind])
            unread = sum(bool(each.problem) for each in readings)
            outcomes.append(Outcome(condition, score, change, unread))
            finished(outcomes[-1])
    return outcomes


def _reading(
    recognizer: Recognizer, expression: Expression, source: Any, beam: int | None
) -> Reading:
    try:
        found = recognizer(source, beam=beam)
    except InktexError as error:
        nothing = (expression.identifier, expression.caption, (), 0.0)
        return Reading(*nothing, problem=str(error))
    return Reading(expression.identifier, expression.caption, found.tokens, found.confidence)


def half_of_the_points(strokes: Strokes, rng: Generator) -> Strokes:
    """Every other point of each stroke, its ends kept: a slow digitiser."""
    found = []
    for stroke in strokes:
        kept = np.arange(len(stroke)) % 2 == 0
        kept[-1] = True
        found.append(stroke[kept])
    return found


def shuffled(strokes: Strokes, rng: Generator) -> Strokes:
    """The same strokes, written in another order."""
    return [strokes[number] for number in rng.permutation(len(strokes))]


def backwards(strokes: Strokes, rng: Generator) -> Strokes:
    """The same strokes in their order, about half of them written from their end."""
    return [stroke[::-1] if rng.random() < 0.5 else stroke for stroke in strokes]


def rotation(degrees: float) -> NDArray[np.float64]:
    """[2, 2]: turns points (x, y), y down, clockwise as seen."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _linear(matrix: NDArray[np.float64]) -> Make:
    return lambda strokes, rng: [stroke @ matrix.T for stroke in strokes]


def _drawn(symbol_px: float, pen_px: float) -> Make:
    return lambda strokes, rng: png(_bitmap(strokes, symbol_px, pen_px))


def _bitmap(strokes: Strokes, symbol_px: float, pen_px: float) -> NDArray[np.uint8]:
    """uint8 [h, w], dark on white"""
    return 255 - draw_strokes(normalized_strokes(strokes, symbol_px), pen_px)


def png(image: NDArray[np.uint8]) -> bytes:
    """The bytes of a gray image."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def photo(strokes: Strokes, rng: Generator, severity: float = 1.0) -> bytes:
    """What a telephone makes of a formula on paper, as JPEG.

    Blue ink on paper of a tint, out of focus by a pixel, with the noise of a sensor. With
    `severity` 1 the paper is ruled, a shadow falls over it, the light falls off by a third, and
    it is seen at an angle.

    Args:
        severity: 0..1, of ruling, light, shadow and perspective.
    """
    ink = draw_strokes(normalized_strokes(strokes, _PHOTO_PX), _PHOTO_PEN_PX)
    ink = np.pad(ink, int(_PHOTO_PX))  # the paper around the formula
    height, width = ink.shape
    paper = np.full((height, width, 3), rng.uniform((215, 212, 200), (245, 243, 235)))
    if severity > 0:
        lines = Image.new("L", (width, height))
        pen = ImageDraw.Draw(lines)
        spacing = int(_PHOTO_PX * rng.uniform(1.6, 2.2))
        for row in range(int(rng.integers(spacing)), height, spacing):
            pen.line((0, row, width, row), fill=255, width=2)
        ruled = np.asarray(lines)[..., None] / 255 * 0.35 * severity
        paper = paper * (1 - ruled) + np.array([150, 175, 215]) * ruled
    cover = ink[..., None] / 255 * 0.9
    colour = rng.uniform((20, 20, 40), (60, 60, 140))
    scene = paper * (1 - cover) + colour * cover
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    if severity > 0:
        angle = rng.uniform(0, 2 * np.pi)
        across = x * np.cos(angle) + y * np.sin(angle)
        light = 1 - severity * 0.17 * (1 + across / np.sqrt(2))
        edge = rng.uniform(-0.4, 0.4)
        shadow = 1 / (1 + np.exp(-(across - edge) * 12))  # soft
        scene = scene * (light * (1 - 0.35 * severity * shadow))[..., None]
    picture = Image.fromarray(scene.clip(0, 255).astype(np.uint8))
    if severity > 0:
        picture = _askew(picture, rng, 0.06 * severity)
    blurred = picture.filter(ImageFilter.GaussianBlur(1.0))
    noisy = np.asarray(blurred) + rng.normal(0, 6, (*blurred.size[::-1], 3))
    stream = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _askew(picture: Image.Image, rng: Generator, most: float) -> Image.Image:
    """Seen at an angle: its corners move inwards by up to a share of its height."""
    width, height = picture.size
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)], float)
    inwards = np.sign(np.array([width, height]) / 2 - corners)
    moved = corners + inwards * rng.uniform(0, most, (4, 2)) * height
    return picture.transform(
        picture.size, Image.Transform.QUAD, tuple(moved.ravel()), Image.Resampling.BILINEAR
    )


def picture(expression: Expression, chosen: Sequence[Condition], seed: int = 0) -> Image.Image:
    """How one formula comes under each condition, one below the other, to look at."""
    drawn = []
    strokes = [stroke.astype(np.float64) for stroke in expression.strokes]
    for condition in chosen:
        source = condition.make(strokes, np.random.default_rng([seed, 0]))
        if not isinstance(source, bytes):
            source = png(_bitmap(source, _SYMBOL_PX, _PEN_PX))
        with Image.open(io.BytesIO(source)) as opened:
            drawn.append((condition.name, opened.convert("RGB")))
    width = max(each.width for _, each in drawn) + 2 * _GAP_PX
    height = sum(each.height + 2 * _GAP_PX for _, each in drawn)
    page = Image.new("RGB", (width, height), "white")
    pen, row = ImageDraw.Draw(page), 0
    for name, each in drawn:
        pen.text((_GAP_PX, row + 4), name, fill="black")
        page.paste(each, (_GAP_PX, row + _GAP_PX))
        row += each.height + 2 * _GAP_PX
    return page
