from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
from click.testing import Result

from inktex.benchmarks.study import Arm, Pretraining, Study
from inktex.benchmarks.studying import Outcome, Studying, header
from inktex.core.errors import DataError
from inktex.training.checkpoint import Checkpoint
from inktex.training.inkset import fingerprint, save_inkset
from inktex.training.split import split_expressions
from inktex.training.warm_start import load_source

from ..training import synthetic
from ..training.tiny_pretraining import SETTINGS


def test_it_goes_on_where_it_was_left(tmp_path: Path) -> None:
    arm = Arm("one / two", "edge", {"seed": "2"}, 0.5, 0.25)
    studying = Studying(Study("20steps", {"seed": "1"}, (), (arm,)), Path("x.inkset"), [], tmp_path)
    command = studying.command(arm)
    place = str(tmp_path / "one-two")
    assert command[:6] == ["train", "x.inkset", "--budget", "10steps", "-o", place]
    assert command[-6:] == ["--share", "0.25", "--recipe", "edge", "--set", "seed=2"]
    (tmp_path / "one-two").mkdir()
    other = synthetic.checkpoint()
    other.save(studying.last(arm))
    with pytest.raises(DataError, match="expected a training as 'one / two' of the study has it"):
        studying.command(arm)
    left = replace(other, recipe=replace(other.recipe, seed=2))
    left.save(studying.last(arm))
    resumed = studying.command(arm)
    assert resumed[-2:] == ["--resume", str(studying.last(arm))]
    assert "--recipe" not in resumed
    done = replace(left, progress=replace(left.progress, steps=10))
    done.save(studying.last(arm))
    assert studying.command(arm) == []


def test_where_an_arm_starts_and_who_teaches_it(tmp_path: Path) -> None:
    arm = Arm("one", "edge", start="bundle", teacher="default")
    studying = Studying(Study("9steps", {}, (), (arm,)), Path("x.inkset"), [], tmp_path)
    assert studying.command(arm)[-6:] == [
        *("--teacher", "default", "--recipe", "edge", "--from", "bundle")
    ]
    (tmp_path / "one").mkdir()
    synthetic.checkpoint().save(studying.last(arm))
    # a training that goes on keeps its weights, but wants its teacher back
    assert studying.command(arm)[-4:] == [
        *("--teacher", "default", "--resume", str(studying.last(arm)))
    ]


def test_an_arm_that_is_done_had_this_teacher(tmp_path: Path) -> None:
    data, one, other = (tmp_path / name for name in ("data.inkset", "one", "other"))
    ink = synthetic.expressions(40)
    save_inkset(data, ink)
    teacher = synthetic.checkpoint()
    teacher.save(one)
    replace(teacher, progress=replace(teacher.progress, steps=7)).save(other)
    arm = Arm("arm", "edge", teacher=str(one))
    studying = Studying(Study("3steps", {}, (), (arm,)), data, [], tmp_path)
    learnt, _ = split_expressions(ink, teacher.recipe.validation_share, teacher.recipe.split_seed)
    seen = {"train": {"fingerprint": fingerprint(learnt)}, "teacher": load_source(one).origin()}
    (tmp_path / "arm").mkdir()
    replace(teacher, provenance=seen).save(studying.last(arm))
    assert studying.command(arm) == []
    for changed in (replace(arm, teacher=str(other)), replace(arm, teacher=None)):
        with pytest.raises(DataError, match="found one with another teacher; name another folder"):
            studying.command(changed)
    with pytest.raises(DataError, match="found one with another source; name another folder"):
        studying.command(replace(arm, start=str(one)))


def test_two_trainings_never_share_a_folder(tmp_path: Path) -> None:
    arms = (Arm("one scale", "abm"), Arm("one: scale", "abm"))
    with pytest.raises(DataError, match="found 'one scale' and 'one: scale', whose trainings"):
        Studying(Study("1h", {}, (), arms), Path("x.inkset"), [], tmp_path)
    first = Pretraining("abm", "abm")
    with pytest.raises(DataError, match="found 'abm' and 'abm', whose trainings"):
        Studying(Study("1h", {}, (first,), (Arm("abm", "abm"),)), Path("x.inkset"), [], tmp_path)


def test_what_could_not_be_compared_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    def studying(arm: Arm, *tests: str) -> Studying:
        study = Study("1h", {"validation_share": "0.1"}, (), (arm,))
        return Studying(study, Path("x.inkset"), [Path(each) for each in tests], tmp_path)

    plain = Arm("one", "edge")
    studying(plain, "a/2014.inkset", "a/2016.inkset")
    with pytest.raises(DataError, match=r"found a/2014.inkset and b/2014.inkset, whose scores"):
        studying(plain, "a/2014.inkset", "b/2014.inkset")
    with pytest.raises(DataError, match=r"arm 'one': .*found validation_share 0"):
        studying(replace(plain, settings={"validation_share": "0"}))
    with pytest.raises(DataError, match=r"arm 'one': --set model.depth: expected one of"):
        studying(replace(plain, settings={"model.depth": "3"}))
    with pytest.raises(DataError, match=r"arm 'two': .*found 'large'"):
        studying(Arm("two", "large"))


def test_a_row_has_a_cell_for_every_column() -> None:
    score = {"exact": 0.5, "token_error_rate": 0.25}
    outcome = Outcome("a", 10, 20, 1, 90.0, 95.0, 1.25, 12.5, {"2014": score, "2016": score})
    for tests in ([], ["2014"], ["2014", "2016"]):
        assert len(outcome.cells(tests)) == len(header(tests))
    assert outcome.cells(["2014"]) == ["a", "10", "20", "2", "1.250", "12.50", "50.0", "25.0"]


