"""Groups of tensors and a header of JSON in one safetensors file, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import CheckpointError

Groups = Mapping[str, Mapping[str, Tensor]]


def write_groups(path: Path, header: Mapping[str, Any], groups: Groups, advice: str) -> None:
    """Write the file; an existing one is replaced only when all is written.

    Args:
        groups: group -> name -> tensor.
        advice: what to do when it cannot be written.

    Raises:
        CheckpointError: it cannot be written; an existing file is as it was.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().contiguous().clone()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, {"inktex": json.dumps(header)})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} cannot be written ({error}); what was there before is as it was{advice}"
        ) from error


def grouped(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, dict[str, Tensor]]:
    """The tensors `GROUP/NAME` of a file by group and name; other groups are left out."""
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for path, tensor in tensors.items():
        group, _, name = path.partition("/")
        if group in groups:
            groups[group][name] = tensor
    return groups
