"""The table of quantisation as a plot and as a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import page
from .quantization import VALIDATION, Row, header, pareto
from .report import MB

_LAYERS_SHOWN = 12


def plot(rows: Sequence[Row]) -> bytes:
    """ExpRate on validation against the time for a formula, both to float32 on the same runtime,
    as PNG; a disc's area is the size of the graphs, those that none beats are joined."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    timed = [row for row in rows if row.total is not None]
    best = sorted(pareto(rows), key=lambda row: row.total or 0)
    for number, row in enumerate(timed, start=1):
        place = (row.total or 0, 100 * row.sets[VALIDATION]["exact"])
        axes.scatter(
            *place,
            s=40 * row.size / MB,
            alpha=0.5,
            color="tab:blue" if row in best else "tab:gray",
            label=f"{number}  {row.way}, {row.size / MB:.1f} MB",
        )
        axes.annotate(str(number), place, fontsize=8, ha="center", va="center")
    if timed:
        axes.legend(
            *axes.get_legend_handles_labels(),
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            fontsize=8,
            markerscale=0.3,
        )
    axes.plot(
        [row.total or 0 for row in best],
        [100 * row.sets[VALIDATION]["exact"] for row in best],
        color="tab:blue",
        linewidth=0.8,
    )
    axes.set_xlabel("time for a formula, greedy: share of float32's on the same runtime")
    axes.set_ylabel("exact on validation, %")
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def write_page(
    path: Path, rows: Sequence[Row], problems: Mapping[str, str], facts: Sequence[str], png: bytes
) -> None:
    """The page: facts, plot, table, and for each controlled row the layers that hurt.

    Args:
        problems: by row, why it could not be measured.
        facts: lines on machine, versions and bundle.
    """
    sets = list(rows[0].sets) if rows else []
    page.write_page(
        path,
        Path(__file__).parent / "data" / "quantization.html",
        facts=facts,
        plot=base64.b64encode(png).decode(),
        header=header(sets),
        rows=[row.cells() for row in rows],
        problems=problems,
        controls=[(row.way, row.form, _layers(row.control)) for row in rows if row.control],
    )


def layer_lines(rows: Sequence[Row]) -> list[str]:
    """For each controlled row, in Markdown: the layers that are kept, and those that hurt most."""
    lines = []
    for row in rows:
        if row.control:
            kept = ", ".join(f"`{name}`" for name in row.control["kept"]) or "none"
            lines.append(f"{row.way}: in float32: {kept}")
            lines += [f"- {name}: {told}" for name, told in _layers(row.control)]
    return lines


def _layers(control: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The first layers of a control with what quantising each alone does."""
    found = []
    for each in control["layers"][:_LAYERS_SHOWN]:
        told = (
            f"{100 * each['agreement_share']:.2f} % of tokens equal, divergence "
            f"{each['agreement']['divergence']:.1e}"
        )
        if each["drop"]:
            told += f", {each['drop']['points']:+.2f} points lost"
        if each["layer"] in control["kept"]:
            told += "; kept in float32"
        found.append((each["layer"], told))
    return found
