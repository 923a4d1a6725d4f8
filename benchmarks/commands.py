"""`inktex benchmark`: memory, start, throughput and size of a bundle; how well it reads is
in accuracy_commands.py, what belongs to training in training_commands.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtimes import options as reading
from . import options
from .accuracy_commands import accuracy, robustness
from .quantization_commands import calibration, quantization
from .reporting import begin, chosen_for, end, precisions_of, variants_of
from .training_commands import fold, steps, study, training_speed

if TYPE_CHECKING:
    from ..core.recognizer import Running

_PATH = click.Path(path_type=Path)


@click.group()
def benchmark() -> None:
    """Measure a bundle: accuracy, robustness, memory, start, throughput, size; what quantisation
    does to it: quantization, calibration; a checkpoint: fold, steps; trainings: study,
    training-speed.

    What recognition costs by stage, and on other machines: `inktex bench`. Tables come out as
    Markdown, on standard output; progress on standard error. DATA is an ink set
    (`inktex data import`), or a zip or folder of InkML, JSON strokes or images. Leave the machine
    alone while times are taken.

    \b
    Examples:
      inktex benchmark accuracy my-bundle --data ../shared/data
      inktex benchmark memory my-bundle 2016.inkset
      inktex benchmark start my-bundle examples/01-square.inkml
    """


@benchmark.command()
@click.argument("bundle", type=_PATH)
@click.argument("data", type=_PATH)
@options.runtime
@options.precision
@options.beam
@options.limit
@click.option(
    "--passes",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    metavar="K",
    help="How often to read all of it: growth is from the first pass to the last.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes measured at the same time. [default: a processor each]",
)
@options.json_report
def memory(
    bundle: Path,
    data: Path,
    runtime: str,
    precisions: tuple[str, ...],
    beams: tuple[int, ...],
    limit: int | None,
    passes: int,
    workers: int | None,
    json_file: Path | None,
) -> None:
    """Measure the memory (RSS) of fresh processes that read DATA, and whether it grows.

    One process, with one thread, for every variant and beam; how long it takes to load is told
    too.

    \b
    Examples:
      inktex benchmark memory my-bundle 2016.inkset
      inktex benchmark memory my-bundle 2016.inkset --precision int8 --beam 5 --limit 300
    """
    from ..runtimes.processors import available_processors
    from .formulas import load_formulas
    from .memory import measure_memory, report_of

    opened, report = begin("memory", bundle, json_file)
    rows = measure_memory(
        opened,
        load_formulas(data, limit),
        variants=variants_of(opened, runtime, precisions),
        beams=beams,
        passes=passes,
        workers=workers or available_processors(),
    )
    click.echo(report_of(rows))
    end(report, json_file, rows=[row.to_dict() for row in rows])


@benchmark.command()
@click.argument("bundle", type=_PATH)
@click.argument("file", type=_PATH)
@options.precision
@reading.beam
@options.threads
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=11,
    show_default=True,
    metavar="K",
    help="How often to start each.",
)
@options.json_report
def start(
    bundle: Path,
    file: Path,
    precisions: tuple[str, ...],
    beam: int | None,
    threads: int | None,
    runs: int,
    json_file: Path | None,
) -> None:
    """Time `inktex recognize FILE` in fresh processes, from their start to the answer.

    An editable installation is found more slowly than an ordinary one: measure with an ordinary
    one what users will see.

    \b
    Examples:
      inktex benchmark start my-bundle examples/01-square.inkml
      inktex benchmark start my-bundle photo.png --precision int8 --runs 21
    """
    from .start import measure_start

    opened, report = begin("start", bundle, json_file, timed=True)
    wanted = precisions_of(opened, precisions)
    running = chosen_for(opened, wanted, threads)
    measured = measure_start(
        opened,
        file,
        precisions=wanted,
        beam=beam,
        threads=threads,
        runs=runs,
    )
    click.echo(measured)
    chosen = {"beam": beam, "threads": threads}
    end(report, json_file, **chosen, runtimes=_names(running), **measured.to_dict())


@benchmark.command()
@click.argument("bundle", type=_PATH)
@click.argument("data", type=_PATH)
@click.option(
    "--files",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many to write; the formulas come again where they are fewer.",
)
@click.option(
    "--kind",
    type=click.Choice(["inkml", "png"]),
    default="inkml",
    show_default=True,
    help="As what to write ink.",
)
@reading.precision
@reading.beam
@options.threads
@options.json_report
def throughput(
    bundle: Path,
    data: Path,
    files: int,
    kind: str,
    precision: str,
    beam: int | None,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Count the formulas a second of `inktex recognize FOLDER`, and watch its memory.

    The formulas of DATA are written into a folder, as files; one process reads it.

    \b
    Examples:
      inktex benchmark throughput my-bundle 2016.inkset
      inktex benchmark throughput my-bundle 2016.inkset --kind png --beam 5 --threads 1
    """
    from ..training.split import spread
    from .formulas import load_formulas
    from .throughput import measure_throughput

    opened, report = begin("throughput", bundle, json_file, timed=True)
    if precision != "auto":
        precisions_of(opened, (precision,))
    running = chosen_for(opened, (precision,), threads)
    measured = measure_throughput(
        opened,
        spread(load_formulas(data), files),
        files=files,
        kind=kind,
        precision=precision,
        beam=beam,
        threads=threads,
    )
    click.echo(measured)
    chosen = {"precision": precision, "beam": beam, "threads": threads, "kind": kind}
    end(report, json_file, **chosen, runtimes=_names(running), **measured.to_dict())


@benchmark.command()
@click.argument("bundle", type=_PATH)
@click.option(
    "--install",
    metavar="WHAT",
    help="Install this (a wheel, a checkout, a name) into an empty folder, and weigh it with all "
    "that it needs; needs the network.",
)
@options.json_report
def size(bundle: Path, install: str | None, json_file: Path | None) -> None:
    """Weigh a bundle, and an installation.

    \b
    Examples:
      inktex benchmark size my-bundle
      inktex benchmark size my-bundle --install .
      inktex benchmark size my-bundle --install dist/inktex-0.1.0-py3-none-any.whl
    """
    from .size import bundle_size, install_size

    opened, report = begin("size", bundle, json_file)
    weighed = bundle_size(opened)
    click.echo(weighed)
    found: dict[str, Any] = {"bundle_size": weighed.to_dict()}
    if install is not None:
        installed = install_size(install)
        click.echo(f"\n{installed}")
        found["install_size"] = installed.to_dict()
    end(report, json_file, **found)


def _names(running: Mapping[str, Running]) -> dict[str, str]:
    """What ran, by what was asked for, ready for JSON."""
    return {asked: f"{each.runtime} {each.precision}" for asked, each in running.items()}


for _command in (
    *(accuracy, robustness, quantization, calibration),
    *(fold, steps, study, training_speed),
):
    benchmark.add_command(_command)
