"""The formulas to measure with: from an ink set, or from files of any kind."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import DataError
from ..core.ink_file import read_ink
from ..core.raster import canonical_bitmap
from ..runtimes.sources import SUFFIXES
from ..training.inkset import SUFFIX, Expression, load_inkset
from ..training.split import spread

_INK = (".inkml", ".json")


@dataclass(frozen=True)
class Formula:
    """One formula.

    Attributes:
        name: with the suffix of its kind.
        source: what a recognizer takes: strokes, or the bytes of a file.
        caption: LaTeX tokens in the evaluation convention, None where nobody says what it is; of
            a file that holds its own, see `core.ink.Ink.truth`.
    """

    name: str
    source: Any
    caption: tuple[str, ...] | None = None


def load_formulas(data: Path, limit: int | None = None) -> list[Formula]:
    """The formulas of an ink set, or of a file, folder or zip of InkML, JSON strokes or images.

    Args:
        limit: take only so many, spread evenly over the data.

    Raises:
        DataError: there are none at `data`.
    """
    if data.suffix == SUFFIX:
        formulas = [formula_of(each) for each in load_inkset(data)]
    else:
        formulas = [Formula(name, content) for name, content in _files(data)]
    if not formulas:
        raise DataError(
            f"expected an {SUFFIX} file, or a zip or folder with {' '.join(sorted(SUFFIXES))}, "
            f"at {data}, found none"
        )
    return spread(formulas, limit)


def formula_of(expression: Expression) -> Formula:
    """An expression of an ink set: its strokes, or its image as a PNG, dark on light."""
    caption = expression.caption or None
    if expression.image is None:
        return Formula(f"{expression.identifier}.inkml", expression.source, caption)
    stream = io.BytesIO()
    Image.fromarray(255 - expression.image).save(stream, "PNG")
    return Formula(f"{expression.identifier}.png", stream.getvalue(), caption)


def write_files(
    formulas: Sequence[Formula], folder: Path, count: int | None = None, kind: str = "inkml"
) -> list[Path]:
    """Write formulas as files, as a user has them.

    Args:
        count: how many files; the formulas come again in turn where they are fewer. By default
            each once.
        kind: "inkml" or "png" (the canonical bitmap, black on white). Images that were loaded
            stay the files they are.

    Raises:
        DataError: images were loaded and ink is wanted.
    """
    paths = []
    for number in range(len(formulas) if count is None else count):
        formula = formulas[number % len(formulas)]
        suffix, content = _content(formula, kind)
        path = folder / f"{number:06}{suffix}"
        path.write_bytes(content)
        paths.append(path)
    return paths


def inkml(strokes: Sequence[NDArray[np.floating[Any]]], name: str = "") -> bytes:
    """Strokes `[n, 2]` as InkML: traces of x and y, with the digits that float32 holds."""
    traces = "\n".join(
        f'<trace id="{number}">'
        + ", ".join(f"{float(x):.9g} {float(y):.9g}" for x, y in stroke)
        + "</trace>"
        for number, stroke in enumerate(strokes)
    )
    text = (
        '<ink xmlns="http://www.w3.org/2003/InkML">\n'
        f'<annotation type="UI">{escape(name)}</annotation>\n{traces}\n</ink>\n'
    )
    return text.encode()


def _content(formula: Formula, kind: str) -> tuple[str, bytes]:
    """Suffix and contents of the file for a formula."""
    suffix = PurePosixPath(formula.name).suffix.lower()
    source = formula.source
    if kind == "inkml":
        if not isinstance(source, bytes):
            return ".inkml", inkml(source, formula.name)
        if suffix not in _INK:
            raise DataError(
                f"expected ink to write as InkML, found the image {formula.name}; "
                "write images with --kind png, or give ink"
            )
        return suffix, source
    if isinstance(source, bytes) and suffix not in _INK:
        return suffix, source
    strokes = read_ink(source, formula.name).strokes if isinstance(source, bytes) else source
    stream = io.BytesIO()
    Image.fromarray(255 - canonical_bitmap(strokes)).save(stream, "PNG")
    return ".png", stream.getvalue()


def _files(data: Path) -> Iterator[tuple[str, bytes]]:
    if data.is_dir():
        for path in sorted(data.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield path.name, path.read_bytes()
    elif data.is_file() and data.suffix.lower() in SUFFIXES:
        yield data.name, data.read_bytes()
    elif zipfile.is_zipfile(data):
        with zipfile.ZipFile(data) as archive:
            for name in sorted(archive.namelist()):
                if PurePosixPath(name).suffix.lower() in SUFFIXES:
                    yield name, archive.read(name)
