"""What a recognizer gets wrong: scores by length and by structure, and which tokens it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.alignment import EXTRA, MISSING, SAME, SUBSTITUTED, Pair, align
from ..core.latex_tables import PLACING
from ..core.metrics import Score
from ..core.structure import STRUCTURES, structures
from .evaluation import Reading, score_readings

PLAIN = "none of these"
"""The group of the formulas without any of `STRUCTURES`."""
MISSES = ("symbols misread", "structure", "parts left out", "parts not there", "several of these")
"""How a wrong reading can be wrong; see `kind_of_miss`."""
_STRUCTURE = PLACING | {r"\frac", r"\sqrt"}
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
        misses: by kind, how many of the wrong readings are wrong in this way; all of `MISSES`.
        unreadable: identifier -> why nothing could be read. These count as wrong, but neither
            among the misses nor among the confusions.
    """

    score: Score
    by_length: tuple[Group, ...]
    by_structure: tuple[Group, ...]
    confusions: tuple[Confusion, ...]
    misses: Mapping[str, int]
    unreadable: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; the parts of the score stand at the top."""
        return {
            **self.score.to_dict(),
            "by_length": [{"length": g.name, **g.score.to_dict()} for g in self.by_length],
            "by_structure": [{"structure": g.name, **g.score.to_dict()} for g in self.by_structure],
            "misses": dict(self.misses),
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
        misses(readings),
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


def misses(readings: Sequence[Reading]) -> dict[str, int]:
    """How often a reading is wrong in each way."""
    counts = Counter(
        kind_of_miss(each.caption, each.tokens)
        for each in readings
        if not each.problem and each.caption != each.tokens
    )
    return {kind: counts[kind] for kind in MISSES}


def kind_of_miss(reference: Sequence[str], prediction: Sequence[str]) -> str:
    r"""Which of `MISSES` a wrong reading is.

    Structure is what says where ink stands (braces, scripts, limits, `\frac`, `\sqrt`): it is wrong
    where no other token is. Symbols are misread where every wrong token is one symbol for another.
    Parts are left out, or not there, where all wrong tokens are of that kind and a symbol is among
    them.

    >>> kind_of_miss("x ^ { 2 }".split(), "x 2".split())
    'structure'
    >>> kind_of_miss("x + 1".split(), "x".split())
    'parts left out'
    """
    wrong = [pair for pair in align(reference, prediction) if pair.kind != SAME]
    tokens = {token for pair in wrong for token in pair if token is not None}
    kinds = {pair.kind for pair in wrong}
    if tokens <= _STRUCTURE:
        return MISSES[1]
    if kinds == {SUBSTITUTED} and not tokens & _STRUCTURE:
        return MISSES[0]
    if kinds == {MISSING}:
        return MISSES[2]
    return MISSES[3] if kinds == {EXTRA} else MISSES[4]


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
