"""The single-stream scenario: one formula after the other, each the moment the last is read.

As in MLPerf (Reddi et al., 2020, arXiv:1911.02549): the next query is issued when the one before is
complete, for at least so many samples and at least so long, after a warm-up that does not count.
Beyond MLPerf, several contenders take turns, so that whatever else the machine does meets them
alike, and all of it is repeated with models loaded anew, which tells what is noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from ...core.errors import DataError, InputError
from ...core.progress import Progress
from ...training.split import spread
from ..formulas import Formula
from .contender import Configuration, Contender, Reader, Reading


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        samples: of each contender, at least, over all repeats.
        seconds: that each contender is at work, at least, over all repeats.
        repeats: how often to load everything anew.
        warm_up: formulas to read before, in each repeat.
    """

    samples: int = 1024
    seconds: float = 10.0
    repeats: int = 5
    warm_up: int = 10


@dataclass
class Repeat:
    """What one contender did with its model loaded once.

    Attributes:
        passes: readings of all formulas, in their order, again and again.
    """

    passes: list[list[Reading]] = field(default_factory=list)

    @property
    def readings(self) -> list[Reading]:
        """Those of all passes."""
        return [each for one in self.passes for each in one]


@dataclass(frozen=True)
class Stream:
    """All that one contender did, repeat by repeat."""

    configuration: Configuration
    trained: bool
    repeats: list[Repeat]

    @property
    def readings(self) -> list[Reading]:
        """Those of all repeats."""
        return [reading for each in self.repeats for reading in each.readings]


@dataclass(frozen=True)
class Streams:
    """A run of all contenders.

    Attributes:
        each: one a contender.
        kept: the numbers of the formulas that all contenders read, in the order of every pass.
        interrupted: whether it was stopped; the last pass may then be a short one.
    """

    each: list[Stream]
    kept: list[int]
    interrupted: bool


def measure_streams(
    contenders: Sequence[Contender], formulas: Sequence[Formula], effort: Effort
) -> Streams:
    """Have all contenders read all formulas, in whole passes, until each did enough.

    Contenders take turns at every formula, each being first as often as the others. A formula that
    one of them refuses is left out for all. Ctrl-C ends the run; what was measured is kept, of the
    pass that was under way those formulas that all contenders have read.

    Raises:
        DataError: there is no formula that all of them read.
    """
    return _Run(contenders, formulas, effort).all()


class _Run:
    def __init__(
        self, contenders: Sequence[Contender], formulas: Sequence[Formula], effort: Effort
    ) -> None:
        self.contenders = contenders
        self.formulas = formulas
        self.effort = effort
        self.streams = [Stream(each.configuration, each.trained, []) for each in contenders]
        self.kept = list(range(len(formulas)))

    def all(self) -> Streams:
        effort, width = self.effort, len(self.contenders)
        share = ceil(effort.samples / effort.repeats / len(self.formulas))
        total = effort.repeats * (share * len(self.formulas) + effort.warm_up) * width
        interrupted = False
        try:
            with Progress(total, "readings") as progress:
                for _ in range(effort.repeats):
                    readers = self._load()
                    self._warm_up(readers, progress)
                    done = 0
                    while not self._enough():
                        if done >= share:
                            progress.total += len(self.kept) * width
                        self._one_pass(readers, done, progress)
                        done += 1
                    readers.clear()  # before the next are loaded: never two of each in memory
        except KeyboardInterrupt:
            _level(self.streams)
            interrupted = True
        return Streams(self.streams, self.kept, interrupted)

    def _load(self) -> list[Reader]:
        for stream in self.streams:
            stream.repeats.append(Repeat())
        return [contender.load() for contender in self.contenders]

    def _warm_up(self, readers: Sequence[Reader], progress: Progress) -> None:
        for number in spread(list(self.kept), self.effort.warm_up):
            for reader in readers:
                if number in self.kept:
                    self._tried(reader, number)
            progress.advance(len(readers))

    def _tried(self, reader: Reader, number: int) -> Reading | None:
        """A reading, or None of a formula that is refused, and so left out from now on."""
        try:
            return reader(self.formulas[number])
        except InputError as error:
            self.kept.remove(number)
            if not self.kept:
                raise DataError(
                    f"expected a formula that all who take part can read, found none; the last "
                    f"was refused: {error}"
                ) from error
            return None

    def _one_pass(self, readers: Sequence[Reader], number: int, progress: Progress) -> None:
        order = list(range(len(readers)))
        passes: list[list[Reading]] = [[] for _ in order]
        for stream, own in zip(self.streams, passes, strict=True):
            stream.repeats[-1].passes.append(own)
        for place, formula in enumerate(list(self.kept)):
            turn = (number + place) % len(order)
            done: list[int] = []
            for which in order[turn:] + order[:turn]:
                reading = self._tried(readers[which], formula)
                if reading is None:  # refused: what others read of it goes, too
                    for before in done:
                        passes[before].pop()
                    break
                passes[which].append(reading)
                done.append(which)
            progress.advance(len(order))

    def _enough(self) -> bool:
        """Whether this repeat has its share of the readings, without those of formulas that are
        left out, and of the time."""
        effort = self.effort
        wanted, wanted_ms = effort.samples / effort.repeats, 1e3 * effort.seconds / effort.repeats
        repeats = [stream.repeats[-1].readings for stream in self.streams]
        return all(
            len(readings) >= wanted and sum(each.total_ms for each in readings) >= wanted_ms
            for readings in repeats
        )


def _level(streams: Sequence[Stream]) -> None:
    """Cut what an interruption left uneven: all keep as many readings as the last of them."""
    repeats = min(len(stream.repeats) for stream in streams)
    for stream in streams:
        del stream.repeats[repeats:]
    for together in zip(*(stream.repeats for stream in streams), strict=True):
        count = min(len(each.passes) for each in together)
        for each in together:
            del each.passes[count:]
        for passes in zip(*(each.passes for each in together), strict=True):
            shortest = min(map(len, passes))
            for own in passes:
                del own[shortest:]
        for each in together:
            each.passes[:] = [own for own in each.passes if own]
    for stream in streams:
        stream.repeats[:] = [each for each in stream.repeats if each.passes]
