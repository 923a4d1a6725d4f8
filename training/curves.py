"""The curves of a training as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..core.replacement import replacing

FILE = "curves.png"

_NOT_LOSSES = ("step", "epoch", "elapsed_s", "rate", "exp_rate")


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Losses, learning rate and validation ExpRate against the step, as a PNG of 1000 x 1200.

    An existing file is replaced only when all is written. Without rows nothing is drawn.

    Args:
        rows: of a log, as `read_log` gives them.

    Raises:
        DataError: the file cannot be written.
    """
    if not rows:
        return
    # without pyplot: no display is looked for, and nothing is kept between two pictures
    figure = Figure(figsize=(10, 12), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    losses, rate, exp_rate = figure.subplots(3, 1, sharex=True)
    for name in dict.fromkeys(name for row in rows for name in row if name not in _NOT_LOSSES):
        _plot(losses, rows, name)
    losses.set_ylabel("loss")
    losses.legend()
    _plot(rate, rows, "rate")
    rate.set_ylabel("learning rate")
    _plot(exp_rate, rows, "exp_rate", marker="o")
    exp_rate.set_ylabel("validation ExpRate [%]")
    exp_rate.set_xlabel("step")
    for axes in (losses, rate, exp_rate):
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
    with replacing(path) as partial:
        figure.savefig(partial, format="png")


def _plot(
    axes: Axes, rows: Sequence[Mapping[str, float]], name: str, marker: str | None = None
) -> None:
    known = [(row["step"], row[name]) for row in rows if name in row]
    axes.plot(
        [step for step, _ in known],
        [value for _, value in known],
        label=name,
        marker=marker,
    )
