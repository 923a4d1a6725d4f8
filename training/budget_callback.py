"""What happens around the steps of a training: rate, average, log, validation and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ..core.vocabulary import Vocabulary
from .allocator import release_free_memory
from .best_checkpoints import BestCheckpoints
from .budget import Budget, Stopwatch
from .checkpoint import Checkpoint, Progress, optimizer_tensors, restore_optimizer
from .curves import FILE as CURVES
from .curves import draw_curves
from .decoding import caption_loss, greedy_captions
from .inkset import Expression
from .interruption import Interruption
from .optimisation import check_finite, learning_rate
from .processes import say
from .recipe import Recipe
from .recognizer import Recognizer
from .training_log import Report, TrainingLog, line, read_log
from .training_module import TrainingModule, seed_step

LAST = "last.safetensors"
"""The checkpoint in the folder of a training from which it resumes."""

_REPORT_EVERY_S = 30.0
_NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Watch:
    """How a training is watched; none of it changes a step.

    Attributes:
        every_s: seconds between two validations; one more stands at the end of the budget.
        patience: validations without a new best after which the training ends; 0 for never.
        keep: checkpoints that are kept beside the last one, those with the best ExpRate.
        tensorboard: whether to log for TensorBoard, too.
    """

    every_s: float = 600.0
    patience: int = 0
    keep: int = 1
    tensorboard: bool = False


class BudgetCallback(Callback):
    """Learning rate, average, log, validation and checkpoints, all tied to the budget.

    A step is one of the optimiser, after `accumulate` batches; everything is done between steps.
    All processes keep the same progress; only the first one validates, logs and saves.

    Attributes:
        training_log: of the first process, None in the others.
        interrupted: whether Ctrl-C ended the training.
        saved: the step of the last checkpoint.
        checkpoint: the training as it ended; None before.
    """

    def __init__(
        self,
        recipe: Recipe,
        vocabulary: Vocabulary,
        budget: Budget,
        steps_per_epoch: int,
        validation: Sequence[Expression],
        folder: Path,
        provenance: Mapping[str, Any],
        start: Checkpoint | None,
        watch: Watch,
        interruption: Interruption,
    ) -> None:
        self.recipe, self.vocabulary, self.budget = recipe, vocabulary, budget
        self.steps_per_epoch = steps_per_epoch
        self.validation = validation
        self.folder = folder
        self.provenance = provenance
        self.start = start
        self.watch = watch
        self.interruption = interruption
        self.progress = start.progress if start else Progress()
        self.batches_before = self.progress.batches
        self.names: dict[Tensor, str] = {}
        self.best = BestCheckpoints(folder, watch.keep)
        self.training_log: TrainingLog | None = None
        self.interrupted = False
        self.saved = -1
        self.validation_s = 0.0
        self.checkpoint: Checkpoint | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        # Lightning's own handler of SIGTERM would end the training without a checkpoint
        self.interruption.listen()
        self.names = {tensor: name for name, tensor in module.network.named_parameters()}
        if self.start:
            module.network.load_state_dict(dict(self.start.network))
            module.average.module.load_state_dict(dict(self.start.average))
            module.average.updates = self.progress.steps
            restore_optimizer(_optimizer(trainer), self.names, self.start.optimizer)
        if trainer.is_global_zero:
            if self.start:
                self.best.forget_others(self.progress.kept)
            self.training_log = TrainingLog(
                self.folder, self.progress.steps, self.watch.tensorboard
            )
        self.stopwatch = Stopwatch(self.progress)
        self.reported = self.validated = self.progress.elapsed_s

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Any, index: int
    ) -> None:
        number = self.batches_before + index * trainer.world_size + trainer.global_rank
        seed_step(module.device, self.recipe.seed, number)
        rate = learning_rate(self.share, self.recipe.optimisation)
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
        accumulate = self.recipe.optimisation.accumulate
        if (index + 1) % accumulate:
            return  # the optimiser has not stepped
        module.average.update(module.network)
        # the clock and the Ctrl-C of the first process are those of all
        (elapsed_s, cpu_s), self.interrupted = trainer.strategy.broadcast(
            (self.stopwatch.read(), self.interruption.requested)
        )
        self.progress = replace(
            self.progress,
            steps=self.progress.steps + 1,
            batches=self.progress.batches + accumulate * trainer.world_size,
            elapsed_s=elapsed_s,
            cpu_s=cpu_s,
            epoch=batch[0],
        )
        ended = self.share >= 1
        last = ended or self.interrupted
        due = ended or (elapsed_s - self.validated > self.watch.every_s and self.time_to_validate)
        told = last or elapsed_s - self.reported > _REPORT_EVERY_S
        if due or told:
            check_finite(module.network, self.progress.steps, self.folder / LAST)
        if due and self.validation:
            self.validate(trainer, module)
            last = last or self.share >= 1  # it may have taken what was left
        elif told:
            self.report(trainer, module)
        if due and not self.validation:
            self.save(trainer, module)
        trainer.should_stop = trainer.should_stop or last or self.exhausted

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self.checkpoint = self.present(trainer, module)
        if self.training_log is not None:
            if self.saved != self.progress.steps:
                self.checkpoint.save(self.folder / LAST)
            self.training_log.close()
            draw_curves(read_log(self.training_log.path), self.folder / CURVES)

    @property
    def share(self) -> float:
        """How much of the budget is used, 0..1."""
        return self.budget.share(self.progress, self.steps_per_epoch)

    @property
    def exhausted(self) -> bool:
        """Whether too many validations have brought no new best."""
        return 0 < self.watch.patience <= self.progress.stale

    @property
    def time_to_validate(self) -> bool:
        """Whether a validation that takes as long as the last one leaves time to learn; else the
        one at the end does."""
        left_s = self.budget.amount - self.progress.elapsed_s
        return self.budget.unit != "s" or left_s > self.validation_s

    def validate(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """ExpRate of the averaged network on the validation split, then a checkpoint; the other
        processes wait, and hear of it."""
        began_s = self.progress.elapsed_s
        if trainer.is_global_zero:
            network = module.average.module
            assert isinstance(network, Recognizer)
            data = (network, self.validation, self.vocabulary)
            captions = greedy_captions(*data, rendering=self.recipe.rendering)
            loss = caption_loss(*data, rendering=self.recipe.rendering)
            right = sum(
                tuple(caption) == each.caption
                for caption, each in zip(captions, self.validation, strict=True)
            )
            rate = 100 * right / len(self.validation)
            progress, before = self.progress, self.progress.kept
            elapsed_s, cpu_s = self.stopwatch.read()
            self.progress = replace(
                progress,
                elapsed_s=elapsed_s,
                cpu_s=cpu_s,
                best=max(progress.best, rate),
                stale=0 if rate > progress.best else progress.stale + 1,
                kept=self.best.ranked(before, rate, progress.steps),
            )
            try:
                self.report(trainer, module, {"validation": loss}, rate)
            finally:  # a log that cannot be written must not cost what was learnt
                self.save(trainer, module)
            # only now is there no checkpoint left that counts on them
            self.best.prune(before, self.progress.kept)
        self.progress, self.validated = trainer.strategy.broadcast(
            (self.progress, self.stopwatch.read()[0])
        )
        self.validation_s = self.validated - began_s

    def report(
        self,
        trainer: lightning.Trainer,
        module: TrainingModule,
        measured: Mapping[str, float] = _NOTHING,
        exp_rate: float | None = None,
    ) -> None:
        """One line for people, one for the log.

        Args:
            measured: losses on held-out ink, by name.
        """
        self.reported = self.progress.elapsed_s
        release_free_memory()
        if self.training_log is None:
            return
        report = Report(
            self.progress.steps,
            self.progress.epoch,
            self.progress.elapsed_s,
            _optimizer(trainer).param_groups[0]["lr"],
            {**{name: float(value) for name, value in module.losses.items()}, **measured},
            exp_rate,
        )
        self.training_log.write(report)
        say(line(report, self.share))

    def save(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        """Write the last checkpoint, and before it the one that is among the best."""
        self.validated = self.progress.elapsed_s
        if self.training_log is None:
            return
        checkpoint = self.present(trainer, module)
        self.best.write(checkpoint)
        checkpoint.save(self.folder / LAST)
        self.saved = self.progress.steps

    def present(self, trainer: lightning.Trainer, module: TrainingModule) -> Checkpoint:
        """The training as it stands."""
        average = module.average.module
        assert isinstance(average, Recognizer)
        return Checkpoint(
            self.recipe,
            self.vocabulary,
            self.progress,
            _on_cpu(module.network.state_dict()),
            _on_cpu(average.state_dict()),
            _on_cpu(optimizer_tensors(_optimizer(trainer), self.names)),
            self.provenance,
        )


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def _optimizer(trainer: lightning.Trainer) -> torch.optim.Optimizer:
    return trainer.optimizers[0]
