"""The recognizer: handwriting of any kind in, LaTeX out, on whatever runtime runs the model."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import BundleError, InputError
from .grammar import GrammarConstraint
from .image import image_format, load_image
from .ink import Ink, read_ink
from .latex import to_latex
from .manifest import Manifest, Preprocessing
from .rendering import normalize_image, render_ink
from .search import Hypothesis, beam_search, greedy
from .step_model import StepModel

PREPROCESSING = "normalised-ink"
"""The one procedure this code knows to prepare images: `render_ink` and `normalize_image`."""
MAX_BYTES = 1 << 28
"""A longer file is refused before it is read to its end."""

FloatImages = NDArray[np.float32]
Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | Ink | Image.Image | NDArray[Any] | Sequence[Any]"
)
"""A path; the bytes of a file; ink; a Pillow image; an array, which is an image; or a list of
strokes, each `[n, 2]` of x (right) and y (down)."""


@dataclass(frozen=True)
class Alternative:
    """Another reading of the same handwriting."""

    latex: str
    tokens: tuple[str, ...]
    confidence: float


@dataclass(frozen=True)
class Timings:
    """Where the time went, in milliseconds of the wall clock.

    Attributes:
        read_ms: reading the file, and rendering at the recognizer's scale.
        encode_ms: the encoder.
        decode_ms: the search, all steps of the decoder included.
        total_ms: all of it.
    """

    read_ms: float
    encode_ms: float
    decode_ms: float
    total_ms: float


@dataclass(frozen=True)
class Result:
    """What was read.

    Attributes:
        latex: the best reading, compact, to show or paste.
        tokens: the same as tokens of the vocabulary, in the evaluation convention.
        confidence: 0..1, the probability that the model gives this whole sequence: the product
            over its tokens, `<eos>` included. It is not calibrated.
        alternatives: the next best readings, best first, `nbest - 1` at most.
        timings: where the time went.
    """

    latex: str
    tokens: tuple[str, ...]
    confidence: float
    alternatives: tuple[Alternative, ...]
    timings: Timings


class Recognizer:
    """Reads handwritten formulas with one model; `inktex.runtimes.load` makes one.

    Args:
        model: of any runtime.
        manifest: of the bundle that the model is from.

    Raises:
        BundleError: the bundle wants a preprocessing that this version does not know.
    """

    def __init__(self, model: StepModel[Any, Any], manifest: Manifest) -> None:
        _limits(manifest.preprocessing)
        self.model = model
        self.manifest = manifest

    def __call__(
        self,
        source: Source,
        *,
        beam: int | None = None,
        nbest: int = 1,
        constrain: bool = True,
        name: str = "",
    ) -> Result:
        """Read one formula.

        Args:
            source: see `Source`. Files are told apart by content, not by name.
            beam: hypotheses to follow; 1 is greedy. By default the bundle's number, or `nbest`
                where that is more.
            nbest: readings wanted, the best included.
            constrain: keep to well-formed formulas (balanced braces, two arguments of `\\frac`).
            name: what to call the source in error messages; by default its path.

        Raises:
            InputError: a source that cannot be read, has no ink or is too large, or `nbest` that
                is more than `beam`.
        """
        beam, nbest = self._widths(beam, nbest)
        began = time.perf_counter()
        image = prepare_image(source, self.manifest.preprocessing, name)
        read = time.perf_counter()
        [memory] = self.model.encode(image)
        encoded = time.perf_counter()
        found = [self._alternative(each) for each in self._search(memory, beam, nbest, constrain)]
        decoded = time.perf_counter()
        best = found[0]
        return Result(
            latex=best.latex,
            tokens=best.tokens,
            confidence=best.confidence,
            alternatives=tuple(found[1:]),
            timings=Timings(
                read_ms=1e3 * (read - began),
                encode_ms=1e3 * (encoded - read),
                decode_ms=1e3 * (decoded - encoded),
                total_ms=1e3 * (decoded - began),
            ),
        )

    def _widths(self, beam: int | None, nbest: int) -> tuple[int, int]:
        if nbest < 1:
            raise InputError(f"nbest: expected 1 or more readings, found {nbest}")
        if beam is None:
            beam = max(self.manifest.decoding.beams, nbest)
        if beam < nbest:
            raise InputError(
                f"beam: expected nbest ({nbest}) or more, found {beam}; widen the beam"
            )
        return beam, nbest

    def _search(self, memory: Any, beam: int, nbest: int, constrain: bool) -> list[Hypothesis]:
        vocabulary, decoding = self.manifest.vocabulary, self.manifest.decoding
        constraint = self._grammar if constrain else None
        if beam == 1:
            return [
                greedy(
                    self.model,
                    memory,
                    sos=vocabulary.sos,
                    eos=vocabulary.eos,
                    max_length=decoding.max_length,
                    constraint=constraint,
                )
            ]
        return beam_search(
            self.model,
            memory,
            beams=beam,
            sos=vocabulary.sos,
            eos=vocabulary.eos,
            max_length=decoding.max_length,
            length_penalty=decoding.length_penalty,
            nbest=nbest,
            constraint=constraint,
        )

    @cached_property
    def _grammar(self) -> GrammarConstraint:
        return GrammarConstraint(self.manifest.vocabulary)

    def _alternative(self, hypothesis: Hypothesis) -> Alternative:
        tokens = self.manifest.vocabulary.decode(hypothesis.tokens)
        confidence = exp(min(hypothesis.log_prob, 0.0))
        return Alternative(to_latex(tokens), tuple(tokens), confidence)


def prepare_image(source: Source, preprocessing: Preprocessing, name: str = "") -> FloatImages:
    """The encoder's input: rendered at the recognizer's scale, padded to the right and below.

    Returns:
        float32 `[1, 1, height, width]`, ink = 1, paper = 0; height and width are multiples of the
        preprocessing's `multiple`.

    Raises:
        InputError: a source that cannot be read, has no ink, or is too large.
        BundleError: a preprocessing that this version does not know.
    """
    multiple, most = _limits(preprocessing)
    pixels = _render(source, name)
    height, width = (-(-side // multiple) * multiple for side in pixels.shape)
    if height * width > most:
        raise InputError(
            f"{_named(source, name)}: expected one formula, of at most {most} pixels at the "
            f"recognizer's scale, found {width} x {height}; cut the page into formulas"
        )
    image = np.zeros((1, 1, height, width), np.float32)
    image[0, 0, : pixels.shape[0], : pixels.shape[1]] = pixels
    image /= 255
    return image


def _limits(preprocessing: Preprocessing) -> tuple[int, int]:
    """What both sides must be a multiple of, and the most pixels."""
    if preprocessing.name != PREPROCESSING:
        raise BundleError(
            f"expected the preprocessing {PREPROCESSING!r}, found {preprocessing.name!r}: the "
            "bundle is for another inktex; upgrade with `pip install --upgrade inktex`"
        )
    limits = []
    for key in ("multiple", "max_pixels"):
        value = preprocessing.parameters.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BundleError(
                f"preprocessing.parameters.{key}: expected a whole number > 0, found {value!r}; "
                "export the bundle again"
            )
        limits.append(value)
    return limits[0], limits[1]


def _render(source: Source, name: str) -> NDArray[np.uint8]:
    """The formula at the recognizer's scale, uint8 `[h, w]`, ink 255 on 0."""
    label = _named(source, name)
    if isinstance(source, str | os.PathLike):
        source = _read_file(Path(source), label)
    if isinstance(source, bytes):
        if _is_ink(source):
            source = read_ink(source, label)
        else:
            _check_is_image(source, label)
    try:
        if isinstance(source, Ink):
            return render_ink(source.strokes)
        if isinstance(source, list | tuple):
            return render_ink(_strokes(source))
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    if not isinstance(source, bytes | np.ndarray | Image.Image):
        raise InputError(
            f"{label}: expected a path, bytes, Ink, a Pillow image, an array or a list of strokes, "
            f"found {type(source).__name__}"
        )
    image = load_image(source, label)
    try:
        return normalize_image(image)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error


