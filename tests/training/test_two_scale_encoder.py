from __future__ import annotations

import pytest
import torch
from torch import nn

from inktex.training.two_scale_encoder import CELL, ResidualBlock, TwoScaleEncoder


def test_features_are_at_the_stride_of_a_cell() -> None:
    encoder = TwoScaleEncoder((4, 8, 8, 12), (1, 2, 1), 16)
    for height, width in ((16, 16), (48, 32), (32, 160)):
        features = encoder(torch.rand(2, 1, height, width))
        assert features.shape == (2, 16, height // CELL, width // CELL)


def test_single_cells_are_those_of_the_whole_grid() -> None:
    torch.manual_seed(0)
    encoder = TwoScaleEncoder((4, 6, 8, 10), (1, 1, 1), 12).eval()
    images = torch.rand(2, 1, 48, 80)
    cells = torch.tensor([0, 9, 10, 23, 37, 59])
    with torch.no_grad():
        whole = encoder(images).flatten(2).transpose(1, 2)
        found = encoder.at_cells(images, cells // 10, cells % 10)
    torch.testing.assert_close(found, whole[:, cells])


def test_a_fresh_block_is_the_identity() -> None:
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(ResidualBlock(4)(x), x)


def test_padding_to_the_right_and_below_changes_no_feature_far_from_it() -> None:
    torch.manual_seed(0)
    encoder = TwoScaleEncoder((4, 8, 8, 12), (1, 1, 1), 16).eval()
    image = torch.zeros(1, 1, 64, 64)
    image[:, :, 10:22, 10:40] = torch.rand(12, 30)
    wider = nn.functional.pad(image, (0, 256, 0, 256))
    torch.testing.assert_close(encoder(wider)[:, :, :2, :2], encoder(image)[:, :, :2, :2])


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_stochastic_depth_leaves_branches_out_in_training_only(drop_path: float) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(2, drop_path)
    for name, weight in block.named_parameters():
        if name == "second.1.weight":  # zero at first
            nn.init.ones_(weight)
    x = torch.rand(1, 2, 6, 6).expand(64, 2, 6, 6)
    kept = ((block(x) - x).abs().amax(dim=(1, 2, 3)) > 0).float().mean()
    assert kept == 1 if drop_path == 0 else 0.3 < kept < 0.7
    block.eval()
    rows = block(x)
    assert torch.equal(rows, block(x))
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))
