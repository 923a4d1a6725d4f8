from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inktex.core.errors import DataError
from inktex.training import trainer
from inktex.training.budget import Budget
from inktex.training.coverage import CoverageModel, coverage
from inktex.training.objectives import CrossEntropy
from inktex.training.recurrent_recognizer import RecurrentRecognizer

from . import recurrent, synthetic


def test_the_recipe_is_adam_on_plain_cross_entropy() -> None:
    recipe = coverage()
    assert isinstance(recipe.objective, CrossEntropy)
    assert (recipe.optimisation.optimizer, recipe.optimisation.schedule) == ("adam", "cosine")
    network = recipe.model.build(synthetic.vocabulary())
    assert isinstance(network, RecurrentRecognizer)
    decoder = network.decoder
    assert recurrent.kernels(decoder) == [(512, 1, 11, 11)]
    assert decoder.keys.weight.shape == (512, 256, 1, 1)
    assert decoder.first.from_hidden.weight.shape == (3 * 256, 256)
    assert network.max_length == recipe.model.max_length


def test_coverage_can_be_left_out() -> None:
    assert recurrent.network("coverage", model__coverage="false").decoder.aggregation is None


def test_a_maxout_takes_pairs() -> None:
    with pytest.raises(DataError, match="embedding must be even for the maxout, found 7"):
        CoverageModel(embedding=7)


def test_it_trains(tmp_path: Path) -> None:
    recipe = recurrent.recipe("coverage", optimisation__precision="bf16")
    made = synthetic.expressions(14)
    last = trainer.train(recipe, made, made[:3], Budget(2, "steps"), tmp_path, accelerator="cpu")
    assert last.progress.steps == 2
    assert last.recipe == recipe
    fresh = recurrent.network("coverage").state_dict()
    assert last.network.keys() == fresh.keys()
    for name, tensor in last.network.items():
        assert torch.isfinite(tensor).all(), name
    assert any(name.startswith("exp_avg/decoder.aggregation") for name in last.optimizer)
