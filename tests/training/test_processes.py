from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from inktex.core.errors import DataError, RuntimeUnavailable
from inktex.training.budget_callback import Watch
from inktex.training.checkpoint import Checkpoint
from inktex.training.processes import Processes, check_accelerator

from . import synthetic
from .tiny_training import train


def started_by_torchrun(monkeypatch: pytest.MonkeyPatch, local: int, total: int) -> None:
    """The environment that it gives its processes."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    monkeypatch.setenv("WORLD_SIZE", str(total))


def test_there_is_one_process_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert Processes.present() == Processes(1, 1)
    assert Processes.present(3) == Processes(3, 1)


def test_torchrun_says_how_many_processes_and_machines_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started_by_torchrun(monkeypatch, 4, 8)
    assert Processes.present() == Processes.present(4) == Processes(local=4, machines=2)
    assert Processes.present().count == 8
    with pytest.raises(DataError, match=r"the 4 processes that torchrun started .* asked for 2"):
        Processes.present(2)
    started_by_torchrun(monkeypatch, 4, 6)
    with pytest.raises(DataError, match="found 6 in all and 4 here"):
        Processes.present()


def test_gpus_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for accelerator in ("cpu", "auto"):
        check_accelerator(accelerator, 4)
    with pytest.raises(RuntimeUnavailable, match=r"expected a GPU that torch .* found none"):
        check_accelerator("gpu", 1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    check_accelerator("gpu", 1)
    check_accelerator("cpu", 2)
    for accelerator in ("gpu", "auto"):
        with pytest.raises(RuntimeUnavailable, match=r"expected 2 GPUs .* found 1"):
            check_accelerator(accelerator, 2)


TWO_PROCESSES = """
import hashlib, json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
folder, here, devices = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) or None
sys.path.insert(0, here)
import synthetic
from inktex.training import trainer
from inktex.training.budget import Budget
from inktex.training.budget_callback import Watch

def train(name, resume=None, **watch):
    return trainer.train(
        synthetic.recipe(accumulate=2).override({"model.dropout": "0.3"}),
        synthetic.expressions(14), synthetic.expressions(54)[50:],
        Budget(3, "steps"), folder / name, resume=resume, watch=Watch(**watch), devices=devices,
        accelerator="cpu",
    )

def digest(checkpoint):
    learnt = {name: tensor for name, tensor in checkpoint.network.items() if "running" not in name}
    return hashlib.sha256(b"".join(learnt[name].numpy().tobytes() for name in learnt)).hexdigest()

first = train("run", every_s=0, patience=1)  # which it loses soon: nothing is read yet
print("first", first.progress.steps, first.progress.batches)
found = {"first": digest(first)}
if devices is None:  # started by torchrun
    found["resumed"] = digest(train("run", first))
    found["whole"] = digest(train("whole"))
(folder / f"rank{os.environ.get('LOCAL_RANK', 0)}.json").write_text(json.dumps(found))
"""


def two_processes(folder: Path, launcher: Sequence[str], devices: int) -> list[dict[str, str]]:
    """What each of them found."""
    script = folder / "two.py"
    script.write_text(TWO_PROCESSES)
    here = str(Path(synthetic.__file__).parent)
    result = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder), here, str(devices)],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("first 2 8\n") == 2
    told = "a step: up to 4 expressions x 2 batches x 2 processes = 16"
    assert result.stdout.count(told) == (1 if devices else 3)  # a time for each training
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_learn_the_same_from_different_batches(tmp_path: Path) -> None:
    one, other = two_processes(tmp_path, [], 2)
    assert one == other
    # had both seen the same batches, it would be the training of one process
    alone = train(
        tmp_path / "alone",
        "3steps",
        synthetic.recipe(accumulate=2).override({"model.dropout": "0.3"}),
        watch=Watch(every_s=0.0, patience=1),
    )
    saved = Checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert alone.progress.steps == saved.progress.steps == 2
    name = next(iter(alone.network))
    assert not torch.allclose(alone.network[name], saved.network[name], atol=1e-6)


def test_two_processes_of_torchrun_learn_the_same_and_resume_exactly(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    one, other = two_processes(tmp_path, launcher, 0)
    assert one == other
    assert one["resumed"] == one["whole"] != one["first"]
