"""`coverage`: convolutions, a recurrent decoder, and attention that knows where it has been.

The system that most later ones build on: WAP (Zhang et al., 2017) and DenseWAP (Zhang, Du and Dai,
2018, arXiv:1801.03530). The decoder has their sizes; the encoder is a plain one, half as wide as
VGG-16 and with strides in place of pools; Adam with a falling learning rate takes the place of
Adadelta.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import DataError
from ..core.rendering import CANONICAL
from ..core.vocabulary import Vocabulary
from .convolutional_encoder import ConvolutionalEncoder
from .objectives import CrossEntropy
from .recipe import Optimisation, Recipe
from .recurrent_decoder import RecurrentDecoder
from .recurrent_recognizer import RecurrentRecognizer
from .settings import check_counts, check_shares

KERNEL = 11
"""Cells that the convolution over the coverage sees, in each direction."""


@dataclass(frozen=True)
class CoverageModel:
    """The shape of the network.

    Attributes:
        widths: channels of the encoder at strides 2, 4, 8 and 16.
        layers: convolutions at each of these strides.
        embedding: width of the embedding and of the output layer, even.
        hidden: width of the gated units.
        attention: width in which query, keys and coverage meet.
        filters: channels of the convolution over the coverage.
        coverage: tell the attention where it has been.
        max_length: the longest caption that can be written, in tokens.
        dropout: in the last stage of the encoder and before the classifier.
    """

    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    layers: tuple[int, int, int, int] = (2, 2, 3, 3)
    embedding: int = 256
    hidden: int = 256
    attention: int = 512
    filters: int = 512
    coverage: bool = True
    max_length: int = 200
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_counts(self, "widths", "layers", "embedding", "hidden", "attention", "filters")
        check_counts(self, "max_length")
        check_shares(self, "dropout")
        if self.embedding % 2:
            raise DataError(f"embedding must be even for the maxout, found {self.embedding}")

    def build(self, vocabulary: Vocabulary, channels: int = 1) -> RecurrentRecognizer:
        """The network with fresh weights; seed torch before to repeat it."""
        encoder = ConvolutionalEncoder(self.widths, self.layers, self.dropout, channels)
        decoder = RecurrentDecoder(
            len(vocabulary),
            encoder.channels,
            self.embedding,
            self.hidden,
            self.attention,
            (KERNEL,) if self.coverage else (),
            self.filters,
            self.dropout,
        )
        return RecurrentRecognizer(encoder, decoder, self.max_length)


def coverage() -> Recipe:
    """The attention + coverage recipe."""
    return Recipe(
        "coverage",
        CoverageModel(),
        CrossEntropy(),
        Optimisation(
            optimizer="adam",
            learning_rate=1e-3,
            weight_decay=1e-4,
            gradient_clip=5.0,
            max_pixels=1_400_000,
        ),
        rendering=CANONICAL,
    )
