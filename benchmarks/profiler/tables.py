"""The tables of a profile, one for each of its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..report import MB, table
from .cold_start import ColdStart
from .growth import Growth
from .live_ink import LiveInk
from .measurement import Measurement, Ratio
from .offline import Batch, Throughput
from .roofline import Roofline
from .watch import Series

_UNTRAINED = "not trained"


@dataclass(frozen=True)
class Table:
    """Cells under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        return table(self.header, self.rows)


def latency_table(measurements: Sequence[Measurement]) -> Table:
    """Latencies with their noise, and accuracy beside them."""
    header = (
        "configuration", "ms p50", "p90", "p95", "p99", "p90 / p99 at most", "tokens a second",
        "readings", "exact %", "token errors %",
    )  # fmt: skip
    return Table(header, [_latency_row(each) for each in measurements])


def _latency_row(measured: Measurement) -> list[str]:
    times = measured.total_ms
    accuracy = measured.accuracy
    if accuracy is None:
        scores = ["unknown", "unknown"] if measured.trained else [_UNTRAINED, _UNTRAINED]
    else:
        scores = [f"{100 * accuracy.exact:.1f}", f"{100 * accuracy.token_errors:.1f}"]
    bounds = (measured.bounds_ms[name] for name in ("p90", "p99"))
    return [
        measured.label,
        measured.spread["p50"].text(),
        measured.spread["p90"].text(),
        f"{times.p95:.2f}",
        f"{times.p99:.2f}",
        " / ".join("too few" if each is None else f"{each:.2f}" for each in bounds),
        f"{measured.tokens_per_second:.0f}",
        str(times.count),
        *scores,
    ]


def stage_table(measurements: Sequence[Measurement]) -> Table:
    """Mean milliseconds of every stage, and the share that is spent outside the runtime."""
    stages = list(measurements[0].stages_ms)
    header = ("configuration", *stages, "total ms", "outside the runtime", "steps", "ms a step")
    return Table(
        header,
        [
            [
                each.label,
                *(f"{each.stages_ms[stage]:.2f}" for stage in stages),
                f"{each.total_ms.mean:.2f}",
                "" if each.outside is None else f"{100 * each.outside:.1f} %",
                f"{each.steps:.1f}",
                "" if each.step_ms is None else f"{each.step_ms:.3f}",
            ]
            for each in measurements
        ],
    )


def ratio_table(ratios: Sequence[Ratio]) -> Table:
    """Times of a baseline's time, and whether noise allows to say so."""
    return Table(
        ("configuration", "for each of", "encoder", "a step", "total", "total, 95 %"),
        [
            [
                each.label,
                each.baseline,
                *("" if part is None else f"{part.value:.3f}" for part in (each.encode, each.step)),
                f"{each.total.value:.3f}",
                _verdict(each),
            ]
            for each in ratios
        ],
    )


def _verdict(ratio: Ratio) -> str:
    low, high = ratio.total.low, ratio.total.high
    if low is None or high is None:
        return "unknown: one repeat"
    bounds = f"{low:.3f} to {high:.3f}"
    return bounds if ratio.total.separates else f"{bounds}: cannot be separated"


def ranking_table(ranking: Sequence[Sequence[str]]) -> Table:
    """Ranks; what shares one cannot be separated."""
    return Table(
        ("rank", "configuration", ""),
        [
            [number, "; ".join(rank), "cannot be separated" if len(rank) > 1 else ""]
            for number, rank in enumerate(ranking, start=1)
        ],
    )


def cold_start_table(starts: Sequence[ColdStart]) -> Table:
    """What a fresh process waits for, and its memory."""
    header = (
        "configuration", "python ms", "import ms", "load ms", "first ms", "second ms",
        "to the first answer, ms", "loaded MB", "peak MB",
    )  # fmt: skip
    return Table(
        header,
        [
            [
                each.label,
                *(f"{ms:.0f}" for ms in (each.python_ms, each.import_ms, each.load_ms)),
                f"{each.first_ms:.1f}",
                "" if each.second_ms is None else f"{each.second_ms:.1f}",
                each.answer_ms.text(0),
                "unknown" if each.loaded_bytes is None else f"{each.loaded_bytes / MB:.1f}",
                f"{each.peak_bytes / MB:.1f}",
            ]
            for each in starts
        ],
    )


