from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from inktex.core.rendering import Rendering
from inktex.core.vocabulary import Vocabulary
from inktex.training.allocator import KEEPING
from inktex.training.checkpoint import Checkpoint
from inktex.training.edge import edge
from inktex.training.inkset import save_inkset
from inktex.training.train_commands import _recipe
from inktex.training.vocabulary_file import write_vocabulary
from inktex.training.warm_start import load_source

from . import synthetic
from .command_line import SETTINGS, inktex
from .synthetic import expressions


def test_a_recognizer_is_trained_resumed_and_evaluated(inkset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = ("train", inkset, "-o", run, "--accelerator", "cpu")
    result = inktex(*train, "--budget", "2steps", *SETTINGS)
    assert result.exit_code == 0, result.output
    assert "expressions to train on" in result.output
    assert "2 steps in" in result.output
    last = run / "last.safetensors"
    assert Checkpoint.load(last).recipe.to_dict()["model"]["widths"] == (4, 8, 8, 8)

    again = inktex(*train, "--budget", "2steps", *SETTINGS)
    assert again.exit_code == 2
    assert "holds a training already" in again.output
    result = inktex(*train, "--budget", "3steps", "--resume", last)
    assert result.exit_code == 0, result.output
    assert Checkpoint.load(last).progress.steps == 3
    result = inktex(*train, "--budget", "9steps", "--resume", last, "--freeze-encoder", *SETTINGS)
    assert result.exit_code == 2
    assert "keeps its recipe" in result.output
    assert "leave --set, --freeze-encoder out" in result.output
    result = inktex(*train, "--budget", "9steps", "--resume", last, "--recipe", "abm")
    assert result.exit_code == 2
    assert "checkpoint of recipe 'abm', found one of recipe 'edge'" in result.output
    before = last.read_bytes()
    kept = tmp_path / "kept" / "last.safetensors"
    kept.parent.mkdir()
    kept.write_bytes(before)
    result = inktex(*train, "--budget", "9steps", "--resume", kept)
    assert (result.exit_code, "holds a training already" in result.output) == (2, True)
    assert last.read_bytes() == before
    alone = ("train", inkset, "--accelerator", "cpu")
    result = inktex(*alone, "--budget", "4steps", "--resume", kept)
    assert result.exit_code == 0, result.output
    assert Checkpoint.load(kept).progress.steps == 4  # where it was, without -o
    result = inktex(*alone, "--budget", "1steps", "-o", inkset / "below", *SETTINGS)
    assert (result.exit_code, "expected a folder to write to" in result.output) == (2, True)
    result = inktex(*alone, "--budget", "1steps", "--set", "name=mine")
    assert (result.exit_code, "choose one with --recipe" in result.output) == (2, True)
    other = tmp_path / "other.inkset"
    save_inkset(other, expressions(19))
    changed = ("train", other, "-o", run, "--budget", "4steps", "--resume", last)
    result = inktex(*changed)
    assert result.exit_code == 2
    assert "go on with this by --changed-data" in result.output
    result = inktex(*changed, "--changed-data", "--keep", "2", "--tensorboard")
    assert result.exit_code == 0, result.output
    assert Checkpoint.load(last).progress.steps == 4
    assert len(list(run.glob("best-*"))) == 2
    assert (run / "tensorboard").is_dir()
    assert (run / "curves.png").is_file()
    result = inktex(*changed, "--changed-data")
    assert result.exit_code == 2
    assert "budget of the whole training" in result.output

    readings = tmp_path / "readings.jsonl"
    result = inktex("evaluate", last, inkset, "--json", "-o", readings, "--limit", "7")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["count"] == 7
    assert len(readings.read_text().splitlines()) == 7
    table = inktex("evaluate", last, inkset).output
    assert "ExpRate" in table
    held_out = inktex("evaluate", last, inkset, "--json", "--split", "validation")
    assert 0 < json.loads(held_out.output)["count"] < 20


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--budget", "soon"], "expected a budget such as 150m"),
        (["--budget", "1m", "--recipe", "vast"], "found 'vast'"),
        (["--budget", "1m", "--validate-every", "3steps"], "expected a time such as 10m"),
        (["--budget", "1m", "--set", "seed"], "expected NAME=VALUE, found 'seed'"),
        (["--budget", "1m", "--set", "seed=x"], "expected a value like 1"),
        (["--budget", "1m", "--resume", "none.safetensors"], "expected a checkpoint"),
        (["--budget", "1m", "--devices", "0"], "Invalid value for '--devices'"),
        (["--budget", "1m", "--patience", "-1"], "Invalid value for '--patience'"),
        (["--budget", "1m", "--from", "none.safetensors"], "expected a checkpoint"),
        (["--budget", "1m", "--from", "."], "expected a bundle"),
        (["--budget", "1m", "--teacher", "none.safetensors"], "expected a checkpoint"),
        (["--budget", "1m", "--freeze-encoder"], "add --from or --encoder"),
        (["--budget", "1m", "--qat"], "name it with --from"),
        (["--budget", "1m", "--set", "model.head=3"], "expected one of"),
        ([], "Missing option '--budget'"),
    ],
)
def test_a_training_that_cannot_be_says_why(inkset: Path, arguments: list[str], told: str) -> None:
    result = inktex("train", inkset, *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_own_data_starts_from_a_checkpoint_with_more_tokens(inkset: Path, tmp_path: Path) -> None:
    """The recipe's name and the shape of its model come from the checkpoint."""
    start = synthetic.checkpoint_file(tmp_path)
    tokens = tmp_path / "tokens.txt"
    write_vocabulary(tokens, Vocabulary((*synthetic.vocabulary().tokens, "\\alpha")))
    arguments = ("train", inkset, "-o", tmp_path / "own", "--budget", "1step", "--from", start)
    result = inktex(
        *(*arguments, "--freeze-encoder", "--vocabulary", tokens, "--accelerator", "cpu"),
        *("--set", "optimisation.batch_size=4", "--set", "optimisation.precision=fp32"),
    )
    assert result.exit_code == 0, result.output
    assert "tensors over from edge; new tokens: \\alpha\n" in result.output
    made = Checkpoint.load(tmp_path / "own" / "last.safetensors")
    assert made.recipe.model == synthetic.recipe().model
    assert made.recipe.optimisation.freeze_encoder
    assert "\\alpha" in made.vocabulary
    learnt = synthetic.checkpoint().average
    name = "encoder.middle.0.0.weight"
    assert torch.equal(made.average[name], learnt[name])


def test_own_data_starts_from_a_bundle(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = synthetic.bundle(tmp_path_factory).path
    result = inktex(
        *("train", inkset, "-o", tmp_path / "own", "--budget", "1step", "--from", path),
        *("--set", "optimisation.batch_size=4", "--set", "optimisation.precision=fp32"),
        *("--set", "optimisation.learning_rate=1e-9", "--accelerator", "cpu"),
    )
    assert result.exit_code == 0, result.output
    assert "from edge; new: symbol_head.weight, symbol_head.bias\n" in result.output
    made = Checkpoint.load(tmp_path / "own" / "last.safetensors")
    # the size that its weights know, not that which the recipe comes with
    assert made.recipe.rendering == Rendering() != edge().rendering
    own = load_source(tmp_path / "own" / "last.safetensors")
    assert _recipe(None, None, own).rendering == Rendering()
    # what hardly learnt anything computes what the bundle computes
    images = torch.from_numpy(synthetic.bundle(tmp_path_factory).golden()["encoder.images"])
    with torch.no_grad():
        wanted = synthetic.network().encode(images)
        found = made.trained_network().encode(images)
    for one, other in zip(wanted, found, strict=True):
        assert (one - other).norm() < 0.05 * one.norm()


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(inkset: Path, tmp_path: Path) -> None:
    """A process of its own, which first starts itself anew for the allocator."""
    run = tmp_path / "run"
    last = run / "last.safetensors"
    clean = {name: value for name, value in os.environ.items() if name not in KEEPING}
    arguments = ["train", str(inkset), "-o", str(run), "--budget", "5000steps", *SETTINGS]
    with subprocess.Popen(
        [sys.executable, "-m", "inktex.core.cli", *arguments, "--validate-every", "0.1s"],
        env={**clean, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        began = time.monotonic()
        while not last.exists() and process.poll() is None and time.monotonic() - began < 240:
            time.sleep(0.1)
        environment = Path(f"/proc/{process.pid}/environ").read_text()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=240)
    assert "MALLOC_TRIM_THRESHOLD_=" in environment
    assert process.returncode == 130, output
    assert "Traceback" not in output
    stopped = Checkpoint.load(last).progress
    assert 0 < stopped.steps < 5000
    result = inktex(
        "train", inkset, "-o", run, "--resume", last, "--budget", f"{stopped.steps + 2}steps"
    )
    assert result.exit_code == 0, result.output
    assert Checkpoint.load(last).progress.steps == stopped.steps + 2
