"""The process whose training is timed.

    python -m inktex.benchmarks.training_probe DATA RECIPE trained|plain SECONDS [NAME=VALUE ...]

Writes one JSON object: how many formulas a second were drawn and learnt from, after a few steps to
warm up, and in which precision.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.vocabulary import Vocabulary
from .training_speed import PLAIN

if TYPE_CHECKING:
    from ..training.batches import Batch
    from ..training.stream import TrainingStream

_WARM_UP = 3


def main(data: str, name: str, form: str, seconds: str, *settings: str) -> None:
    """Train as `inktex train` does, or in the plain way, and count."""
    import torch
    from torch import nn

    from ..training.inkset import load_inkset
    from ..training.precision import with_precision
    from ..training.recipe_options import pairs
    from ..training.recipes import named
    from ..training.split import split_as_trained
    from ..training.stream import TrainingStream
    from ..training.training_module import TrainingModule

    recipe = named(name).override(pairs(settings))
    plain = form == PLAIN
    if plain:
        recipe = recipe.override({"optimisation.precision": "fp32"})
    else:
        recipe = with_precision(recipe, "cpu")
        torch.set_flush_denormal(True)
    training, _ = split_as_trained(load_inkset(Path(data)), recipe.to_dict())
    vocabulary = Vocabulary.from_captions(each.caption for each in training)
    chosen = recipe.optimisation
    stream = TrainingStream(
        training,
        vocabulary,
        recipe.augmentation,
        chosen.batch_size,
        chosen.max_pixels,
        recipe.seed,
        recipe.model.max_length - 1,
        recipe.rendering,
    )
    torch.manual_seed(recipe.seed)
    module = TrainingModule(recipe, vocabulary).train()
    if plain:
        module.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = module.configure_optimizers()
    began, formulas = time.perf_counter(), 0
    batches = shuffled(stream) if plain else (batch for _, batch in stream.batches())
    for number, batch in enumerate(batches):
        with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
            if plain:
                loss = module.objective(module.network, batch.expanded()).total
            else:
                loss = module.training_step((0, batch))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.network.parameters(), chosen.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        module.average.update(module.network)
        formulas += len(batch.images)
        if number + 1 == _WARM_UP:
            began, formulas = time.perf_counter(), 0
        elif number >= _WARM_UP and time.perf_counter() - began > float(seconds):
            break
    speed = formulas / (time.perf_counter() - began)
    print(json.dumps({"formulas_a_second": speed, "precision": chosen.precision}), flush=True)


def shuffled(stream: TrainingStream) -> Iterator[Batch]:
    """Batches in random order, padded to the largest of their formulas whatever these are."""
    rng = np.random.default_rng(stream.seed)
    while True:
        order = rng.permutation(len(stream.expressions))
        for first in range(0, len(order), stream.batch_size):
            batch = [
                stream.expressions[index] for index in order[first : first + stream.batch_size]
            ]
            yield stream.draw(batch, rng)


if __name__ == "__main__":
    main(*sys.argv[1:])
