"""The training loop: Lightning's engine, the project's budget, checkpoints and log."""

from __future__ import annotations

import csv
import logging
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset

from ..core.errors import CheckpointError, DataError
from ..core.vocabulary import Vocabulary
from .batches import Batch, TrainingStream
from .budget import Budget
from .checkpoint import Checkpoint, Progress, optimizer_tensors, restore_optimizer
from .decoding import greedy_captions
from .inkset import Expression, fingerprint
from .optimisation import adamw, learning_rate, ramped_average
from .recipe import Recipe
from .warm_start import transfer


class _StreamDataset(IterableDataset[tuple[int, Batch]]):
    def __init__(self, stream: TrainingStream, skip: int, stride: int) -> None:
        self.stream, self.skip, self.stride = stream, skip, stride

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        return self.stream.batches(self.skip, self.stride)


class TrainingModule(lightning.LightningModule):
    """Network, averaged network and optimiser, as Lightning wants to see them."""

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.settings = recipe.optimisation
        self.network = recipe.model.build(vocabulary)
        self.objective = recipe.objective
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.network, multi_avg_fn=ramped_average(self.settings.ema_decay), use_buffers=True
        ).requires_grad_(False)
        self.last: dict[str, float] = {}

    def training_step(self, item: tuple[int, Batch]) -> Tensor:
        """(epoch, batch) -> the weighted loss"""
        batch = item[1]
        images = batch.images.to(memory_format=torch.channels_last)
        total, parts = self.objective(self.network, batch._replace(images=images))
        self.last = {name: float(value.detach()) for name, value in parts.items()}
        return total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.network, self.settings)


