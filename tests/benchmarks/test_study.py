from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inktex.benchmarks.study import BUILT_IN, Arm, Pretraining, Study
from inktex.benchmarks.studying import Studying
from inktex.core.errors import DataError
from inktex.training.recipes import named


def written(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", [each.stem for each in sorted(BUILT_IN.glob("*.json"))])
def test_what_comes_with_inktex_can_be_trained(name: str) -> None:
    study = Study.read(name)
    Studying(study, Path("x.inkset"), [], Path("runs"))  # reads the budget
    for arm in study.arms:
        named(arm.recipe).override({**study.settings, **arm.settings})
    assert len({each.name for each in study.arms}) == len(study.arms) > 1


def test_a_study_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path / "mine.json",
        budget="20cpu-m",
        settings={"seed": 3, "optimisation.precision": "fp32"},
        pretraining={"first": {"recipe": "mask_and_match", "share": 0.5}},
        arms={
            "plain": {"recipe": "coverage", "settings": {"model.coverage": False}},
            "few labels": {"recipe": "mask_and_match", "encoder": "first", "labels": 0.1},
            "taught": {"recipe": "edge", "from": "a", "teacher": "default"},
        },
    )
    assert Study.read(str(path)) == Study(
        "20cpu-m",
        {"seed": "3", "optimisation.precision": "fp32"},
        (Pretraining("first", "mask_and_match", {}, 0.5),),
        (
            Arm("plain", "coverage", {"model.coverage": "false"}),
            Arm("few labels", "mask_and_match", {}, 1.0, 0.1, "first"),
            Arm("taught", "edge", start="a", teacher="default"),
        ),
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"budget": "1h"}, "arms: expected an object, found nothing"),
        ({"budget": 3, "arms": {}}, "budget: expected text, found int '3'"),
        ({"budget": "1h", "arms": {"a": {}}}, r"arms\['a'\].recipe: expected text"),
        ({"budget": "1h", "arms": {"a": {"recipe": "abm", "share": 2}}}, "share above 0"),
        (
            {"budget": "1h", "arms": {"a": {"recipe": "abm", "encoder": "b"}}},
            r"arms\['a'\].encoder: expected one of \[\]",
        ),
        ({"budget": "1h", "arms": {}, "arm": {}}, "arm: expected one of arms, budget"),
        (
            {"budget": "1h", "arms": {"a": {"recipe": "edge", "teachr": "default"}}},
            r"arms\['a'\].teachr: expected one of recipe, .*teacher",
        ),
        (
            {"budget": "1h", "arms": {}, "pretraining": {"b": {"recipe": "edge", "labels": 1}}},
            r"pretraining\['b'\].labels: expected one of recipe, settings, share",
        ),
        ([], "the document: expected an object"),
    ],
)
def test_a_bad_study_says_what_was_expected(tmp_path: Path, content: Any, told: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=told):
        Study.read(str(path))


def test_an_unknown_study_is_told_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a study out of .*recipes.* found 'recipe'"):
        Study.read("recipe")
    (tmp_path / "half.json").write_text("{")
    with pytest.raises(DataError, match="expected a study in JSON"):
        Study.read(str(tmp_path / "half.json"))


def test_epochs_are_no_budget_for_all_arms(tmp_path: Path) -> None:
    study = Study("10epochs", {}, (), (Arm("one", "edge"),))
    with pytest.raises(DataError, match="a budget of time or steps, found 10epochs"):
        Studying(study, Path("x.inkset"), [], tmp_path)
    Studying(study, Path("x.inkset"), [], tmp_path, budget="1h")


def test_seeds_follow_that_of_the_arm() -> None:
    arms = (Arm("a", "edge"), Arm("b", "edge", {"seed": "5"}))
    study = Study("1h", {"brief": "true"}, (), arms).with_seeds(2)
    assert [(each.name, each.settings.get("seed"), each.repeats) for each in study.arms] == [
        ("a", None, None),
        ("a, seed 2", "2", "a"),
        ("b", "5", None),
        ("b, seed 6", "6", "b"),
    ]
    assert study.with_seeds(1) == study
    with pytest.raises(DataError, match="arm a: expected a whole number as its seed, found x"):
        Study("1h", {"seed": "x"}, (), arms[:1]).with_seeds(3)
