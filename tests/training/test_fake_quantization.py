from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from inktex.core.errors import DataError
from inktex.training.budget_callback import BudgetCallback
from inktex.training.checkpoint import Checkpoint
from inktex.training.fake_quantization import (
    QuantizedConvNorm,
    make_quantization_aware,
    rounded_activations,
    rounded_weights,
    spread_values,
)
from inktex.training.two_scale_encoder import ConvNorm
from inktex.training.warm_start import load_source

from . import synthetic
from .tiny_training import OFTEN, assert_same, train


def test_values_take_the_levels_of_a_byte() -> None:
    x = torch.linspace(-1, 3, 5000)
    found = rounded_activations(x)
    assert len(set(found.tolist())) <= 256
    assert (found - x).abs().max() <= 4 / 255
    assert rounded_activations(torch.zeros(7)).eq(0).all()
    weight = torch.randn(3, 2, 3, 3) * torch.tensor([1.0, 10.0, 0.0])[:, None, None, None]
    rounded = rounded_weights(weight)
    steps = weight.abs().amax(dim=(1, 2, 3)) / 127
    assert ((rounded - weight).abs() <= 0.51 * steps[:, None, None, None] + 1e-7).all()


def test_the_range_is_that_of_the_whole_batch() -> None:
    """Sides that are powers of two, a blank margin: every 256th value is from the first column."""
    x = torch.zeros(16, 32, 32, 256)
    x[..., 40:200] = torch.rand(16, 32, 32, 160, generator=torch.Generator().manual_seed(1))
    some = spread_values(x)
    assert len(some) == 1 << 14
    assert float(some.ne(0).float().mean()) == pytest.approx(160 / 256, abs=0.01)
    assert float((rounded_activations(x) - x).abs().max()) < 1 / 255
    few = torch.rand(3, 5)
    assert torch.equal(spread_values(few), few.flatten())


def test_a_layer_computes_nearly_the_same_and_learns() -> None:
    torch.manual_seed(0)
    block = ConvNorm(4, 6).eval()
    block[1].running_mean.normal_()  # type: ignore[operator]
    block[1].running_var.uniform_(0.5, 2)  # type: ignore[operator]
    x = torch.randn(2, 4, 9, 11).relu()
    quantized = QuantizedConvNorm.of(block)
    exact, found = block(x), quantized.train()(x)
    assert not torch.equal(exact, found)
    assert (exact - found).abs().mean() < 0.02 * exact.abs().mean()
    found.square().sum().backward()
    for parameter in block.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_no_tensor_gets_another_name() -> None:
    network = synthetic.network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    make_quantization_aware(network)
    assert_same(network.state_dict(), before)
    blocks = [each for each in network.encoder.modules() if isinstance(each, ConvNorm)]
    assert blocks
    assert all(isinstance(each, QuantizedConvNorm) for each in blocks)


def test_a_training_resumes_exactly_and_leaves_a_plain_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load_source(synthetic.checkpoint_file(tmp_path))
    recipe = synthetic.recipe(quantization_aware=True, learning_rate=1e-3)
    whole = train(tmp_path / "whole", "4steps", recipe, source=source, watch=OFTEN)
    save = BudgetCallback.save

    def killed(self: BudgetCallback, *arguments: Any) -> None:
        if self.progress.steps == 3:
            raise SystemExit
        save(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(BudgetCallback, "save", killed)
        with pytest.raises(SystemExit):
            train(tmp_path / "parts", "4steps", recipe, source=source, watch=OFTEN)
    left = Checkpoint.load(tmp_path / "parts" / "last.safetensors")
    assert left.progress.steps == 2
    resumed = train(tmp_path / "parts", "4steps", left.recipe, resume=left, watch=OFTEN)
    assert_same(resumed.network, whole.network)
    assert_same(resumed.average, whole.average)
    network = whole.trained_network()
    assert not any(isinstance(each, QuantizedConvNorm) for each in network.modules())
    fixed = [name for name in source.tensors if name.startswith("encoder") and "running" in name]
    assert fixed
    for name in fixed:
        assert torch.equal(whole.network[name], source.tensors[name])
    assert not torch.equal(
        whole.network["encoder.stem.0.0.weight"], source.tensors["encoder.stem.0.0.weight"]
    )


def test_a_frozen_encoder_cannot_learn_to_be_quantised() -> None:
    with pytest.raises(DataError, match="found a frozen one"):
        synthetic.recipe(quantization_aware=True, freeze_encoder=True)


def test_recipes_of_before_have_no_such_setting() -> None:
    values = synthetic.recipe().to_dict()
    del values["optimisation"]["quantization_aware"]
    assert synthetic.recipe().with_values(values) == synthetic.recipe()
    aware = dataclasses.replace(
        synthetic.recipe(), optimisation=synthetic.recipe(quantization_aware=True).optimisation
    )
    assert aware.with_values(aware.to_dict()) == aware