class BudgetCallback(Callback):
    """Learning rate, average, log, validation and checkpoints, all tied to the budget."""

    def __init__(
        self,
        recipe: Recipe,
        vocabulary: Vocabulary,
        budget: Budget,
        steps_per_epoch: int,
        validation: Sequence[Expression],
        folder: Path,
        provenance: dict[str, Any],
        start: Checkpoint | None,
        validate_every_s: float,
    ) -> None:
        self.recipe, self.vocabulary, self.budget = recipe, vocabulary, budget
        self.steps_per_epoch = steps_per_epoch
        self.validation = validation
        self.folder = folder
        self.provenance = provenance
        self.start = start
        self.validate_every_s = validate_every_s
        self.progress = start.progress if start else Progress()
        self.names: dict[Tensor, str] = {}
        self.interrupted = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the training after the present step, a second one at once.

        Lightning by itself would leave in the middle of a step, without a checkpoint.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self.names = {tensor: name for name, tensor in module.network.named_parameters()}
        if self.start:
            module.network.load_state_dict(dict(self.start.network))
            module.average.module.load_state_dict(dict(self.start.average))
            module.average.n_averaged.fill_(self.progress.steps)
            restore_optimizer(_optimizer(trainer), self.names, self.start.optimizer)
            torch.set_rng_state(self.start.random)
        self.began = time.monotonic() - self.progress.elapsed_s
        self.reported = self.validated = self.progress.elapsed_s

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Any, index: int
    ) -> None:
        share = self.budget.share(self.progress, self.steps_per_epoch)
        rate = learning_rate(share, self.recipe.optimisation)
        for group in _optimizer(trainer).param_groups:
            group["lr"] = rate

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        assert isinstance(module, TrainingModule)
        module.average.update_parameters(module.network)
        elapsed = time.monotonic() - self.began
        if trainer.world_size > 1:  # all ranks agree when to stop
            elapsed, self.interrupted = trainer.strategy.broadcast((elapsed, self.interrupted))
        self.progress = replace(
            self.progress,
            steps=self.progress.steps + 1,
            batches=self.progress.batches + trainer.world_size,
            elapsed_s=elapsed,
            epoch=batch[0],
        )
        ended = self.budget.share(self.progress, self.steps_per_epoch) >= 1
        trainer.should_stop = trainer.should_stop or ended or self.interrupted
        if not trainer.is_global_zero:
            return
        if elapsed - self.reported > 30 or ended:
            self.reported = elapsed
            self.report(trainer, module)
        if elapsed - self.validated > self.validate_every_s or ended:
            self.validate(trainer, module)
            self.validated = time.monotonic() - self.began

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        if trainer.is_global_zero:
            self.save(trainer, module)
        trainer.strategy.barrier("saved")  # only now may the other ranks read it

    def validate(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """ExpRate of the averaged network on the validation split, then a checkpoint."""
        network = module.average.module
        assert isinstance(network, nn.Module)
        captions = greedy_captions(network, self.validation, self.vocabulary)  # type: ignore[arg-type]
        right = sum(
            tuple(caption) == each.caption
            for caption, each in zip(captions, self.validation, strict=True)
        )
        rate = 100 * right / max(len(self.validation), 1)
        self.progress = replace(self.progress, best=max(self.progress.best, rate))
        self.report(trainer, module, rate)
        self.save(trainer, module)

    def report(
        self, trainer: lightning.Trainer, module: TrainingModule, exp_rate: float | None = None
    ) -> None:
        """One line for people, one for `log.csv`."""
        rate = _optimizer(trainer).param_groups[0]["lr"]
        share = self.budget.share(self.progress, self.steps_per_epoch)
        left_s = self.progress.elapsed_s * (1 / share - 1) if share else math.inf
        row = {
            "step": self.progress.steps,
            "epoch": self.progress.epoch,
            "elapsed_s": round(self.progress.elapsed_s, 1),
            "rate": rate,
            **{name: round(value, 4) for name, value in module.last.items()},
            "exp_rate": "" if exp_rate is None else round(exp_rate, 2),
        }
        path = self.folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        text = "  ".join(f"{name} {value:.3f}" for name, value in module.last.items())
        found = "" if exp_rate is None else f"  validation ExpRate {exp_rate:.1f} %"
        print(
            f"step {self.progress.steps}  epoch {self.progress.epoch}  {100 * share:.0f} %  "
            f"{left_s / 60:.0f} min left  {text}{found}",
            flush=True,
        )

    def save(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Write `last.safetensors`, from which the training resumes."""
        network, average = module.network, module.average.module
        assert isinstance(average, nn.Module)
        Checkpoint(
            self.recipe,
            self.vocabulary,
            self.progress,
            network.state_dict(),
            average.state_dict(),
            optimizer_tensors(_optimizer(trainer), self.names),
            torch.get_rng_state(),
            self.provenance,
        ).save(self.folder / "last.safetensors")


def train(
    recipe: Recipe,
    train_expressions: Sequence[Expression],
    validation_expressions: Sequence[Expression],
    budget: Budget,
    folder: Path,
    *,
    resume: Checkpoint | None = None,
    source: Checkpoint | None = None,
    devices: int = 1,
    accelerator: str = "auto",
    validate_every_s: float = 600.0,
) -> Checkpoint:
    """Train until the budget is spent or Ctrl-C; what was learnt is in `folder` either way.

    Ctrl-C ends it after the present step, or after the present validation.

    Args:
        resume: goes on from here, with its recipe and vocabulary, as if it had never stopped.
        source: the first weights are taken from here, as far as they fit; all else is new.
        devices: processes on this machine, each of which takes its own batches.
        accelerator: of Lightning: "cpu", "gpu" or "auto".

    Returns:
        The last checkpoint, which is also `folder/last.safetensors`.

    Raises:
        DataError: there is nothing to train on, or a caption is longer than the network can write.
        VocabularyError: a caption has a token that is not in the resumed vocabulary.
        CheckpointError: the budget is spent already in the checkpoint to resume from.
        KeyboardInterrupt: Ctrl-C, once the checkpoint is written.
    """
    vocabulary = (
        resume.vocabulary
        if resume
        else Vocabulary.from_captions(each.caption for each in train_expressions)
    )
    _check_captions(train_expressions, vocabulary, recipe.model.max_length)
    settings = recipe.optimisation
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
    )
    steps_per_epoch = max(len(stream.epoch(0)) // devices, 1)
    if resume and budget.share(resume.progress, steps_per_epoch) >= 1:
        raise CheckpointError(
            f"expected a training with some of its budget left, found one of "
            f"{resume.progress.steps} steps in {resume.progress.elapsed_s / 60:.0f} minutes; "
            "give the budget of the whole training, this part and those before"
        )
    module = TrainingModule(recipe, vocabulary)
    if source:
        print(transfer(module.network, vocabulary, source), flush=True)
        module.average.module.load_state_dict(module.network.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    callback = BudgetCallback(
        recipe,
        vocabulary,
        budget,
        steps_per_epoch,
        validation_expressions,
        folder,
        {
            "train": {
                "expressions": len(train_expressions),
                "fingerprint": fingerprint(train_expressions),
            },
            "validation": {
                "expressions": len(validation_expressions),
                "fingerprint": fingerprint(validation_expressions),
            },
        },
        resume,
        validate_every_s,
    )
    with _quiet_lightning(), callback.interruptible():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
            max_epochs=1,
            gradient_clip_val=settings.gradient_clip,
            callbacks=[callback],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
        )
        skip = callback.progress.batches
        dataset = _StreamDataset(stream, skip + trainer.global_rank, trainer.world_size)
        trainer.fit(module, DataLoader(dataset, batch_size=None))
    if callback.interrupted:
        raise KeyboardInterrupt
    return Checkpoint.load(folder / "last.safetensors")


def _check_captions(
    expressions: Sequence[Expression], vocabulary: Vocabulary, max_length: int
) -> None:
    if not expressions:
        raise DataError("expected expressions to train on, found none; give more data")
    for each in expressions:
        vocabulary.encode(each.caption)
    longest = max(expressions, key=lambda each: len(each.caption))
    if len(longest.caption) >= max_length:
        raise DataError(
            f"expected captions of less than max_length = {max_length} tokens, found "
            f"{len(longest.caption)} in {longest.identifier}; leave it out, or start anew with "
            f"--set model.max_length={len(longest.caption) + 1}"
        )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning without its notes on devices that are not there, services and deprecations."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # rendering takes 1 ms of the 25 ms an expression costs: workers would only steal cores
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        log.setLevel(level)


def _optimizer(trainer: lightning.Trainer) -> torch.optim.Optimizer:
    return trainer.optimizers[0]
