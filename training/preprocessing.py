"""How ink and images become the input of the recognizers trained here."""

from __future__ import annotations

from ..core import preparation
from ..core.manifest import Preprocessing
from ..core.rendering import MARGIN_PX, SYMBOL_PX, Rendering
from .recognizer import STRIDE

_MAX_PIXELS = 1 << 20  # where symbols are of `SYMBOL_PX`


PADDING_PX = STRIDE
"""Paper to the right of and below an image: in training most formulas have some, where their batch
is larger."""


def preprocessing(rendering: Rendering, padding_px: int = PADDING_PX) -> Preprocessing:
    """What bundles tell, and what checkpoints are read with: both see an image alike."""
    return Preprocessing(
        preparation.WITH_TRAIL if rendering.trail else preparation.PREPROCESSING,
        {
            "multiple": STRIDE,
            "padding_px": padding_px,
            "max_pixels": round(_MAX_PIXELS * max(rendering.symbol_px / SYMBOL_PX, 1.0) ** 2),
            "symbol_px": rendering.symbol_px,
            "pen_px": rendering.pen_px,
            "margin_px": MARGIN_PX,
        },
    )
