from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from inktex.core.bundle import Bundle
from inktex.core.errors import CheckpointError
from inktex.core.rendering import Rendering
from inktex.core.vocabulary import Vocabulary
from inktex.training.batches import collate, draw
from inktex.training.bundle_weights import bundle_source
from inktex.training.checkpoint import Checkpoint
from inktex.training.recognizer import Recognizer
from inktex.training.two_scale_encoder import ConvNorm
from inktex.training.warm_start import token_axes
from inktex.training.weight_averaging import averaged
from inktex.training.weight_source import Source

from . import synthetic


def norms(network: Recognizer) -> list[str]:
    return [name for name, each in network.named_modules() if isinstance(each, ConvNorm)]


def trained(seed: int = 0) -> Checkpoint:
    """A checkpoint whose norms have seen something."""
    checkpoint = synthetic.checkpoint(seed)
    tensors = {name: tensor.clone() for name, tensor in checkpoint.average.items()}
    drawn = torch.Generator().manual_seed(seed)
    for name in norms(synthetic.network()):
        for each in ("weight", "bias", "running_mean", "running_var"):
            tensor = tensors[f"{name}.1.{each}"]
            tensor += 0.5 * torch.rand(tensor.shape, generator=drawn)
    return dataclasses.replace(checkpoint, average=tensors, provenance={"seed": seed})


def source(checkpoint: Checkpoint, tensors: Mapping[str, Tensor] | None = None) -> Source:
    return Source(
        checkpoint.recipe,
        checkpoint.vocabulary,
        tensors or checkpoint.average,
        provenance=checkpoint.provenance,
    )


def features(checkpoint: Checkpoint) -> Tensor:
    made = synthetic.expressions(2)
    batch = collate(made, [draw(each) for each in made], checkpoint.vocabulary)
    with torch.inference_mode():
        return checkpoint.trained_network().get_submodule("encoder")(batch.images)  # type: ignore[no-any-return]


def test_filters_told_by_other_weights_and_another_spread_are_the_same_filters() -> None:
    checkpoint = trained()
    other = {name: tensor.clone() for name, tensor in checkpoint.average.items()}
    for name in norms(synthetic.network()):
        other[f"{name}.0.weight"] *= 3
        other[f"{name}.1.running_mean"] *= 3
        eps = 1e-5
        variance = other[f"{name}.1.running_var"]
        variance.copy_(9 * (variance + eps) - eps)
    mean = averaged(checkpoint, [source(checkpoint, other)])
    torch.testing.assert_close(features(mean), features(checkpoint), rtol=1e-4, atol=1e-5)


def test_all_count_the_same_and_are_told_of() -> None:
    checkpoints = [trained(seed) for seed in range(3)]
    mean = averaged(checkpoints[0], [source(each) for each in checkpoints[1:]])
    for name in ("decoder.embedding.weight", "decoder.classifier.bias", "symbol_head.weight"):
        expected = torch.stack([each.average[name] for each in checkpoints]).mean(dim=0)
        torch.testing.assert_close(mean.average[name], expected)
    assert mean.provenance == {"seed": 0, "averaged": [{"seed": 1}, {"seed": 2}]}
    with pytest.raises(CheckpointError, match="averaged weights only"):
        mean.check_resumable()
    assert averaged(checkpoints[0], []) is checkpoints[0]


def test_what_a_bundle_lacks_is_as_the_checkpoint_has_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bundle: Bundle = synthetic.bundle(tmp_path_factory)
    checkpoint = trained(1)
    mean = averaged(checkpoint, [bundle_source(bundle)])
    head = "symbol_head.weight"
    torch.testing.assert_close(mean.average[head], checkpoint.average[head])
    name = "decoder.classifier.weight"
    exported = synthetic.checkpoint().average[name]
    torch.testing.assert_close(mean.average[name], (checkpoint.average[name] + exported) / 2)


def test_tokens_that_a_source_does_not_know_keep_their_rows() -> None:
    checkpoint = trained()
    start = source(trained(1))
    rows = token_axes(checkpoint.recipe.model, checkpoint.vocabulary)
    shorter = {
        name: tensor.narrow(rows[name], 0, tensor.shape[rows[name]] - 1) if name in rows else tensor
        for name, tensor in start.tensors.items()
    }
    fewer = Vocabulary(checkpoint.vocabulary.tokens[:-1])
    mean = averaged(checkpoint, [dataclasses.replace(start, tensors=shorter, vocabulary=fewer)])
    name = "decoder.classifier.weight"
    mine, theirs, found = (each[name] for each in (checkpoint.average, start.tensors, mean.average))
    torch.testing.assert_close(found[:-1], (mine[:-1] + theirs[:-1]) / 2)
    torch.testing.assert_close(found[-1], mine[-1])


def test_a_trail_counts_half_with_one_that_sees_drawings_alone() -> None:
    alone = trained()
    recipe = dataclasses.replace(alone.recipe, rendering=Rendering(trail=True))
    network = recipe.build(alone.vocabulary)
    seeing = dataclasses.replace(alone, recipe=recipe, average=network.state_dict())
    mean = averaged(seeing, [source(alone)])
    stem = "encoder.stem.0.0.weight"
    half = network.state_dict()[stem][:, 1:] / 2  # its norm has seen nothing and folds to nothing
    torch.testing.assert_close(mean.average[stem][:, 1:], half, rtol=1e-4, atol=0)
    with pytest.raises(CheckpointError, match="rendering of the recipe"):
        averaged(alone, [source(seeing)])


def test_other_shapes_and_images_are_refused() -> None:
    checkpoint = trained()
    start = source(checkpoint)
    narrow = {**start.tensors, "encoder.from_coarse.weight": torch.zeros(2, 2)}
    narrow["decoder.layers.0.cross_query.weight"] = torch.zeros(3, 3)
    other = dataclasses.replace(checkpoint.recipe, rendering=Rendering(33.0, 1.0))
    for wrong, told in (
        (dataclasses.replace(start, tensors=narrow), "same shape.*cross_query"),
        (dataclasses.replace(start, recipe=other), "rendering of the recipe"),
    ):
        with pytest.raises(CheckpointError, match=told):
            averaged(checkpoint, [wrong])
