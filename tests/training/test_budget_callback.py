from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from inktex.core.errors import CheckpointError, DataError, TrainingError
from inktex.training import budget_callback, trainer
from inktex.training.budget import Budget
from inktex.training.budget_callback import BudgetCallback, Watch
from inktex.training.checkpoint import Checkpoint
from inktex.training.inkset import Expression
from inktex.training.interruption import SIGNALS
from inktex.training.optimisation import MovingAverage, learning_rate
from inktex.training.recipe import Optimisation
from inktex.training.training_log import read_log

from . import synthetic
from .tiny_training import OFTEN, TRAIN, assert_same, train


def interrupt_at(
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    times: int = 1,
    number: signal.Signals = signal.SIGINT,
) -> None:
    """As if Ctrl-C were pressed during step `step`, or another signal came."""
    original = BudgetCallback.on_train_batch_end

    def pressed(self: BudgetCallback, *arguments: Any) -> None:
        if self.progress.steps + 1 == step:
            for _ in range(times):
                signal.raise_signal(number)
        original(self, *arguments)

    monkeypatch.setattr(BudgetCallback, "on_train_batch_end", pressed)


def scripted(monkeypatch: pytest.MonkeyPatch, rates: Sequence[int]) -> None:
    """As if the network read so many of the four validation formulas right, one time after the
    other."""
    left: Iterator[int] = iter(rates)

    def read(network: nn.Module, data: Sequence[Expression], *_: Any, **__: Any) -> list[list[str]]:
        right = next(left)
        return [list(each.caption) if n < right else [] for n, each in enumerate(data)]

    monkeypatch.setattr(budget_callback, "greedy_captions", read)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_training_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Ctrl-C or `kill` in step 4 of 8, then the rest: equal to the last bit, dropout and all."""
    recipe = synthetic.recipe().override({"model.dropout": "0.3", "model.drop_path": "0.2"})
    whole = train(tmp_path / "whole", "8steps", recipe)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, number=number)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", "8steps", recipe)
    assert signal.getsignal(number) is before
    first = Checkpoint.load(tmp_path / "parts" / "last.safetensors")
    assert (first.progress.steps, first.progress.batches) == (4, 4)
    assert read_log(tmp_path / "parts" / "log.csv")[-1]["step"] == 4
    assert (tmp_path / "parts" / "curves.png").is_file()
    torch.manual_seed(99)
    second = train(tmp_path / "parts", "8steps", first.recipe, resume=first)
    assert second.progress.steps == second.progress.batches == 8
    assert second.progress.elapsed_s > first.progress.elapsed_s
    assert second.progress.epoch == whole.progress.epoch
    assert_same(second.network, whole.network)
    assert_same(second.average, whole.average)
    assert_same(second.optimizer, whole.optimizer)
    assert any(not torch.equal(first.network[name], whole.network[name]) for name in whole.network)


def test_a_killed_training_gives_the_same_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in step 4, after the checkpoint of step 3 and a row for step 4: with accumulation,
    dropout, and what is kept of the best."""
    recipe = synthetic.recipe(accumulate=2).override({"model.dropout": "0.3"})
    watch = Watch(every_s=0.0, keep=2)
    whole = train(tmp_path / "whole", "6steps", recipe, watch=watch)
    save = BudgetCallback.save

    def killed(self: BudgetCallback, *arguments: Any) -> None:
        if self.progress.steps == 4:
            raise SystemExit
        save(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(BudgetCallback, "save", killed)
        with pytest.raises(SystemExit):
            train(tmp_path / "parts", "6steps", recipe, watch=watch)
    assert [row["step"] for row in read_log(tmp_path / "parts" / "log.csv")] == [1, 2, 3, 4]
    left = Checkpoint.load(tmp_path / "parts" / "last.safetensors")
    assert (left.progress.steps, left.progress.batches) == (3, 6)
    resumed = train(tmp_path / "parts", "6steps", left.recipe, resume=left, watch=watch)

    def curve(folder: str) -> list[dict[str, float]]:
        rows = read_log(tmp_path / folder / "log.csv")
        return [{name: row[name] for name in row if name != "elapsed_s"} for row in rows]

    assert len(curve("whole")) == 6
    assert curve("parts") == curve("whole")
    assert_same(resumed.network, whole.network)
    assert_same(resumed.average, whole.average)
    assert_same(resumed.optimizer, whole.optimizer)
    timeless = [
        dataclasses.replace(each.progress, elapsed_s=0.0, cpu_s=0.0) for each in (resumed, whole)
    ]
    assert timeless[0] == timeless[1]
    names = [
        sorted(each.name for each in (tmp_path / folder).iterdir()) for folder in ("whole", "parts")
    ]
    assert names[0] == names[1]
    assert sum(name.startswith("best-") for name in names[0]) == 2


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 2, times=2)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # which the command line tells
        train(tmp_path, "8steps")
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "last.safetensors").exists()


def test_watching_a_training_does_not_change_it(tmp_path: Path) -> None:
    calm = train(tmp_path / "calm", "4steps")
    watched = train(tmp_path / "watched", "4steps", watch=OFTEN)
    assert_same(calm.network, watched.network)
    assert_same(calm.average, watched.average)
    rows = read_log(tmp_path / "watched" / "log.csv")
    assert [row["step"] for row in rows if "exp_rate" in row] == [1, 2, 3, 4]


