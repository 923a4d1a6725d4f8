from __future__ import annotations

import torch
from torch import nn

from inktex.training.dense_encoder import BottleneckLayer, DenseEncoder


def test_the_sizes_are_those_published() -> None:
    encoder = DenseEncoder()
    assert encoder.channels == 684
    assert sum(isinstance(each, BottleneckLayer) for each in encoder.modules()) == 48
    # 7x7; two convolutions in each layer; one in each of two transitions
    kernels = [each.kernel_size for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    assert kernels[0] == (7, 7)
    assert len(kernels) == 1 + 2 * 48 + 2
    assert {each.p for each in encoder.modules() if isinstance(each, nn.Dropout)} == {0.2}
    with torch.no_grad():
        assert encoder.eval()(torch.rand(1, 1, 16, 32)).shape == (1, 684, 1, 2)


def test_features_are_at_a_sixteenth_of_any_size() -> None:
    encoder = DenseEncoder(6, 4, (2, 1, 3), 0.5).eval()
    assert encoder.channels == ((6 + 2 * 4) // 2 + 4) // 2 + 3 * 4
    for height, width in ((16, 16), (48, 32), (32, 160)):
        features = encoder(torch.rand(2, 1, height, width))
        assert features.shape == (2, encoder.channels, height // 16, width // 16)
        assert (features >= 0).all()


def test_a_layer_keeps_all_that_it_was_given() -> None:
    x = torch.randn(2, 5, 4, 6)
    grown = BottleneckLayer(5, 3, 0.0)(x)
    assert grown.shape == (2, 8, 4, 6)
    assert torch.equal(grown[:, :5], x)


def test_ink_that_moves_by_a_cell_moves_the_features_by_one() -> None:
    torch.manual_seed(0)
    encoder = DenseEncoder(6, 4, (1, 1, 1)).eval()
    image = torch.zeros(1, 1, 160, 160)
    image[:, :, 70:80, 66:90] = torch.rand(10, 24)
    moved = encoder(image.roll((16, 32), (2, 3)))
    features = encoder(image)
    assert features.std(dim=(2, 3)).amax() > 0
    # away from the border, whose padding stays where it is
    torch.testing.assert_close(moved[:, :, 4:7, 5:8], features[:, :, 3:6, 3:6])


def test_dropout_is_for_training() -> None:
    torch.manual_seed(0)
    encoder, image = DenseEncoder(6, 4, (1, 1, 1), dropout=0.5), torch.rand(2, 1, 32, 32)
    assert not torch.equal(encoder(image), encoder(image))
    encoder.eval()
    assert torch.equal(encoder(image), encoder(image))
