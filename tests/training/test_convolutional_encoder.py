from __future__ import annotations

import torch
from torch import nn

from inktex.training.convolutional_encoder import ConvolutionalEncoder


def test_features_are_at_a_sixteenth_of_any_size() -> None:
    encoder = ConvolutionalEncoder((2, 3, 4, 6), (1, 2, 1, 2)).eval()
    assert encoder.channels == 6
    for height, width in ((16, 16), (48, 32), (32, 160)):
        features = encoder(torch.rand(2, 1, height, width))
        assert features.shape == (2, 6, height // 16, width // 16)


def test_a_norm_stands_behind_every_convolution() -> None:
    modules = list(ConvolutionalEncoder((2, 3, 4, 6), (1, 2, 3, 2)).modules())
    widths = [each.out_channels for each in modules if isinstance(each, nn.Conv2d)]
    assert widths == [2, 3, 3, 4, 4, 4, 6, 6]
    assert [each.num_features for each in modules if isinstance(each, nn.BatchNorm2d)] == widths
    strides = [each.stride[0] for each in modules if isinstance(each, nn.Conv2d)]
    assert strides == [2, 2, 1, 2, 1, 1, 2, 1]


def test_only_the_last_stage_drops_out_and_only_in_training() -> None:
    torch.manual_seed(0)
    encoder, image = ConvolutionalEncoder((2, 2, 2, 9), (1, 1, 1, 2), 0.5), torch.rand(2, 1, 32, 32)
    assert sum(isinstance(each, nn.Dropout) for each in encoder.modules()) == 2
    assert not torch.equal(encoder(image), encoder(image))
    encoder.eval()
    assert torch.equal(encoder(image), encoder(image))


def test_ink_that_moves_by_a_cell_moves_the_features_by_one() -> None:
    torch.manual_seed(0)
    encoder = ConvolutionalEncoder((2, 3, 4, 6), (1, 1, 1, 1)).eval()
    image = torch.zeros(1, 1, 128, 128)
    image[:, :, 50:60, 50:70] = torch.rand(10, 20)
    moved = encoder(image.roll((16, 32), (2, 3)))
    features = encoder(image)
    assert features.std(dim=(2, 3)).amax() > 0
    torch.testing.assert_close(moved[:, :, 3:6, 4:7], features[:, :, 2:5, 2:5])
