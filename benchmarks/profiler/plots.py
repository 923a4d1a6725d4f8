"""A profile as plots, each an SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from .growth import Growth
    from .measurement import Measurement
    from .offline import Batch
    from .profile import Profile

_WIDTH = 9.0  # inches
_BAR = 0.45  # inches of height for each configuration


def plots(profile: Profile) -> list[tuple[str, str]]:
    """The title of the section that each belongs to, and an SVG."""
    with rc_context({"text.parse_math": False}):  # a label may hold a dollar
        return list(_plots(profile))


def _plots(profile: Profile) -> Iterator[tuple[str, str]]:
    if profile.measurements:
        yield "One after the other", latencies(profile.measurements)
        staged = [each for each in profile.measurements if each.stages_ms]
        if staged:
            yield "Where the time goes", stages(staged)
    for _, group in groupby(sorted(profile.growth, key=_what), key=_what):
        yield "Growth", growth(list(group))
    if profile.batches:
        yield "Batches of the encoder", batches(profile.batches)


def latencies(measurements: Sequence[Measurement]) -> str:
    """From p50 to p99 of every configuration, with what noise leaves open of p50 and p90."""
    figure, axes = _figure(1.2 + _BAR * len(measurements))
    for row, each in enumerate(measurements):
        times = each.total_ms
        axes.plot([times.p50, times.p99], [row, row], color="0.7", zorder=1)
        for name, marker in (("p50", "o"), ("p90", "s")):
            spread = each.spread[name]
            off = [[0.0], [0.0]]
            if spread.low is not None and spread.high is not None:
                off = [[spread.value - spread.low], [spread.high - spread.value]]
            axes.errorbar(
                spread.value, row, xerr=off, marker=marker, color="C0", capsize=3,
                label=name if not row else None,
            )  # fmt: skip
        axes.plot(times.p99, row, "|", color="0.4", label="p99" if not row else None)
    _label_rows(axes, [each.label for each in measurements])
    axes.set(xlabel="ms", xscale="log")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    return _svg(figure)


def stages(measurements: Sequence[Measurement]) -> str:
    """The mean of every stage, end to end."""
    figure, axes = _figure(1.2 + _BAR * len(measurements))
    left = np.zeros(len(measurements))
    for stage in measurements[0].stages_ms:
        widths = np.array([each.stages_ms[stage] for each in measurements])
        axes.barh(range(len(measurements)), widths, left=left, label=stage)
        left += widths
    _label_rows(axes, [each.label for each in measurements])
    axes.set(xlabel="ms, mean")
    figure.legend(loc="outside upper center", ncols=6, fontsize="small")
    return _svg(figure)


def growth(laws: Sequence[Growth]) -> str:
    """What was measured as points, the fitted laws as lines."""
    figure, axes = _figure(4.5)
    for number, each in enumerate(laws):
        x, y = zip(*each.points, strict=True)
        colour = f"C{number % 10}"
        axes.plot(x, y, ".", color=colour, alpha=0.5)
        line = np.linspace(min(x), max(x), 50)
        axes.plot(
            line, [each.at(place) for place in line], color=colour,
            label=f"{each.label}: {each.law}",
        )  # fmt: skip
    axes.set(title=laws[0].what, xlabel=laws[0].x, ylabel=laws[0].y)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="x-small")
    return _svg(figure)


def batches(rows: Sequence[Batch]) -> str:
    """Milliseconds an image against images in a batch."""
    figure, axes = _figure(3.5)
    for label in dict.fromkeys(each.label for each in rows):
        own = [each for each in rows if each.label == label]
        axes.plot([each.images for each in own], [each.image_ms for each in own], "o-", label=label)
    axes.set(xlabel="images at a time", ylabel="encoder, ms an image")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    return _svg(figure)


def _what(law: Growth) -> str:
    return law.what


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _label_rows(axes: Any, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.invert_yaxis()


def _svg(figure: Figure) -> str:
    """Without the XML head, so that it can stand in a page; letters stay letters."""
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "inktex"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
