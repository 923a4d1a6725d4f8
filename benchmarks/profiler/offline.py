"""The offline scenario: everything is there from the start, and what counts is how much is read.

As in MLPerf's scenario of that name. The same configurations run for a while, one after the other
and in turns, with one formula at a time and, as `inktex recognize FOLDER` does, with a formula for
each processor; the energy of that time is counted where the machine tells. Encoders also read
images in batches.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.manifest import Preprocessing
from ...core.preparation import prepare_image
from ...core.progress import Progress
from ...core.recognizer import Recognizer
from ...runtimes import load
from ..formulas import Formula
from .bundle_contender import BundleContender
from .noise import Interval, of_repeats
from .stages import parsed
from .watch import Watch

BATCHES = (1, 2, 4, 8, 16)
"""Images that the encoder is given at a time."""
_IDLE_S = 3.0


@dataclass(frozen=True)
class Throughput:
    """A configuration at work without pause.

    Attributes:
        workers: formulas that are read at the same time.
        formulas: read, over all repeats.
        per_second: formulas.
        joules: for each formula, by source of energy; all that the machine took meanwhile.
        watts: likewise, on average.
    """

    label: str
    workers: int
    formulas: int
    per_second: Interval
    joules: dict[str, Interval] = field(default_factory=dict)
    watts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """An encoder that is given several images at a time, of one size, with paper around them.

    Attributes:
        image_ms: for each image, the median of the repeats.
    """

    label: str
    images: int
    image_ms: float


class _Round(NamedTuple):
    """Formulas that were read, and what that took."""

    formulas: int
    seconds: float
    joules: dict[str, float]


@dataclass
class _Work:
    """What is told of one configuration with a number of workers."""

    contender: BundleContender
    workers: int
    read: Callable[[Formula], object]
    rounds: list[_Round] = field(default_factory=list)

    def run(self, formulas: Sequence[Formula], at_least_s: float, watch: Watch) -> None:
        """Read all formulas, again and again, so long at least."""
        before, began, count = watch.joules(), perf_counter(), 0
        pending: deque[Future[object]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            while not count or perf_counter() - began < at_least_s:
                for formula in formulas:
                    if self.workers == 1:
                        self.read(formula)
                        continue
                    # none waits for the last of a round: the next one is there already
                    pending.append(pool.submit(self.read, formula))
                    if len(pending) > 2 * self.workers:
                        pending.popleft().result()
                count += len(formulas)
            for each in pending:
                each.result()
        seconds = perf_counter() - began
        self.rounds.append(_Round(count, seconds, _spent(before, watch.joules())))

    def summary(self) -> Throughput:
        rounds = self.rounds
        total = sum(each.formulas for each in rounds)
        seconds = sum(each.seconds for each in rounds)
        names = [name for name in rounds[0].joules if all(name in each.joules for each in rounds)]
        spent = {name: sum(each.joules[name] for each in rounds) for name in names}
        return Throughput(
            self.contender.configuration.label,
            self.workers,
            total,
            of_repeats([each.formulas / each.seconds for each in rounds], total / seconds),
            {
                name: of_repeats(
                    [each.joules[name] / each.formulas for each in rounds], spent[name] / total
                )
                for name in names
                if all(each.joules[name] > 0 for each in rounds)
            },
            {name: joules / seconds for name, joules in spent.items()},
        )


def idle_watts(watch: Watch, seconds: float = _IDLE_S) -> dict[str, float]:
    """What the machine takes while this process does nothing, by source of energy."""
    before = watch.joules()
    if not before:
        return {}
    time.sleep(seconds)
    after = watch.joules()
    return {name: joules / seconds for name, joules in _spent(before, after).items()}


def _spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Joules between two moments, of the sources that told them at both."""
    return {name: after[name] - before[name] for name in before if name in after}


def measure_offline(
    contenders: Sequence[BundleContender],
    formulas: Sequence[Formula],
    *,
    processors: int,
    seconds: float,
    repeats: int,
    watch: Watch,
) -> tuple[list[Throughput], bool]:
    """Keep every configuration at work, `seconds` in all repeats together. Ctrl-C ends that; the
    rounds that were finished are kept.

    Args:
        processors: that this process may use: with one thread each, as many formulas are read at
            the same time, too.
        formulas: that all of them can read.

    Returns:
        What was found, and whether it was stopped.
    """
    work = []
    for contender in contenders:
        own = contender.configuration
        recognizer = load(contender.bundle, own.runtime, own.precision, own.threads)
        for workers in dict.fromkeys((1, processors if own.threads == 1 else 1)):
            work.append(_Work(contender, workers, _reader(recognizer, contender)))
    interrupted = False
    try:
        with Progress(repeats * len(work), "offline") as progress:
            for turn in range(repeats):
                first = turn % len(work)
                for each in work[first:] + work[:first]:
                    each.run(formulas, seconds / repeats, watch)
                    progress.advance()
    except KeyboardInterrupt:
        interrupted = True
    return [each.summary() for each in work if each.rounds], interrupted


def measure_batches(
    contenders: Sequence[BundleContender],
    formulas: Sequence[Formula],
    preprocessing: Preprocessing,
    repeats: int,
) -> list[Batch]:
    """Give encoders images in batches: those of like size together, as large as the largest."""
    images = sorted(
        (prepare_image(each.source, preprocessing, each.name) for each in formulas),
        key=lambda image: image.shape[2] * image.shape[3],
    )
    sizes = [size for size in BATCHES if size <= len(images)]
    models: dict[str, Any] = {}
    for each in contenders:
        own = each.configuration
        if own.engine not in models:
            models[own.engine] = load(each.bundle, own.runtime, own.precision, own.threads).model
    times: dict[tuple[str, int], list[float]] = {way: [] for way in product(models, sizes)}
    with Progress((1 + repeats) * len(times), "batches") as progress:
        for turn in range(1 + repeats):
            for name, size in times:
                batches = [_together(images[at : at + size]) for at in range(0, len(images), size)]
                began = perf_counter()
                for batch in batches:
                    models[name].encode(batch)
                if turn:  # the first warms up
                    times[name, size].append(1e3 * (perf_counter() - began) / len(images))
                progress.advance()
    return [Batch(name, size, median(each)) for (name, size), each in times.items()]


def _reader(recognizer: Recognizer, contender: BundleContender) -> Callable[[Formula], object]:
    beams, constrain = contender.configuration.beams, contender.constrain
    return lambda formula: recognizer(
        parsed(formula), beam=beams, constrain=constrain, name=formula.name
    )


def _together(images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """[1, channels, h, w] each -> [batch, channels, h, w], the smaller ones with paper to the right
    and below"""
    channels, height, width = (max(image.shape[axis] for image in images) for axis in (1, 2, 3))
    batch = np.zeros((len(images), channels, height, width), np.float32)
    for number, image in enumerate(images):
        batch[number, :, : image.shape[2], : image.shape[3]] = image[0]
    return batch
