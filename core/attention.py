"""Where a model looked as it wrote each token: read from its coverage, drawn over the ink.

Recognizers with coverage keep the sum of their past attention as a state; what it gained in a step
is the attention of that step. So no graph needs an output for it, and any precision can be looked
into.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .errors import BundleError, InputError, RuntimeUnavailable
from .interface import Interface, TensorSpec
from .step_model import Memory, State, StepModel

FloatArray = NDArray[np.float32]

COVERAGE = "coverage"
"""The state that sums up past attention: `[layers, beams, heads, cells]` or
`[beams, heads, rows, columns]`; or those of several layers, `[1, heads, beams, cells]` or
`[beams, heads, cells]` each, named `coverage_0`, `coverage_1`, …"""

_PICTURE_PIXELS = 8_000_000  # about the most that all panels of a picture have together
_LARGEST_SCALE = 2.0
_PICTURE_RATIO = 1.5  # width over height that the picture should have
_GAP_PX, _LABEL_PX, _FONT_PX = 14, 32, 18
_LABEL_WIDTH_PX = 120  # has room for the longest tokens

# From no attention to the most of a panel: paper like a marker's ink, and the ink on it.
_PAPER = np.array([(255, 255, 255), (255, 214, 102), (247, 127, 45)], np.float32)
_INK = np.array([(158, 164, 176), (60, 60, 70), (16, 16, 24)], np.float32)
_TEXT, _FAINT, _FRAME = (30, 32, 40), (140, 146, 158), (224, 227, 233)


@runtime_checkable
class AttentiveModel(StepModel[Memory, State], Protocol[Memory, State]):
    """A step model that tells its coverage."""

    def coverage(self, state: State) -> FloatArray:
        """The sum of the attention in all steps up to `state`, which is not consumed.

        Returns:
            float32 `[layers, heads, cells]` of the first beam, a copy. The cells are squares that
            cover the image row by row; those that may not be attended to have 0.
        """
        ...


@dataclass(frozen=True)
class Explanation:
    """Where the model looked as it wrote each token.

    Attributes:
        latex: what was read.
        tokens: the same, token by token.
        image: float32 `[height, width]`, ink = 1, paper = 0, as the encoder saw it.
        attention: float32 `[layers, tokens, rows, columns]`, the mean over the heads; each map
            covers the image with its cells and sums to 1.
    """

    latex: str
    tokens: tuple[str, ...]
    image: FloatArray
    attention: FloatArray

    def maps(self, layer: int | None = None) -> FloatArray:
        """The attention of one layer, float32 `[tokens, rows, columns]`.

        Args:
            layer: 1 is the first; by default the last.

        Raises:
            InputError: there is no such layer.
        """
        layers = len(self.attention)
        number = layers if layer is None else layer
        if not 1 <= number <= layers:
            raise InputError(f"layer: expected 1 to {layers}, as the decoder has, found {number}")
        maps: FloatArray = self.attention[number - 1]
        return maps

    def centres(self, layer: int | None = None) -> NDArray[np.float64]:
        """The centre of gravity of the attention of every token.

        Returns:
            float64 `[tokens, 2]`: x to the right and y down, in pixels of `image`.
        """
        maps = self.maps(layer).astype(np.float64)
        height, width = self.image.shape
        rows, columns = maps.shape[1:]
        weights = maps.sum(axis=(1, 2))
        x = maps.sum(axis=1) @ ((np.arange(columns) + 0.5) * width / columns)
        y = maps.sum(axis=2) @ ((np.arange(rows) + 0.5) * height / rows)
        centres: NDArray[np.float64] = np.stack([x, y], axis=1) / weights[:, None]
        return centres


def attentive(model: StepModel[Any, Any], interface: Interface) -> AttentiveModel[Any, Any]:
    """The model, once it is sure that it tells its attention.

    Raises:
        BundleError: the decoder keeps no coverage.
        RuntimeUnavailable: it does, but the runtime does not tell it.
    """
    coverage_states(interface)
    if not isinstance(model, AttentiveModel):
        raise RuntimeUnavailable(
            f"expected a runtime that tells the coverage, found {type(model).__name__}, which does "
            "not; run the bundle's variant for onnxruntime"
        )
    return model


def attention_of(
    model: AttentiveModel[Memory, State], memory: Memory, tokens: Sequence[int], sos: int
) -> FloatArray:
    """Write `tokens` once more, and see where the model looks for each.

    Args:
        memory: of the image, from `model.encode`.
        tokens: numbers in the vocabulary, without `<sos>` and `<eos>`.
        sos: the number of `<sos>`.

    Returns:
        float32 `[layers, tokens, cells]`, the mean over the heads.
    """
    state = model.start(memory, 1)
    before = model.coverage(state)
    gained = []
    for token in (sos, *tokens[:-1]):
        _, state = model.step(np.array([token], np.int64), memory, state)
        after = model.coverage(state)
        # rounding may leave the sum a little less than it was
        gained.append(np.maximum(after - before, 0).mean(axis=1))
        before = after
    return np.stack(gained, axis=1)


def on_grid(attention: FloatArray, height: int, width: int) -> FloatArray:
    """Put square cells, row by row, back where they lie in an image of `height` x `width` pixels.

    Args:
        attention: float32 `[layers, tokens, cells]`.

    Returns:
        float32 `[layers, tokens, rows, columns]`.

    Raises:
        BundleError: so many cells are no grid of squares over the image.
    """
    cells = attention.shape[2]
    side = math.isqrt(height * width // cells)
    if side == 0 or height % side or width % side or height * width != cells * side * side:
        raise BundleError(
            f"expected the memory's cells to be squares that cover an image of {width} x {height} "
            f"pixels, found {cells} cells; export the bundle again"
        )
    maps: FloatArray = attention.reshape(*attention.shape[:2], height // side, width // side)
    return maps


def coverage_states(interface: Interface) -> list[str]:
    """The names of the states that sum up past attention, in the order of the layers.

    Raises:
        BundleError: the decoder keeps no coverage.
    """
    names = [state.input for state in interface.state]
    found = [name for name in names if name == COVERAGE or name.startswith(f"{COVERAGE}_")]
    if not found:
        raise BundleError(
            f"expected a decoder that keeps its attention as a state named {COVERAGE!r}, found "
            f"the states {', '.join(names) or 'none'}; explain a bundle of a recipe with coverage"
        )
    return found


def on_all_cells(
    coverage: NDArray[Any], spec: TensorSpec, kept: NDArray[np.bool_] | None
) -> FloatArray:
    """The coverage as `AttentiveModel.coverage` gives it, from the state as a graph has it.

    Args:
        coverage: of `spec`'s shape.
        spec: with axes of beams and heads, in this order or with one image of batch 1 before the
            heads, and last the cells, or rows and columns; an axis before beams that are followed
            by heads is that of the layers.
        kept: bool `[all cells]`, which of them the memory has; None where it has all.
    """
    beams = spec.shape.index("beams")
    heads = beams - 1 if isinstance(spec.shape[beams + 1], str) else beams + 1
    layers = math.prod(coverage.shape[: min(beams, heads)])
    shape = (layers, coverage.shape[heads], -1)
    first: FloatArray = coverage.take(0, axis=beams).reshape(shape).astype(np.float32)
    if kept is None:
        return first
    spread = np.zeros((*first.shape[:2], len(kept)), np.float32)
    spread[:, :, kept] = first
    return spread


def draw_attention(explanation: Explanation, layer: int | None = None) -> Image.Image:
    """A panel for every token: the formula, its ink marked where the model looked.

    Args:
        layer: 1 is the first; by default the last.

    Returns:
        RGB; the panels run from left to right and from top to bottom, the token under each.

    Raises:
        InputError: there is no such layer.
    """
    maps = explanation.maps(layer)
    height, width = explanation.image.shape
    share = math.sqrt(_PICTURE_PIXELS / (len(maps) * height * width))
    scale = min(_LARGEST_SCALE, share)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    panel_width = max(size[0], _LABEL_WIDTH_PX) + _GAP_PX
    panel_height = size[1] + _LABEL_PX + _GAP_PX
    columns = _columns(len(maps), panel_width, panel_height)
    rows = -(-len(maps) // columns)
    picture = Image.new(
        "RGB", (columns * panel_width + _GAP_PX, rows * panel_height + _GAP_PX), "white"
    )
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_FONT_PX)
    ink = _resized(explanation.image, size)
    for number, (token, attention) in enumerate(zip(explanation.tokens, maps, strict=True)):
        row, column = divmod(number, columns)
        left = _GAP_PX + column * panel_width + (panel_width - _GAP_PX - size[0]) // 2
        top = _GAP_PX + row * panel_height
        picture.paste(_panel(ink, _resized(attention, size)), (left, top))
        right, bottom = left + size[0], top + size[1]
        pen.rectangle((left - 1, top - 1, right, bottom), outline=_FRAME)
        middle = bottom + _LABEL_PX // 2
        label = f"{number + 1}  "
        begin = (left + right - pen.textlength(label + token, font=font)) / 2
        pen.text((begin, middle), label, fill=_FAINT, font=font, anchor="lm")
        begin += pen.textlength(label, font=font)
        pen.text((begin, middle), token, fill=_TEXT, font=font, anchor="lm")
    return picture


def _columns(panels: int, width: int, height: int) -> int:
    """How many panels of that size to put side by side."""

    def off(columns: int) -> float:
        rows = -(-panels // columns)
        empty = 1 - panels / (columns * rows)
        return abs(math.log(columns * width / (rows * height) / _PICTURE_RATIO)) + 2 * empty

    return min(range(1, panels + 1), key=off)


def _resized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """[h, w] -> [size[1], size[0]], between 0 and the greatest of `values`"""
    scaled = Image.fromarray(np.ascontiguousarray(values)).resize(size, Image.Resampling.BICUBIC)
    limited: FloatArray = np.clip(np.asarray(scaled), 0, values.max())
    return limited


def _panel(ink: FloatArray, attention: FloatArray) -> Image.Image:
    """Ink 0..1 over paper that is marked in proportion to the attention; both [h, w]."""
    # the root shows the weaker places too
    strength = np.sqrt(attention / max(float(attention.max()), 1e-9))
    opaque = np.clip(ink, 0, 1)[:, :, None]
    pixels = _ramp(_PAPER, strength) * (1 - opaque) + _ramp(_INK, strength) * opaque
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _ramp(colours: FloatArray, strength: FloatArray) -> FloatArray:
    """Strength 0..1 [h, w] -> colours [h, w, 3], in equal steps from the first to the last"""
    steps = np.linspace(0, 1, len(colours))
    channels = [np.interp(strength, steps, colours[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)
