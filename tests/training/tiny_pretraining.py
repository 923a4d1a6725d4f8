"""A pre-training in tests: a tiny network of the recipe `mask_and_match`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

from inktex.training.checkpoint import Checkpoint, Progress
from inktex.training.pretraining_recipe import PretrainingRecipe, pretraining
from inktex.training.recipe import Recipe
from inktex.training.recipes import named
from inktex.training.self_attention_network import AttentiveEncoder
from inktex.training.transformer_recognizer import TransformerRecognizer

from .synthetic import vocabulary

SETTINGS = {
    "model.stem": "4",
    "model.growth": "4",
    "model.blocks": "[1, 1, 1]",
    "model.features": "16",
    "model.heads": "2",
    "model.attention_hidden": "16",
    "model.attention_layers": "1",
    "model.hidden": "32",
    "model.layers": "2",
    "model.max_length": "24",
    "optimisation.batch_size": "4",
    "optimisation.accumulate": "1",
    "optimisation.precision": "fp32",
    "rendering.symbol_px": "16",
    "rendering.pen_px": "1.75",
    "validation_share": "0.2",
}
NONE: Mapping[str, str] = MappingProxyType({})


def fine_tuning(settings: Mapping[str, str] = NONE) -> Recipe:
    """The supervised recipe, with some settings of its own."""
    return named("mask_and_match").override({**SETTINGS, **settings})


def recipe(settings: Mapping[str, str] = NONE) -> PretrainingRecipe:
    """The pre-training of the same network."""
    made = {**SETTINGS, "contrast.projection": "8", **settings}
    return pretraining(named("mask_and_match")).override(made)


def network(seed: int = 0) -> TransformerRecognizer:
    """Not trained, but no part of it does nothing."""
    torch.manual_seed(seed)
    made = fine_tuning().model.build(vocabulary())
    assert isinstance(made, TransformerRecognizer)
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if name.endswith(("running_mean", "bias", "memory_places.weight")):
                tensor.normal_(0, 0.2)
            elif name.endswith(("running_var", "second.weight", "1.weight", "norm.weight")):
                tensor.uniform_(0.5, 1.5)
        made.decoder.classifier.bias[:2] = -20.0  # as trained: never <pad>, never <sos>
    return made.eval()


def encoder(seed: int = 0) -> AttentiveEncoder:
    """That of `network`."""
    made = network(seed).encoder
    assert isinstance(made, AttentiveEncoder)
    return made


def checkpoint() -> Checkpoint:
    """As a fine-tuning would leave it, of `network`."""
    weights = network().state_dict()
    return Checkpoint(
        fine_tuning(),
        vocabulary(),
        Progress(steps=3, batches=3, elapsed_s=1.5),
        weights,
        weights,
        {},
        {"train": {"expressions": 60}},
    )
