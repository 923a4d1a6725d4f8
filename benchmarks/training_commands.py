"""Commands of `inktex benchmark` on trainings and checkpoints, which need PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .reporting import end, head

if TYPE_CHECKING:
    from .formulas import Formula
    from .front import Point
    from .studying import Outcome, Studying
    from .training_speed import Speed

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("checkpoint", type=_PATH)
@options.beam
@click.option("--height", type=click.IntRange(min=16), default=256, show_default=True, metavar="PX")
@click.option("--width", type=click.IntRange(min=16), default=1024, show_default=True, metavar="PX")
@click.option(
    "--turns",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="K",
    help="Steps of each graph.",
)
@options.json_report
def fold(
    checkpoint: Path,
    beams: tuple[int, ...],
    height: int,
    width: int,
    turns: int,
    json_file: Path | None,
) -> None:
    """Time a step of CHECKPOINT as exported, and without what the export folds and hoists.

    For recipes with convolutions over the coverage. The graphs take turns at every step.

    \b
    Examples:
      inktex benchmark fold runs/abm/last.safetensors
      inktex benchmark fold runs/abm/last.safetensors --beam 10 --height 96 --width 320
    """
    from ..training.checkpoint import Checkpoint
    from .fold import HEADER, measure_fold
    from .report import heading, table

    report = head("fold", json_file, timed=True)
    click.echo(f"{heading(report['environment'])}\n")
    sizes = {"rows": height // 16, "columns": width // 16}
    rows = measure_fold(Checkpoint.load(checkpoint), **sizes, beams=beams, turns=turns)
    click.echo(table(HEADER, [row.cells() for row in rows]))
    end(report, json_file, **sizes, turns=turns, table=[row.to_dict() for row in rows])


@click.command()
@click.argument("checkpoint", type=_PATH)
@click.argument("data", type=_PATH)
@options.limit
@options.json_report
def steps(checkpoint: Path, data: Path, limit: int | None, json_file: Path | None) -> None:
    """Time the decoder of CHECKPOINT as exported, without kept state, and without any.

    For recipes with a transformer. It writes the captions of DATA, an ink set; the encoder is not
    timed. The graphs take turns at every formula.

    \b
    Example:
      inktex benchmark steps runs/edge/last.safetensors 2016.inkset --limit 100
    """
    from ..training.checkpoint import Checkpoint
    from ..training.inkset import load_inkset
    from ..training.split import spread
    from .report import heading, table
    from .steps import HEADER, measure_steps

    report = head("steps", json_file, timed=True)
    click.echo(f"{heading(report['environment'])}\n")
    expressions = spread(load_inkset(data), limit)
    rows = measure_steps(Checkpoint.load(checkpoint), expressions)
    click.echo(table(HEADER, [row.cells() for row in rows]))
    end(report, json_file, table=[row.to_dict() for row in rows])


@click.command()
@click.argument("name", metavar="STUDY")
@click.argument("data", type=_PATH)
@click.option("--test", "tests", type=_PATH, multiple=True, help="An ink set to evaluate on.")
@click.option("-o", "--output", type=_PATH, help="Folder.  [default: runs/STUDY]")
@click.option("--budget", help="Of every arm, in place of the study's: 20cpu-m, 2h, 1000steps.")
@click.option("--jobs", type=_COUNT, default=1, show_default=True, help="Trainings at a time.")
@click.option("--threads", type=_COUNT, metavar="N", help="Of each training.")
@click.option("--seeds", type=_COUNT, default=1, show_default=True, help="Trainings of each arm.")
@click.option("--front", "timed", type=_PATH, metavar="DATA", help="Time every arm on these, too.")
@click.option(
    "--samples",
    type=_COUNT,
    default=200,
    show_default=True,
    metavar="N",
    help="Readings of each arm for --front.",
)
def study(
    name: str,
    data: Path,
    tests: tuple[Path, ...],
    output: Path | None,
    budget: str | None,
    jobs: int,
    threads: int | None,
    seeds: int,
    timed: Path | None,
    samples: int,
) -> None:
    """Train several recipes or settings under one budget, and compare what came of them.

    STUDY is one that comes with inktex (recipes, ablations, shapes, ways) or a JSON file like
    them. Every training is a process of its own with a folder and a log of its own. Budgets of
    processor time are fair to trainings side by side. Ctrl-C leaves checkpoints, and tells of the
    trainings that are done; the same command goes on.

    With --seeds 3 every arm is trained three times, and a second table tells means and standard
    deviations. All hold the same formulas out.

    With --front every arm is exported, quantised to INT8 and timed, in turn with the others, and
    the folder gets front.png: validation loss against time.

    \b
    Examples:
      inktex benchmark study recipes train.inkset --test 2014.inkset --jobs 2 --threads 1
      inktex benchmark study shapes train.inkset --jobs 2 --threads 1 --front 2014.inkset
      inktex benchmark study my-study.json train.inkset --budget 2h --seeds 3 -o runs/mine
    """
    from ..core.errors import DataError
    from ..core.replacement import make_folder
    from ..training.inkset import load_inkset
    from . import seeds as of_seeds
    from .formulas import load_formulas
    from .report import heading, table
    from .study import Study
    from .studying import Studying, header

    report = head("study", None, timed=False)
    folder = output or Path("runs") / Path(name).stem
    study = Study.read(name).with_seeds(seeds)
    studying = Studying(study, data, tests, folder, budget, jobs, threads)
    names = [test.stem for test in tests]
    # what is missing is told before anything is trained
    for test in tests:
        load_inkset(test)
    formulas = load_formulas(timed, limit=samples) if timed is not None else []
    make_folder(folder, "-o")

    def tell(outcomes: Sequence[Outcome]) -> None:
        click.echo(f"{heading(report['environment'])}\n- budget {studying.budget}\n")
        click.echo(table(header(names), [each.cells(names) for each in outcomes]))

    try:
        outcomes = studying.run()
    except (DataError, KeyboardInterrupt):
        if found := studying.done():
            tell(found)
        raise
    tell(outcomes)
    spreads = of_seeds.spreads(study.arms, outcomes)
    if spreads:
        click.echo(f"\n{table(of_seeds.header(names), [each.cells(names) for each in spreads])}")
        report = {**report, "spreads": [each.to_dict() for each in spreads]}
    if formulas:
        studying.write(outcomes, report)  # timing may be interrupted
        once = [each.mean for each in spreads] or outcomes
        points = _front(studying, once, formulas, samples)
        report = {**report, "front": [each.to_dict() for each in points]}
    studying.write(outcomes, report)


def _front(
    studying: Studying, outcomes: Sequence[Outcome], formulas: Sequence[Formula], samples: int
) -> list[Point]:
    """Time the arms, print the table and draw the front."""
    from ..core.replacement import replacing
    from ..training.inkset import load_inkset
    from .front import HEADER, measure_front, plot
    from .profiler.single_stream import Effort
    from .report import table

    effort = Effort(samples=samples, seconds=1.0, repeats=1)
    points = measure_front(studying, outcomes, formulas, load_inkset(studying.data), effort)
    click.echo(f"\n{table(HEADER, [each.cells() for each in points])}")
    with replacing(studying.folder / "front.png") as partial:
        partial.write_bytes(plot(points))
    return points


@click.command("training-speed")
@click.argument("data", type=_PATH)
@click.option(
    "--recipes",
    callback=options.names,
    default="edge,coverage,abm,mask_and_match",
    show_default=True,
    metavar="LIST",
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override a setting of them."
)
@click.option("--turns", type=_COUNT, default=3, show_default=True, help="Processes of each form.")
@click.option("--seconds", type=_COUNT, default=30, show_default=True, help="Of each process.")
@click.option("--threads", type=_COUNT, default=2, show_default=True, metavar="N")
@options.json_report
def training_speed(
    data: Path,
    recipes: tuple[str, ...],
    settings: tuple[str, ...],
    turns: int,
    seconds: int,
    threads: int,
    json_file: Path | None,
) -> None:
    """Count the formulas a second that a training learns from, against a plain loop.

    The plain loop computes the same in float32, on batches of as many formulas in random order,
    without the layout of images and the allocator that `inktex train` asks for. The two take
    turns, each time in a fresh process.

    \b
    Examples:
      inktex benchmark training-speed train.inkset
      inktex benchmark training-speed train.inkset --recipes edge --turns 5
    """
    from ..training.recipes import named
    from .report import heading, row_of, table
    from .training_speed import HEADER, measure_training_speed

    for name in recipes:
        named(name)
    report = head("training-speed", json_file, timed=True)
    click.echo(f"{heading(report['environment'])}\n")
    chosen = {"turns": turns, "seconds": seconds, "threads": threads, "settings": settings}
    rows: list[Speed] = []
    click.echo(table(HEADER, []))
    for row in measure_training_speed(
        data, recipes, settings, turns=turns, seconds=seconds, threads=threads
    ):
        click.echo(row_of(row.cells()))
        rows.append(row)
        # as soon as it is there: Ctrl-C keeps what was measured
        end(report, json_file, **chosen, table=[each.to_dict() for each in rows])
