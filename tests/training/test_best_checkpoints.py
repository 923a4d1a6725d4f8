from __future__ import annotations

import dataclasses
from pathlib import Path

from inktex.training.best_checkpoints import BestCheckpoints
from inktex.training.checkpoint import Checkpoint, Progress

from . import synthetic


def at(step: int, kept: tuple[tuple[float, int], ...]) -> Checkpoint:
    return dataclasses.replace(synthetic.checkpoint(), progress=Progress(steps=step, kept=kept))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_the_best_come_first_and_of_equals_the_later(tmp_path: Path) -> None:
    best = BestCheckpoints(tmp_path, 3)
    kept = best.ranked((), 10.0, 1)
    assert kept == ((10.0, 1),)
    for rate, step in ((30.0, 2), (10.0, 3), (20.0, 4), (5.0, 5)):
        kept = best.ranked(kept, rate, step)
    assert kept == ((30.0, 2), (20.0, 4), (10.0, 3))


def test_files_follow_the_ranking(tmp_path: Path) -> None:
    best = BestCheckpoints(tmp_path, 1)
    best.write(at(1, ((12.345, 1),)))
    assert names(tmp_path) == ["best-12.35-step1.safetensors"]
    best.write(at(2, ((12.345, 1),)))  # not among the best
    assert names(tmp_path) == ["best-12.35-step1.safetensors"]
    best.write(at(3, ((50.0, 3),)))
    best.prune(((12.345, 1),), ((50.0, 3),))
    assert names(tmp_path) == ["best-50.00-step3.safetensors"]
    best.prune(((12.345, 1),), ((50.0, 3),))  # gone already
    assert not Checkpoint.load(tmp_path / "best-50.00-step3.safetensors").network


def test_what_a_killed_training_left_is_forgotten(tmp_path: Path) -> None:
    best = BestCheckpoints(tmp_path, 1)
    for step, rate in ((1, 10.0), (2, 20.0)):
        best.write(at(step, ((rate, step),)))
    (tmp_path / "last.safetensors").touch()
    BestCheckpoints(tmp_path, 0).forget_others(())
    assert len(names(tmp_path)) == 3
    best.forget_others(((20.0, 2),))
    assert names(tmp_path) == ["best-20.00-step2.safetensors", "last.safetensors"]


def test_where_none_is_wanted_those_of_before_are_left_alone(tmp_path: Path) -> None:
    BestCheckpoints(tmp_path, 1).write(at(1, ((50.0, 1),)))
    none = BestCheckpoints(tmp_path, 0)
    kept = none.ranked(((50.0, 1),), 60.0, 2)
    assert kept == ((50.0, 1),)
    none.write(at(2, kept))
    none.prune(kept, kept)
    assert names(tmp_path) == ["best-50.00-step1.safetensors"]
