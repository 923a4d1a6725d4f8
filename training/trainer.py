"""The training loop: Lightning's engine, the project's budget, checkpoints and log."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch

from ..core.errors import CheckpointError, DataError
from ..core.machine import command_line, processor_name
from ..core.replacement import make_folder
from ..core.vocabulary import Vocabulary
from ..runtimes.processors import available_processors
from .budget import Budget
from .budget_callback import BudgetCallback, Watch
from .checkpoint import Checkpoint
from .inkset import Expression, fingerprint
from .interruption import Interruption
from .norm_statistics import measure_norms, resize_kernels
from .objectives import AlignedCrossEntropy
from .precision import with_precision
from .pretrained_encoder import load_encoder
from .processes import Processes, check_accelerator, say
from .recipe import Optimisation, Recipe
from .stream import TrainingStream
from .teacher import Teacher
from .training_module import StreamDataset, TrainingModule, loader
from .warm_start import grown, transfer
from .weight_source import Source

_NORM_BATCHES = 60
"""Batches on which folded batch norms get their statistics back."""


def train(
    recipe: Recipe,
    train_expressions: Sequence[Expression],
    validation_expressions: Sequence[Expression],
    budget: Budget,
    folder: Path,
    *,
    resume: Checkpoint | None = None,
    changed_data: bool = False,
    source: Source | None = None,
    encoder: Path | None = None,
    teacher: Source | None = None,
    vocabulary: Vocabulary | None = None,
    devices: int | None = None,
    accelerator: str = "auto",
    workers: int | None = None,
    watch: Watch | None = None,
) -> Checkpoint:
    """Train until the budget is spent or Ctrl-C; what was learnt is in `folder` either way.

    Ctrl-C ends it after the present step, or after the present validation.

    Args:
        resume: goes on from here, with its recipe and vocabulary, as if it had never stopped.
        changed_data: whether the resumed training may see other data than before.
        source: the first weights are taken from here, as far as they fit; all else is new.
        encoder: a file of `inktex pretrain`; the encoder starts from it.
        teacher: a recognizer to learn from; to be given again to resume.
        vocabulary: what can be written; by default the tokens of `source` and of the captions.
        devices: processes on this machine, each of which takes its own batches; by default those
            that `torchrun` started, or one.
        accelerator: of Lightning: "cpu", "gpu" or "auto".
        workers: processes that draw batches for each that trains; by default none where the
            processor trains, which they would steal from, else all its share of the cores but one.
        watch: how it is watched.

    Returns:
        The last checkpoint, which the first process leaves as `folder/last.safetensors`.

    Raises:
        DataError: there is nothing to train on, a caption is empty or longer than can be written,
            the data is not that of the training to resume, or the log cannot be written.
        RuntimeUnavailable: there are fewer GPUs than asked for.
        VocabularyError: a caption has a token that is not in the vocabulary.
        CheckpointError: the checkpoint to resume from has nothing left to do, nothing fits of the
            weights to start from, the teacher is none for this recipe, or a checkpoint cannot be
            written.
        TrainingError: it has diverged; the last checkpoint is of before that.
        KeyboardInterrupt: Ctrl-C, once the checkpoint is written.
    """
    watch = watch or Watch()
    processes = Processes.present(devices)
    check_accelerator(accelerator, processes.local)
    recipe = with_precision(recipe, accelerator)
    settings = recipe.optimisation
    provenance: dict[str, Any] = _provenance(train_expressions, validation_expressions)
    provenance["made"] = {"command": command_line(), "hardware": _hardware(accelerator)}
    for role, given in (("source", source), ("teacher", teacher)):
        if given:
            provenance[role] = given.origin()
        elif resume and role in resume.provenance:
            provenance[role] = resume.provenance[role]
    _check_taught(recipe, teacher, provenance, resume)
    if resume:
        resume.check_resumable()
        if not changed_data:
            _check_same_data(resume, provenance)
    vocabulary = _vocabulary(train_expressions, resume, source, vocabulary)
    vocabulary = replace(vocabulary, brief=recipe.brief)
    _check_captions(train_expressions, vocabulary, recipe.model.max_length)
    if watch.patience and not validation_expressions:
        raise DataError(
            "expected expressions to validate on, found none; leave patience out, or hold some "
            "out with --set validation_share=0.05"
        )
    taught = Teacher.of(teacher, recipe, vocabulary) if teacher else None
    torch.set_flush_denormal(True)
    lightning.seed_everything(recipe.seed, verbose=False)
    stream = TrainingStream(
        train_expressions,
        vocabulary,
        recipe.augmentation,
        settings.batch_size,
        settings.max_pixels,
        recipe.seed,
        recipe.model.max_length - 1,
        recipe.rendering,
    )
    if recipe.augmentation.synthetic and stream.synthesizer is None:
        say("no new formulas: it is not known of any ink which strokes make which symbol")
    batches = len(stream.epoch(0))
    steps_per_epoch = max(batches // (processes.count * settings.accumulate), 1)
    if resume:
        _check_unfinished(resume, budget, steps_per_epoch, watch)
    module = TrainingModule(recipe, vocabulary, taught)
    _warm(module, recipe, vocabulary, stream, source, encoder)
    make_folder(folder, "-o")
    say(f"{_step_size(settings, processes)}; {settings.precision}")
    with _quiet_lightning(), Interruption() as interruption:
        callback = BudgetCallback(
            recipe,
            vocabulary,
            budget,
            steps_per_epoch,
            validation_expressions,
            folder,
            provenance,
            resume,
            watch,
            interruption,
        )
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=processes.local,
            num_nodes=processes.machines,
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
            max_epochs=1,
            accumulate_grad_batches=settings.accumulate,
            callbacks=[callback],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
        )
        skip = callback.progress.batches
        dataset = StreamDataset(stream, skip + trainer.global_rank, trainer.world_size)
        on_gpu = trainer.strategy.root_device.type != "cpu"
        if workers is None:
            workers = _drawers(processes) if on_gpu else 0
        try:
            trainer.fit(module, loader(dataset, workers, pinned=on_gpu))
        except SystemExit:  # so Lightning answers a second Ctrl-C
            if not interruption.requested:
                raise
            raise KeyboardInterrupt from None
    if callback.interrupted:
        raise KeyboardInterrupt
    if callback.exhausted:
        say(f"ended early: no better ExpRate in {callback.progress.stale} validations")
    assert callback.checkpoint is not None
    return callback.checkpoint


def _drawers(processes: Processes) -> int:
    """Workers for each process, so that all cores but those that train draw."""
    return max(available_processors() // processes.local - 1, 0)


def _warm(
    module: TrainingModule,
    recipe: Recipe,
    vocabulary: Vocabulary,
    stream: TrainingStream,
    source: Source | None,
    encoder: Path | None,
) -> None:
    """Give network and average the weights that they start from."""
    if source:
        transferred = transfer(module.network, recipe.model, vocabulary, source)
        say(transferred)
        if source.folded:
            resize_kernels(module.network, transferred.widened)
            images = (batch.expanded().images for _, batch in stream.batches())
            measure_norms(
                module.network, transferred.fresh, itertools.islice(images, _NORM_BATCHES)
            )
    if encoder:
        fresh = load_encoder(module.network, encoder)
        new = f"; new: {', '.join(fresh)}" if fresh else ""
        say(f"took the encoder over from {encoder}{new}")
    module.average.module.load_state_dict(module.network.state_dict())


def _vocabulary(
    expressions: Sequence[Expression],
    resume: Checkpoint | None,
    source: Source | None,
    given: Vocabulary | None,
) -> Vocabulary:
    if resume:
        return resume.vocabulary
    if given:
        return given
    captions = [each.caption for each in expressions]
    return grown(source.vocabulary, captions) if source else Vocabulary.from_captions(captions)


def _check_taught(
    recipe: Recipe,
    teacher: Source | None,
    provenance: Mapping[str, Any],
    resume: Checkpoint | None,
) -> None:
    if not teacher:
        if "teacher" in provenance:
            raise CheckpointError(
                "expected the teacher that the training to resume has learnt from, of recipe "
                f"{provenance['teacher'].get('recipe')!r}, found none; name it with --teacher"
            )
        return
    if resume and resume.provenance.get("teacher") != provenance["teacher"]:
        raise CheckpointError(
            "--teacher: expected the one that the training to resume has learnt from, found "
            "another; name that, or begin a new training with --from"
        )
    if not isinstance(recipe.objective, AlignedCrossEntropy):
        raise CheckpointError(
            f"--teacher: expected a recipe that can learn from one (edge), found {recipe.name!r}"
        )
    if not recipe.objective.distillation:
        raise CheckpointError(
            "--teacher: expected a weight for what it says, found objective.distillation 0; give "
            "it one, or leave --teacher out"
        )


def _provenance(
    training: Sequence[Expression], validation: Sequence[Expression]
) -> dict[str, dict[str, Any]]:
    return {
        name: {"expressions": len(expressions), "fingerprint": fingerprint(expressions)}
        for name, expressions in (("train", training), ("validation", validation))
    }


def _hardware(accelerator: str) -> str:
    """What trains: "NVIDIA H100 80GB HBM3, 16 cores", "Intel(R) Xeon(R) Processor, 2 cores"."""
    cores = f"{available_processors()} cores"
    if accelerator != "cpu" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {cores}"
    return f"{processor_name()}, {cores}"


def _check_captions(
    expressions: Sequence[Expression], vocabulary: Vocabulary, max_length: int
) -> None:
    if not expressions:
        raise DataError("expected expressions to train on, found none; give more data")
    for each in expressions:
        if not each.caption:
            raise DataError(
                f"expected a caption of every expression, found none of {each.identifier}; data "
                "imported with --unlabelled is for `inktex pretrain`"
            )
    # as they are written: of a recipe that spares braces, shorter than in the data
    lengths = [len(vocabulary.encode(each.caption)) for each in expressions]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if lengths[longest] >= max_length:
        raise DataError(
            f"expected captions of less than max_length = {max_length} tokens, found "
            f"{lengths[longest]} in {expressions[longest].identifier}; leave it out, or start anew "
            f"with --set model.max_length={lengths[longest] + 1}"
        )


def _check_unfinished(
    resume: Checkpoint, budget: Budget, steps_per_epoch: int, watch: Watch
) -> None:
    progress = resume.progress
    if budget.share(progress, steps_per_epoch) >= 1:
        raise CheckpointError(
            f"expected a training with some of its budget left, found one of {progress.steps} "
            f"steps in {progress.elapsed_s / 60:.0f} minutes; give the budget of the whole "
            "training, this part and those before"
        )
    if 0 < watch.patience <= progress.stale:
        raise CheckpointError(
            f"expected a training with some patience left, found one with {progress.stale} "
            f"validations since its best; give a patience above {progress.stale}, or 0"
        )


def _check_same_data(resume: Checkpoint, provenance: dict[str, dict[str, Any]]) -> None:
    for name in ("train", "validation"):
        found = provenance[name]
        before = resume.provenance.get(name, {})
        if before.get("fingerprint", found["fingerprint"]) != found["fingerprint"]:
            raise DataError(
                f"expected the data that the checkpoint was made with, found other {name} data: "
                f"{found['expressions']} expressions with fingerprint {found['fingerprint']}, not "
                f"{before['expressions']} with {before['fingerprint']}; give the same data, or go "
                "on with this by --changed-data"
            )


def _step_size(settings: Optimisation, processes: Processes) -> str:
    """How many expressions a step learns from at the most, and how fast."""
    factors = [f"{settings.batch_size} expressions"]
    if settings.accumulate > 1:
        factors.append(f"{settings.accumulate} batches")
    if processes.count > 1:
        factors.append(f"{processes.count} processes")
    total = settings.batch_size * settings.accumulate * processes.count
    product = f"{' x '.join(factors)} = {total}" if len(factors) > 1 else factors[0]
    return f"a step: up to {product}; learning rate: up to {settings.learning_rate:g}"


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning without its notes on devices that are not there, services and deprecations."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # on a processor an expression takes 1 to 2 ms to draw and 25 to learn from: workers
            # would only steal cores
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        log.setLevel(level)
