"""Draws the examples of this folder, the picture of the README, and the ink of `inktex bench`.

    python examples/draw.py

Ink files come out the same byte for byte wherever this runs; images may differ in a few bytes
with the version of pillow. Needs numpy and pillow only.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from hand import Hand, Stroke
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

ByteImage = NDArray[np.uint8]

FOLDER = Path(__file__).resolve().parent
PICTURE = FOLDER.parent / "docs" / "images" / "example.png"
PICTURED = "17-sum-of-roots"
PROFILED = FOLDER.parent / "benchmarks" / "data" / "ink.zip"

SUPERSAMPLING = 4


@dataclass(frozen=True)
class Example:
    """One file of this folder.

    Attributes:
        file: its name; the suffix says what it is written as.
        caption: LaTeX tokens in the evaluation convention.
        look: of an image: "paper" (dark on white), "board" (white on black) or "photo".
        scale: of an image: pixels in one recorder's unit.
        pen_px: of an image: width of the pen.
    """

    file: str
    caption: str
    look: str = "paper"
    scale: float = 0.13
    pen_px: float = 3.0

    @property
    def seed(self) -> int:
        return int(self.file[:2])

    @property
    def path(self) -> Path:
        return FOLDER / self.file


EXAMPLES = (
    Example("01-square.inkml", "x ^ { 2 }"),
    Example("02-product.json", r"1 2 \times 3 4 = 4 0 8"),
    Example("03-fraction.png", r"\frac { a + b } { c }"),
    Example("04-euler.inkml", r"e ^ { i \pi } + 1 = 0"),
    Example("05-root.png", r"\sqrt { x ^ { 2 } + y ^ { 2 } }", "board", 0.1, 3.0),
    Example("06-subscripts.inkml", "x _ { k + 1 } = x _ { k } + y _ { k }"),
    Example("07-inequality.json", r"\alpha \leq \beta + 5"),
    Example("08-trigonometry.webp", r"\sin ^ { 2 } \theta + \cos ^ { 2 } \theta = 1", scale=0.1),
    Example("09-quadratic-formula.png",
            r"x = \frac { - b \pm \sqrt { b ^ { 2 } - 4 a c } } { 2 a }"),
    Example("10-binomial.inkml", "( a + b ) ^ { 2 } = a ^ { 2 } + 2 a b + b ^ { 2 }"),
    Example("11-limit.inkml",
            r"\lim \limits _ { n \rightarrow \infty } \frac { 1 } { n } = 0"),
    Example("12-integral.jpg",
            r"\int \limits _ { 0 } ^ { 1 } x ^ { 2 } d x = \frac { 1 } { 3 }", "photo", 0.18, 5.0),
    Example("13-polynomial.inkml", "z ^ { 3 } - 6 z + 8 7 \\neq 0"),
    Example("14-continued-fraction.png",
            r"1 + \frac { 1 } { 1 + \frac { 1 } { x } }", scale=0.06, pen_px=1.5),
    Example("15-function.inkml", "f ( x , y ) = 3 x ^ { n } + 5 y"),
    Example("16-arithmetic-sum.inkml",
            r"\sum \limits _ { k = 1 } ^ { n } k = \frac { n ( n + 1 ) } { 2 }"),
    Example("17-sum-of-roots.inkml",
            r"\sum \limits _ { k = 0 } ^ { n } \sqrt { \frac { k + 1 } { 2 n } }"),
    Example("18-exponential.inkml",
            r"e ^ { t } = \sum \limits _ { n = 0 } ^ { \infty } \frac { t ^ { n } } { n ! }"),
)  # fmt: skip


def inkml(example: Example, strokes: Sequence[Stroke]) -> str:
    """The ink as InkML, with the formula as its `truth`."""
    traces = []
    for number, stroke in enumerate(strokes):
        points = ", ".join(f"{x:.0f} {y:.0f}" for x, y in stroke)
        traces.append(f'  <trace id="{number}">{points}</trace>\n')
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ink xmlns="http://www.w3.org/2003/InkML">\n'
        "  <traceFormat>\n"
        '    <channel name="X" type="integer"/>\n'
        '    <channel name="Y" type="integer"/>\n'
        "  </traceFormat>\n"
        f'  <annotation type="truth">${escape(example.caption)}$</annotation>\n'
        f'  <annotation type="UI">{Path(example.file).stem}</annotation>\n'
        '  <annotation type="copyright">drawn for inktex, Apache-2.0</annotation>\n'
        + "".join(traces)
        + "</ink>\n"
    )


def json_ink(example: Example, strokes: Sequence[Stroke]) -> str:
    """The ink as JSON, a line a stroke: even examples as pairs of x and y, odd ones flat."""
    numbers = [stroke.astype(int) for stroke in strokes]
    lists = [each.tolist() if example.seed % 2 == 0 else each.ravel().tolist() for each in numbers]
    lines = ",\n".join("    " + json.dumps(each, separators=(",", ":")) for each in lists)
    return f'{{\n  "latex": {json.dumps(example.caption)},\n  "strokes": [\n{lines}\n  ]\n}}\n'


def drawing(strokes: Sequence[Stroke], scale: float, pen_px: float, margin_px: int) -> ByteImage:
    """The ink drawn with a round pen, anti-aliased.

    Args:
        scale: pixels in one unit of the strokes.

    Returns:
        uint8 [h, w], ink 255 on 0.
    """
    extent = np.concatenate(strokes).max(axis=0) * scale
    size = np.ceil(extent).astype(int) + 2 * margin_px
    canvas = Image.new("L", (int(size[0]) * SUPERSAMPLING, int(size[1]) * SUPERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    width = pen_px * SUPERSAMPLING
    for stroke in strokes:
        points = (stroke * scale + margin_px) * SUPERSAMPLING
        pen.line([(x, y) for x, y in points.tolist()], fill=255, width=round(width))
        for x, y in points.tolist():  # round joints and ends
            r = width / 2
            pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    return np.asarray(canvas.reduce(SUPERSAMPLING))


def photo(ink: ByteImage, seed: int) -> Image.Image:
    """The ink as a phone sees it on paper: turned a little, unevenly lit, soft and grainy.

    Args:
        ink: uint8 [h, w], ink 255 on 0.
    """
    random = np.random.default_rng(seed)
    turned = Image.fromarray(ink).rotate(1.2, Image.Resampling.BICUBIC)
    cover = np.asarray(turned.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float64) / 255
    h, w = ink.shape
    y, x = np.mgrid[0:h, 0:w] / max(h, w)
    light = 225 - 75 * x - 50 * y + 20 * np.exp(-((x - 0.3) ** 2 + (y - 0.1) ** 2) / 0.05)
    clouds = Image.fromarray(random.uniform(0, 255, (4, 9)).astype(np.uint8))
    light += np.asarray(clouds.resize((w, h), Image.Resampling.BICUBIC)) / 255 * 14
    gray = light * (1 - 0.68 * cover) + random.normal(0, 3.0, (h, w))
    return Image.fromarray(gray.clip(0, 255).astype(np.uint8))


def picture(example: Example, scale: float = 0.16, pen_px: float = 4.2) -> Image.Image:
    """An example as a crisp picture for a page: dark blue ink on white."""
    strokes = Hand(example.seed).write(example.caption)
    cover = drawing(strokes, scale, pen_px, 24)[..., None] / 255
    colours = 255 * (1 - cover) + np.array([22.0, 38.0, 92.0]) * cover
    return Image.fromarray(colours.round().astype(np.uint8)).quantize(64)


def write_example(example: Example, path: Path) -> None:
    """Draw one example and write it, in the form that its suffix names."""
    strokes = Hand(example.seed).write(example.caption)
    suffix = path.suffix
    if suffix in (".inkml", ".json"):
        text = (inkml if suffix == ".inkml" else json_ink)(example, strokes)
        path.write_bytes(text.encode())
        return
    ink = drawing(strokes, example.scale, example.pen_px, 50 if example.look == "photo" else 16)
    if example.look == "photo":
        image = photo(ink, example.seed)
    else:
        image = Image.fromarray(ink if example.look == "board" else 255 - ink)
    if suffix == ".png":
        image.save(path, optimize=True)
    else:
        image.save(path, quality=82)


def write_profiled(path: Path) -> None:
    """The ink of all examples, of the images too, as JSON strokes in one small zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for example in EXAMPLES:
            strokes = Hand(example.seed).write(example.caption)
            content = {
                "latex": example.caption,
                "strokes": [stroke.astype(int).ravel().tolist() for stroke in strokes],
            }
            entry = zipfile.ZipInfo(f"{Path(example.file).stem}.json")  # of no particular date
            entry.compress_type = zipfile.ZIP_LZMA
            archive.writestr(entry, json.dumps(content, separators=(",", ":")))


def main() -> None:
    """Write every example beside this file, the picture, and the ink of `inktex bench`."""
    for example in EXAMPLES:
        write_example(example, example.path)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    pictured = next(each for each in EXAMPLES if each.file.startswith(PICTURED))
    picture(pictured).save(PICTURE, optimize=True)
    write_profiled(PROFILED)


if __name__ == "__main__":
    main()
