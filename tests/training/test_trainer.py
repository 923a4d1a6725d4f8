from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from PIL import Image
from torch import nn

from inktex.core.errors import CheckpointError, DataError, VocabularyError
from inktex.core.vocabulary import Vocabulary
from inktex.export.checkpoint_bundle import export_bundle
from inktex.training import trainer
from inktex.training.budget import Budget
from inktex.training.budget_callback import LAST
from inktex.training.checkpoint import Checkpoint
from inktex.training.optimisation import learning_rate
from inktex.training.recipe import Recipe
from inktex.training.stream import TrainingStream
from inktex.training.training_module import TrainingModule, seed_step
from inktex.training.warm_start import load_source
from inktex.training.weight_source import Source

from . import synthetic
from .synthetic import expression
from .tiny_training import TRAIN, VALIDATION, assert_same, train


def test_a_training_ends_with_its_budget_and_leaves_all_that_was_learnt(tmp_path: Path) -> None:
    recipe = synthetic.recipe()
    last = train(tmp_path / "run", "6steps", recipe)
    assert (last.progress.steps, last.progress.batches) == (6, 6)
    assert last.progress.epoch >= 1
    assert last.progress.elapsed_s > 0
    assert 0 <= last.progress.best <= 100
    assert last.recipe == recipe
    assert last.provenance["train"]["expressions"] == len(TRAIN)
    assert last.provenance["validation"]["expressions"] == len(VALIDATION)
    made = last.provenance["made"]
    assert made["command"].split()[0]  # pytest's own, here
    assert re.fullmatch(r".+, \d+ cores", made["hardware"])
    assert last.network.keys() == last.average.keys()
    assert last.trained_network().training is False
    fresh = TrainingModule(recipe, last.vocabulary).network.state_dict()
    for weights in (last.network, last.average):
        changed = sum(not torch.equal(fresh[name].cpu(), weights[name]) for name in fresh)
        assert changed > 0.9 * len(fresh)
    loaded = Checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert_same(loaded.network, last.network)
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = ("tokens", "alignment", "symbols", "validation", "exp_rate")
    assert tuple(rows[-1]) == ("step", "epoch", "elapsed_s", "rate", *measured)
    assert rows[-1]["step"] == "6"
    assert float(rows[-1]["exp_rate"]) == pytest.approx(last.progress.best)
    assert float(rows[-1]["tokens"]) > 0
    best = f"best-{last.progress.best:.2f}-step6.safetensors"
    assert {each.name for each in (tmp_path / "run").iterdir()} == {
        *("last.safetensors", "log.csv", "curves.png"),
        best,
    }
    with Image.open(tmp_path / "run" / "curves.png") as picture:
        assert picture.size == (1000, 1200)


def test_a_budget_of_epochs_or_of_time_ends_too(tmp_path: Path) -> None:
    epoch = train(tmp_path / "epochs", "1epoch")
    assert epoch.progress.epoch == 0
    second = next(
        number
        for number, (epoch_number, _) in enumerate(
            TrainingStream(
                TRAIN, epoch.vocabulary, synthetic.recipe().augmentation, 4, 60_000, 1, 23
            ).plans()
        )
        if epoch_number == 1
    )
    assert epoch.progress.steps == second
    timed = train(tmp_path / "time", "0.5s")
    assert 0.5 <= timed.progress.elapsed_s < 20
    assert timed.progress.steps >= 1


