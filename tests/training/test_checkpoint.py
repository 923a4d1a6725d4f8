from __future__ import annotations

import dataclasses
import errno
import json
import pickle
import sys
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
    progress = Progress(3, 6, 1.5, 1, best=50.0, stale=2, kept=((50.0, 2), (25.0, 1)))
    saved = dataclasses.replace(checkpoint(), progress=progress)
    path = tmp_path / "deep" / "tiny.safetensors"
    saved.save(path)
    loaded = Checkpoint.load(path)
    assert loaded.recipe == recipe()
    assert loaded.vocabulary == vocabulary()
    assert loaded.progress == saved.progress
    assert loaded.provenance == {"train": {"expressions": 60}}
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


def rewritten(path: Path, change: dict[str, Any]) -> None:
    with safe_open(path, "pt") as file:
        header = {**json.loads(file.metadata()["inktex"]), **change}
    header = {name: value for name, value in header.items() if value is not None}
    save_file(load_file(path), path, {"inktex": json.dumps(header)})


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": None},
        {"recipe": None},
        {"recipe": {"name": "x", "from_tomorrow": 1}},
        {"recipe": {"name": "x", "model": {"heads": 0}}},
        {"progress": None},
        {"progress": {"steps": 1, "more": 2}},
        {"progress": {"kept": [1]}},
        {"vocabulary": 3},
        {"vocabulary": ["x"]},
    ],
)
def test_a_damaged_header_is_an_error_of_ours(tmp_path: Path, change: dict[str, Any]) -> None:
    path = checkpoint_file(tmp_path)
    rewritten(path, change)
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


def test_a_pretrained_encoder_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    path = checkpoint_file(tmp_path)
    rewritten(path, {"kind": "pretrained encoder"})
    with pytest.raises(CheckpointError, match=r"found a pretrained encoder; .* with --encoder"):
        Checkpoint.load(path)


def test_a_failed_save_leaves_the_file_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_file(tmp_path)

    def fail(tensors: object, partial: Path, metadata: object) -> None:
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("inktex.training.tensor_file.save_file", fail)
    with pytest.raises(CheckpointError, match=r"No space left on device.* as it was"):
        checkpoint(seed=1).save(path)
    assert Checkpoint.load(path).progress.steps == 3
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_file_that_may_not_grow_is_refused_in_the_same_way(tmp_path: Path) -> None:
    """The library's own error, as on a full disk."""
    import resource

    path = checkpoint_file(tmp_path)
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, most))
    try:
        with pytest.raises(CheckpointError, match="cannot be written"):
            checkpoint(seed=1).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
    assert Checkpoint.load(path).progress.steps == 3
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_slim_checkpoint_is_read_with_but_not_resumed(tmp_path: Path) -> None:
    whole = checkpoint()
    whole.check_resumable()
    path = tmp_path / "slim.safetensors"
    whole.slim().save(path)
    assert path.stat().st_size < 0.7 * checkpoint_file(tmp_path).stat().st_size
    slim = Checkpoint.load(path)
    assert slim.average.keys() == whole.average.keys()
    assert slim.trained_network().max_length == 24
    with pytest.raises(CheckpointError, match="of step 3 that holds averaged weights only"):
        slim.check_resumable()


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
