"""`inktex benchmark`: accuracy, latency, memory, start, throughput and size of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..core.bundle import Bundle
    from .accuracy import Row

_PATH = click.Path(path_type=Path)
_BUSY = 0.5


class _List(click.ParamType):
    """Values between commas: names, or whole numbers > 0."""

    name = "list"

    def __init__(self, kind: type[str] | type[int]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """A tuple of the values."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(parts) or (self.kind is int and not all(_is_count(part) for part in parts)):
            wanted = "whole numbers > 0" if self.kind is int else "names"
            self.fail(f"expected {wanted} between commas, found {value!r}", param, ctx)
        return tuple(dict.fromkeys(map(self.kind, parts)))


def _is_count(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


_precision = click.option(
    "--precision",
    "precisions",
    type=_List(str),
    default="fp32,int8",
    show_default=True,
    metavar="LIST",
    help="Which of the bundle's variants.",
)
_beam = click.option(
    "--beam",
    "beams",
    type=_List(int),
    default="1,5",
    show_default=True,
    metavar="LIST",
    help="Hypotheses to follow; 1 is greedy.",
)
_limit = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Use only so many formulas, spread over the data.",
)
_grammar = click.option("--grammar/--no-grammar", default=True, help="Well-formed LaTeX only.")
_json = click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write a JSON report.")
_one_precision = click.option(
    "--precision",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Which of the bundle's variants; auto is its first.",
)
_one_beam = click.option(
    "--beam",
    type=click.IntRange(min=1),
    metavar="N",
    help="Hypotheses to follow; 1 is greedy. [default: the bundle's]",
)


@click.group()
def benchmark() -> None:
    """Measure a bundle: accuracy, latency, memory, start, throughput and size.

    Tables come out as Markdown, on standard output; progress on standard error. DATA is an ink set
    (`inktex data import`), or a zip or folder of InkML, JSON strokes or images. Leave the machine
    alone meanwhile.

    \b
    Examples:
      inktex benchmark accuracy my-bundle --data ../shared/data
      inktex benchmark latency my-bundle 2016.inkset
      inktex benchmark start my-bundle examples/square.inkml
    """


@benchmark.command()
@click.argument("bundle", type=_PATH)
@click.option("--data", required=True, type=_PATH, help="The folder that holds crohme/.")
@click.option("--sets", type=_List(str), default="2014,2016", show_default=True, metavar="LIST")
@click.option(
    "--from",
    "kinds",
    type=_List(str),
    default="ink,bitmaps",
    show_default=True,
    metavar="LIST",
    help="The distributed InkML, or the canonical bitmaps.",
)
@_precision
@_beam
@_grammar
@_limit
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes, of one thread each. [default: a processor each]",
)
@click.option("--readings", type=_PATH, metavar="DIR", help="Write every reading, a file a row.")
@_json
def accuracy(
    bundle: Path,
    data: Path,
    sets: tuple[str, ...],
    kinds: tuple[str, ...],
    precisions: tuple[str, ...],
    beams: tuple[int, ...],
    grammar: bool,
    limit: int | None,
    workers: int | None,
    readings: Path | None,
    json_file: Path | None,
) -> None:
    """Score a bundle on the CROHME test sets, in every way, in one go.

    Reads crohme/inkml/SET.zip, crohme/images/SET.zip and crohme/images/SET.tsv below --data. Every
    row of the table appears, and is in the JSON, as soon as it is complete. A formula that cannot
    be read counts as wrong.

    \b
    Examples:
      inktex benchmark accuracy my-bundle --data ../shared/data --json accuracy.json
      inktex benchmark accuracy my-bundle --data ../shared/data --sets 2014 --beam 1 --limit 50
    """
    from ..runtimes.processors import available_processors
    from ..training.evaluation import write_readings
    from .accuracy import HEADER, KINDS, measure_accuracy
    from .report import row_of, write_json

    if unknown := sorted(set(kinds) - set(KINDS)):
        raise click.BadParameter(f"--from: expected {' or '.join(KINDS)}, found {unknown[0]}")
    opened, report = _begin("accuracy", bundle)
    report["options"] = {"grammar": grammar, "limit": limit}
    rows: list[dict[str, Any]] = []
    if readings is not None:
        readings.mkdir(parents=True, exist_ok=True)

    def finished(row: Row) -> None:
        click.echo(row_of(row.cells()))
        rows.append(row.to_dict())
        if readings is not None:
            setting = row.setting
            name = f"{setting.test_set}-{setting.kind}-{setting.precision}-beam{setting.beams}"
            write_readings(readings / f"{name}.jsonl", row.readings)
        if json_file is not None:
            write_json(json_file, {**report, "rows": rows})

    click.echo(row_of(HEADER))
    click.echo("|" + "---|" * len(HEADER))
    measured = measure_accuracy(
        opened,
        data,
        test_sets=sets,
        kinds=kinds,
        precisions=precisions,
        beams=beams,
        constrain=grammar,
        limit=limit,
        workers=workers or available_processors(),
        finished=finished,
    )
    for row in measured:
        for message, count in row.errors.items():
            click.echo(f"{' '.join(row.cells()[:4])}: {count} not read: {message}", err=True)


def _begin(name: str, path: Path, json_file: Path | None = None) -> tuple[Bundle, dict[str, Any]]:
    """The bundle, and the head of a report on it, which is printed."""
    from ..core.bundle import Bundle
    from ..core.errors import DataError
    from .report import describe, environment, heading

    if json_file is not None and not json_file.parent.is_dir():
        raise DataError(f"--json: expected an existing folder, found none at {json_file.parent}")
    bundle = Bundle.open(path)
    report = {"benchmark": name, "environment": environment(), "bundle": describe(bundle)}
    load = report["environment"]["load_1m"]
    if load is not None and load > _BUSY:
        click.echo(
            f"inktex: note: the machine is at work (load {load}); times will be too long", err=True
        )
    click.echo(f"{heading(report['environment'], report['bundle'])}\n")
    return bundle, report
