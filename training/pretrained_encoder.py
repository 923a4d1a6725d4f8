"""An encoder that has learnt without labels, as a file: tensors and JSON, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.errors import CheckpointError
from .checkpoint import Progress
from .pretraining_recipe import PretrainingRecipe, pretraining
from .recipes import named
from .recognizer import Recognizer
from .tensor_file import grouped, write_groups

FORMAT_VERSION = 1

_KIND = "pretrained encoder"
_GROUPS = ("encoder", "heads", "optimizer")
_TRUNK = "trunk."


@dataclass(frozen=True)
class PretrainedEncoder:
    """A pre-training as it stands.

    Attributes:
        stage: that it is in, "contrast" or "masking".
        encoder: its weights, by name.
        heads: those that only the losses of the stage need.
        optimizer: its state, `exp_avg/NAME` and so on.
        provenance: free JSON: the data and its fingerprint, what was measured.
    """

    recipe: PretrainingRecipe
    stage: str
    progress: Progress
    encoder: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    provenance: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write it; an existing file is replaced only when all is written.

        Raises:
            CheckpointError: it cannot be written; an existing file is as it was.
        """
        header = {
            "kind": _KIND,
            "format_version": FORMAT_VERSION,
            "recipe": self.recipe.to_dict(),
            "stage": self.stage,
            "progress": vars(self.progress),
            "provenance": dict(self.provenance),
        }
        groups = {group: getattr(self, group) for group in _GROUPS}
        write_groups(path, header, groups, "; make room or name another folder")

    @classmethod
    def load(cls, path: Path) -> PretrainedEncoder:
        """Read it, to go on with the pre-training.

        Raises:
            CheckpointError: the file is missing, damaged, or not of `inktex pretrain`.
            DataError: its recipe has other settings in this version of inktex.
        """
        header, tensors = _read(path)
        groups = grouped(tensors, _GROUPS)
        try:
            return cls(
                _recipe(header["recipe"]),
                header["stage"],
                Progress(**header["progress"]),
                groups["encoder"],
                groups["heads"],
                groups["optimizer"],
                header["provenance"],
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} lacks what a pre-training goes on from ({error}); begin anew"
            ) from error


@torch.no_grad()
def load_encoder(network: Recognizer, path: Path) -> tuple[str, ...]:
    """Copy a pre-trained encoder into that of a network, as far as names and shapes agree.

    The convolutional encoder of `mask_and_match` is that of other recipes too: it fits in both
    directions, with or without the attention network around it.

    Args:
        network: of any recipe; only its `encoder` is changed.
        path: a file that `inktex pretrain` has written.

    Returns:
        The names of the tensors of the encoder that keep their fresh values.

    Raises:
        CheckpointError: the file is not one of `inktex pretrain`, or no weight in it fits.
    """
    header, tensors = _read(path)
    source = {
        name.removeprefix("encoder/").removeprefix(_TRUNK): tensor
        for name, tensor in tensors.items()
        if name.startswith("encoder/")
    }
    mine: dict[str, Tensor] = dict(network.get_submodule("encoder").state_dict())
    fitting = {
        name: source[name.removeprefix(_TRUNK)]
        for name, tensor in mine.items()
        if name.removeprefix(_TRUNK) in source
        and source[name.removeprefix(_TRUNK)].shape == tensor.shape
    }
    # counters and norms fit anywhere by chance: they are nothing without a kernel
    if not any(tensor.ndim > 1 for tensor in fitting.values()):
        raise CheckpointError(
            f"{path}: expected an encoder of the same architecture, found one of recipe "
            f"{header['recipe']['name']!r} of which no weight fits; give the --set model.… that "
            "it was pre-trained with, or pre-train one for this recipe"
        )
    for name, tensor in fitting.items():
        mine[name].copy_(tensor)
    return tuple(name for name in mine if name not in fitting)


def _recipe(values: Mapping[str, Any]) -> PretrainingRecipe:
    recipe = pretraining(named(str(values.get("name")))).with_values(values)
    assert isinstance(recipe, PretrainingRecipe)
    return recipe


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file."""
    if not path.is_file():
        raise CheckpointError(f"expected a pre-trained encoder at {path}, found no file there")
    try:
        with safe_open(path, "pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})["inktex"])
            kind, version = header.get("kind"), header["format_version"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (AttributeError, SafetensorError, KeyError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a pre-trained encoder ({error}); expected a .safetensors file written "
            "by `inktex pretrain`"
        ) from error
    if kind != _KIND:
        raise CheckpointError(
            f"{path}: expected a pre-trained encoder, as `inktex pretrain` writes it, found a "
            "checkpoint of `inktex train`; start from that with --from"
        )
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: expected format {FORMAT_VERSION} of a pre-trained encoder, found {version}; "
            "use the version of inktex that wrote it"
        )
    return header, tensors
