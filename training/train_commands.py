"""`inktex train`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)

# glibc gives freed tensors back to the system and faults them in again at every step, which takes
# a third to a half of the time of a training; these settings keep them.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


@click.command()
@click.argument("source", type=_PATH)
@click.option("--recipe", default="edge", show_default=True, help="Which recipe.")
@click.option("--budget", required=True, help="150m, 2.5h, 40epochs or 1000steps.")
@click.option("-o", "--output", type=_PATH, help="Folder for checkpoints and log.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override a setting.")
@click.option("--resume", type=_PATH, help="Go on from this checkpoint, exactly.")
@click.option("--from", "source_model", type=_PATH, help="Take the first weights from here.")
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes on this machine.",
)
@click.option("--accelerator", default="auto", show_default=True, help="cpu, gpu or auto.")
@click.option("--validate-every", default="10m", show_default=True, help="Time between checks.")
def train(
    source: Path,
    recipe: str,
    budget: str,
    output: Path | None,
    settings: tuple[str, ...],
    resume: Path | None,
    source_model: Path | None,
    devices: int,
    accelerator: str,
    validate_every: str,
) -> None:
    """Train a recognizer on an ink set until the budget is spent.

    The learning rate follows the budget. Ctrl-C leaves a checkpoint from which --resume goes on.

    \b
    Examples:
      inktex train train.inkset --budget 150m -o runs/edge
      inktex train train.inkset --budget 150m -o runs/edge --resume runs/edge/last.safetensors
      inktex train train.inkset --budget 40epochs --set optimisation.batch_size=16
    """
    if sys.platform == "linux" and not _ALLOCATOR.keys() & os.environ.keys():
        # read once, when a process starts
        os.execve(
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_ALLOCATOR}
        )
    from ..core.errors import DataError
    from .budget import Budget
    from .checkpoint import Checkpoint
    from .inkset import load_inkset
    from .recipes import named
    from .split import split_expressions
    from .trainer import train as run

    amount = Budget.parse(budget)
    interval = Budget.parse(validate_every)
    if interval.unit != "s":
        raise DataError(f"--validate-every: expected a time such as 10m, found {validate_every!r}")
    start = Checkpoint.load(resume) if resume else None
    if start and settings:
        raise DataError("--set: a resumed training keeps its recipe; leave --set out")
    chosen = start.recipe if start else named(recipe).override(_assignments(settings))
    training, validation = split_expressions(
        load_inkset(source), chosen.validation_share, chosen.seed
    )
    folder = output or Path("runs") / chosen.name
    if start is None and (folder / "last.safetensors").exists():
        raise DataError(
            f"{folder} holds a training already; name another folder with -o, or go on with "
            f"--resume {folder / 'last.safetensors'}"
        )
    click.echo(f"{len(training)} expressions to train on, {len(validation)} to validate on")
    last = run(
        chosen,
        training,
        validation,
        amount,
        folder,
        resume=start,
        source=Checkpoint.load(source_model) if source_model else None,
        devices=devices,
        accelerator=accelerator,
        validate_every_s=interval.amount,
    )
    click.echo(
        f"{folder / 'last.safetensors'}: {last.progress.steps} steps in "
        f"{last.progress.elapsed_s / 60:.1f} minutes"
    )


def _assignments(settings: tuple[str, ...]) -> dict[str, str]:
    from ..core.errors import DataError

    pairs = [text.partition("=") for text in settings]
    for name, equals, _ in pairs:
        if not equals:
            raise DataError(f"--set: expected NAME=VALUE, found {name!r}")
    return {name: value for name, _, value in pairs}
