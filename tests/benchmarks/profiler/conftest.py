"""Contenders whose times are made up, so that what comes of them is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.profiler.contender import Configuration, Reader, Reading
from inktex.benchmarks.profiler.dataset import DataSet, fingerprint
from inktex.benchmarks.profiler.measurement import ranking, ratios, summary
from inktex.benchmarks.profiler.profile import DataFacts, Profile
from inktex.benchmarks.profiler.single_stream import Effort, measure_streams
from inktex.core.errors import InputError

EFFORT = Effort(samples=12, seconds=0, repeats=3, warm_up=0)
NOISE = (0.0, 0.01, 0.02)
FACTS: dict[str, Any] = {
    "date": "2026-11-26 03:00 UTC", "commit": None, "load_1m": 0.1, "cpu": "made up",
    "instructions": [], "processors": 2, "memory_gb": 8.0, "system": "none", "python": "3.11",
    "inktex": "0.1.0", "onnxruntime": None, "numpy": "2.0", "pillow": "12",
}  # fmt: skip
BUNDLE: dict[str, Any] = {"path": "none", "manifest_sha256": "0" * 64, "variants": ["x fp32"]}


@dataclass
class Made:
    """Reads formula n in `times_ms(n)`, times 1 + `noise` of the repeat.

    Attributes:
        order: names of all that was read, by all who share the list.
        stop_at: the reading at which somebody presses Ctrl-C.
        refused: names of formulas that it does not take.
    """

    name: str
    factor: float = 1.0
    noise: Sequence[float] = (0.0,)
    order: list[str] = field(default_factory=list)
    stop_at: int | None = None
    refused: tuple[str, ...] = ()
    trained: bool = True
    beams: int = 1
    loads: int = 0

    def __post_init__(self) -> None:
        self._readings: Iterator[int] = count(1)

    @property
    def configuration(self) -> Configuration:
        return Configuration("inktex", self.name, "fp32", 1, self.beams)

    def load(self) -> Reader:
        noise = self.noise[self.loads % len(self.noise)]
        self.loads += 1

        def read(formula: Formula) -> Reading:
            if next(self._readings) == self.stop_at:
                raise KeyboardInterrupt
            if formula.name in self.refused:
                raise InputError(f"{formula.name}: too large")
            self.order.append(f"{self.name} {formula.name}")
            total_ms = self.factor * (1 + noise) * (10 + int(formula.name))
            stages = {"encode": 0.4 * total_ms, "step": 0.5 * total_ms, "search": 0.1 * total_ms}
            return Reading(total_ms, formula.caption or (), 2, stages)

        return read


@pytest.fixture
def made() -> Callable[..., Made]:
    return Made


@pytest.fixture
def numbers() -> DataSet:
    """Four formulas, named after their numbers."""
    formulas = tuple(
        Formula(str(number), [[[0, 0], [9, number]]], ("x", "^", str(number)))
        for number in range(4)
    )
    return DataSet("numbers", formulas, (100, 200, 300, 400), 0, fingerprint(formulas))


@pytest.fixture
def profile(made: Callable[..., Any], numbers: DataSet) -> Callable[..., Profile]:
    """Makes profiles of contenders with times that are made up."""

    def make(*factors: float) -> Profile:
        contenders = [
            made(name, factor, NOISE) for name, factor in zip("abc", factors, strict=False)
        ]
        streams = measure_streams(contenders, numbers.formulas, EFFORT)
        first = streams.each[0]
        return Profile(
            "inktex bench", FACTS, BUNDLE,
            DataFacts(numbers.source, 4, 0, True, numbers.fingerprint), EFFORT, ["a note"],
            measurements=[summary(each, streams, numbers) for each in streams.each],
            ratios=ratios(
                streams.each, {each.configuration.label: first for each in streams.each}
            ),
            ranking=ranking(streams.each),
        )  # fmt: skip

    return make
