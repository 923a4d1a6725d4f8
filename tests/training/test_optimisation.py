from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from inktex.core.errors import DataError
from inktex.training.checkpoint import optimizer_tensors, restore_optimizer
from inktex.training.optimisation import learning_rate, optimizer_of
from inktex.training.recipe import Optimisation

OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adadelta": torch.optim.Adadelta,
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))


def learn(made: nn.Sequential, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        made(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()


def names(made: nn.Module) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in made.named_parameters()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimiser_is_the_one_named_and_decays_matrices_only(name: str) -> None:
    settings = Optimisation(optimizer=name, learning_rate=0.7, weight_decay=0.5)
    optimizer = optimizer_of(network(), settings)
    assert type(optimizer) is OPTIMIZERS[name]
    decayed, others = optimizer.param_groups
    assert (decayed["lr"], others["lr"]) == (0.7, 0.7)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert [each.ndim for each in decayed["params"]] == [2, 2]
    assert [each.ndim for each in others["params"]] == [1, 1]


def test_adadelta_is_as_published() -> None:
    """Zeiler, 2012: no rate to choose, only a decay of 0.9 and a small number."""
    optimizer = optimizer_of(network(), Optimisation(optimizer="adadelta", learning_rate=1.0))
    for group in optimizer.param_groups:
        assert (group["lr"], group["rho"], group["eps"]) == (1.0, 0.9, 1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_survives_a_checkpoint(name: str) -> None:
    settings = Optimisation(optimizer=name, learning_rate=0.01)
    whole, first = network(), network()
    learn(whole, optimizer_of(whole, settings), 4)
    optimizer = optimizer_of(first, settings)
    learn(first, optimizer, 2)
    saved = optimizer_tensors(optimizer, names(first))
    second = network()
    second.load_state_dict(first.state_dict())
    optimizer = optimizer_of(second, settings)
    restore_optimizer(optimizer, names(second), saved)
    learn(second, optimizer, 2)
    for one, other in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_constant_rate_stays_where_the_warm_up_left_it() -> None:
    settings = Optimisation(learning_rate=2.0, warmup=0.1, schedule="constant")
    rates = [learning_rate(number / 100, settings) for number in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[0] < 0.05
    assert set(rates[10:]) == {2.0}
    falling = Optimisation(learning_rate=2.0, warmup=0.1)
    assert rates[:11] == [learning_rate(number / 100, falling) for number in range(11)]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"optimizer": "sgd"}, "optimizer must be adamw or adam or adadelta, found 'sgd'"),
        ({"schedule": "step"}, "schedule must be cosine or constant, found 'step'"),
        ({"precision": "fp16"}, "precision must be auto or bf16 or fp32, found 'fp16'"),
    ],
)
def test_an_unknown_name_is_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        Optimisation(**settings)  # type: ignore[arg-type]
