"""The best checkpoints of a training, beside its last one."""

from __future__ import annotations

from pathlib import Path

from .checkpoint import Checkpoint

Kept = tuple[tuple[float, int], ...]
"""ExpRate in percent, and step, of each; the best first."""


class BestCheckpoints:
    """At most `count` files in a folder, `best-EXPRATE-stepN.safetensors`.

    They are slim: to evaluate, to export and to start from, not to resume.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count

    def ranked(self, kept: Kept, rate: float, step: int) -> Kept:
        """What is to be kept once `rate` was measured at `step`; of equals the later."""
        if self.count == 0:  # what another part of the training kept is left alone
            return kept
        return tuple(sorted((*kept, (rate, step)), reverse=True)[: self.count])

    def path(self, rate: float, step: int) -> Path:
        return self.folder / f"best-{rate:.2f}-step{step}.safetensors"

    def write(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint if it is, by its own progress, among those to keep.

        Raises:
            CheckpointError: it cannot be written.
        """
        for rate, step in checkpoint.progress.kept:
            if step == checkpoint.progress.steps and self.count:
                checkpoint.slim().save(self.path(rate, step))

    def forget_others(self, kept: Kept) -> None:
        """Remove what a training that was killed has left beside those that count."""
        counted = {self.path(rate, step) for rate, step in kept}
        if self.count:
            for path in self.folder.glob("best-*-step*.safetensors"):
                if path not in counted:
                    path.unlink(missing_ok=True)

    def prune(self, before: Kept, kept: Kept) -> None:
        """Remove what was kept before and is no more."""
        for rate, step in before:
            if (rate, step) not in kept:
                self.path(rate, step).unlink(missing_ok=True)
