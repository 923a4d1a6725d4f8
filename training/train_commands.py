"""`inktex train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .allocator import restart_keeping_memory
from .recipe_options import accelerator_option, settings_option, share_option

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .recipe import Recipe
    from .weight_source import Source

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=0)
_QAT = {"optimisation.learning_rate": "1e-4"}
"""What has learnt already is not to be shaken; --set says otherwise."""


@click.command()
@click.argument("data", type=_PATH)
@click.option(
    "--recipe",
    help="edge, coverage, abm or mask_and_match.  [default: that of --resume or --from, else edge]",
)
@click.option("--budget", required=True, help="150m, 60cpu-m, 40epochs or 1000steps.")
@click.option("-o", "--output", type=_PATH, help="Folder for checkpoints and log.")
@settings_option
@click.option("--resume", type=_PATH, help="Go on from this checkpoint, exactly.")
@click.option("--changed-data", is_flag=True, help="Resume though the data is not the same.")
@click.option(
    "--from", "source", type=_PATH, help="First weights: a checkpoint, a bundle, default."
)
@click.option("--encoder", type=_PATH, help="First weights of the encoder, by inktex pretrain.")
@click.option("--teacher", type=_PATH, help="Learn from this one: checkpoint, bundle, default.")
@click.option("--freeze-encoder", is_flag=True, help="Leave the encoder as it starts.")
@click.option("--qat", is_flag=True, help="Learn to be quantised to INT8; with --from.")
@share_option
@click.option("--vocabulary", type=_PATH, help="Tokens, in place of those of the captions.")
@click.option("--patience", type=_COUNT, default=0, help="End after so many checks without a best.")
@click.option("--keep", type=_COUNT, default=1, show_default=True, help="Best checkpoints to keep.")
@click.option("--validate-every", default="10m", show_default=True, help="Time between checks.")
@click.option("--tensorboard", is_flag=True, help="Log for TensorBoard, too.")
@click.option(
    "--devices", type=click.IntRange(min=1), help="Processes on this machine.  [default: 1]"
)
@accelerator_option
@click.option(
    "--workers",
    type=_COUNT,
    help="Processes that draw.  [default: 0; with a GPU, all cores but one]",
)
def train(
    data: Path,
    recipe: str | None,
    budget: str,
    output: Path | None,
    settings: dict[str, str],
    resume: Path | None,
    changed_data: bool,
    source: Path | None,
    encoder: Path | None,
    teacher: Path | None,
    freeze_encoder: bool,
    qat: bool,
    share: float,
    vocabulary: Path | None,
    patience: int,
    keep: int,
    validate_every: str,
    tensorboard: bool,
    devices: int | None,
    accelerator: str,
    workers: int | None,
) -> None:
    """Train a recognizer on an ink set until the budget is spent.

    The learning rate follows the budget. Ctrl-C leaves a checkpoint from which --resume goes on. A
    check is an ExpRate on held-out ink, and a checkpoint.

    \b
    Examples:
      inktex train train.inkset --budget 150m -o runs/edge
      inktex train train.inkset --budget 150m -o runs/edge --resume runs/edge/last.safetensors
      inktex train train.inkset --budget 40epochs --set optimisation.accumulate=4
      inktex train own.inkset --budget 30m -o runs/own --from default --freeze-encoder
      inktex train train.inkset --budget 60m -o runs/qat --qat --from runs/edge/last.safetensors
      inktex train train.inkset --budget 150m --teacher default --set model.layers=2
      torchrun --nproc-per-node 2 -m inktex.core.cli train train.inkset --budget 2h
    """
    restart_keeping_memory()
    from ..core.errors import DataError
    from .budget import Budget
    from .budget_callback import LAST, Watch
    from .checkpoint import Checkpoint
    from .inkset import load_inkset
    from .processes import say
    from .resumption import check_free
    from .split import some_of, split_expressions
    from .trainer import train as run
    from .vocabulary_file import read_vocabulary
    from .warm_start import load_source

    amount = Budget.parse(budget)
    interval = Budget.parse(validate_every)
    if interval.unit != "s":
        raise DataError(f"--validate-every: expected a time such as 10m, found {validate_every!r}")
    new = {
        "--set": settings,
        "--from": source,
        "--encoder": encoder,
        "--freeze-encoder": freeze_encoder,
        "--qat": qat,
        "--vocabulary": vocabulary,
    }
    asked = [name for name, value in new.items() if value]
    if resume and asked:
        raise DataError(
            f"{asked[0]}: a resumed training keeps its recipe, weights and vocabulary; leave "
            f"{', '.join(asked)} out"
        )
    if freeze_encoder and not (source or encoder):
        raise DataError(
            "--freeze-encoder: expected an encoder that has learnt something; add --from or "
            "--encoder"
        )
    if freeze_encoder:
        settings = {**settings, "optimisation.freeze_encoder": "true"}
    if qat and not source:
        raise DataError(
            "--qat: expected a trained recognizer that is to learn to be quantised; name it with "
            "--from"
        )
    if qat:
        settings = {**_QAT, **settings, "optimisation.quantization_aware": "true"}
    start = Checkpoint.load(resume) if resume else None
    weights = load_source(source) if source else None
    chosen = _recipe(recipe, start, weights).override(settings)
    training, validation = split_expressions(
        load_inkset(data), chosen.validation_share, chosen.split_seed
    )
    folder = output or (resume.parent if resume else Path("runs") / chosen.name)
    check_free(folder / LAST, resume)
    training = some_of(training, share, chosen.split_seed)
    say(f"{len(training)} expressions to train on, {len(validation)} to validate on")
    last = run(
        chosen,
        training,
        validation,
        amount,
        folder,
        resume=start,
        changed_data=changed_data,
        source=weights,
        encoder=encoder,
        teacher=load_source(teacher) if teacher else None,
        vocabulary=read_vocabulary(vocabulary) if vocabulary else None,
        devices=devices,
        accelerator=accelerator,
        workers=workers,
        watch=Watch(interval.amount, patience, keep, tensorboard),
    )
    say(
        f"{folder / LAST}: {last.progress.steps} steps in "
        f"{last.progress.elapsed_s / 60:.1f} minutes"
    )


def _recipe(name: str | None, start: Checkpoint | None, source: Source | None) -> Recipe:
    """The recipe to train: that of the checkpoint to resume; else a named one, whose model has the
    shape of the weights to start from, where they are of the same recipe."""
    import dataclasses

    from ..core.errors import CheckpointError
    from .recipes import named

    if start:
        if name not in (None, start.recipe.name):
            raise CheckpointError(
                f"--resume: expected a checkpoint of recipe {name!r}, found one of recipe "
                f"{start.recipe.name!r}; leave --recipe out, or resume from another checkpoint"
            )
        return start.recipe
    if source is None:
        return named(name or "edge")
    if name not in (None, source.recipe.name):
        return named(str(name))
    # of how it was trained nothing is taken over, but the weights know formulas of one size only
    own = source.recipe
    return dataclasses.replace(
        named(own.name), model=own.model, rendering=own.rendering, brief=own.brief
    )
