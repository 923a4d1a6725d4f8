from __future__ import annotations

import torch

from inktex.training.places import grid_encoding
from inktex.training.self_attention_network import SelfAttentionNetwork
from inktex.training.transformer_decoder import MASKED

from .tiny_pretraining import encoder


def made() -> SelfAttentionNetwork:
    torch.manual_seed(0)
    return SelfAttentionNetwork(features=16, heads=2, hidden=24, layers=2, dropout=0.3).eval()


def places() -> torch.Tensor:
    return grid_encoding(2, 3, 16, torch.device("cpu")).flatten(1).T[None]


def test_every_cell_looks_at_the_others() -> None:
    network, cells = made(), torch.randn(1, 6, 16)
    changed = cells.clone()
    changed[0, 4] += torch.randn(16)
    difference = network(changed, places(), torch.zeros(1, 6)) - network(
        cells, places(), torch.zeros(1, 6)
    )
    assert (difference.abs().amax(dim=2) > 1e-4).all()


def test_cells_without_ink_are_not_looked_at() -> None:
    network, cells = made(), torch.randn(2, 6, 16)
    bias = torch.zeros(2, 6)
    bias[:, 4:] = MASKED
    changed = cells.clone()
    changed[:, 4:] += torch.randn(2, 2, 16)
    found = network(changed, places(), bias)[:, :4]
    torch.testing.assert_close(found, network(cells, places(), bias)[:, :4])
    few = network(cells[:, :4], places()[:, :4], bias[:, :4])
    torch.testing.assert_close(found, few, atol=1e-5, rtol=1e-5)


def test_of_a_masked_cell_only_the_place_is_known() -> None:
    network, cells = made(), torch.randn(1, 6, 16)
    masked = torch.tensor([[False, True, False, False, True, False]])
    changed = torch.where(masked[:, :, None], 9.0, cells)
    bias = torch.zeros(1, 6)
    found = network(changed, places(), bias, masked)
    torch.testing.assert_close(found, network(cells, places(), bias, masked))
    assert (found[0, 1] - found[0, 4]).abs().amax() > 1e-3
    assert (found - network(changed, places(), bias)).abs().amax() > 1e-3


def test_without_layers_it_adds_the_places() -> None:
    network = SelfAttentionNetwork(16, 2, 24, 0, 0.0)
    cells = torch.randn(2, 6, 16)
    torch.testing.assert_close(network(cells, places(), torch.zeros(2, 6)), cells + places())


def test_the_encoder_attends_to_ink_whatever_the_paper_beside_it() -> None:
    network = encoder().eval()
    images = torch.zeros(2, 1, 32, 64)
    images[0, 0, 4:20, 5:40] = torch.rand(16, 35)
    images[1, 0, 18:30, 2:12] = 1.0
    features = network(images)
    assert features.shape == (2, 16, 2, 4)
    trunk = network.trunk(images)
    inked = torch.tensor([[True, True, True, False] * 2, [False] * 4 + [True] + [False] * 3])
    torch.testing.assert_close(features, network.attend(trunk, inked))
    wider = torch.nn.functional.pad(trunk, (0, 5), value=3.0)
    known = torch.nn.functional.pad(inked.reshape(2, 2, 4), (0, 5)).flatten(1)
    found = network.attend(wider, known)[:, :, :, :4].flatten(2).transpose(1, 2)[inked]
    expected = features.flatten(2).transpose(1, 2)[inked]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
