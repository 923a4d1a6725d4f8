"""The live scenario: the formula is read anew after every stroke, while it is being written.

Greedy search takes the last reading as a draft, as an app would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

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


@dataclass
class _Written:
    """A formula as one contender has read it.

    Attributes:
        updates_ms: of every stroke.
        draft: the last reading.
        ended: whether the last stroke was read.
    """

    updates_ms: list[float] = field(default_factory=list)
    draft: tuple[str, ...] = ()
    ended: bool = False

    def add(self, reading: Reading) -> None:
        """Of one more stroke."""
        self.updates_ms.append(reading.total_ms)
        self.draft = reading.tokens


def measure_live_ink(
    contenders: Sequence[BundleContender], formulas: Sequence[Formula]
) -> tuple[list[LiveInk], bool]:
    """Write every formula stroke by stroke, and read what is there after each; all contenders take
    turns at every stroke. Images are left out, as are beginnings that cannot be read. Ctrl-C ends
    that; the formulas that were finished are kept.

    Returns:
        What was found, nothing where no formula is ink; and whether it was stopped.
    """
    inks = [(formula, ink) for formula in formulas if (ink := ink_of(formula)) is not None]
    if not inks:
        return [], False
    readers = [each.load() for each in contenders]
    for reader in readers:
        reader(inks[0][0])
    written: list[list[_Written]] = []
    interrupted = False
    try:
        with Progress(sum(len(ink.strokes) for _, ink in inks), "strokes") as progress:
            for number, (formula, ink) in enumerate(inks):
                own = [_Written() for _ in readers]
                for count in range(1, len(ink.strokes) + 1):
                    part = Formula(formula.name, list(ink.strokes[:count]))
                    turn = (number + count) % len(readers)
                    order = [*range(turn, len(readers)), *range(turn)]
                    progress.advance()
                    try:
                        for which in order:
                            own[which].add(readers[which](part, own[which].draft))
                            own[which].ended = count == len(ink.strokes)
                    except InputError:  # the first of them says so already
                        continue
                written.append(own)  # now that all have read as much of it
    except KeyboardInterrupt:
        interrupted = True
    found = [
        _summary(contender.configuration.label, own)
        for contender, own in zip(contenders, zip(*written, strict=True), strict=False)
        if any(each.ended for each in own)
    ]
    return found, interrupted


def _summary(label: str, written: Sequence[_Written]) -> LiveInk:
    updates_ms = [ms for each in written for ms in each.updates_ms]
    ended = [each.updates_ms for each in written if each.ended]
    return LiveInk(
        label,
        len(ended),
        len(updates_ms),
        Distribution.of(updates_ms),
        early_stopping(updates_ms, 0.9),
        Distribution.of([own[-1] for own in ended]),
        fmean(sum(own) / own[-1] for own in ended),
    )
