"""Images with captions, as HME100K and im2latex are distributed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.image import load_image
from ..core.rendering import CANONICAL, normalize_image
from .captions import caption_tokens
from .import_report import ImportReport, Skip
from .import_settings import ImportSettings
from .inkset import Expression


def image_expression(
    identifier: str, name: str, data: bytes, settings: ImportSettings, report: ImportReport
) -> Expression:
    """The expression of one image file, at the canonical scale, as large as any recipe wants it.

    Args:
        name, data: of the file.
        report: counts captions that were spelt otherwise.

    Raises:
        Skip: the file cannot be taken.
    """
    caption: tuple[str, ...] = ()
    text = ""
    if settings.labelled and settings.captions is not None:
        text = settings.captions.text(identifier)
        caption = caption_tokens(text, settings.vocabulary)
    image = _read(name, data)
    if caption:
        report.count_caption(text, caption)
    return Expression(identifier, "", caption, (), ((),) * len(caption), image, rendering=CANONICAL)


def _read(name: str, data: bytes) -> NDArray[np.uint8]:
    """uint8 [h, w], ink bright on 0"""
    try:
        return normalize_image(load_image(data, name), CANONICAL)
    except InputError as error:
        raise Skip("the image cannot be read", str(error).removeprefix(f"{name}: ")) from error
