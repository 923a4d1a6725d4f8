"""How ink and images become the input of the recognizers trained here."""

from __future__ import annotations

from ..core import preparation
from ..core.manifest import Preprocessing
from ..core.rendering import MARGIN_PX, SYMBOL_PX, Rendering
from .recognizer import STRIDE

_MAX_PIXELS = 1 << 20  # where symbols are of `SYMBOL_PX`


def preprocessing(rendering: Rendering) -> Preprocessing:
    """What bundles tell, and what checkpoints are read with: both see an image alike."""
    return Preprocessing(
        preparation.PREPROCESSING,
        {
            "multiple": STRIDE,
            # in training most formulas had paper to the right, where their batch was wider
            "padding_px": STRIDE,
            "max_pixels": round(_MAX_PIXELS * max(rendering.symbol_px / SYMBOL_PX, 1.0) ** 2),
            "symbol_px": rendering.symbol_px,
            "pen_px": rendering.pen_px,
            "margin_px": MARGIN_PX,
        },
    )
