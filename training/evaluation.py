"""Reading a whole data set; a bundle is read without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

from ..core.errors import DataError, InputError
from ..core.metrics import Score, score
from ..core.progress import Progress
from ..core.recognizer import Alternative, Recognizer
from ..core.replacement import replacing
from .captions import read_caption_table, to_score
from .import_report import Skip
from .inkset import SUFFIX, load_inkset
from .source_files import IMAGES, files, names


@dataclass(frozen=True)
class Sample:
    """One input with its caption.

    Attributes:
        source: what a recognizer takes: strokes, an image, or the bytes of one.
    """

    identifier: str
    source: Any
    caption: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What was read, and what should have been.

    Attributes:
        confidence: 0..1, or NaN where nothing could be read.
        score: what the reading was ranked by (see `core.recognizer.Result`), NaN as above.
        token_log_probs: of every token that was read, and of the end.
        margin: as of a `Result`.
        alternatives: the next best readings, best first, as many as were asked for.
        problem: why nothing could be read, "" where something was.
    """

    identifier: str
    caption: tuple[str, ...]
    tokens: tuple[str, ...]
    confidence: float
    score: float = nan
    alternatives: tuple[Alternative, ...] = ()
    problem: str = ""
    token_log_probs: tuple[float, ...] = ()
    margin: float | None = None


def load_samples(data: Path, captions: Path | None = None) -> list[Sample]:
    """The samples of an ink set, or of a zip or folder of images with captions.

    Args:
        captions: for images, and only for them: a file of lines `IDENTIFIER <tab> TOKENS`.

    Raises:
        DataError: neither was found, or an image has no caption, or a caption no token, or two
            samples are called the same.
    """
    read = _ink_samples if data.suffix == SUFFIX else _image_samples
    samples: dict[str, Sample] = {}
    for each in read(data, captions):
        if each.identifier in samples:
            raise DataError(
                f"{data}: expected samples of different names, found {each.identifier} twice; "
                "rename one"
            )
        if not each.caption:
            raise DataError(f"{data}: expected a caption of {each.identifier}, found an empty one")
        samples[each.identifier] = each
    return list(samples.values())


def read_all(
    recognizer: Recognizer,
    samples: Sequence[Sample],
    *,
    beam: int = 1,
    nbest: int = 1,
    constrain: bool = True,
    rescore: bool | None = None,
) -> list[Reading]:
    """Read every sample, and show how far it is.

    What cannot be read (no ink, too large) is an empty reading, and so wrong.

    Args:
        recognizer: of a bundle or of a checkpoint.
        beam, nbest, constrain, rescore: as the recognizer takes them.
    """
    readings = []
    with Progress(len(samples), "formulas read") as progress:
        for sample in samples:
            name, caption = sample.identifier, sample.caption
            try:
                found = recognizer(
                    sample.source,
                    beam=beam,
                    nbest=nbest,
                    constrain=constrain,
                    rescore=rescore,
                    name=name,
                )
            except InputError as error:
                readings.append(Reading(name, caption, (), nan, problem=str(error)))
            else:
                parts = (found.tokens, found.confidence, found.score, found.alternatives)
                told = (found.token_log_probs, found.margin)
                readings.append(Reading(name, caption, *parts, "", *told))
            progress.advance()
    return readings


def score_readings(readings: Sequence[Reading]) -> Score:
    """All metrics of a list of readings."""
    return score([each.caption for each in readings], [each.tokens for each in readings])


def write_readings(path: Path, readings: Sequence[Reading]) -> None:
    """One JSON line each: identifier, caption, what was read, confidence, whether it is right, and
    why nothing could be read (null where something was)."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for each in readings:
            line = {
                "identifier": each.identifier,
                "caption": " ".join(each.caption),
                "read": " ".join(each.tokens),
                "confidence": None if isnan(each.confidence) else round(each.confidence, 4),
                "right": each.caption == each.tokens,
                "problem": each.problem or None,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _ink_samples(data: Path, captions: Path | None) -> Iterator[Sample]:
    if captions is not None:
        raise DataError(
            f"expected images with --captions, found the ink set {data}, which holds its captions; "
            "leave --captions out"
        )
    for each in load_inkset(data):
        yield Sample(each.identifier, each.source, each.caption)


def _image_samples(data: Path, captions: Path | None) -> Iterator[Sample]:
    if captions is None:
        raise DataError(
            f"expected an {SUFFIX} file, or images with --captions FILE, found only {data}"
        )
    told, known, _ = read_caption_table(captions).of_files(names(data, IMAGES))
    for name, content in files(data, IMAGES):
        try:
            text = known.text(told[name])
        except Skip as why:
            raise DataError(
                f"{data}: expected a caption of {told[name]} in {captions}: {why}"
            ) from why
        yield Sample(told[name], content, to_score(text))
