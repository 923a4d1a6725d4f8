"""A profile as Markdown tables, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..report import MB, heading, table
from .cold_start import ColdStart
from .measurement import Measurement, Ratio
from .profile import Profile

_UNTRAINED = "not trained"


def as_text(profile: Profile) -> str:
    """All sections that hold something, under headings."""
    return "\n\n".join(_sections(profile))


def _sections(profile: Profile) -> Iterator[str]:
    data = profile.data
    yield (
        f"{heading(profile.environment, profile.bundle)}\n"
        f"- {data.formulas} formulas of {data.source} ({data.fingerprint})"
    )
    if profile.notes or profile.interrupted:
        stopped = ["INTERRUPTED: this is what had been measured"] if profile.interrupted else []
        yield "\n".join(f"- note: {each}" for each in [*stopped, *profile.notes])
    if profile.measurements:
        yield f"## One after the other\n\n{latency_table(profile.measurements)}"
        staged = [each for each in profile.measurements if each.stages_ms]
        if staged:
            yield f"### Where the time goes\n\n{stage_table(staged)}"
    if profile.ratios:
        yield f"### Ratios\n\n{ratio_table(profile.ratios)}"
    if len(profile.measurements) > 1:
        yield f"### The quickest first\n\n{ranking_text(profile.ranking)}"
    if profile.cold_starts:
        yield f"## A fresh process\n\n{cold_start_table(profile.cold_starts)}"


def latency_table(measurements: Sequence[Measurement]) -> str:
    """Latencies with their noise, and accuracy beside them."""
    header = (
        "configuration", "ms p50", "p90", "p95", "p99", "p90 / p99 at most", "tokens a second",
        "readings", "exact %", "token errors %",
    )  # fmt: skip
    return table(header, [_latency_row(each) for each in measurements])


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


def stage_table(measurements: Sequence[Measurement]) -> str:
    """Mean milliseconds of every stage, and the share that is spent outside the runtime."""
    stages = list(measurements[0].stages_ms)
    header = (
        "configuration", *stages, "total ms", "outside the runtime", "steps", "ms a step",
        "load ms", "first ms",
    )  # fmt: skip
    return table(
        header,
        [
            [
                each.label,
                *(f"{each.stages_ms[stage]:.2f}" for stage in stages),
                f"{each.total_ms.mean:.2f}",
                "" if each.outside is None else f"{100 * each.outside:.1f} %",
                f"{each.steps:.1f}",
                "" if each.step_ms is None else f"{each.step_ms:.3f}",
                f"{each.load_ms:.0f}",
                f"{each.first_ms:.1f}",
            ]
            for each in measurements
        ],
    )


def ratio_table(ratios: Sequence[Ratio]) -> str:
    """Times of a baseline's time, and whether noise allows to say so."""
    return table(
        ("configuration", "for each of", "total", "95 %"),
        [
            [
                each.label,
                each.baseline,
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


def ranking_text(ranking: Sequence[Sequence[str]]) -> str:
    """A numbered list; what shares a rank cannot be separated."""
    return "\n".join(
        f"{number}. " + "; ".join(rank) + (" (cannot be separated)" if len(rank) > 1 else "")
        for number, rank in enumerate(ranking, start=1)
    )


def cold_start_table(starts: Sequence[ColdStart]) -> str:
    """What a fresh process waits for, and its memory."""
    header = (
        "configuration", "python ms", "import ms", "load ms", "first ms", "second ms",
        "to the first answer, ms", "loaded MB", "peak MB",
    )  # fmt: skip
    return table(
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
