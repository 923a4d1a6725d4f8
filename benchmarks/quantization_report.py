"""The table of quantisation in its folder: as text, for programs, as a plot and as a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import page
from . import tradeoff
from .quantization import VALIDATION, Row, header, pareto
from .report import lines_of, table, write_json
from .tradeoff import Spot

_LAYERS_SHOWN = 12


def write_report(
    folder: Path, report: Mapping[str, Any], rows: Sequence[Row], problems: Mapping[str, str]
) -> None:
    """table.md, rows.json, pareto.png and report.html of the rows.

    Args:
        report: command, environment and bundle of the call that adds to them.
        problems: by row, why it could not be measured.
    """
    facts = [*lines_of(report["environment"], report["bundle"]), *origin_lines(rows)]
    told = [f"{way}: {problem}" for way, problem in problems.items()]
    parts = [
        f"    {report['command']}",
        "\n".join(f"- {line}" for line in facts),
        table(header(rows[0].sets), [row.cells() for row in rows]),
        "\n".join([*layer_lines(rows), *told]),
    ]
    (folder / "table.md").write_text("\n\n".join(parts).rstrip() + "\n", encoding="utf-8")
    found: dict[str, Any] = {"rows": [vars(row) for row in rows], "problems": problems}
    write_json(folder / "rows.json", {**report, **found})
    png = plot(rows)
    (folder / "pareto.png").write_bytes(png)
    write_page(folder / "report.html", rows, problems, [report["command"], *facts], png)


def origin_lines(rows: Sequence[Row]) -> list[str]:
    """When, and of which commit, which rows were measured; nothing where all were at once."""
    origins: dict[str, list[str]] = {}
    for row in rows:
        origins.setdefault(row.origin, []).append(row.way)
    if len(origins) == 1:
        return []
    return [f"measured {origin}: {', '.join(of)}" for origin, of in origins.items()]


def plot(rows: Sequence[Row]) -> bytes:
    """ExpRate on validation against the time for a formula, both to float32 on the same runtime,
    as PNG; a disc's area is the size of the graphs, those that none beats are joined."""
    timed = [row for row in rows if row.total is not None]
    best = pareto(rows)
    return tradeoff.plot(
        [
            Spot(str(row.way), row.total or 0, 100 * row.sets[VALIDATION]["exact"], row.size)
            for row in timed
        ],
        [number for number, row in enumerate(timed) if row in best],
        "time for a formula, greedy: share of float32's on the same runtime",
    )


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
