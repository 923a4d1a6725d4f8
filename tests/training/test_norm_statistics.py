from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from inktex.training.norm_statistics import measure_norms, resize_kernels
from inktex.training.stream import TrainingStream
from inktex.training.transformer_recognizer import TransformerRecognizer
from inktex.training.two_scale_encoder import ConvNorm

from . import synthetic, tiny_pretraining


def folded() -> TransformerRecognizer:
    """A network whose norms only add, as a bundle's do."""
    network = synthetic.network()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            convolution, norm = module
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            with torch.no_grad():
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                convolution.weight.mul_(scale[:, None, None, None])
                norm.bias.sub_(scale * norm.running_mean)
                norm.weight.fill_(1.0)
                norm.running_mean.zero_()
                norm.running_var.fill_(1 - norm.eps)
    return network


def images() -> list[Tensor]:
    recipe = synthetic.recipe()
    stream = TrainingStream(
        synthetic.expressions(14), synthetic.vocabulary(), recipe.augmentation, 8, 120_000, 1, 23
    )
    return [batch.expanded().images for _, batch in itertools.islice(stream.batches(), 12)]


@torch.no_grad()
def test_the_function_stays_and_training_goes_on_where_it_stood() -> None:
    network, given = folded(), images()
    before = network.encoder(given[0])
    torch.testing.assert_close(before, synthetic.network().encoder(given[0]))
    network.train()
    apart = (network.encoder(given[0]) - before).norm() / before.norm()
    network = folded()
    measure_norms(network, (), given)
    assert not network.training
    torch.testing.assert_close(network.encoder(given[0]), before, rtol=1e-4, atol=1e-5)
    network.train()
    after = network.encoder(given[0])
    # the statistics of one batch are not quite those of all
    assert (after - before).norm() / before.norm() < 0.3 * apart


@torch.no_grad()
def test_the_statistics_are_those_of_all_positions_of_all_images() -> None:
    network, given = folded(), images()
    measure_norms(network, (), given)
    first = network.encoder.get_submodule("stem.0")
    values = torch.cat([first[0](each).transpose(0, 1).flatten(1) for each in given], dim=1)  # type: ignore[index]
    norm = first[1]  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, values.mean(dim=1))
    torch.testing.assert_close(norm.running_var, values.var(dim=1, correction=0))


def test_fresh_norms_are_left_alone() -> None:
    network = folded()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measure_norms(network, ("encoder.stem.0.1.weight", "symbol_head.bias"), images())
    changed = [
        name
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    ]
    assert changed
    assert not any(name.startswith("encoder.stem.0.") for name in changed)
    assert all(".1." in name for name in changed)  # norms, and nothing else


@torch.no_grad()
def test_kernels_that_a_fold_has_made_large_are_as_large_as_fresh_ones() -> None:
    network, given = folded(), images()
    name = "encoder.stem.0.0.weight"
    kernel = network.get_parameter(name)
    norm = network.get_submodule("encoder.stem.0.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    fresh = kernel.norm()
    kernel.mul_(20)
    norm.running_mean.mul_(20)
    norm.running_var.add_(norm.eps).mul_(400).sub_(norm.eps)
    before = network.encoder(given[0])
    resize_kernels(network, [name])
    assert 0.5 < kernel.norm() / fresh < 2
    torch.testing.assert_close(network.encoder(given[0]), before, rtol=1e-4, atol=1e-5)


def test_kernels_that_were_not_folded_stay() -> None:
    torch.manual_seed(0)
    network = tiny_pretraining.recipe().build(synthetic.vocabulary())
    name = "encoder.trunk.stem.0.weight"
    kernel = network.get_parameter(name)
    with torch.no_grad():
        kernel.mul_(20)
    before = kernel.clone()
    resize_kernels(network, [name])
    assert torch.equal(kernel, before)
