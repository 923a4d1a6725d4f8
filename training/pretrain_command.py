"""`inktex pretrain`."""

from __future__ import annotations

from pathlib import Path

import click

from .allocator import restart_keeping_memory
from .recipe_options import accelerator_option, settings_option, share_option

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", type=_PATH)
@click.option("--recipe", default="mask_and_match", show_default=True, help="Whose encoder.")
@click.option("--budget", required=True, help="30m, 60cpu-m, 40epochs or 1000steps.")
@click.option("-o", "--output", type=_PATH, help="Folder for the encoder and the log.")
@settings_option
@share_option
@click.option("--resume", type=_PATH, help="Go on from this file, exactly.")
@accelerator_option
@click.option("--validate-every", default="5m", show_default=True, help="Time between checks.")
def pretrain(
    source: Path,
    recipe: str,
    budget: str,
    output: Path | None,
    settings: dict[str, str],
    share: float,
    resume: Path | None,
    accelerator: str,
    validate_every: str,
) -> None:
    """Teach an encoder on ink without reading its captions.

    First it learns to tell two views of the same ink from other ink; then, where the recipe has an
    attention network, that learns to tell masked cells from the rest. What is left in
    encoder.safetensors starts a training: inktex train --encoder. Ink that `inktex train` would
    hold out is held out here too. Ctrl-C leaves a file that is as useful, and from which --resume
    goes on.

    \b
    Examples:
      inktex pretrain train.inkset --budget 30m -o runs/pretrained
      inktex pretrain train.inkset --budget 30m --resume runs/pretrained/encoder.safetensors
      inktex pretrain train.inkset --budget 30m --set masking.start=0.6 -o runs/fixed-share
      inktex pretrain train.inkset --budget 30m --recipe edge -o runs/pretrained-edge
      inktex train train.inkset --recipe mask_and_match --budget 2h \\
        --encoder runs/pretrained/encoder.safetensors
    """
    restart_keeping_memory()
    from ..core.errors import DataError
    from .budget import Budget
    from .inkset import load_inkset
    from .pretrained_encoder import PretrainedEncoder
    from .pretraining import FILE
    from .pretraining import pretrain as run
    from .pretraining_recipe import pretraining
    from .recipes import named
    from .resumption import check_free
    from .split import some_of, split_expressions

    amount = Budget.parse(budget)
    interval = Budget.parse(validate_every)
    if interval.unit != "s":
        raise DataError(f"--validate-every: expected a time such as 5m, found {validate_every!r}")
    start = PretrainedEncoder.load(resume) if resume else None
    if start and settings:
        raise DataError("--set: a resumed pre-training keeps its recipe; leave --set out")
    chosen = start.recipe if start else pretraining(named(recipe)).override(settings)
    folder = output or (resume.parent if resume else Path("runs/pretrained"))
    path = folder / FILE
    check_free(path, resume, "a pre-trained encoder")
    training, validation = split_expressions(
        load_inkset(source), chosen.validation_share, chosen.split_seed
    )
    training = some_of(training, share, chosen.split_seed)
    click.echo(f"{len(training)} expressions to learn from, {len(validation)} to validate on")
    last = run(
        chosen,
        training,
        validation,
        amount,
        folder,
        resume=start,
        accelerator=accelerator,
        validate_every_s=interval.amount,
    )
    click.echo(f"{path}: {last.progress.steps} steps in {last.progress.elapsed_s / 60:.1f} minutes")
