from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inktex.core.errors import CheckpointError, DataError, VocabularyError
from inktex.core.vocabulary import Vocabulary
from inktex.training import trainer
from inktex.training.batches import TrainingStream
from inktex.training.budget import Budget
from inktex.training.checkpoint import Checkpoint
from inktex.training.optimisation import adamw, learning_rate, ramped_average
from inktex.training.recipe import Optimisation, Recipe
from inktex.training.trainer import BudgetCallback

from . import synthetic
from .synthetic import expression, expressions

TRAIN, VALIDATION = expressions(14), expressions(60)[50:54]


def train(folder: Path, budget: str, recipe: Recipe | None = None, **options: Any) -> Checkpoint:
    return trainer.train(
        recipe or synthetic.recipe(),
        TRAIN,
        VALIDATION,
        Budget.parse(budget),
        folder,
        accelerator="cpu",
        **options,
    )


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
    """As if Ctrl-C were pressed during step `step`."""
    original = BudgetCallback.on_train_batch_end

    def pressed(self: BudgetCallback, *arguments: Any) -> None:
        if self.progress.steps + 1 == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        original(self, *arguments)

    monkeypatch.setattr(BudgetCallback, "on_train_batch_end", pressed)


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


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
    assert last.network.keys() == last.average.keys()
    assert last.trained_network().training is False
    fresh = trainer.TrainingModule(recipe, last.vocabulary).network.state_dict()
    for weights in (last.network, last.average):
        changed = sum(not torch.equal(fresh[name].cpu(), weights[name]) for name in fresh)
        assert changed > 0.9 * len(fresh)
    loaded = Checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert_same(loaded.network, last.network)
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = ("tokens", "alignment", "symbols", "exp_rate")
    assert tuple(rows[-1]) == ("step", "epoch", "elapsed_s", "rate", *measured)
    assert rows[-1]["step"] == "6"
    assert float(rows[-1]["exp_rate"]) == pytest.approx(last.progress.best)
    assert float(rows[-1]["tokens"]) > 0
    assert {each.name for each in (tmp_path / "run").iterdir()} == {"last.safetensors", "log.csv"}


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


