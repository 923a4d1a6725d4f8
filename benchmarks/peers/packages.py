"""Readers of formulas that come as packages of their own, where they are installed.

They take images: ink is drawn as its canonical bitmap, black on white, and that counts as part of
the reading, since somebody who has ink and uses them has to do it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from ...core.errors import InputError, RuntimeUnavailable
from ...core.latex import normalize, tokenize
from ...core.raster import canonical_bitmap
from ..formulas import Formula
from ..profiler.contender import Configuration, Reader, Reading
from ..profiler.dataset import ink_of

Writer = Callable[[bytes], str]
"""A PNG or other file of an image -> LaTeX."""


def rapid_latex_ocr(folder: Path | None) -> Writer:
    """RapidLaTeXOCR, on ONNX Runtime.

    Args:
        folder: with `image_resizer.onnx`, `encoder.onnx`, `decoder.onnx` and `tokenizer.json`; by
            default those that the package finds, or fetches, itself.
    """
    module = import_module("rapid_latex_ocr")
    kind = getattr(module, "LaTeXOCR", None) or module.LatexOCR  # as older versions spell it
    paths = {}
    if folder is not None:
        paths = {
            f"{name}_path": str(folder / f"{name}.onnx")
            for name in ("image_resizer", "encoder", "decoder")
        }
        paths["tokenizer_json"] = str(folder / "tokenizer.json")
    model = kind(**paths)

    def write(image: bytes) -> str:
        latex, _ = model(image)
        return str(latex)

    return write


def pix2tex(folder: Path | None) -> Writer:
    """pix2tex (LaTeX-OCR), in PyTorch; its package finds, or fetches, its weights itself."""
    model = import_module("pix2tex.cli").LatexOCR()
    return lambda image: str(model(Image.open(io.BytesIO(image)).convert("RGB")))


PACKAGES: dict[str, Callable[[Path | None], Writer]] = {
    "rapid_latex_ocr": rapid_latex_ocr,
    "pix2tex": pix2tex,
}
"""By the names of their modules."""
_RUNTIMES = {"rapid_latex_ocr": "onnxruntime", "pix2tex": "PyTorch eager"}


@dataclass(frozen=True)
class PackagePeer:
    """A reader out of `PACKAGES`, with its own threads and search.

    Attributes:
        weights: a folder with them, None for those that the package has.
    """

    name: str
    weights: Path | None = None
    threads: int = 1
    trained: bool = True

    @property
    def configuration(self) -> Configuration:
        """Named after the package."""
        return Configuration(self.name, _RUNTIMES[self.name], "fp32", self.threads, 1)

    def load(self) -> Reader:
        """The package's model.

        Raises:
            RuntimeUnavailable: the package or its weights are not there.
        """
        try:
            write = PACKAGES[self.name](self.weights)
        except ModuleNotFoundError as error:
            raise RuntimeUnavailable(
                f"the peer {self.name} is not installed ({error}); pip install "
                f"{self.name.replace('_', '-')}, or leave it out"
            ) from error
        except Exception as error:  # whatever a package raises that finds no weights
            raise RuntimeUnavailable(
                f"the peer {self.name} cannot be loaded: {error}; see its own documentation, or "
                "leave it out"
            ) from error

        def read(formula: Formula) -> Reading:
            began = perf_counter()
            latex = write(image_of(formula))
            total_ms = 1e3 * (perf_counter() - began)
            return Reading(total_ms, _tokens(latex))

        return read


def image_of(formula: Formula) -> bytes:
    """A file of an image: as it is, or ink drawn, black on white, as a PNG."""
    ink = ink_of(formula)
    if ink is None:
        assert isinstance(formula.source, bytes)
        return formula.source
    stream = io.BytesIO()
    Image.fromarray(255 - np.asarray(canonical_bitmap(ink.strokes))).save(stream, "PNG")
    return stream.getvalue()


def _tokens(latex: str) -> tuple[str, ...]:
    """In the evaluation convention; what is no formula as it stands, and so wrong."""
    try:
        return tuple(normalize(tokenize(latex)))
    except InputError:
        return tuple(latex.split())
