"""Reading a whole data set and counting what was right; bundles are read without torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import DataError
from ..core.metrics import Score, score
from ..core.progress import Progress
from .inkset import SUFFIX, load_inkset


@dataclass(frozen=True)
class Sample:
    """One input with its caption.

    Attributes:
        source: what a recognizer takes: strokes, or the bytes of an image.
    """

    identifier: str
    source: Any
    caption: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What was read, and what should have been.

    Attributes:
        confidence: 0..1, or NaN where the reader tells none.
    """

    identifier: str
    caption: tuple[str, ...]
    tokens: tuple[str, ...]
    confidence: float


def load_samples(data: Path, captions: Path | None = None) -> list[Sample]:
    """The samples of an ink set, or of a zip or folder of images with captions.

    Args:
        captions: for images: a file of lines `IDENTIFIER <tab> TOKENS`.

    Raises:
        DataError: neither was found, or an image has no caption.
    """
    if data.suffix == SUFFIX:
        return [
            Sample(each.identifier, [stroke.astype(float) for stroke in each.strokes], each.caption)
            for each in load_inkset(data)
        ]
    if captions is None:
        raise DataError(
            f"expected an {SUFFIX} file, or images with --captions FILE, found only {data}"
        )
    from .crohme import read_captions

    known = read_captions(captions)
    samples = []
    for name, content in _images(data):
        identifier = PurePosixPath(name).stem
        if identifier not in known:
            raise DataError(f"{data}: expected a caption of {identifier} in {captions}, found none")
        samples.append(Sample(identifier, content, known[identifier]))
    if not samples:
        raise DataError(f"expected images (PNG, JPEG, WebP, BMP) in {data}, found none")
    return samples


def read_all(
    read: Callable[[Any], tuple[Sequence[str], float]], samples: Sequence[Sample]
) -> list[Reading]:
    """Read every sample, and show how far it is.

    Args:
        read: source -> tokens and confidence.
    """
    readings = []
    with Progress(len(samples), "formulas read") as progress:
        for sample in samples:
            tokens, confidence = read(sample.source)
            readings.append(Reading(sample.identifier, sample.caption, tuple(tokens), confidence))
            progress.advance()
    return readings


def score_readings(readings: Sequence[Reading]) -> Score:
    """All metrics of a list of readings."""
    return score([each.caption for each in readings], [each.tokens for each in readings])


def write_readings(path: Path, readings: Sequence[Reading]) -> None:
    """One JSON line each: identifier, caption, what was read, confidence, whether it is right."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for each in readings:
            line = {
                "identifier": each.identifier,
                "caption": " ".join(each.caption),
                "read": " ".join(each.tokens),
                "confidence": None if isnan(each.confidence) else round(each.confidence, 4),
                "right": each.caption == each.tokens,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    partial.replace(path)


def _images(data: Path) -> Iterator[tuple[str, bytes]]:
    suffixes = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
    if data.is_dir():
        for path in sorted(data.rglob("*")):
            if path.suffix.lower() in suffixes:
                yield path.name, path.read_bytes()
    elif zipfile.is_zipfile(data):
        with zipfile.ZipFile(data) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(suffixes):
                    yield name, archive.read(name)
    else:
        raise DataError(f"expected a zip or a folder of images at {data}, found neither")
