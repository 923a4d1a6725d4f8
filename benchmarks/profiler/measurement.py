"""What a run says of each configuration, and of each against another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...core.metrics import score
from ...training.split import spread
from .contender import IN_RUNTIME, STAGES, Configuration, Reading
from .dataset import DataSet
from .distribution import Distribution, early_stopping
from .noise import Interval, of_repeats
from .single_stream import Stream, Streams

_DECODING = ("step", "adapter", "search")  # the adapter gathers the beams after each step
_POINTS = 150  # formulas of which a report keeps the times, to draw growth


@dataclass(frozen=True)
class Accuracy:
    """How well it read, of formulas whose caption is known.

    Attributes:
        exact, within_1, token_errors: shares, as in `core.metrics`.
    """

    formulas: int
    exact: float
    within_1: float
    token_errors: float


@dataclass(frozen=True)
class Point:
    """A formula: its size as the bundle sees it, and the medians of its times over all passes, in
    milliseconds; `decode_ms` is that of the step graph, the adapter and the search."""

    area: int
    tokens: int
    steps: int
    encode_ms: float
    decode_ms: float
    total_ms: float


@dataclass(frozen=True)
class Measurement:
    """A configuration in the single-stream scenario.

    Attributes:
        trained: whether its answers mean anything.
        total_ms: of all readings.
        bounds_ms: of p90 and p99, what they are at most, by early stopping; None where there are
            too few readings to say.
        spread: of p50, p90 and the mean of the totals, with what noise leaves open.
        stages_ms: means, in the order of `STAGES`; none for who does not tell them.
        steps, tokens: means, of a formula.
        tokens_per_second: of the answers, for all the time there is.
        accuracy: None where no captions are known, or nothing is trained.
    """

    label: str
    configuration: Configuration
    trained: bool
    total_ms: Distribution
    bounds_ms: dict[str, float | None]
    spread: dict[str, Interval]
    stages_ms: dict[str, float]
    steps: float
    tokens: float
    tokens_per_second: float
    accuracy: Accuracy | None
    points: list[Point]

    @property
    def step_ms(self) -> float | None:
        """Of the decoder's graph, for each step."""
        if not self.steps or "step" not in self.stages_ms:
            return None
        return self.stages_ms["step"] / self.steps

    @property
    def outside(self) -> float | None:
        """The share of the time that is not spent inside the runtime."""
        if not self.stages_ms:
            return None
        # profiles from before there was rescoring do without it
        inside = sum(self.stages_ms.get(stage, 0.0) for stage in IN_RUNTIME)
        return 1 - inside / self.total_ms.mean


@dataclass(frozen=True)
class Ratio:
    """The time of a configuration for each time of another, formula by formula: the median.

    Attributes:
        total: of all of it, and so also of a longer or shorter answer.
        encode, step: of the encoder, and of one step of the decoder, their graphs; None where one
            of the two does not tell.
    """

    label: str
    baseline: str
    total: Interval
    encode: Interval | None
    step: Interval | None


def summary(stream: Stream, streams: Streams, data: DataSet) -> Measurement:
    """What a stream says by itself."""
    readings = stream.readings
    totals = [each.total_ms for each in readings]
    whole = Distribution.of(totals)
    parts = [
        Distribution.of([each.total_ms for each in repeat.readings]) for repeat in stream.repeats
    ]
    told = all(each.stages_ms for each in readings)
    return Measurement(
        label=stream.configuration.label,
        configuration=stream.configuration,
        trained=stream.trained,
        total_ms=whole,
        bounds_ms={f"p{share}": early_stopping(totals, share / 100) for share in (90, 99)},
        spread={
            name: of_repeats([getattr(each, name) for each in parts], getattr(whole, name))
            for name in ("p50", "p90", "mean")
        },
        stages_ms=_mean_stages(readings) if told else {},
        steps=sum(each.steps for each in readings) / len(readings),
        tokens=sum(len(each.tokens) for each in readings) / len(readings),
        tokens_per_second=1e3 * sum(len(each.tokens) for each in readings) / sum(totals),
        accuracy=_accuracy(stream, streams, data),
        points=_points(stream, streams, data),
    )


