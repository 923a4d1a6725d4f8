"""The recurrent recipes with tiny networks, no two of whose widths are equal."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from inktex.training.batches import Batch, collate, draw
from inktex.training.checkpoint import Checkpoint
from inktex.training.objectives import Objective
from inktex.training.recipe import Recipe
from inktex.training.recipes import named
from inktex.training.recurrent_decoder import CoverageScale, RecurrentDecoder
from inktex.training.recurrent_recognizer import RecurrentRecognizer

from . import synthetic

NAMES = ("coverage", "abm")

_SIZES = {
    "coverage": {"model.widths": "[3, 4, 6, 9]", "model.layers": "[1, 2, 1, 1]"},
    "abm": {"model.stem": "6", "model.growth": "4", "model.layers": "[2, 1, 2]"},
}


def recipe(name: str, **settings: str) -> Recipe:
    """A recipe by its name, tiny and in float32; `model__coverage="false"` is another setting."""
    tiny = {
        **_SIZES[name],
        "model.embedding": "8",
        "model.hidden": "7",
        "model.attention": "11",
        "model.filters": "5",
        "model.max_length": "24",
        "optimisation.batch_size": "4",
        "optimisation.max_pixels": "60000",
        "optimisation.accumulate": "1",
        "optimisation.precision": "fp32",
        "rendering.symbol_px": "16",
        "rendering.pen_px": "1.75",
        "validation_share": "0.2",
    }
    asked = {key.replace("__", "."): value for key, value in settings.items()}
    return named(name).override({**tiny, **asked})


def network(name: str, **settings: str) -> RecurrentRecognizer:
    """Not trained, but no part of it does nothing: norms are not the identity, the attention is
    uneven and the coverage weighs on it."""
    torch.manual_seed(0)
    made = recipe(name, **settings).model.build(synthetic.vocabulary())
    assert isinstance(made, RecurrentRecognizer)
    with torch.no_grad():
        for key, tensor in made.state_dict().items():
            if key.endswith(("running_mean", "bias")):
                tensor.normal_(0, 0.2)
            elif key.endswith(("running_var", "1.weight")):
                tensor.uniform_(0.5, 1.5)
            elif key.endswith(("score.weight", "projection.weight", "keys.weight")):
                tensor.normal_()
        made.decoder.classifier.bias[:2] = -20.0  # as trained: never <pad>, never <sos>
    return made.eval()


def kernels(decoder: RecurrentDecoder) -> list[tuple[int, ...]]:
    """Shapes of the convolutions over the coverage."""
    if decoder.aggregation is None:
        return []
    return [
        tuple(each.convolution.weight.shape)
        for each in decoder.aggregation.modules()
        if isinstance(each, CoverageScale)
    ]


def batch(count: int = 4) -> Batch:
    """The first synthetic formulas, of different lengths."""
    made = synthetic.expressions(count)
    return collate(made, [draw(each) for each in made], synthetic.vocabulary())


def learn(network: RecurrentRecognizer, objective: Objective, steps: int) -> list[dict[str, float]]:
    """Learn the first three formulas; the parts of the loss at every step."""
    one = batch(3)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    history = []
    for _ in range(steps):
        total, parts = objective(network, one)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in parts.items()})
    network.eval()
    return history


@cache
def checkpoint(name: str) -> Checkpoint:
    """After so little training that what is read differs with the image, the token and the beam."""
    learnt = network(name, model__dropout="0")
    learn(learnt, recipe(name).objective, 30)
    weights = learnt.state_dict()
    return replace(synthetic.checkpoint(), recipe=recipe(name), network=weights, average=weights)