def test_a_validation_that_takes_what_is_left_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three seconds the second validation takes more; a third would begin with less left than
    the one before has taken."""
    now = itertools.count()
    spent = {"s": 0.0}

    def read(network: nn.Module, data: Sequence[Expression], *_: Any, **__: Any) -> list[list[str]]:
        spent["s"] += 1.0 if next(now) == 0 else 5.0
        return [[] for _ in data]

    def elapsed(self: Any) -> tuple[float, float]:
        spent["s"] += 0.05
        return spent["s"], spent["s"]

    monkeypatch.setattr(budget_callback, "greedy_captions", read)
    monkeypatch.setattr("inktex.training.budget.Stopwatch.read", elapsed)
    last = train(tmp_path, "3s", watch=Watch(every_s=0.5))
    rows = [row for row in read_log(tmp_path / "log.csv") if "exp_rate" in row]
    assert len(rows) == 2
    assert rows[-1]["step"] == last.progress.steps
    assert last.progress.elapsed_s > 6
    # what is left is less than a validation takes: the one at the end does
    spent["s"], now = 0.0, itertools.count()
    last = train(tmp_path / "short", "1.8s", watch=Watch(every_s=0.5))
    rows = [row for row in read_log(tmp_path / "short" / "log.csv") if "exp_rate" in row]
    assert [row["step"] for row in rows][-1] == last.progress.steps
    assert len(rows) == 2
    assert rows[-1]["rate"] < 0.1 * max(row["rate"] for row in rows)


def test_the_first_validation_is_the_best_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [0, 0, 0, 0])
    last = train(tmp_path, "9steps", watch=Watch(every_s=0.0, patience=2))
    assert (last.progress.steps, last.progress.stale, last.progress.best) == (3, 2, 0.0)


def test_a_training_without_a_new_best_ends_early_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(monkeypatch, [1, 2, 2, 1, 1])
    watch = Watch(every_s=0.0, patience=2, keep=2)
    last = train(tmp_path, "9steps", watch=watch)
    assert "no better ExpRate in 2 validations" in capsys.readouterr().out
    assert (last.progress.steps, last.progress.stale, last.progress.best) == (4, 2, 50.0)
    assert last.progress.kept == ((50.0, 3), (50.0, 2))
    kept = {each.name for each in tmp_path.glob("best-*")}
    assert kept == {"best-50.00-step3.safetensors", "best-50.00-step2.safetensors"}
    best = Checkpoint.load(tmp_path / "best-50.00-step3.safetensors")
    assert best.progress.steps == 3
    assert best.trained_network().training is False
    assert not best.network
    assert not best.optimizer
    with pytest.raises(CheckpointError, match="averaged weights only; resume from last"):
        train(tmp_path, "9steps", resume=best)

    with pytest.raises(CheckpointError, match="found one with 2 validations since its best"):
        train(tmp_path, "9steps", resume=last, watch=watch)
    patient = dataclasses.replace(watch, patience=3, keep=0)
    longer = train(
        tmp_path, "9steps", resume=Checkpoint.load(tmp_path / "last.safetensors"), watch=patient
    )
    assert (longer.progress.steps, longer.progress.stale) == (5, 3)
    assert {each.name for each in tmp_path.glob("best-*")} == kept  # none is kept, none removed


def test_a_full_disk_is_one_error_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        if json.loads(metadata["inktex"])["progress"]["steps"] == 3:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path, metadata)

    monkeypatch.setattr("inktex.training.tensor_file.save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left"):
        train(tmp_path, "9steps", watch=dataclasses.replace(OFTEN, keep=0))
    assert Checkpoint.load(tmp_path / "last.safetensors").progress.steps == 2
    assert {each.name for each in tmp_path.iterdir()} == {"last.safetensors", "log.csv"}


def test_a_training_that_diverges_is_one_error_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([1e-3, 1e-3, float("inf")])
    monkeypatch.setattr(budget_callback, "learning_rate", lambda share, settings: next(rates))
    with pytest.raises(TrainingError, match=r"after step 3.*last.safetensors is of before it"):
        train(tmp_path, "9steps", watch=OFTEN)
    last = Checkpoint.load(tmp_path / "last.safetensors")
    assert last.progress.steps == 2
    assert all(each.isfinite().all() for each in last.network.values())
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [1, 2]


def test_without_validation_data_nothing_is_lost(tmp_path: Path) -> None:
    def attempt(watch: Watch) -> Checkpoint:
        return trainer.train(
            synthetic.recipe(),
            TRAIN,
            [],
            Budget(2, "steps"),
            tmp_path,
            accelerator="cpu",
            watch=watch,
        )

    with pytest.raises(DataError, match="to validate on, found none; leave patience out"):
        attempt(Watch(patience=1))
    assert attempt(OFTEN).progress.steps == 2
    assert not list(tmp_path.glob("best-*"))


def test_the_average_lags_behind_the_weights(tmp_path: Path) -> None:
    """After n steps it is the ramped mean of what the weights were."""
    last = train(tmp_path, "1step")
    assert_same(last.network, last.average)
    network = nn.BatchNorm1d(1)
    average = MovingAverage(network, 0.9)

    def follow(weight: float, batches: int) -> float:
        nn.init.constant_(network.weight, weight)
        assert network.num_batches_tracked is not None
        network.num_batches_tracked.fill_(batches)
        average.update(network)
        assert average.module.num_batches_tracked == batches
        return float(average.module.get_parameter("weight"))

    assert follow(0.0, 3) == 0
    assert follow(1.0, 7) == pytest.approx(1 - 2 / 11)
    average.updates = 10**6
    assert follow(0.0, 9) == pytest.approx(0.9 * (1 - 2 / 11))


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
