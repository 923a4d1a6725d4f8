"""How ink and images become the input of the recognizers trained here."""

from __future__ import annotations

from ..core import preparation
from ..core.manifest import Preprocessing
from ..core.rendering import MARGIN_PX, PEN_PX, SYMBOL_PX
from .recognizer import STRIDE

PREPROCESSING = Preprocessing(
    preparation.PREPROCESSING,
    {
        "multiple": STRIDE,
        # in training most formulas had paper to the right, where their batch was wider
        "padding_px": STRIDE,
        "max_pixels": 1 << 20,
        "symbol_px": SYMBOL_PX,
        "pen_px": PEN_PX,
        "margin_px": MARGIN_PX,
    },
)
"""The same for all of them: a checkpoint reads an image exactly as its bundle does."""
