from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from inktex.core.errors import CheckpointError, InktexError
from inktex.training.checkpoint import (
    Checkpoint,
    Progress,
    optimizer_tensors,
    restore_optimizer,
)

from .synthetic import checkpoint, checkpoint_file, network, recipe, vocabulary


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = checkpoint()
    path = tmp_path / "deep" / "tiny.safetensors"
    saved.save(path)
    loaded = Checkpoint.load(path)
    assert loaded.recipe == recipe()
    assert loaded.vocabulary == vocabulary()
    assert loaded.progress == Progress(steps=3, batches=3, elapsed_s=1.5)
    assert loaded.provenance == {"train": {"expressions": 60}}
    assert torch.equal(loaded.random, saved.random)
    for group in ("network", "average", "optimizer"):
        one, other = getattr(saved, group), getattr(loaded, group)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert all(one[name].dtype == other[name].dtype for name in one)
    assert [each.name for each in path.parent.iterdir()] == ["tiny.safetensors"]


def test_the_trained_network_has_the_averaged_weights() -> None:
    other = network(seed=1).state_dict()
    made = Checkpoint(**{**vars(checkpoint(seed=0)), "average": other})
    trained = made.trained_network()
    assert not trained.training
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, other[name])


def test_a_file_that_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found no file"):
        Checkpoint.load(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="found no file"):
        Checkpoint.load(tmp_path)
    path = tmp_path / "other.safetensors"
    for content in (b"", b"text", pickle.dumps({"network": 1})):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a checkpoint of inktex"):
            Checkpoint.load(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of inktex"):
        Checkpoint.load(path)


def rewritten(path: Path, change: dict[str, Any], drop: str = "") -> None:
    with safe_open(path, "pt") as file:
        header = {**json.loads(file.metadata()["inktex"]), **change}
    header = {name: value for name, value in header.items() if value is not None}
    tensors = {name: each for name, each in load_file(path).items() if name != drop}
    save_file(tensors, path, {"inktex": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "drop"),
    [
        ({"format_version": None}, ""),
        ({"recipe": None}, ""),
        ({"recipe": {"name": "x", "from_tomorrow": 1}}, ""),
        ({"recipe": {"name": "x", "model": {"heads": 0}}}, ""),
        ({"progress": {"steps": 1, "more": 2}}, ""),
        ({"vocabulary": 3}, ""),
        ({"vocabulary": ["x"]}, ""),
        ({}, "random"),
    ],
)
def test_a_damaged_header_is_an_error_of_ours(
    tmp_path: Path, change: dict[str, Any], drop: str
) -> None:
    path = checkpoint_file(tmp_path)
    rewritten(path, change, drop)
    with pytest.raises(InktexError):
        Checkpoint.load(path)


def test_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    path = checkpoint_file(tmp_path)
    rewritten(path, {"format_version": 2, "recipe": {}})
    with pytest.raises(CheckpointError, match="expected checkpoint format 1, found 2"):
        Checkpoint.load(path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = checkpoint_file(tmp_path)
    data = path.read_bytes()
    for length in range(0, len(data), len(data) // 20):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            Checkpoint.load(path)


def test_an_interrupted_save_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_file(tmp_path)

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("inktex.training.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        checkpoint(seed=1).save(path)
    assert Checkpoint.load(path).progress.steps == 3


def test_the_optimiser_is_restored_as_it_was() -> None:
    torch.manual_seed(0)

    def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for number in range(steps):
            torch.manual_seed(number)
            optimizer.zero_grad()
            (model(torch.rand(2, 3, 5, 5)).square().mean()).backward()
            optimizer.step()

    def made() -> tuple[nn.Module, torch.optim.AdamW]:
        torch.manual_seed(7)
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    model, optimizer = made()
    stepped(model, optimizer, 3)
    names: dict[torch.Tensor, str] = {each: name for name, each in model.named_parameters()}
    tensors = {name: each.clone() for name, each in optimizer_tensors(optimizer, names).items()}
    assert set(tensors) == {
        f"{key}/{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name in ("weight", "bias")
    }
    other, fresh = made()
    other.load_state_dict(model.state_dict())
    restore_optimizer(fresh, {each: name for name, each in other.named_parameters()}, tensors)
    for parameter, state in fresh.state.items():
        assert state["exp_avg"].stride() == parameter.stride()  # as the optimiser itself made it
        assert state["exp_avg"].device == parameter.device
    stepped(model, optimizer, 2)
    stepped(other, fresh, 2)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
