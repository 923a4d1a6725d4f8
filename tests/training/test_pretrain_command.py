from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import Result
from safetensors import safe_open

from inktex.training.inkset import save_inkset
from inktex.training.pretrained_encoder import PretrainedEncoder

from . import synthetic, tiny_pretraining
from .command_line import inktex

SETTINGS = [
    word
    for name, value in {**tiny_pretraining.SETTINGS, "contrast.projection": "8"}.items()
    for word in ("--set", f"{name}={value}")
]


def pretrain(inkset: Path, *arguments: str | Path) -> Result:
    return inktex("pretrain", inkset, "--accelerator", "cpu", *arguments)


def test_an_encoder_is_pretrained_and_resumed(inkset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = run / "encoder.safetensors"
    result = pretrain(inkset, "--budget", "2steps", "-o", run, *SETTINGS, "--share", "0.5")
    assert result.exit_code == 0, result.output
    assert "expressions to learn from" in result.output
    assert f"{path}: 2 steps in" in result.output
    first = PretrainedEncoder.load(path)
    assert first.recipe.contrast.projection == 8
    assert first.recipe.to_dict()["model"]["blocks"] == (1, 1, 1)
    with safe_open(path, "pt") as file:
        train = json.loads(file.metadata()["inktex"])["provenance"]["train"]
    assert 4 <= train["expressions"] <= 9  # half of what is not held out of 20

    again = pretrain(inkset, "--budget", "2steps", "-o", run)
    assert again.exit_code == 2
    assert "holds a pre-trained encoder already" in again.output
    resume = ("--resume", path, "--share", "0.5")
    result = pretrain(inkset, "--budget", "4steps", *resume)
    assert result.exit_code == 0, result.output
    assert PretrainedEncoder.load(path).progress.steps == 4
    with (run / "log.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)][-1] == "4"
    for arguments, told in (
        (("4steps", *resume), "some of its budget left"),
        (("9steps", *resume, "--set", "seed=2"), "keeps its recipe"),
        (("9steps", "--resume", path), "give the same data and the same share"),
    ):
        result = pretrain(inkset, "--budget", *arguments)
        assert result.exit_code == 2
        assert told in result.output
        assert result.output.count("inktex: error") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--budget", "soon"], "expected a budget such as 150m"),
        (["--budget", "1m", "--recipe", "vast"], "found 'vast'"),
        (["--budget", "1m", "--validate-every", "3steps"], "expected a time such as 5m"),
        (["--budget", "1m", "--set", "seed"], "expected NAME=VALUE, found 'seed'"),
        (["--budget", "1m", "--set", "masking.start=2"], "masking.start must be a share"),
        (["--budget", "1m", "--set", "contrast.heat=2"], "expected one of scale, local"),
        (["--budget", "1m", "--resume", "none.safetensors"], "expected a pre-trained encoder"),
        (["--budget", "1m", "--share", "0"], "Invalid value for '--share'"),
        ([], "Missing option '--budget'"),
    ],
)
def test_what_cannot_be_says_why(
    inkset: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    result = pretrain(inkset, "-o", tmp_path / "run", *arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert not (tmp_path / "run").exists()


def test_an_empty_set_and_a_checkpoint_of_another_command_say_so(
    inkset: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.inkset"
    save_inkset(empty, [])
    result = pretrain(empty, "--budget", "2steps", "-o", tmp_path / "run", *SETTINGS)
    assert result.exit_code == 2
    assert "expected ink to pre-train on, found none" in result.output
    other = synthetic.checkpoint_file(tmp_path)
    result = pretrain(inkset, "--budget", "2steps", "--resume", other)
    assert result.exit_code == 2
    assert "found a checkpoint of `inktex train`" in result.output
