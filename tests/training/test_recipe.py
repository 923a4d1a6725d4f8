from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from inktex.core.errors import DataError
from inktex.core.rendering import Rendering
from inktex.training.abm import abm
from inktex.training.edge import EdgeModel, edge
from inktex.training.pretraining_recipe import pretraining
from inktex.training.recipe import Optimisation
from inktex.training.recipes import RECIPES, named, recipe_from_dict


def test_a_recipe_survives_a_journey_through_json() -> None:
    recipe = edge().override({"model.widths": "[8, 16, 24, 32]", "augmentation.pen": "[1, 2.5]"})
    returned = recipe_from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert returned == recipe
    assert isinstance(returned.model, EdgeModel)
    assert returned.model.widths == (8, 16, 24, 32)
    assert returned.augmentation.pen == (1.0, 2.5)


def test_every_name_makes_the_recipe_of_that_name() -> None:
    assert {name: make().name for name, make in RECIPES.items()} == {name: name for name in RECIPES}
    with pytest.raises(DataError, match=r"expected a recipe out of edge.*found 'edges'"):
        named("edges")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: values.update(name="other"), "expected a recipe out of"),
        (lambda values: values.pop("seed"), "written by another version"),
        (
            lambda values: values["model"].update(depth=3),
            "recipe edge.model: expected the settings",
        ),
        (lambda values: values["model"].update(heads="8"), "expected a heads like 8, found '8'"),
    ],
)
def test_a_recipe_of_another_version_is_refused(
    change: Callable[[dict[str, Any]], object], told: str
) -> None:
    values = edge().to_dict()
    change(values)
    with pytest.raises(DataError, match=told):
        recipe_from_dict(values)


def test_a_recipe_of_an_earlier_version_did_not_do_what_was_added() -> None:
    """As the checkpoints of those versions tell it, whatever the recipe does by now."""
    values = edge().override({"brief": "true"}).to_dict()
    assert values.pop("brief")
    assert values["augmentation"].pop("synthetic")
    for part, name in (("augmentation", "shift"), ("objective", "mutual")):
        del values[part][name]
    seen = values["rendering"]
    assert not seen.pop("trail")
    assert recipe_from_dict(values).rendering == edge().rendering
    del values["optimisation"]["quantization_aware"], values["rendering"]
    found = recipe_from_dict(values)
    assert not found.brief
    assert found.augmentation.synthetic == found.augmentation.shift == 0
    assert not found.optimisation.quantization_aware
    assert found.rendering == Rendering()
    assert found.model == edge().model


