"""Checkpoints: tensors and JSON in one safetensors file, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.errors import CheckpointError
from ..core.vocabulary import Vocabulary
from .recipe import Recipe
from .recipes import recipe_from_dict
from .recognizer import Recognizer
from .tensor_file import grouped, write_groups

FORMAT_VERSION = 1

_KIND = "checkpoint"
_GROUPS = ("network", "average", "optimizer")


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        steps: optimiser steps made.
        batches: batches taken from the stream, by all processes together.
        elapsed_s: seconds trained, over all resumptions.
        cpu_s: seconds of the processor in that time, in the threads of the first process.
        epoch: of the stream.
        best: greatest ExpRate on the validation split so far, in percent; below 0 before any.
        stale: validations since then.
        kept: ExpRate and step of the checkpoints that are kept beside the last one, best first.
    """

    steps: int = 0
    batches: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    epoch: int = 0
    best: float = -1.0
    stale: int = 0
    kept: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        # after a journey through JSON they are lists
        object.__setattr__(self, "kept", tuple((rate, step) for rate, step in self.kept))

    def told(self) -> dict[str, int]:
        """What is kept of it where weights go on without their training."""
        return {"steps": self.steps, "epochs": self.epoch, "elapsed_s": round(self.elapsed_s)}


@dataclass(frozen=True)
class Checkpoint:
    """A training as it stands.

    Attributes:
        network: the weights being trained, by name.
        average: their exponential moving average, which is what is evaluated and exported.
        optimizer: its state, `exp_avg/NAME` and so on.
        provenance: free JSON: the data and its fingerprint, measured scores.
    """

    recipe: Recipe
    vocabulary: Vocabulary
    progress: Progress
    network: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    provenance: Mapping[str, Any]

    def slim(self) -> Checkpoint:
        """The averaged weights alone: to evaluate, to export and to start from, not to resume."""
        return replace(self, network={}, optimizer={})

    def check_resumable(self) -> None:
        """Raise CheckpointError for a slim one, which has nothing to go on from."""
        if not self.network:
            raise CheckpointError(
                f"expected a checkpoint to resume from, found one of step {self.progress.steps} "
                "that holds averaged weights only; resume from last.safetensors, or begin a new "
                "training from it with --from"
            )

    def save(self, path: Path) -> None:
        """Write it; an existing file is replaced only when all is written.

        Raises:
            CheckpointError: it cannot be written; an existing file is as it was.
        """
        header = {
            "format_version": FORMAT_VERSION,
            "recipe": self.recipe.to_dict(),
            "vocabulary": self.vocabulary.tokens,
            "progress": vars(self.progress),
            "provenance": dict(self.provenance),
        }
        groups = {group: getattr(self, group) for group in _GROUPS}
        write_groups(path, header, groups, ": make room on the disk, then go on with --resume")

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read it.

        Raises:
            CheckpointError: the file is missing, damaged, or not a checkpoint of this format.
        """
        if not path.is_file():
            raise CheckpointError(f"expected a checkpoint at {path}, found no file there")
        try:
            with safe_open(path, "pt") as file:
                header = json.loads((file.metadata() or {})["inktex"])
                kind, version = header.get("kind", _KIND), header["format_version"]
                if (kind, version) == (_KIND, FORMAT_VERSION):
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    return cls._assembled(header, tensors)
        except (AttributeError, SafetensorError, KeyError, OSError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is not a checkpoint of inktex ({error}); expected a .safetensors file "
                "written by `inktex train`"
            ) from error
        if kind != _KIND:
            raise CheckpointError(
                f"{path}: expected a checkpoint of `inktex train`, found a {kind}; start from one "
                "of these with --encoder"
            )
        raise CheckpointError(
            f"{path}: expected checkpoint format {FORMAT_VERSION}, found {version}; "
            "use the version of inktex that wrote it"
        )

    @classmethod
    def _assembled(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Checkpoint:
        groups = grouped(tensors, _GROUPS)
        recipe = recipe_from_dict(header["recipe"])
        return cls(
            recipe,
            Vocabulary(tuple(header["vocabulary"]), recipe.brief),
            Progress(**header["progress"]),
            groups["network"],
            groups["average"],
            groups["optimizer"],
            header["provenance"],
        )

    def trained_network(self) -> Recognizer:
        """The network with the averaged weights, ready to evaluate or export."""
        network = self.recipe.build(self.vocabulary)
        network.load_state_dict(dict(self.average))
        return network.eval()


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]
) -> dict[str, Tensor]:
    """The state of an optimiser as `KEY/NAME` tensors, by the names of the parameters."""
    return {
        f"{key}/{names[parameter]}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor]
) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = {name: parameter for parameter, name in names.items()}
    for path, tensor in tensors.items():
        key, _, name = path.partition("/")
        parameter = parameters[name]
        # as the optimiser made them: counters on the processor, but for those of an optimiser of
        # one launch; the rest beside the weights
        restored = tensor.clone()
        if optimizer.defaults.get("fused"):
            restored = restored.to(parameter.device)
        if tensor.ndim:
            restored = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        optimizer.state[parameter][key] = restored
