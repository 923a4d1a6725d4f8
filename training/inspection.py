"""What is in a data set: how much, how long, how large, and what a training would not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.latex_tables import PLACING
from .captions import not_written
from .inkset import Expression, fingerprint
from .stream import drawn_sizes

_SHOWN = 40
_QUANTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


@dataclass(frozen=True)
class Overlap:
    """A data set against the one that is trained on.

    Attributes:
        unseen: tokens that training never shows, and how many expressions hold them: none of
            these can be read right.
        expressions: how many expressions hold one or more of those tokens.
        captions: distinct captions that training shows too.
        identifiers: identifiers that training has too: the same ink on both sides.
    """

    unseen: dict[str, int]
    expressions: int
    captions: int
    identifiers: int


@dataclass(frozen=True)
class Inspection:
    """What is in a data set.

    Attributes:
        fingerprint: as `inkset.fingerprint`.
        expressions, images: all of them, and those whose ink is an image.
        unlabelled: those without a caption.
        not_drawn: those that cannot be drawn (no strokes, no extent).
        distinct_captions: different captions.
        writers, unnamed: different writers, and expressions that name none.
        lengths: tokens in a caption: p50, p90, p99, max.
        heights_px, widths_px: of the drawings, likewise.
        not_written: those whose captions no search writes that keeps to the grammar.
        known_ink: share of the symbol tokens whose strokes are known.
        tokens: every token, and how often it stands in the captions, the most frequent first.
        overlap: against the training data; None where none was named.
    """

    fingerprint: str
    expressions: int
    images: int
    unlabelled: int
    not_drawn: int
    distinct_captions: int
    writers: int
    unnamed: int
    lengths: dict[str, int]
    heights_px: dict[str, int]
    widths_px: dict[str, int]
    not_written: int
    known_ink: float
    tokens: dict[str, int]
    overlap: Overlap | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        often = list(self.tokens.items())
        lines = [
            f"{self.expressions} expressions, fingerprint {self.fingerprint}",
            f"{self.expressions - self.images} of ink, {self.images} images",
            f"{self.distinct_captions} distinct captions, {self.unlabelled} expressions without",
            f"{self.writers} writers named, {self.unnamed} expressions that name none",
            f"captions of {_told(self.lengths)} tokens",
            f"drawings {_told(self.heights_px)} px high, {_told(self.widths_px)} px wide",
            f"ink known for {100 * self.known_ink:.1f} % of the symbol tokens",
            f"{len(often)} tokens; most often: {_counted(often[:_SHOWN])}",
        ]
        if len(often) > _SHOWN:
            lines.append(f"least often: {_counted(often[_SHOWN:][-_SHOWN:])}")
        if self.not_written:
            lines.append(f"{self.not_written} captions that only --no-grammar could read")
        if self.not_drawn:
            lines.append(f"{self.not_drawn} expressions cannot be drawn; leave them out")
        if self.overlap is not None:
            lines += [
                f"{len(self.overlap.unseen)} tokens unseen in training, in "
                f"{self.overlap.expressions} expressions: "
                + (_counted(list(self.overlap.unseen.items())) or "none"),
                f"{self.overlap.captions} distinct captions also in training, "
                f"{self.overlap.identifiers} identifiers",
            ]
        return "\n".join(lines)


def inspect_expressions(
    expressions: Sequence[Expression], training: Sequence[Expression] | None = None
) -> Inspection:
    """Count what is in a data set, which may be empty.

    Args:
        training: the data set that is trained on, to compare with.
    """
    captions = [each.caption for each in expressions]
    tokens = Counter(token for caption in captions for token in caption)
    drawn = [size for each in expressions if (size := _drawn_size(each)) is not None]
    inked = [
        bool(strokes)
        for each in expressions
        for token, strokes in zip(each.caption, each.ink, strict=True)
        if token not in PLACING
    ]
    return Inspection(
        fingerprint=fingerprint(expressions),
        expressions=len(expressions),
        images=sum(each.image is not None for each in expressions),
        unlabelled=sum(not caption for caption in captions),
        not_drawn=len(expressions) - len(drawn),
        not_written=len(not_written(expressions)),
        distinct_captions=len(set(captions) - {()}),
        writers=len({each.writer for each in expressions} - {""}),
        unnamed=sum(not each.writer for each in expressions),
        lengths=_quantiles([len(caption) for caption in captions]),
        heights_px=_quantiles([height for height, _ in drawn]),
        widths_px=_quantiles([width for _, width in drawn]),
        known_ink=sum(inked) / max(len(inked), 1),
        tokens=dict(sorted(tokens.items(), key=lambda each: (-each[1], each[0]))),
        overlap=None if training is None else _overlap(expressions, training),
    )


def _overlap(expressions: Sequence[Expression], training: Sequence[Expression]) -> Overlap:
    known = {token for each in training for token in each.caption}
    holding = Counter(token for each in expressions for token in set(each.caption) - known)
    shared = {each.caption for each in training} & {each.caption for each in expressions}
    names = {each.identifier for each in training} & {each.identifier for each in expressions}
    return Overlap(
        dict(sorted(holding.items(), key=lambda each: (-each[1], each[0]))),
        sum(not known.issuperset(each.caption) for each in expressions),
        len(shared - {()}),
        len(names),
    )


def _drawn_size(expression: Expression) -> tuple[int, int] | None:
    """Height and width in pixels; None where nothing can be drawn."""
    try:
        [[height, width]] = drawn_sizes([expression]).tolist()
    except InputError:
        return None
    return height, width


def _quantiles(values: Sequence[int]) -> dict[str, int]:
    if not values:
        return dict.fromkeys(_QUANTILES, 0)
    found = np.percentile(values, list(_QUANTILES.values()), method="closest_observation")
    return dict(zip(_QUANTILES, map(int, found), strict=True))


def _told(quantiles: dict[str, int]) -> str:
    return ", ".join(f"{value} ({name})" for name, value in quantiles.items())


def _counted(tokens: Sequence[tuple[str, int]]) -> str:
    return "  ".join(f"{token} {count}" for token, count in tokens)