def test_gradients_are_averaged_over_the_batches_of_a_step(tmp_path: Path) -> None:
    recipe = synthetic.recipe(accumulate=3, gradient_clip=0.5)
    last = train(tmp_path, "1step", recipe)
    assert (last.progress.steps, last.progress.batches) == (1, 3)
    lightning.seed_everything(recipe.seed, verbose=False)
    module = TrainingModule(recipe, last.vocabulary)
    stream = TrainingStream(TRAIN, last.vocabulary, recipe.augmentation, 4, 60_000, recipe.seed, 23)
    optimizer = module.configure_optimizers()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(0.0, recipe.optimisation)
    for number, item in enumerate(itertools.islice(stream.batches(), 3)):
        seed_step(torch.device("cpu"), recipe.seed, number)
        (module.training_step(item) / 3).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.network.parameters(), 0.5)
    optimizer.step()
    for name, tensor in module.network.state_dict().items():
        torch.testing.assert_close(last.network[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_frozen_encoder_stays_as_it_starts(tmp_path: Path) -> None:
    """Its batch norms' statistics, too; the rest learns from the weights it starts from."""
    start = synthetic.checkpoint()
    source = Source(start.recipe, start.vocabulary, start.average)
    recipe = synthetic.recipe(freeze_encoder=True, learning_rate=1e-2)
    last = train(tmp_path, "3steps", recipe, source=source, vocabulary=start.vocabulary)
    encoder = [name for name in last.network if name.startswith("encoder.")]
    for weights in (last.network, last.average):
        assert all(torch.equal(weights[name], start.average[name]) for name in encoder)
    assert not any(name.partition("/")[2].startswith("encoder.") for name in last.optimizer)
    others = [name for name in last.network if name not in encoder]
    moved = [name for name in others if not torch.equal(last.network[name], start.average[name])]
    assert len(moved) > 0.9 * len(others)
    free = train(tmp_path / "free", "1step", source=source, vocabulary=start.vocabulary)
    assert any(not torch.equal(free.network[name], start.average[name]) for name in encoder)


def test_the_vocabulary_is_that_of_the_captions_of_the_source_or_given(tmp_path: Path) -> None:
    last = train(tmp_path / "captions", "1step")
    own = Vocabulary.from_captions(each.caption for each in TRAIN)
    assert last.vocabulary == own
    longer = Vocabulary((*own.tokens, "\\alpha"))
    assert train(tmp_path / "given", "1step", vocabulary=longer).vocabulary == longer
    start = synthetic.checkpoint()
    narrow = Vocabulary((*own.tokens[:3], "\\beta", "x"))
    source = Source(start.recipe, narrow, {"encoder.stem.0.0.weight": torch.ones(4, 1, 3, 3)})
    grown = train(tmp_path / "source", "1step", source=source).vocabulary
    assert grown.tokens[:5] == narrow.tokens
    assert sorted(grown.tokens[5:]) == sorted(set(own.tokens) - set(narrow.tokens))


def test_braces_are_spared_from_the_recipe_to_the_bundle(tmp_path: Path) -> None:
    recipe = synthetic.recipe().override({"brief": "true"})
    last = train(tmp_path / "brief", "1step", recipe)
    assert last.vocabulary.brief
    loaded = Checkpoint.load(tmp_path / "brief" / LAST)
    assert loaded.vocabulary == last.vocabulary
    bundle = export_bundle(loaded, tmp_path / "bundle")
    assert bundle.manifest.vocabulary == last.vocabulary
    for source in (load_source(tmp_path / "brief" / LAST), load_source(bundle.path)):
        assert source.recipe.brief
        again = train(tmp_path / "all", "1step", synthetic.recipe(), source=source)
        assert not again.vocabulary.brief  # as the recipe says
        assert again.vocabulary.tokens == last.vocabulary.tokens
    resumed = train(tmp_path / "brief", "2steps", recipe, resume=loaded)
    assert resumed.vocabulary == last.vocabulary


def test_a_checkpoint_tells_what_it_was_started_from(tmp_path: Path) -> None:
    """Also after it was resumed, and when it is a source itself."""
    first = train(tmp_path / "first", "2steps")
    again = train(tmp_path / "again", "1step", source=load_source(tmp_path / "first" / LAST))
    origin = again.provenance["source"]
    assert origin["recipe"] == "edge"
    assert origin["training"]["steps"] == 2
    assert origin["data"]["train"] == first.provenance["train"]
    resumed = train(tmp_path / "again", "2steps", resume=again)
    assert resumed.provenance["source"] == origin
    third = train(tmp_path / "third", "1step", source=load_source(tmp_path / "again" / LAST))
    assert third.provenance["source"]["data"]["source"] == origin


def test_how_many_expressions_a_step_takes_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "plain", "1step")
    assert (
        "a step: up to 4 expressions; learning rate: up to 0.001; fp32\n" in capsys.readouterr().out
    )
    train(tmp_path / "more", "1step", synthetic.recipe(accumulate=2, learning_rate=0.25))
    told = capsys.readouterr().out
    assert "a step: up to 4 expressions x 2 batches = 8; learning rate: up to 0.25; fp32\n" in told


def test_other_data_is_refused_unless_it_is_meant(tmp_path: Path) -> None:
    last = train(tmp_path, "1step")
    fewer = TRAIN[:-1]

    def resume(**options: Any) -> Checkpoint:
        return trainer.train(
            last.recipe,
            fewer,
            VALIDATION,
            Budget(2, "steps"),
            tmp_path,
            resume=last,
            accelerator="cpu",
            **options,
        )

    with pytest.raises(DataError, match=r"other train data: 13 expressions .* --changed-data"):
        resume()
    made = resume(changed_data=True)
    assert made.progress.steps == 2
    assert made.provenance["train"]["expressions"] == 13


def test_what_cannot_be_trained_is_refused_before_it_starts(tmp_path: Path) -> None:
    def attempt(recipe: Recipe, resume: Checkpoint | None = None, some: Any = TRAIN) -> None:
        trainer.train(
            recipe,
            some,
            [],
            Budget(2, "steps"),
            tmp_path / "run",
            accelerator="cpu",
            resume=resume,
            changed_data=True,
        )

    recipe = synthetic.recipe()
    with pytest.raises(DataError, match="expressions to train on, found none"):
        attempt(recipe, some=[])
    blank = dataclasses.replace(expression(0), caption=(), ink=())
    with pytest.raises(DataError, match="a caption of every expression, found none of made-0"):
        attempt(recipe, some=[*TRAIN, blank])
    short = recipe.override({"model.max_length": "7"})
    with pytest.raises(DataError, match=r"less than max_length = 7 .*found 7 in made-2"):
        attempt(short)
    attempt(recipe.override({"model.max_length": "8"}))
    # 7 tokens of which two are braces that need not be written
    attempt(short.override({"brief": "true"}))
    done = Checkpoint.load(tmp_path / "run" / "last.safetensors")
    with pytest.raises(CheckpointError, match="some of its budget left, found one of 2 steps"):
        attempt(done.recipe, done)
    strange = dataclasses.replace(expression(0), caption=("x", "+", "\\Pi"))
    early = dataclasses.replace(done, progress=dataclasses.replace(done.progress, steps=1))
    with pytest.raises(VocabularyError, match="Pi"):
        attempt(done.recipe, early, [*TRAIN, strange])
