"""Some expressions of a data set on one page, with their captions, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..core.errors import InputError
from ..core.latex import to_latex
from ..core.replacement import replacing
from .batches import draw
from .inkset import Expression

_COLUMNS = 4
_CELL_PX = (320, 190)
_DRAWING_PX = (300, 120)
_GAP_PX = 10
_FONT_PX = 13
_LINE_PX = 16
_LINES = 3
_WHITE, _GREY, _BLACK = 255, 200, 0


def contact_sheet(
    expressions: Sequence[Expression], title: str, count: int = 24, seed: int = 0
) -> Image.Image:
    """A page with the drawings of a random sample, each over its caption as compact LaTeX.

    Args:
        title: what stands above; how many of how many follows it.
        count: how many are drawn, of all that there are.
        seed: of the sample.

    Returns:
        A gray image, dark on white; a drawing that is wider than its place is reduced.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(expressions), min(count, len(expressions)), replace=False)
    rows = -(-len(chosen) // _COLUMNS)
    top = _LINE_PX + 2 * _GAP_PX
    sheet = Image.new("L", (_COLUMNS * _CELL_PX[0], top + rows * _CELL_PX[1]), _WHITE)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_PX)
    heading = f"{title}: {len(chosen)} of {len(expressions)} expressions, seed {seed}"
    pen.text((_GAP_PX, _GAP_PX), heading, fill=_BLACK, font=font)
    for place, index in enumerate(sorted(chosen.tolist())):
        row, column = divmod(place, _COLUMNS)
        left, upper = column * _CELL_PX[0] + _GAP_PX, top + row * _CELL_PX[1]
        pen.line((left, upper, left + _DRAWING_PX[0], upper), fill=_GREY)
        expression = expressions[index]
        try:
            drawing = Image.fromarray(255 - draw(expression).image)
        except InputError as error:
            lines = _wrapped(f"{expression.identifier}: {error}", font)
        else:
            drawing.thumbnail(_DRAWING_PX, Image.Resampling.BOX)
            sheet.paste(drawing, (left, upper + 1))
            lines = _wrapped(to_latex(expression.caption) or "(no caption)", font)
        for number, line in enumerate(lines):
            height = upper + _DRAWING_PX[1] + 2 + number * _LINE_PX
            pen.text((left, height), line, fill=_BLACK, font=font)
    return sheet


def write_contact_sheet(path: Path, sheet: Image.Image) -> None:
    """Write a page as PNG; an existing file is replaced only when all is written.

    Raises:
        DataError: the file cannot be written.
    """
    with replacing(path) as partial:
        sheet.save(partial, "PNG")


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The text in as many lines as there is room for, broken at any character."""
    lines = [""]
    for character in text:
        if font.getlength(lines[-1] + character) > _DRAWING_PX[0]:
            if len(lines) == _LINES:
                lines[-1] = lines[-1][:-1] + "…"
                break
            lines.append("")
        lines[-1] += character
    return lines
