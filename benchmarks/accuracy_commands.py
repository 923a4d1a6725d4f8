"""`inktex benchmark accuracy` and `robustness`: how well a bundle reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtimes import options as reading
from . import options
from .reporting import begin, chosen_for, end, precisions_of

if TYPE_CHECKING:
    from .accuracy import Row
    from .robustness import Outcome

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("--data", required=True, type=_PATH, help="The folder that holds crohme/.")
@click.option(
    "--sets", callback=options.names, default="2014,2016", show_default=True, metavar="LIST"
)
@click.option(
    "--from",
    "kinds",
    callback=options.names,
    default="ink,bitmaps",
    show_default=True,
    metavar="LIST",
    help="The distributed InkML, or the canonical bitmaps.",
)
@options.precision
@options.beam
@reading.grammar
@options.limit
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes, of one thread each. [default: a processor each]",
)
@click.option("--readings", type=_PATH, metavar="DIR", help="Write every reading, a file a row.")
@options.json_report
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
    from ..core.replacement import make_folder
    from ..runtimes.processors import available_processors
    from ..training.evaluation import write_readings
    from .accuracy import HEADER, KINDS, measure_accuracy
    from .report import row_of, table, write_json

    if unknown := sorted(set(kinds) - set(KINDS)):
        raise click.UsageError(f"--from: expected {' or '.join(KINDS)}, found {unknown[0]}")
    opened, report = begin("accuracy", bundle, json_file)
    chosen = precisions_of(opened, precisions)
    # once for all processes
    running = chosen_for(opened, chosen, threads=1)
    runtimes = {precision: each.runtime for precision, each in running.items()}
    report["options"] = {"grammar": grammar, "limit": limit, "runtimes": runtimes}
    rows: list[dict[str, Any]] = []
    if readings is not None:
        make_folder(readings, "--readings")

    def finished(row: Row) -> None:
        click.echo(row_of(row.cells()))
        rows.append(row.to_dict())
        if readings is not None:
            setting = row.setting
            search = setting.search.replace(" ", "-")
            name = f"{setting.test_set}-{setting.kind}-{setting.precision}-{search}"
            write_readings(readings / f"{name}.jsonl", row.readings)
        if json_file is not None:
            write_json(json_file, {**report, "rows": rows})

    click.echo(table(HEADER, []))
    measured = measure_accuracy(
        opened,
        data,
        test_sets=sets,
        kinds=kinds,
        precisions=chosen,
        runtimes=runtimes,
        beams=beams,
        constrain=grammar,
        limit=limit,
        workers=workers or available_processors(),
        finished=finished,
    )
    for row in measured:
        for message, count in row.errors.items():
            click.echo(f"{' '.join(row.cells()[:4])}: {count} not read: {message}", err=True)


@click.command()
@click.argument("bundle", type=_PATH)
@click.argument("data", type=_PATH)
@reading.precision
@reading.beam
@options.limit
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Of what is random in a condition.",
)
@click.option(
    "--only", metavar="WORDS", help="Only the conditions with this in their names, and plain ones."
)
@click.option("--sheet", type=_PATH, metavar="PNG", help="Draw the first formula in each way.")
@options.json_report
def robustness(
    bundle: Path,
    data: Path,
    precision: str,
    beam: int | None,
    limit: int | None,
    seed: int,
    only: str | None,
    sheet: Path | None,
    json_file: Path | None,
) -> None:
    """Read the formulas of an ink set turned, slanted, drawn otherwise, and as photos.

    Ink comes turned, slanted, stretched, with half of its points, with its strokes in another order
    or half of them backwards; images in several sizes and with several pens, and as photos: with a
    tint, blur, noise and the traces of JPEG, then also on ruled paper, in a shadow and at an angle.
    Each is compared with the plain ink, or the plain bitmap.

    \b
    Examples:
      inktex benchmark robustness my-bundle 2014.inkset --json robustness.json
      inktex benchmark robustness my-bundle 2014.inkset --only photo --sheet photo.png --limit 200
    """
    from ..core.replacement import check_writable
    from ..runtimes import load
    from ..training.contact_sheet import write_contact_sheet
    from ..training.inkset import load_inkset
    from ..training.split import spread
    from .report import row_of, table
    from .robustness import HEADER, conditions, measure_robustness, picture

    if sheet is not None:
        check_writable(sheet, "--sheet")
    chosen = conditions(only or "")
    expressions = spread(load_inkset(data), limit)
    opened, report = begin("robustness", bundle, json_file)
    recognizer = load(opened, precision=precision)

    running = recognizer.running
    settings = {"precision": precision, "beam": beam, "limit": limit, "seed": seed}
    if running is not None:
        settings |= {"runtime": running.runtime, "precision": running.precision}
    outcomes: list[Outcome] = []

    def finished(outcome: Outcome) -> None:
        click.echo(row_of(outcome.cells()))
        outcomes.append(outcome)
        end(report, json_file, options=settings, rows=[each.to_dict() for each in outcomes])

    click.echo(table(HEADER, []))
    measure_robustness(recognizer, expressions, chosen, beam=beam, seed=seed, finished=finished)
    if sheet is not None:
        write_contact_sheet(sheet, picture(expressions[0], chosen, seed))
