"""What a recognizer gets wrong: scores by length and by structure, and which tokens it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.alignment import SAME, Pair, align
from ..core.metrics import Score
from ..core.structure import STRUCTURES, structures
from .evaluation import Reading, score_readings

PLAIN = "none of these"
"""The group of the formulas without any of `STRUCTURES`."""
_LENGTHS = (5, 10, 20, 40)  # the longest captions of the groups but the last, in tokens


@dataclass(frozen=True)
class Group:
    """The score of some of the formulas: those of a length, or those with a structure."""

    name: str
    score: Score


@dataclass(frozen=True)
class Confusion:
    """How often one token was read for another.

    Attributes:
        reference: what is written; None where there is nothing.
        prediction: what was read instead; None where it was overlooked.
        count: over all formulas.
    """

    reference: str | None
    prediction: str | None
    count: int

    @property
    def kind(self) -> str:
        """ "substituted", "missing" or "extra"."""
        return Pair(self.reference, self.prediction).kind


@dataclass(frozen=True)
class Analysis:
    """Everything that is told of a list of readings.

    Attributes:
        score: of all.
        by_length: in order of length; no group is empty.
        by_structure: a formula is in the group of each structure that its reference has.
        confusions: the most frequent first.
        unreadable: identifier -> why nothing could be read. These count as wrong, but not among
            the confusions.
    """

    score: Score
    by_length: tuple[Group, ...]
    by_structure: tuple[Group, ...]
    confusions: tuple[Confusion, ...]
    unreadable: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; the parts of the score stand at the top."""
        return {
            **self.score.to_dict(),
            "by_length": [{"length": g.name, **g.score.to_dict()} for g in self.by_length],
            "by_structure": [{"structure": g.name, **g.score.to_dict()} for g in self.by_structure],
            "confusions": [{"kind": each.kind, **vars(each)} for each in self.confusions],
            "unreadable": dict(self.unreadable),
        }


def analyse(readings: Sequence[Reading]) -> Analysis:
    """Score readings as a whole and in groups, and count what was confused.

    Raises:
        InputError: there are none, or captions without tokens.
    """
    return Analysis(
        score_readings(readings),
        by_length(readings),
        by_structure(readings),
        confusions(readings),
        {each.identifier: each.problem for each in readings if each.problem},
    )


def by_length(readings: Sequence[Reading]) -> tuple[Group, ...]:
    """Scores by the length of the reference, in tokens."""
    first = [1, *(longest + 1 for longest in _LENGTHS)]
    names = [f"{low}-{high}" for low, high in zip(first, _LENGTHS, strict=False)]
    names.append(f"{first[-1]} and more")

    def own(reading: Reading) -> list[str]:
        return [names[sum(len(reading.caption) > longest for longest in _LENGTHS)]]

    return _groups(readings, names, own)


def by_structure(readings: Sequence[Reading]) -> tuple[Group, ...]:
    """Scores by what the reference has of `core.structure.STRUCTURES`."""

    def own(reading: Reading) -> Collection[str]:
        return structures(reading.caption) or [PLAIN]

    return _groups(readings, [*STRUCTURES, PLAIN], own)


def confusions(readings: Sequence[Reading]) -> tuple[Confusion, ...]:
    """The token edits between references and readings, the most frequent first."""
    counts = Counter(
        pair
        for reading in readings
        if not reading.problem
        for pair in align(reading.caption, reading.tokens)
        if pair.kind != SAME
    )
    order = sorted(counts, key=lambda pair: (-counts[pair], pair.reference or "", str(pair)))
    return tuple(Confusion(*pair, counts[pair]) for pair in order)


def _groups(
    readings: Sequence[Reading],
    names: Sequence[str],
    own: Callable[[Reading], Collection[str]],
) -> tuple[Group, ...]:
    members: dict[str, list[Reading]] = {name: [] for name in names}
    for reading in readings:
        for name in own(reading):
            members[name].append(reading)
    return tuple(Group(name, score_readings(found)) for name, found in members.items() if found)
