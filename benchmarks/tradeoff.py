"""What accuracy costs: which of several ways no other beats, and a plot of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .report import MB

Way = TypeVar("Way")


@dataclass(frozen=True)
class Spot:
    """One way, as it is drawn.

    Attributes:
        name: for the legend.
        time, accuracy: in the units of the axes.
        size: bytes.
    """

    name: str
    time: float
    accuracy: float
    size: int


def unbeaten(ways: Sequence[Way], costs: Callable[[Way], tuple[float, ...]]) -> list[Way]:
    """The ways that no other beats, in their order: which costs no more in any respect, and less in
    one."""
    return [
        way
        for way in ways
        if not any(
            costs(other) != costs(way)
            and all(a <= b for a, b in zip(costs(other), costs(way), strict=True))
            for other in ways
        )
    ]


def plot(
    spots: Sequence[Spot],
    best: Collection[int],
    time: str,
    accuracy: str = "exact on validation, %",
    less_is_better: bool = False,
) -> bytes:
    """Accuracy on validation against time, as PNG; a disc's area is the size.

    Args:
        best: the numbers of the spots that no other beats, which are joined.
        time, accuracy: what the axes say of them.
        less_is_better: of the accuracy, as of a loss; the better ways are at the top all the same.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, spot in enumerate(spots):
        axes.scatter(
            spot.time,
            spot.accuracy,
            s=40 * spot.size / MB,
            alpha=0.5,
            color="tab:blue" if number in best else "tab:gray",
            label=f"{number + 1}  {spot.name}, {spot.size / MB:.1f} MB",
        )
        place = (spot.time, spot.accuracy)
        axes.annotate(str(number + 1), place, fontsize=8, ha="center", va="center")
    if spots:
        axes.legend(
            *axes.get_legend_handles_labels(),
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            fontsize=8,
            markerscale=0.3,
        )
    line = sorted((spots[number] for number in best), key=lambda spot: spot.time)
    axes.plot(
        [spot.time for spot in line],
        [spot.accuracy for spot in line],
        color="tab:blue",
        linewidth=0.8,
    )
    axes.set_xlabel(time)
    axes.set_ylabel(accuracy)
    if less_is_better:
        axes.invert_yaxis()
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
