"""One recognizer out of several that were trained on from the same weights: the mean of them.

Trainings that began at the same weights end so near to each other that the weights between them
read as well or better, at the cost of one (Wortsman et al., 2022, arXiv:2203.05482, and, with the
weights that they began at, arXiv:2109.01903).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError
from .checkpoint import Checkpoint
from .recipe import Recipe
from .recognizer import Recognizer
from .two_scale_encoder import ConvNorm
from .warm_start import transfer
from .weight_source import Source


def averaged(checkpoint: Checkpoint, others: Sequence[Source]) -> Checkpoint:
    """The mean of the averaged weights of a checkpoint and of others, all with the same weight.

    Batch norms that follow a convolution are folded into it before: two trainings may tell the
    same filter by other weights and another spread. What a source lacks, such as the rows of
    tokens that it does not know and, in bundles, the heads that only training sees, counts as the
    checkpoint has it; the trail of a pen counts for nothing with one that sees drawings alone.

    Returns:
        a slim checkpoint, to evaluate and to export; its provenance tells of the others.

    Raises:
        CheckpointError: a source is of another shape, or sees or writes formulas otherwise.
    """
    if not others:
        return checkpoint
    weights = [_folded(checkpoint.trained_network())]
    for source in others:
        source.check_reads_as(_seen_by(source, checkpoint.recipe), "--average")
        network = checkpoint.trained_network()
        taken = transfer(network, checkpoint.recipe.model, checkpoint.vocabulary, source)
        if any(name.startswith(("encoder.", "decoder.")) for name in taken.fresh):
            raise CheckpointError(
                f"--average: expected weights of the same shape, found others ({taken}); average "
                "trainings that began at the same weights"
            )
        weights.append(_folded(network))
    provenance: dict[str, Any] = {
        **checkpoint.provenance,
        "averaged": [dict(source.provenance) for source in others],
    }
    average = {
        name: torch.stack([each[name] for each in weights]).mean(dim=0).float()
        for name in weights[0]
    }
    return replace(checkpoint.slim(), average=average, provenance=provenance)


def _seen_by(source: Source, recipe: Recipe) -> Recipe:
    """A recipe without the trail of the pen, where the source sees none."""
    trail = recipe.rendering.trail and source.recipe.rendering.trail
    return replace(recipe, rendering=replace(recipe.rendering, trail=trail))


@torch.no_grad()
def _folded(network: Recognizer) -> dict[str, Tensor]:
    """The weights of a network that computes the same in use, float64, by name: its batch norms
    behind convolutions only add."""
    tensors = {name: tensor.double() for name, tensor in network.state_dict().items()}
    for name, module in network.named_modules():
        if not isinstance(module, ConvNorm):
            continue
        norm = module[1]
        assert isinstance(norm, nn.BatchNorm2d)
        weight, bias, mean, variance = (
            tensors[f"{name}.1.{each}"]
            for each in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / (variance + norm.eps).sqrt()
        tensors[f"{name}.0.weight"] = tensors[f"{name}.0.weight"] * scale[:, None, None, None]
        tensors |= {
            f"{name}.1.weight": torch.ones_like(scale),
            f"{name}.1.bias": bias - mean * scale,
            f"{name}.1.running_mean": torch.zeros_like(scale),
            f"{name}.1.running_var": torch.full_like(scale, 1 - norm.eps),
        }
    return tensors
