"""`edge`, the default recipe: small enough for a phone, and the most accurate of its size.

A two-scale convolutional encoder; a transformer decoder that looks only at cells with ink and keeps
account of what it has looked at; trained in both directions, with its attention pulled onto the ink
of each token.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..core.errors import DataError
from ..core.rendering import Rendering
from ..core.vocabulary import Vocabulary
from .augmentation import Augmentation
from .objectives import AlignedCrossEntropy
from .recipe import Optimisation, Recipe
from .settings import check_counts, check_shares
from .transformer_decoder import CoverageTransformer
from .transformer_recognizer import TransformerRecognizer
from .two_scale_encoder import CELL, TwoScaleEncoder


@dataclass(frozen=True)
class EdgeModel:
    """The shape of the network.

    Attributes:
        widths: channels of the encoder at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
        features: width of the memory and of the decoder.
        heads: attention heads, a divisor of `features`.
        hidden: width of the feed-forward layers.
        layers: layers of the decoder.
        max_length: the longest caption that can be written, in tokens.
        dropout: in the decoder.
        drop_path: stochastic depth in the encoder.
    """

    widths: tuple[int, int, int, int] = (32, 64, 144, 192)
    blocks: tuple[int, int, int] = (2, 4, 1)
    features: int = 256
    heads: int = 8
    hidden: int = 512
    layers: int = 3
    max_length: int = 160
    dropout: float = 0.2
    drop_path: float = 0.05

    def __post_init__(self) -> None:
        check_counts(self, "widths", "features", "hidden", "layers", "max_length")
        check_counts(self, "blocks", least=0)
        check_shares(self, "dropout", "drop_path")
        if self.heads < 1 or self.features % self.heads or self.features % 4:
            raise DataError(
                f"features must be a multiple of heads and of 4, found {self.features} features "
                f"and {self.heads} heads"
            )

    def build(self, vocabulary: Vocabulary, channels: int = 1) -> TransformerRecognizer:
        """The network with fresh weights; seed torch before to repeat it."""
        encoder = TwoScaleEncoder(self.widths, self.blocks, self.features, self.drop_path, channels)
        decoder = CoverageTransformer(
            len(vocabulary),
            self.features,
            self.heads,
            self.hidden,
            self.layers,
            self.max_length,
            self.dropout,
        )
        symbol_head = nn.Linear(self.features, len(vocabulary))
        return TransformerRecognizer(encoder, decoder, CELL, symbol_head)


def edge() -> Recipe:
    """The default recipe: symbols of 20 pixels, pens from half to twice as wide as they are drawn
    later, and half of each epoch new formulas."""
    return Recipe(
        "edge",
        EdgeModel(),
        AlignedCrossEntropy(),
        Optimisation(weight_decay=0.05),
        Augmentation(synthetic=0.5, pen=(1.0, 4.0), symbol=0.05),
        Rendering(symbol_px=20.0, pen_px=2.2),
    )
