"""How long one formula takes: encoder, steps and all, for several variants side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Bundle
from ..core.errors import DataError, InputError
from ..core.manifest import Variant
from ..core.progress import Progress
from ..core.step_model import StepModel
from ..runtimes import load
from ..runtimes.choice import name_of
from .formulas import Formula, spread
from .report import table

HEADER = (
    "variant", "search", "encode ms p50 / p90 / p99", "total ms p50 / p90 / p99",
    "tokens p50 / p90 / p99", "steps, mean", "ms a step", "of it in the graph",
)  # fmt: skip
RATIO_HEADER = ("variant", "search", "encode", "step", "total")


@dataclass(frozen=True)
class Distribution:
    """Of the values of all formulas."""

    p50: float
    p90: float
    p99: float
    mean: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution:
        """The distribution of `values`, which are one or more."""
        p50, p90, p99 = (float(each) for each in np.percentile(values, [50, 90, 99]))
        return cls(p50, p90, p99, float(np.mean(values)))

    def __str__(self) -> str:
        return f"{self.p50:.1f} / {self.p90:.1f} / {self.p99:.1f}"


@dataclass(frozen=True)
class Reading:
    """What one formula took, in milliseconds of the wall clock.

    Attributes:
        encode_ms: the encoder.
        decode_ms: the search, its steps included.
        graph_ms: of `decode_ms`, what was spent in the step graph.
        total_ms: from the strokes or bytes in memory to the LaTeX.
        steps: of the decoder.
        tokens: of the answer.
    """

    encode_ms: float
    decode_ms: float
    graph_ms: float
    total_ms: float
    steps: int
    tokens: int

    @property
    def step_ms(self) -> float:
        """Decoding, for each step."""
        return self.decode_ms / max(self.steps, 1)


@dataclass(frozen=True)
class Latency:
    """One row of the table: a variant with a beam, over all formulas."""

    variant: str
    beams: int
    formulas: int
    encode_ms: Distribution
    total_ms: Distribution
    tokens: Distribution
    steps: float
    step_ms: float
    graph_share: float

    @classmethod
    def of(cls, variant: str, beams: int, readings: Sequence[Reading]) -> Latency:
        """The row of a setting; `step_ms` and `graph_share` are over all steps of all formulas."""
        steps = sum(each.steps for each in readings)
        decode_ms = sum(each.decode_ms for each in readings)
        return cls(
            variant,
            beams,
            len(readings),
            Distribution.of([each.encode_ms for each in readings]),
            Distribution.of([each.total_ms for each in readings]),
            Distribution.of([each.tokens for each in readings]),
            steps / len(readings),
            decode_ms / max(steps, 1),
            sum(each.graph_ms for each in readings) / decode_ms,
        )

    def cells(self) -> list[str]:
        """The cells of the row, as `HEADER` names them."""
        tokens = f"{self.tokens.p50:.0f} / {self.tokens.p90:.0f} / {self.tokens.p99:.0f}"
        return [
            self.variant,
            _search(self.beams),
            str(self.encode_ms),
            str(self.total_ms),
            tokens,
            f"{self.steps:.1f}",
            f"{self.step_ms:.3f}",
            f"{100 * self.graph_share:.0f} %",
        ]


@dataclass(frozen=True)
class Ratio:
    """The time of a variant for each time of the first, formula by formula: the median.

    `step` compares the time of a step, `total` all of it, and so also a longer or shorter answer.
    """

    variant: str
    base: str
    beams: int
    encode: float
    step: float
    total: float

    def cells(self) -> list[str]:
        """The cells of the row, as `RATIO_HEADER` names them."""
        ratios = (f"{value:.2f}" for value in (self.encode, self.step, self.total))
        return [f"{self.variant} / {self.base}", _search(self.beams), *ratios]


@dataclass(frozen=True)
class LatencyReport:
    """All of a measurement."""

    rows: list[Latency]
    ratios: list[Ratio]
    skipped: int

    def __str__(self) -> str:
        text = table(HEADER, [each.cells() for each in self.rows])
        if self.ratios:
            text += "\n\n" + table(RATIO_HEADER, [each.cells() for each in self.ratios])
        return text

    def to_dict(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        return asdict(self)


def measure_latency(
    bundle: Bundle,
    formulas: Sequence[Formula],
    *,
    variants: Sequence[Variant],
    beams: Sequence[int],
    threads: int = 1,
    constrain: bool = True,
    warm_up: int = 20,
) -> LatencyReport:
    """Read every formula in every way, in this process, one after the other.

    The ways take turns at every formula, each being first as often as the others, so that whatever
    else the machine does meets them alike, and their ratios are fair.

    Args:
        threads: of the encoder; the step has always one.
        constrain: keep to well-formed formulas.
        warm_up: formulas that are read first, in every way, without the clock.

    Raises:
        DataError: not one formula could be read.
    """
    recognizers = {
        name_of(each): load(bundle, each.target, each.precision, threads) for each in variants
    }
    clocks = {}
    for name, recognizer in recognizers.items():
        clocks[name] = recognizer.model = StepClock(recognizer.model)
    names = list(recognizers)
    ways = list(product(names, beams))
    skipped = 0
    readings: dict[tuple[str, int], list[Reading]] = {way: [] for way in ways}
    first = spread(list(formulas), warm_up)
    with Progress((len(first) + len(formulas)) * len(ways), "latency") as progress:
        for number, formula in enumerate([*first, *formulas]):
            turn = number % len(ways)
            try:
                for name, width in ways[turn:] + ways[:turn]:
                    clock = clocks[name]
                    clock.steps, clock.graph_ms = 0, 0.0
                    result = recognizers[name](
                        formula.source, beam=width, constrain=constrain, name=formula.name
                    )
                    times = result.timings
                    if number >= len(first):
                        readings[name, width].append(
                            Reading(
                                times.encode_ms,
                                times.decode_ms,
                                clock.graph_ms,
                                times.total_ms,
                                clock.steps,
                                len(result.tokens),
                            )
                        )
            except InputError:  # in the first way already: all prepare the image alike
                skipped += number >= len(first)
            progress.advance(len(ways))
    if skipped == len(formulas):
        raise DataError("expected formulas that can be read, found none; see `inktex recognize`")
    return LatencyReport(
        [Latency.of(*way, readings[way]) for way in ways],
        [_ratio(name, names[0], width, readings) for name, width in ways if name != names[0]],
        skipped,
    )


class StepClock:
    """A `StepModel` that counts the steps of another and times them.

    Attributes:
        steps, graph_ms: since they were last set to zero.
    """

    def __init__(self, model: StepModel[Any, Any]) -> None:
        self._model = model
        self.steps = 0
        self.graph_ms = 0.0

    @property
    def vocabulary_size(self) -> int:
        """As the model's."""
        return self._model.vocabulary_size

    def encode(self, images: NDArray[np.float32]) -> Sequence[Any]:
        """As the model does."""
        return self._model.encode(images)

    def start(self, memory: Any, beams: int) -> Any:
        """As the model does."""
        return self._model.start(memory, beams)

    def step(
        self, tokens: NDArray[np.int64], memory: Any, state: Any
    ) -> tuple[NDArray[np.float32], Any]:
        """As the model does, against the clock."""
        began = perf_counter()
        result = self._model.step(tokens, memory, state)
        self.graph_ms += 1e3 * (perf_counter() - began)
        self.steps += 1
        return result

    def reorder(self, state: Any, order: NDArray[np.int64]) -> Any:
        """As the model does."""
        return self._model.reorder(state, order)


def _ratio(
    variant: str, base: str, beams: int, readings: dict[tuple[str, int], list[Reading]]
) -> Ratio:
    pairs = list(zip(readings[variant, beams], readings[base, beams], strict=True))
    return Ratio(
        variant,
        base,
        beams,
        *(
            float(np.median([getattr(one, name) / getattr(other, name) for one, other in pairs]))
            for name in ("encode_ms", "step_ms", "total_ms")
        ),
    )


def _search(beams: int) -> str:
    return "greedy" if beams == 1 else f"beam {beams}"
