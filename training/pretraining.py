"""Pre-training of an encoder on ink without labels: contrast, then masking, within one budget."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, DataError
from ..core.replacement import replacing
from ..core.vocabulary import Vocabulary
from .budget import Budget, Stopwatch
from .checkpoint import Progress, optimizer_tensors, restore_optimizer
from .contrastive import ContrastiveTask
from .inkset import Expression, fingerprint
from .interruption import Interruption
from .masking import MaskingTask
from .optimisation import check_finite, learning_rate, optimizer_of
from .precision import with_precision
from .pretrained_encoder import PretrainedEncoder
from .pretraining_recipe import PretrainingRecipe, Stage
from .processes import check_accelerator
from .self_attention_network import AttentiveEncoder
from .training_module import seed_step
from .views import View, ViewStream

FILE = "encoder.safetensors"
"""What a pre-training leaves in its folder."""
LOG = "log.csv"
COLUMNS = (
    *("step", "stage", "epoch", "elapsed_s", "rate"),
    *("local", "global", "validation_local", "validation_global", "rank", "spread"),
    *("reconstruction", "masked", "explained"),
)
"""Of `LOG`; each stage fills its own."""

_MEASURED_BATCHES = 8
_REPORT_EVERY_S = 30.0

Task = ContrastiveTask | MaskingTask


def pretrain(
    recipe: PretrainingRecipe,
    training: Sequence[Expression],
    validation: Sequence[Expression],
    budget: Budget,
    folder: Path,
    *,
    resume: PretrainedEncoder | None = None,
    accelerator: str = "auto",
    validate_every_s: float = 600.0,
) -> PretrainedEncoder:
    """Pre-train until the budget is spent or Ctrl-C; what was learnt is in `folder` either way.

    Args:
        training, validation: their captions teach nothing.
        resume: goes on from here, as if it had never stopped.
        accelerator: of Lightning: "cpu", "gpu" or "auto".
        validate_every_s: seconds between two measurements, each followed by a save.

    Returns:
        What is also in `folder/FILE`.

    Raises:
        DataError: there is nothing to train on, it is not what the resumed training saw, a
            setting is for training with labels only, or the log cannot be written.
        RuntimeUnavailable: there is no GPU, and one is asked for.
        CheckpointError: the resumed training has spent the budget already, or a file cannot be
            written.
        TrainingError: it has diverged; the file, if any, is of before that.
        KeyboardInterrupt: Ctrl-C, once the file is written.
    """
    check_accelerator(accelerator, 1)
    if not training:
        raise DataError("expected ink to pre-train on, found none; give more data")
    settings = recipe.optimisation
    if settings.accumulate != 1 or settings.freeze_encoder:
        raise DataError(
            "expected a recipe without optimisation.accumulate and optimisation.freeze_encoder, "
            "which pre-training does not know; leave them out of --set"
        )
    if resume and resume.provenance["train"]["fingerprint"] != fingerprint(training):
        raise DataError(
            f"expected the {resume.provenance['train']['expressions']} expressions that the "
            f"pre-training began with, found {len(training)}, not the same; give the same data "
            "and the same share of them"
        )
    torch.set_flush_denormal(True)
    recipe = with_precision(recipe, accelerator)
    torch.manual_seed(recipe.seed)
    run = _Run(recipe, training, validation, budget, folder, accelerator, validate_every_s, resume)
    if resume and run.share() >= 1:
        raise CheckpointError(
            f"expected a pre-training with some of its budget left, found one of "
            f"{resume.progress.steps} steps in {resume.progress.elapsed_s / 60:.0f} minutes; "
            "give the budget of the whole, this part and those before"
        )
    with Interruption() as interruption:
        for stage in run.stages:
            if not interruption.requested:
                run.play(stage, interruption)
    if interruption.requested:
        raise KeyboardInterrupt
    return PretrainedEncoder.load(folder / FILE)


class _Run:
    """One encoder on its way through the stages."""

    def __init__(
        self,
        recipe: PretrainingRecipe,
        training: Sequence[Expression],
        validation: Sequence[Expression],
        budget: Budget,
        folder: Path,
        accelerator: str,
        validate_every_s: float,
        start: PretrainedEncoder | None,
    ) -> None:
        self.recipe, self.budget, self.folder = recipe, budget, folder
        self.validate_every_s = validate_every_s
        self.start = start
        self.fabric = lightning.Fabric(accelerator=accelerator, devices=1)
        vocabulary = Vocabulary.from_captions(each.caption for each in training)
        self.encoder = recipe.model.build(vocabulary).get_submodule("encoder")
        self.progress = start.progress if start else Progress()
        _drop_rows(folder / LOG, self.progress.steps)
        stages = recipe.stages(self.encoder)
        if start:
            self.encoder.load_state_dict(dict(start.encoder))
            names = [stage.name for stage in stages]
            stages = stages[names.index(start.stage) :]
        self.stages = stages
        self.stream = self.view_stream(training)
        self.held_out = self.view_stream(validation) if validation else None
        self.steps_per_epoch = len(self.stream.epoch(0))
        self.provenance: dict[str, Any] = {
            name: {"expressions": len(data), "fingerprint": fingerprint(data)}
            for name, data in (("train", training), ("validation", validation))
        }
        self.provenance["measured"] = dict(start.provenance["measured"]) if start else {}
        self.stopwatch = Stopwatch(self.progress)
        self.reported = self.validated = self.progress.elapsed_s

    def autocast(self) -> torch.autocast:
        """Half precision where the recipe wants it; that of Fabric would round the boxes, too."""
        wanted = self.recipe.optimisation.precision == "bf16"
        return torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=wanted)

    def view_stream(self, expressions: Sequence[Expression]) -> ViewStream:
        """Drawings as the recipe wants them."""
        recipe, settings = self.recipe, self.recipe.optimisation
        return ViewStream(
            expressions,
            recipe.augmentation,
            recipe.contrast.scale,
            settings.batch_size,
            settings.max_pixels,
            recipe.seed,
            recipe.rendering,
        )

    def share(self) -> float:
        """How much of the budget is used, 0..1."""
        return self.budget.share(self.progress, self.steps_per_epoch)

    def task(self, stage: Stage) -> Task:
        """What a stage trains, with fresh heads."""
        if stage.name == "contrast":
            attentive = isinstance(self.encoder, AttentiveEncoder)
            trunk = self.encoder.get_submodule("trunk" if attentive else "")
            return ContrastiveTask(trunk, self.recipe.contrast)
        assert isinstance(self.encoder, AttentiveEncoder)
        return MaskingTask(self.encoder, self.recipe.masking)

    def play(self, stage: Stage, interruption: Interruption) -> None:
        """Train through a stage, or through what the interrupted training has left of it."""
        if self.share() >= stage.end:
            return
        start, self.start = self.start, None
        torch.manual_seed(self.recipe.seed)
        task = self.task(stage)
        optimizer = optimizer_of(task, self.recipe.optimisation)
        names: dict[Tensor, str] = {tensor: name for name, tensor in task.named_parameters()}
        task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.fabric.to_device(task)
        if start and start.stage == stage.name:
            task.load_state_dict(dict(start.heads), strict=False)
            restore_optimizer(optimizer, names, start.optimizer)
        task.train()
        for epoch, views in self.stream.batches(self.progress.batches, task.views):
            share = max((self.share() - stage.start) / (stage.end - stage.start), 0.0)
            rate = learning_rate(share, self.recipe.optimisation)
            for group in optimizer.param_groups:
                group["lr"] = rate
            seed_step(self.fabric.device, self.recipe.seed, self.progress.batches)
            with self.autocast():
                losses = task(self.fabric.to_device(views), share)
            losses.total.backward()
            nn.utils.clip_grad_norm_(task.parameters(), self.recipe.optimisation.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()
            elapsed_s, cpu_s = self.stopwatch.read()
            self.progress = replace(
                self.progress,
                steps=self.progress.steps + 1,
                batches=self.progress.batches + 1,
                elapsed_s=elapsed_s,
                cpu_s=cpu_s,
                epoch=epoch,
            )
            # asked once: a Ctrl-C that comes later finds the next step, not a stop without a file
            ended, stopped = self.share() >= stage.end, interruption.requested
            due = ended or elapsed_s - self.validated > self.validate_every_s
            told = elapsed_s - self.reported > _REPORT_EVERY_S
            if due or stopped or told:
                check_finite(task, self.progress.steps, self.folder / FILE)
            if due:
                parts = {**_numbers(losses.parts), **self.measure(stage, task)}
                self.report(stage, optimizer, parts)
                self.save(stage, task, optimizer, names)
                self.reported = self.validated = self.stopwatch.read()[0]
            elif stopped:
                self.save(stage, task, optimizer, names)
            elif told:
                self.report(stage, optimizer, _numbers(losses.parts))
                self.reported = elapsed_s
            if ended or stopped:
                return

    def measure(self, stage: Stage, task: Task) -> dict[str, float]:
        """What is found on views of held-out ink, always the same ones."""
        if self.held_out is None:
            return {}
        task.eval()
        with self.autocast():
            found = task.measure(self.measured_views(self.held_out, task.views))
        task.train()
        self.provenance["measured"][stage.name] = found
        return found

    def measured_views(self, stream: ViewStream, views: int) -> Iterator[tuple[View, ...]]:
        """The first batches of a stream, as many as one epoch has at the most."""
        count = min(_MEASURED_BATCHES, len(stream.epoch(0)))
        for _, drawn in itertools.islice(stream.batches(0, views), count):
            yield self.fabric.to_device(drawn)

    def report(
        self, stage: Stage, optimizer: torch.optim.Optimizer, found: dict[str, float]
    ) -> None:
        """One line for people, one for `LOG`."""
        progress, share = self.progress, self.share()
        row = {
            "step": progress.steps,
            "stage": stage.name,
            "epoch": progress.epoch,
            "elapsed_s": round(progress.elapsed_s, 1),
            "rate": optimizer.param_groups[0]["lr"],
            **{name: round(value, 4) for name, value in found.items()},
        }
        path = self.folder / LOG
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise DataError(
                f"{path} cannot be written ({error.strerror or error}); make room or name another "
                "folder"
            ) from error
        left_s = progress.elapsed_s * (1 / share - 1) if share else math.inf
        text = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
        print(
            f"step {progress.steps}  {stage.name}  epoch {progress.epoch}  {100 * share:.0f} %  "
            f"{left_s / 60:.0f} min left  {text}",
            flush=True,
        )

    def save(
        self,
        stage: Stage,
        task: Task,
        optimizer: torch.optim.Optimizer,
        names: dict[Tensor, str],
    ) -> None:
        """Write `FILE`, from which the pre-training resumes and other trainings start."""
        heads = {
            name: tensor
            for name, tensor in task.state_dict().items()
            if not name.startswith("encoder.")
        }
        PretrainedEncoder(
            self.recipe,
            stage.name,
            self.progress,
            self.encoder.state_dict(),
            heads,
            optimizer_tensors(optimizer, names),
            self.provenance,
        ).save(self.folder / FILE)


def _drop_rows(log: Path, steps: int) -> None:
    """Leave out what a pre-training that was killed has logged after its last file was written."""
    if not log.is_file():
        return
    with log.open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["step"] or "").isdecimal() and int(row["step"]) <= steps
        ]
    with replacing(log) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _numbers(parts: Any) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in parts.items()}