def growth_table(growth: Sequence[Growth]) -> Table:
    """The fitted laws."""
    return Table(
        ("what", "configuration", "law", "explained"),
        [
            [
                each.what,
                each.label,
                each.law,
                "two points" if each.explained is None else f"{100 * each.explained:.1f} %",
            ]
            for each in growth
        ],
    )


def live_table(live: Sequence[LiveInk]) -> Table:
    """What a pen waits for."""
    header = (
        "configuration", "formulas", "strokes", "an update, ms p50", "p90", "p99", "p90 at most",
        "the last stroke, ms p50", "p90", "all updates / one reading",
    )  # fmt: skip
    return Table(
        header,
        [
            [
                each.label,
                each.formulas,
                each.strokes,
                *(f"{ms:.2f}" for ms in (each.update_ms.p50, each.update_ms.p90)),
                f"{each.update_ms.p99:.2f}",
                "too few" if each.bound_ms is None else f"{each.bound_ms:.2f}",
                *(f"{ms:.2f}" for ms in (each.last_ms.p50, each.last_ms.p90)),
                f"{each.times_once:.1f}",
            ]
            for each in live
        ],
    )


def offline_table(rows: Sequence[Throughput], idle_watts: Mapping[str, float]) -> Table:
    """Formulas a second, and what each takes of energy where the machine tells."""
    energy = [
        column
        for name, watts in idle_watts.items()
        for column in (f"{name}: J a formula", f"W (idle {watts:.1f})")
    ]
    cells = []
    for each in rows:
        spent = []
        for name in idle_watts:
            joules = each.joules.get(name)
            spent.append("unknown" if joules is None else joules.text(3))
            spent.append(f"{each.watts.get(name, 0.0):.1f}")
        cells.append([each.label, each.workers, each.formulas, each.per_second.text(1), *spent])
    header = ("configuration", "at the same time", "formulas read", "formulas a second", *energy)
    return Table(header, cells)


def batch_table(batches: Sequence[Batch]) -> Table:
    """Milliseconds an image, by images in a batch."""
    sizes = sorted({each.images for each in batches})
    times = {(each.label, each.images): each.image_ms for each in batches}
    return Table(
        ("encoder, ms an image", *(f"{size} at a time" for size in sizes)),
        [
            [
                label,
                *(f"{times[label, size]:.2f}" if (label, size) in times else "" for size in sizes),
            ]
            for label in dict.fromkeys(each.label for each in batches)
        ],
    )


def roofline_tables(roofline: Roofline) -> tuple[Table, ...]:
    """The peaks, what is reached of them, and the dearest operators."""
    peaks = [
        [
            each.threads,
            *(f"{each.products[name]:.0f}" for name in ("fp32", "int8")),
            ", ".join(f"{size} MB: {speed:.1f}" for size, speed in each.copies.items()),
        ]
        for each in roofline.peaks
    ]
    reached = [
        [
            each.label,
            each.stage,
            f"{each.ms:.2f}",
            *(f"{each.operations[name]:.1f}" for name in ("fp32", "int8")),
            f"{each.megabytes:.1f}",
            f"{each.roof_ms:.2f}",
            each.bound,
            f"{100 * each.share:.0f} %",
        ]
        for each in roofline.reached
    ]
    operators = [
        [
            each.label,
            each.stage,
            each.name,
            f"{each.calls:.1f}",
            f"{each.ms:.3f}",
            f"{100 * each.share:.1f} %",
        ]
        for each in roofline.operators
    ]
    return (
        Table(("threads", "fp32 GOP/s", "int8 GOP/s", "copies, GB/s read and written"), peaks),
        Table(
            (
                "for each formula, greedy", "graph", "ms", "fp32 Mop", "int8 Mop", "MB moved",
                "roof ms", "by its", "reached",
            ),
            reached,
        ),
        Table(("configuration", "graph", "operator", "calls", "ms", "of the graph"), operators),
    )  # fmt: skip


def gauge_table(gauges: Sequence[Series]) -> Table:
    """What every gauge showed."""
    return Table(
        ("gauge", "unit", "at first", "least", "most", "at last"),
        [
            [
                each.name,
                each.unit,
                *(f"{value:.0f}" for value in (each.first, each.least, each.most, each.last)),
            ]
            for each in gauges
        ],
    )
