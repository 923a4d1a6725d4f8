"""A plain convolutional encoder: 3x3 convolutions, of which some halve the resolution."""

from __future__ import annotations

from torch import Tensor, nn

from .two_scale_encoder import ConvNorm


class ConvolutionalEncoder(nn.Module):
    """Images to features at stride 16, in the way of VGG (Simonyan and Zisserman, 2015,
    arXiv:1409.1556), with batch norm.

    Four stages as in WAP (Zhang et al., 2017), which drops out in the last of them only. There a
    pool ends each stage; here a stride begins it, which spares three quarters of the products.

    Args:
        widths: channels of each stage.
        layers: convolutions of each stage, the first with stride 2.
        dropout: probability, behind the convolutions of the last stage.
        inputs: channels of the images.

    Attributes:
        channels: of the features.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (32, 64, 128, 256),
        layers: tuple[int, int, int, int] = (2, 2, 3, 3),
        dropout: float = 0.2,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        self.channels = inputs
        for number, (width, count) in enumerate(zip(widths, layers, strict=True)):
            for layer in range(count):
                stride = 1 if layer else 2
                stages += [ConvNorm(self.channels, width, stride=stride), nn.ReLU()]
                if number == 3:
                    stages.append(nn.Dropout(dropout))
                self.channels = width
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> Tensor:
        """images [b, inputs, h, w], ink 1 on 0, sides multiples of 16 -> features [b, channels,
        h/16, w/16]"""
        features: Tensor = self.stages(images)
        return features