def _named(source: Source, name: str) -> str:
    if name:
        return name
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, Ink) and source.identifier:
        return source.identifier
    return "the ink" if isinstance(source, Ink | list | tuple) else "the input"


def _read_file(path: Path, label: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise InputError(f"{label}: expected a file, found a folder; name a file in it") from None
    except FileNotFoundError:
        raise InputError(f"{label}: expected a file, found nothing; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{label}: cannot be read ({reason}); check its permissions") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{label}: expected at most {MAX_BYTES:,} bytes, found more")
    return data


def _is_ink(data: bytes) -> bool:
    """Whether a file is text that begins as InkML or JSON does, in UTF-8 or UTF-16."""
    head = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe\0 \t\r\n")
    return head[:1] in (b"<", b"{", b"[")


def _check_is_image(data: bytes, label: str) -> None:
    if not data:
        raise InputError(f"{label}: expected ink or an image, found an empty file")
    if image_format(data[:16]) is None and all(
        byte >= 32 or byte in b"\t\n\r\f" for byte in data[:256]
    ):
        raise InputError(
            f"{label}: expected InkML, a JSON of strokes, or an image (PNG, JPEG, WebP, BMP), "
            f"found text that starts with {data[:24]!r}; export the handwriting as one of these"
        )


def _strokes(source: Sequence[Any]) -> list[NDArray[np.float64]]:
    strokes = []
    for number, each in enumerate(source):
        try:
            stroke = np.asarray(each, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            stroke = np.empty(0)
        if stroke.ndim != 2 or stroke.shape[1] != 2 or not len(stroke):
            raise InputError(
                f"expected a list of strokes, each an array [n, 2] of x and y, found "
                f"{np.shape(stroke) if stroke.size else type(each).__name__} as stroke {number}"
            )
        if not np.isfinite(stroke).all():
            raise InputError(f"expected finite coordinates, found others in stroke {number}")
        strokes.append(stroke)
    return strokes
