"""The live scenario: the formula is read anew after every stroke, while it is being written.

Greedy search takes the last reading as a draft, as an app would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import InputError
from ...core.progress import Progress
from ..formulas import Formula
from .bundle_contender import BundleContender
from .contender import Reading
from .dataset import ink_of
from .distribution import Distribution, early_stopping


@dataclass(frozen=True)
class LiveInk:
    """A configuration that keeps up with a pen.

    Attributes:
        formulas, strokes: that were written.
        update_ms: from a new stroke to the LaTeX of all strokes so far.
        bound_ms: of its p90, as early stopping gives it.
        last_ms: of the last stroke of a formula.
        times_once: what all updates of a formula take, for each time to read it once: the mean.
    """

    label: str
    formulas: int
    strokes: int
    update_ms: Distribution
    bound_ms: float | None
    last_ms: Distribution
    times_once: float


def measure_live_ink(
    contenders: Sequence[BundleContender], formulas: Sequence[Formula]
) -> list[LiveInk]:
    """Write every formula stroke by stroke, and read what is there after each; all contenders take
    turns at every stroke. Images are left out, as are beginnings that cannot be read.

    Returns:
        Nothing where no formula is ink.
    """
    inks = [(formula, ink) for formula in formulas if (ink := ink_of(formula)) is not None]
    if not inks:
        return []
    readers = [each.load() for each in contenders]
    for reader in readers:
        reader(inks[0][0])
    updates: list[list[Reading]] = [[] for _ in contenders]
    last: list[list[float]] = [[] for _ in contenders]
    times: list[list[float]] = [[] for _ in contenders]
    with Progress(sum(len(ink.strokes) for _, ink in inks), "strokes") as progress:
        for number, (formula, ink) in enumerate(inks):
            spent = [0.0 for _ in contenders]
            drafts: list[tuple[str, ...]] = [() for _ in contenders]
            for count in range(1, len(ink.strokes) + 1):
                part = Formula(formula.name, list(ink.strokes[:count]))
                turn = (number + count) % len(readers)
                order = [*range(turn, len(readers)), *range(turn)]
                progress.advance()
                try:
                    for which in order:
                        reading = readers[which](part, drafts[which])
                        drafts[which] = reading.tokens
                        updates[which].append(reading)
                        spent[which] += reading.total_ms
                        if count == len(ink.strokes):
                            last[which].append(reading.total_ms)
                            times[which].append(spent[which] / reading.total_ms)
                except InputError:  # the first of them says so already
                    continue
    return [
        LiveInk(
            contender.configuration.label,
            len(ends),
            len(own),
            Distribution.of([each.total_ms for each in own]),
            early_stopping([each.total_ms for each in own], 0.9),
            Distribution.of(ends),
            sum(many) / len(many),
        )
        for contender, own, ends, many in zip(contenders, updates, last, times, strict=True)
        if ends
    ]
