from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from inktex.core.cli import main
from inktex.training.checkpoint import Checkpoint
from inktex.training.commands import _ALLOCATOR
from inktex.training.inkset import load_inkset, save_inkset

from .synthetic import bundle, checkpoint_file, expressions
from .test_crohme import POWER, inkml

TINY = (
    "model.widths=[4,8,8,8]",
    "model.blocks=[1,1,1]",
    "model.features=16",
    "model.heads=2",
    "model.hidden=32",
    "model.layers=2",
    "model.max_length=24",
    "optimisation.batch_size=4",
    "optimisation.precision=fp32",
    "validation_share=0.2",
)
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


def inktex(*arguments: str | Path) -> Result:
    """Run the command line here; with the allocator's variables set, `train` does not start the
    process anew."""
    runner = CliRunner(env=_ALLOCATOR)
    return runner.invoke(main, [str(each) for each in arguments])


@pytest.fixture
def inkset(tmp_path: Path) -> Path:
    path = tmp_path / "made.inkset"
    save_inkset(path, expressions(20))
    return path


def test_data_is_imported_and_inspected(tmp_path: Path) -> None:
    archive = tmp_path / "ink.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/power.inkml", POWER)
        file.writestr("b/power.inkml", POWER)
        file.writestr("b/plain.inkml", inkml(truth="$y$"))
        file.writestr("b/broken.inkml", "<ink")
    target, report = tmp_path / "made.inkset", tmp_path / "report.json"
    result = inktex("data", "import", archive, "-o", target, "--report", report)
    assert result.exit_code == 0, result.output
    assert "2 expressions imported, 2 skipped" in result.output
    assert "fingerprint" in result.output
    assert {each.identifier for each in load_inkset(target)} == {"power", "plain"}
    skipped = json.loads(report.read_text(encoding="utf-8"))["skipped"]
    assert set(skipped) == {"b/broken.inkml", "b/power.inkml"}
    seen = inktex("data", "inspect", target).output
    assert seen.startswith("2 expressions, fingerprint ")
    assert "2 distinct captions" in seen
    assert "1 writers named, 1 unnamed" in seen


def test_captions_given_win(tmp_path: Path) -> None:
    (tmp_path / "power.inkml").write_text(POWER)
    (tmp_path / "captions.tsv").write_text("power\tX ^ { 2 } =\n")
    arguments = ("data", "import", tmp_path, "-o", tmp_path / "made.inkset", "--captions")
    result = inktex(*arguments, tmp_path / "captions.tsv")
    assert result.exit_code == 0, result.output
    assert "0 of 1 captions equal" in result.output
    [made] = load_inkset(tmp_path / "made.inkset")
    assert made.caption == ("X", "^", "{", "2", "}", "=")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing.zip", "-o", "made.inkset"], "expected data at nothing.zip, found nothing"),
        (["ink", "-o", "made.txt"], "expected a name that ends in .inkset"),
        (["ink", "-o", "deep/made.inkset"], "expected an existing folder"),
        (["ink", "-o", "made.inkset", "--captions", "none.tsv"], "found nothing"),
        (["ink", "-o", "made.inkset"], "nothing could be imported"),
        (["empty", "-o", "made.inkset"], "expected a .zip or folder of .inkml files"),
    ],
)
def test_an_import_that_cannot_be_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ink").mkdir()
    Path("ink", "broken.inkml").write_text("<ink")
    Path("empty").mkdir()
    result = inktex("data", "import", *arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert not Path("made.inkset").exists()


def test_what_cannot_be_inspected_says_why(tmp_path: Path) -> None:
    save_inkset(tmp_path / "none.inkset", [])
    for name, told in (("none.inkset", "holds no expression"), ("lost.inkset", "found none")):
        result = inktex("data", "inspect", tmp_path / name)
        assert result.exit_code == 2
        assert told in result.output


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
    result = inktex(*train, "--budget", "9steps", "--resume", last, *SETTINGS)
    assert result.exit_code == 2
    assert "keeps its recipe" in result.output
    result = inktex(*train, "--budget", "3steps", "--resume", last)
    assert result.exit_code == 2
    assert "budget" in result.output

    readings = tmp_path / "readings.jsonl"
    result = inktex("evaluate", last, inkset, "--json", "-o", readings, "--limit", "7")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["count"] == 7
    assert len(readings.read_text().splitlines()) == 7
    table = inktex("evaluate", last, inkset).output
    assert "exact" in table
    assert "normalized" in table
    held_out = inktex("evaluate", last, inkset, "--json", "--split", "validation")
    assert 0 < json.loads(held_out.output)["count"] < 20


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--budget", "soon"], "expected a budget such as 150m"),
        (["--budget", "1m", "--recipe", "vast"], "expected one of edge, found 'vast'"),
        (["--budget", "1m", "--validate-every", "3steps"], "expected a time such as 10m"),
        (["--budget", "1m", "--set", "seed"], "expected NAME=VALUE, found 'seed'"),
        (["--budget", "1m", "--set", "seed=x"], "expected a value like 1"),
        (["--budget", "1m", "--resume", "none.safetensors"], "expected a checkpoint"),
        (["--budget", "1m", "--devices", "0"], "Invalid value for '--devices'"),
        ([], "Missing option '--budget'"),
    ],
)
def test_a_training_that_cannot_be_says_why(inkset: Path, arguments: list[str], told: str) -> None:
    result = inktex("train", inkset, *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_a_bundle_is_evaluated_as_its_users_read_it(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = bundle(tmp_path_factory).path
    greedy = inktex("evaluate", path, inkset, "--limit", "4", "--json")
    assert greedy.exit_code == 0, greedy.output
    assert json.loads(greedy.output)["count"] == 4
    readings = tmp_path / "readings.jsonl"
    result = inktex(
        "evaluate", path, inkset, "--limit", "3", "--beam", "2", "--no-grammar", "-o", readings
    )
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in readings.read_text().splitlines()]
    assert len(lines) == 3
    assert all(0 <= line["confidence"] <= 1 for line in lines)
    wrong = inktex("evaluate", path, inkset, "--precision", "int8")
    assert wrong.exit_code == 2
    assert "int8" in wrong.output


def test_images_are_not_for_checkpoints(tmp_path: Path) -> None:
    path = checkpoint_file(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"never looked at")
    (tmp_path / "captions.tsv").write_text("a\tx\n")
    arguments = ("evaluate", path, tmp_path / "images", "--captions", tmp_path / "captions.tsv")
    result = inktex(*arguments)
    assert result.exit_code == 2
    assert "export a bundle" in result.output


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(inkset: Path, tmp_path: Path) -> None:
    """A process of its own, which first starts itself anew for the allocator."""
    run = tmp_path / "run"
    last = run / "last.safetensors"
    clean = {name: value for name, value in os.environ.items() if name not in _ALLOCATOR}
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