def test_an_interrupted_training_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in step 4 of 8, then the rest: equal to the last bit, dropout and all."""
    recipe = synthetic.recipe().override({"model.dropout": "0.3", "model.drop_path": "0.2"})
    whole = train(tmp_path / "whole", "8steps", recipe)
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", "8steps", recipe)
    assert signal.getsignal(signal.SIGINT) is before
    first = Checkpoint.load(tmp_path / "parts" / "last.safetensors")
    assert (first.progress.steps, first.progress.batches) == (4, 4)
    torch.manual_seed(99)
    second = train(tmp_path / "parts", "8steps", first.recipe, resume=first)
    assert second.progress.steps == second.progress.batches == 8
    assert second.progress.elapsed_s > first.progress.elapsed_s
    assert second.progress.epoch == whole.progress.epoch
    assert_same(second.network, whole.network)
    assert_same(second.average, whole.average)
    assert_same(second.optimizer, whole.optimizer)
    assert torch.equal(second.random, whole.random)
    assert any(not torch.equal(first.network[name], whole.network[name]) for name in whole.network)


def test_watching_a_training_does_not_change_it(tmp_path: Path) -> None:
    calm = train(tmp_path / "calm", "4steps")
    watched = train(tmp_path / "watched", "4steps", validate_every_s=0.0)
    assert_same(calm.network, watched.network)
    assert_same(calm.average, watched.average)
    with (tmp_path / "watched" / "log.csv").open(newline="") as file:
        assert len([row for row in csv.DictReader(file) if row["exp_rate"]]) == 4


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 2, times=2)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path, "8steps")
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "last.safetensors").exists()


def test_without_validation_data_nothing_is_lost(tmp_path: Path) -> None:
    last = trainer.train(
        synthetic.recipe(), TRAIN, [], Budget(2, "steps"), tmp_path, accelerator="cpu"
    )
    assert last.progress.steps == 2


def test_the_average_lags_behind_the_weights(tmp_path: Path) -> None:
    """After n steps it is the ramped mean of what the weights were."""
    last = train(tmp_path, "1step")
    assert_same(last.network, last.average)
    update = ramped_average(0.9)
    average, count = [torch.tensor([0.0]), torch.tensor(3)], torch.tensor(1)
    update(average, [torch.tensor([1.0]), torch.tensor(7)], count)
    assert average[0].item() == pytest.approx(1 - 2 / 11)
    assert average[1].item() == 7
    update(average, [torch.tensor([0.0]), torch.tensor(7)], torch.tensor(10**6))
    assert average[0].item() == pytest.approx(0.9 * (1 - 2 / 11))


def test_what_cannot_be_trained_is_refused_before_it_starts(tmp_path: Path) -> None:
    def attempt(recipe: Recipe, resume: Checkpoint | None = None, some: Any = TRAIN) -> None:
        trainer.train(
            recipe, some, [], Budget(2, "steps"), tmp_path / "run", accelerator="cpu", resume=resume
        )

    recipe = synthetic.recipe()
    with pytest.raises(DataError, match="expressions to train on, found none"):
        attempt(recipe, some=[])
    short = recipe.override({"model.max_length": "7"})
    with pytest.raises(DataError, match=r"less than max_length = 7 .*found 7 in made-2"):
        attempt(short)
    attempt(recipe.override({"model.max_length": "8"}))
    done = Checkpoint.load(tmp_path / "run" / "last.safetensors")
    with pytest.raises(CheckpointError, match="some of its budget left, found one of 2 steps"):
        attempt(done.recipe, done)
    strange = dataclasses.replace(expression(0), caption=("x", "+", "\\Pi"))
    early = dataclasses.replace(done, progress=dataclasses.replace(done.progress, steps=1))
    with pytest.raises(VocabularyError, match="Pi"):
        attempt(done.recipe, early, [*TRAIN, strange])


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    settings = Optimisation(learning_rate=2.0, warmup=0.1)
    shares = [number / 1000 for number in range(1001)]
    rates = [learning_rate(share, settings) for share in shares]
    assert 0 < rates[0] < 0.05
    assert max(rates) == pytest.approx(2.0)
    assert shares[rates.index(max(rates))] == pytest.approx(0.1, abs=2e-3)
    assert rates[50] == pytest.approx(1.0, abs=0.03)
    assert rates[550] == pytest.approx(1.0)
    assert rates[1000] == pytest.approx(0, abs=1e-12)
    assert all(a < b for a, b in itertools.pairwise(rates[:100]))
    assert all(a > b for a, b in itertools.pairwise(rates[100:]))
    cold = Optimisation(learning_rate=2.0, warmup=0.0)
    assert learning_rate(0.0, cold) == 2.0


def test_the_rate_of_a_step_is_that_of_the_budget_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    original = BudgetCallback.on_train_batch_end

    def noted(self: BudgetCallback, lightning: Any, *arguments: Any) -> None:
        seen.append(lightning.optimizers[0].param_groups[0]["lr"])
        original(self, lightning, *arguments)

    monkeypatch.setattr(BudgetCallback, "on_train_batch_end", noted)
    recipe = synthetic.recipe(warmup=0.5)
    train(tmp_path, "4steps", recipe)
    assert seen == [learning_rate(share, recipe.optimisation) for share in (0, 0.25, 0.5, 0.75)]


def test_only_matrices_are_decayed() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    decayed, others = adamw(network, Optimisation(weight_decay=0.5)).param_groups
    assert decayed["weight_decay"] == 0.5
    assert others["weight_decay"] == 0.0
    assert [each.ndim for each in decayed["params"]] == [4, 2]
    assert [each.ndim for each in others["params"]] == [1] * 4


TWO_PROCESSES = """
import hashlib, json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
import synthetic
from inktex.training import trainer
from inktex.training.budget import Budget

folder = Path(sys.argv[1])
saved = trainer.BudgetCallback.on_train_end
save = trainer.BudgetCallback.save

def slowly(self, lightning, module):
    time.sleep(1)  # the other process must wait for the file
    save(self, lightning, module)

def note(self, lightning, module):
    saved(self, lightning, module)
    state = module.network.state_dict()
    learnt = [name for name, _ in module.network.named_parameters()]
    digest = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in learnt))
    (folder / f"rank{lightning.global_rank}.json").write_text(json.dumps({
        "weights": digest.hexdigest(),
        "first": float(state[learnt[0]].sum()),
        "steps": self.progress.steps,
        "batches": self.progress.batches,
        "tokens": module.last["tokens"],
    }))

trainer.BudgetCallback.on_train_end = note
trainer.BudgetCallback.save = slowly
last = trainer.train(
    synthetic.recipe(), synthetic.expressions(14), synthetic.expressions(54)[50:],
    Budget(3, "steps"), folder / "run", devices=2, accelerator="cpu",
)
print("done", last.progress.steps, last.progress.batches)
"""


def test_two_processes_learn_the_same_from_different_batches(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(Path(synthetic.__file__).parent)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("done 3 6") == 2
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert (first["steps"], first["batches"]) == (second["steps"], second["batches"]) == (3, 6)
    assert first["tokens"] != second["tokens"]  # of different batches
    alone = train(tmp_path / "alone", "3steps")
    name = next(iter(alone.network))
    assert float(alone.network[name].sum()) != pytest.approx(first["first"], rel=1e-4)


def test_the_vocabulary_is_that_of_the_captions_or_of_the_checkpoint(tmp_path: Path) -> None:
    last = train(tmp_path, "1step")
    assert last.vocabulary == Vocabulary.from_captions(each.caption for each in TRAIN)