def test_values_are_replaced_with_their_type() -> None:
    recipe = edge().override(
        {
            "optimisation.batch_size": "16",
            "optimisation.learning_rate": "1",
            "optimisation.precision": "fp32",
            "augmentation.pen": "[1, 2]",
            "seed": "7",
            "name": "123",
        }
    )
    assert recipe.optimisation.batch_size == 16
    assert recipe.optimisation.precision == "fp32"
    assert (recipe.seed, recipe.name) == (7, "123")
    for number in (recipe.optimisation.learning_rate, *recipe.augmentation.pen):
        assert type(number) is float
    assert recipe.model == edge().model
    assert edge().optimisation.batch_size != 16


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("optimisation.batchsize", "16", "expected one of .*batch_size.*found 'batchsize'"),
        ("optimization.batch_size", "16", "expected one of .*optimisation.*'optimization'"),
        ("optimisation", "16", "reads like optimisation.batch_size"),
        ("seed.more", "16", "reads like optimisation.batch_size"),
        ("", "16", "expected one of"),
        ("optimisation.batch_size", "16.5", "expected a value like 32, found '16.5'"),
        ("optimisation.batch_size", "many", "expected a value like 32, found 'many'"),
        ("optimisation.batch_size", "true", "expected a value like 32"),
        ("optimisation.batch_size", "0", "1 or more"),
        ("optimisation.learning_rate", "NaN", "expected a value like"),
        ("optimisation.learning_rate", '"0.1"', "expected a value like"),
        ("optimisation.precision", "fp16", "auto or bf16 or fp32"),
        ("optimisation.warmup", "1", "below 1"),
        ("model.widths", "[1, 2]", "expected a value like"),
        ("model.widths", "64", r"expected a value like \[32, 64, 144, 192\], found '64'"),
        ("model.widths", "(24, 48, 96, 144)", "expected a value like"),
        ("augmentation.pen", '["thin", "thick"]', "expected a value like"),
        ("model.features", "250", "multiple of heads and of 4"),
        ("model.heads", "0", "multiple of heads"),
        ("model.layers", "0", "layers must be 1 or more, found 0"),
        ("model.widths", "[32, 0, 144, 192]", r"widths must be 1 or more, found \[32, 0, "),
        ("model.hidden", "-1", "hidden must be 1 or more"),
        ("model.features", "0", "features must be 1 or more"),
        ("objective.label_smoothing", "2", "label_smoothing must be a share from 0 to below 1"),
        ("objective.symbols", "-1", "symbols must be 0 or more"),
        ("optimisation.learning_rate", "-1", "learning_rate must be 0 or more"),
        ("optimisation.weight_decay", "-1", "weight_decay must be 0 or more"),
        ("model.dropout", "2", "from 0 to below 1"),
        ("augmentation.scale", "-1", "scale must be 0 or more"),
        ("optimisation.ema_decay", "2", "from 0 to below 1"),
        ("optimisation.gradient_clip", "0", "gradient_clip above 0"),
        ("optimisation.max_pixels", "0", "1 or more"),
        ("validation_share", "2", "from 0 to below 1"),
        ("seed", "-1", "seed must be from 0"),
        ("split_seed", "-1", "split_seed must be from 0"),
    ],
)
def test_a_bad_setting_says_what_was_expected(name: str, value: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        edge().override({name: value})


@pytest.mark.parametrize(
    ("recipe", "name", "value"),
    [
        ("coverage", "model.dropout", "2"),
        ("coverage", "model.widths", "[0, 0, 0, 0]"),
        ("coverage", "model.layers", "[-1, -1, -1, -1]"),
        ("coverage", "model.filters", "-1"),
        ("coverage", "objective.label_smoothing", "-1"),
        ("abm", "model.stem", "0"),
        ("abm", "model.attention", "0"),
        ("abm", "model.dropout", "-1"),
        ("abm", "objective.alignment", "-1"),
        ("mask_and_match", "model.stem", "-1"),
        ("mask_and_match", "model.reduction", "0"),
        ("mask_and_match", "model.encoder_dropout", "1"),
    ],
)
def test_no_recipe_takes_values_of_no_use(recipe: str, name: str, value: str) -> None:
    with pytest.raises(DataError, match=f"{name.partition('.')[2]} must be "):
        named(recipe).override({name: value})


def test_a_pretraining_checks_what_a_training_does() -> None:
    recipe = pretraining(edge())
    for name in ("seed", "split_seed", "validation_share"):
        with pytest.raises(DataError, match=f"{name} must be from 0"):
            recipe.override({name: "-1"})


def test_features_are_cut_evenly() -> None:
    EdgeModel(features=24, heads=6)
    with pytest.raises(DataError, match="250 features"):
        EdgeModel(features=250, heads=8)
    with pytest.raises(DataError, match="precision"):
        Optimisation(precision="half")


def test_a_recipe_from_before_there_were_renderings_and_new_formulas_is_read() -> None:
    values = json.loads(json.dumps(edge().to_dict()))
    del values["rendering"], values["augmentation"]["synthetic"]
    before = edge().override({"augmentation.synthetic": "0.0"})
    assert edge().with_values(values) == dataclasses.replace(before, rendering=Rendering())
    assert abm().with_values({**abm().to_dict(), "rendering": vars(Rendering(20.0))}).rendering == (
        Rendering(20.0)
    )