def test_trainings_are_run_compared_and_not_run_again(
    tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    data, test = tmp_path / "data.inkset", tmp_path / "test.inkset"
    save_inkset(data, synthetic.expressions(40))
    save_inkset(test, synthetic.expressions(3))
    path = tmp_path / "mine.json"
    arms = {
        "pre-trained": {"recipe": "mask_and_match", "encoder": "first"},
        "half": {"recipe": "mask_and_match", "labels": 0.5, "share": 0.5},
    }
    pretraining = {"first": {"recipe": "mask_and_match"}}
    content = {"budget": "2steps", "settings": SETTINGS, "pretraining": pretraining, "arms": arms}
    path.write_text(json.dumps(content))
    folder = tmp_path / "runs"
    arguments = ("benchmark", "study", path, data, "--test", test, "-o", folder)
    done = inktex(*arguments, "--jobs", "2", "--threads", "1")
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["arm", "pre-trained", "half"]
    found = json.loads((folder / "study.json").read_text())
    assert found["budget"] == "2steps"
    whole, half = found["outcomes"]
    assert half["expressions"] == pytest.approx(whole["expressions"] / 2, abs=1)
    assert (whole["steps"], half["steps"]) == (2, 1)
    assert half["cpu_s"] > 0
    assert half["validation_loss"] > 1
    assert whole["tests"]["test"]["count"] == 3
    started = Checkpoint.load(folder / "pre-trained" / "last.safetensors")
    assert started.recipe.name == "mask_and_match"
    log = (folder / "pre-trained.log").read_text()
    assert "took the encoder over" in log
    again = inktex(*arguments, "--seeds", "2", "--front", data, "--samples", "20")
    assert again.exit_code == 0, again.output
    assert (folder / "pre-trained.log").read_text() == log
    repeated = json.loads((folder / "study.json").read_text())
    losses = {each["arm"]: each["validation_loss"] for each in repeated["outcomes"]}
    assert list(losses) == ["pre-trained", "pre-trained, seed 2", "half", "half, seed 2"]
    assert losses["half"] == half["validation_loss"] != losses["half, seed 2"]
    for name, spread in zip(["pre-trained", "half"], repeated["spreads"], strict=True):
        both = losses[name], losses[f"{name}, seed 2"]
        assert spread["mean"]["validation_loss"] == pytest.approx(fmean(both))
        assert spread["validation_loss"] == pytest.approx(stdev(both))
        other = Checkpoint.load(folder / f"{name}-seed-2" / "last.safetensors")
        first = Checkpoint.load(folder / name / "last.safetensors")
        assert (first.recipe.seed, other.recipe.seed) == (1, 2)
        assert first.provenance["validation"] == other.provenance["validation"]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    timed = json.loads((folder / "study.json").read_text())["front"]
    assert [each["arm"] for each in timed] == ["pre-trained", "half"]
    assert timed[0]["parameters"] == timed[1]["parameters"] > 1000
    for each in timed:
        # 40 formulas have two captions of three tokens in five, and one of five
        assert each["formula_ms"] > each["encode_ms"] + 3 * each["step_ms"] > 0
    assert timed[0]["ratio"] == 1
    # what was exported is kept, until its training has gone on
    bundles = [folder / name / "bundle" / "manifest.json" for name in ("pre-trained", "half")]
    for each in bundles:
        each.write_bytes(each.read_bytes() + b"\n")
    os.utime(bundles[1], (0, 0))
    again = inktex(*arguments, "--seeds", "2", "--front", data, "--samples", "20")
    assert again.exit_code == 0, again.output
    assert [each.read_bytes().endswith(b"\n\n") for each in bundles] == [True, False]
    # an arm that is done is of its data, its share and its test
    larger = tmp_path / "larger.inkset"
    save_inkset(larger, synthetic.expressions(41))
    refused = inktex("benchmark", "study", path, larger, "--test", test, "-o", folder)
    assert (refused.exit_code, "found one with other data" in refused.stderr) == (2, True)
    content["arms"] = {**arms, "half": {"recipe": "mask_and_match", "share": 0.5}}
    path.write_text(json.dumps(content))
    refused = inktex(*arguments)
    assert (refused.exit_code, "another share of it" in refused.stderr) == (2, True)
    refused = inktex(*arguments[:-4], "--test", tmp_path / "no.inkset", "-o", tmp_path / "new")
    assert (refused.exit_code, (tmp_path / "new").exists()) == (2, False)
    # what is done is told although the rest is not
    content["arms"] = {**arms, "lost": {"recipe": "mask_and_match", "from": str(tmp_path / "no")}}
    path.write_text(json.dumps(content))
    failed = inktex(*arguments)
    assert failed.exit_code == 2
    assert "lost: failed, see" in failed.stderr
    told = [line.split("|")[1].strip() for line in failed.stdout.splitlines() if "| " in line]
    assert told == ["arm", "pre-trained", "half"]


def test_a_training_that_fails_is_named(tmp_path: Path, inktex: Callable[..., Result]) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"budget": "1steps", "arms": {"lost": {"recipe": "edge"}}}))
    done = inktex("benchmark", "study", path, tmp_path / "no.inkset", "-o", tmp_path / "runs")
    assert done.exit_code == 2
    assert "failed, see" in done.stderr
    assert "expected a data set" in (tmp_path / "runs" / "lost.log").read_text()