def ratio_of(one: Stream, other: Stream) -> Ratio:
    """Of two streams of the same run."""
    total = _paired(one, other, lambda reading: reading.total_ms)
    assert total is not None
    return Ratio(
        one.configuration.label,
        other.configuration.label,
        total,
        _paired(one, other, lambda reading: reading.stages_ms.get("encode", 0.0)),
        _paired(
            one, other, lambda reading: reading.stages_ms.get("step", 0.0) / max(reading.steps, 1)
        ),
    )


def _paired(one: Stream, other: Stream, value: Callable[[Reading], float]) -> Interval | None:
    """The quotient of a value of two readings of the same formula: of each repeat the median. None
    where a value is not told."""
    pairs = [
        [
            (value(mine), value(theirs))
            for mine, theirs in zip(own.readings, its.readings, strict=True)
        ]
        for own, its in zip(one.repeats, other.repeats, strict=True)
    ]
    if any(min(pair) <= 0 for repeat in pairs for pair in repeat):
        return None
    return of_repeats([median(a / b for a, b in repeat) for repeat in pairs])


def ratios(streams: Sequence[Stream], baselines: Mapping[str, Stream]) -> list[Ratio]:
    """Every stream against its baseline, by label, where that is another."""
    return [
        ratio_of(each, baselines[each.configuration.label])
        for each in streams
        if baselines[each.configuration.label] is not each
    ]


def ranking(streams: Sequence[Stream]) -> list[list[str]]:
    """The labels, the quickest first; what noise cannot tell from the first of a rank shares it."""
    ordered = sorted(
        streams, key=lambda stream: Distribution.of([each.total_ms for each in stream.readings]).p50
    )
    ranks: list[list[Stream]] = []
    for stream in ordered:
        ratio = ratio_of(stream, ranks[-1][0]).total if ranks else None
        if ratio is None or (ratio.separates and ratio.value > 1):
            ranks.append([stream])
        else:  # also where the medians say one thing, and the formulas one by one the other
            ranks[-1].append(stream)
    return [[each.configuration.label for each in rank] for rank in ranks]


def _mean_stages(readings: Sequence[Reading]) -> dict[str, float]:
    return {
        stage: sum(each.stages_ms.get(stage, 0.0) for each in readings) / len(readings)
        for stage in STAGES
    }


def _by_formula(stream: Stream) -> list[list[Reading]]:
    """The readings of every formula, in the order of a pass."""
    passes = [each for repeat in stream.repeats for each in repeat.passes]
    longest = max(map(len, passes))
    return [[one[place] for one in passes if place < len(one)] for place in range(longest)]


def _accuracy(stream: Stream, streams: Streams, data: DataSet) -> Accuracy | None:
    pairs = [
        (caption, readings[0].tokens)
        for number, readings in zip(streams.kept, _by_formula(stream), strict=False)
        if (caption := data.formulas[number].caption) is not None
    ]
    if not pairs or not stream.trained:
        return None
    found = score([caption for caption, _ in pairs], [tokens for _, tokens in pairs])
    return Accuracy(found.count, found.exact, found.within_1, found.token_error_rate)


def _points(stream: Stream, streams: Streams, data: DataSet) -> list[Point]:
    rows = list(zip(streams.kept, _by_formula(stream), strict=False))
    return [
        Point(
            data.areas[number],
            len(readings[0].tokens),
            readings[0].steps,
            median(each.stages_ms.get("encode", 0.0) for each in readings),
            median(sum(each.stages_ms.get(stage, 0.0) for stage in _DECODING) for each in readings),
            median(each.total_ms for each in readings),
        )
        for number, readings in spread(rows, _POINTS)
    ]
