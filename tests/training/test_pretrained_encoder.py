from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from inktex.core.errors import CheckpointError, DataError
from inktex.training.checkpoint import Progress
from inktex.training.pretrained_encoder import PretrainedEncoder, load_encoder
from inktex.training.recipes import named
from inktex.training.recognizer import Recognizer

from . import synthetic, tiny_pretraining


def pretrained() -> PretrainedEncoder:
    return PretrainedEncoder(
        tiny_pretraining.recipe(),
        "masking",
        Progress(steps=3, batches=4, elapsed_s=1.5, epoch=2),
        tiny_pretraining.encoder(seed=5).state_dict(),
        {"head.weight": torch.arange(3.0)},
        {"exp_avg/head.weight": torch.ones(3)},
        {"train": {"expressions": 7, "fingerprint": "abc"}, "measured": {}},
    )


def saved(folder: Path) -> Path:
    path = folder / "encoder.safetensors"
    pretrained().save(path)
    return path


def abm(growth: int = 4, blocks: str = "[1, 1, 1]") -> Recognizer:
    """A recognizer with the same convolutional encoder, and another decoder."""
    small = {"embedding": "8", "hidden": "8", "attention": "8", "filters": "4", "stem": "4"}
    small |= {"growth": str(growth), "layers": blocks}
    recipe = named("abm").override({f"model.{name}": value for name, value in small.items()})
    torch.manual_seed(1)
    return recipe.model.build(synthetic.vocabulary())


def state(network: Recognizer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network: Recognizer, before: dict[str, torch.Tensor]) -> set[str]:
    after = network.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = pretrained()
    read = PretrainedEncoder.load(saved(tmp_path))
    for field in ("recipe", "stage", "progress", "provenance"):
        assert getattr(read, field) == getattr(written, field)
    for field in ("encoder", "heads", "optimizer"):
        one, other = getattr(written, field), getattr(read, field)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_file_is_safetensors_with_a_header_of_json(tmp_path: Path) -> None:
    with safe_open(saved(tmp_path), "pt") as file:
        header = json.loads(file.metadata()["inktex"])
        assert "encoder/trunk.stem.0.weight" in file.keys()  # noqa: SIM118
    assert header["recipe"]["name"] == "mask_and_match"
    assert header["recipe"]["contrast"]["temperature"] == 0.5
    assert (header["stage"], header["progress"]["steps"]) == ("masking", 3)
    assert header["provenance"]["train"]["fingerprint"] == "abc"


def test_it_starts_the_encoder_and_nothing_else(tmp_path: Path) -> None:
    network = tiny_pretraining.network()
    before = state(network)
    assert load_encoder(network, saved(tmp_path)) == ()
    source = pretrained().encoder
    after = network.encoder.state_dict()
    assert all(torch.equal(after[name], source[name]) for name in source)
    assert changed(network, before) > {"encoder.trunk.stem.0.weight", "encoder.projection.weight"}
    assert all(name.startswith("encoder.") for name in changed(network, before))


def test_it_starts_another_recipe_with_the_same_convolutions(tmp_path: Path) -> None:
    network = abm()
    before = state(network)
    assert load_encoder(network, saved(tmp_path)) == ()
    source = pretrained().encoder
    assert isinstance(network.encoder, nn.Module)
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, source[f"trunk.{name}"])
    assert all(name.startswith("encoder.") for name in changed(network, before))


def test_plain_convolutions_start_those_inside_an_attentive_encoder(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    source = abm().encoder
    assert isinstance(source, nn.Module)
    dataclasses.replace(pretrained(), encoder=source.state_dict()).save(path)
    network = tiny_pretraining.network()
    before = state(network)
    fresh = load_encoder(network, path)
    assert all(name.startswith(("projection.", "attention.")) for name in fresh)
    assert {"projection.weight", "attention.mask_token"} <= set(fresh)
    assert all(name.startswith("encoder.trunk.") for name in changed(network, before))


def test_what_does_not_fit_is_named_and_stays(tmp_path: Path) -> None:
    network = abm(blocks="[1, 1, 2]")
    before = state(network)
    fresh = load_encoder(network, saved(tmp_path))
    assert fresh
    assert all(name.startswith("blocks.5.") for name in fresh)  # the layer that is new
    assert not {f"encoder.{name}" for name in fresh} & changed(network, before)


def test_another_architecture_is_refused_and_left_alone(tmp_path: Path) -> None:
    network = synthetic.network()
    before = state(network)
    with pytest.raises(CheckpointError, match=r"recipe 'mask_and_match' of which no weight fits"):
        load_encoder(network, saved(tmp_path))
    assert not changed(network, before)


def rewritten(path: Path, **changes: Any) -> None:
    """The same file with other words in its header; None takes a word away."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["inktex"])
    header |= changes
    header = {name: value for name, value in header.items() if value is not None}
    save_file({"encoder/a": torch.zeros(1)}, path, {"inktex": json.dumps(header)})


def test_wrong_files_are_told_apart(tmp_path: Path) -> None:
    network = tiny_pretraining.network()

    def refused(path: Path, told: str) -> None:
        for read in (PretrainedEncoder.load, lambda path: load_encoder(network, path)):
            with pytest.raises(CheckpointError, match=told):
                read(path)

    refused(tmp_path / "none.safetensors", "expected a pre-trained encoder at .* found no file")
    path = tmp_path / "text.safetensors"
    path.write_text("not tensors")
    refused(path, "text.safetensors is not a pre-trained encoder .* written by `inktex pretrain`")
    save_file({"a": torch.zeros(1)}, path)
    refused(path, "is not a pre-trained encoder")
    refused(synthetic.checkpoint_file(tmp_path), "found a checkpoint of `inktex train`.* --from")
    rewritten(saved(tmp_path), format_version=99)
    refused(tmp_path / "encoder.safetensors", "expected format 1 .* found 99")


def test_a_header_that_lacks_something_is_no_start(tmp_path: Path) -> None:
    path = saved(tmp_path)
    rewritten(path, progress=None)
    with pytest.raises(CheckpointError, match=r"lacks what .* goes on from \('progress'\)"):
        PretrainedEncoder.load(path)
    recipe = tiny_pretraining.recipe().to_dict()
    rewritten(saved(tmp_path), recipe={**recipe, "name": "vast"})
    with pytest.raises(DataError, match="found 'vast'"):
        PretrainedEncoder.load(path)


def test_a_full_disk_leaves_the_last_good_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    good = path.read_bytes()

    def full(tensors: object, partial: Path, header: object) -> None:
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("inktex.training.tensor_file.save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left.* make\s+room"):
        pretrained().save(path)
    assert path.read_bytes() == good
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
