"""`abm`: a dense encoder, coverage at two scales, and two decoders that learn from each other.

ABM (Bian et al., 2022, arXiv:2112.03603), with its published sizes; only the decoder from left to
right is left at inference. What differs is ours: the learning rate falls as half a cosine, because
the budget is known beforehand, where the released code halves it whenever the validation loss
stalls (`--set optimisation.schedule=constant` keeps it at 1); vectors are not decayed; a loss is
the mean over tokens, not over captions first; paper around a formula is not masked; the averaged
weights are used.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import DataError
from ..core.rendering import CANONICAL
from ..core.vocabulary import Vocabulary
from .dense_encoder import DenseEncoder
from .mutual_learning import MutualLearning
from .recipe import Optimisation, Recipe
from .recurrent_decoder import RecurrentDecoder
from .recurrent_recognizer import RecurrentRecognizer
from .settings import check_counts, check_shares

KERNELS = (11, 5)
"""Cells that the convolutions over the coverage see, in each direction."""


@dataclass(frozen=True)
class AbmModel:
    """The shape of the network.

    Attributes:
        stem: channels of the encoder's first convolution.
        growth: channels that a layer of the encoder adds.
        layers: layers of each dense block.
        reduction: share of the channels that is kept between two blocks.
        embedding: width of the embedding and of the output layer, even.
        hidden: width of the gated units.
        attention: width in which query, keys and coverage meet.
        filters: channels of each convolution over the coverage.
        coverage: tell the attention where it has been.
        aggregation: tell it so at two scales, not one; without coverage it does nothing.
        mirror: train a second decoder, from right to left.
        max_length: the longest caption that can be written, in tokens.
        dropout: in the encoder and before the classifier.
    """

    stem: int = 48
    growth: int = 24
    layers: tuple[int, int, int] = (16, 16, 16)
    reduction: float = 0.5
    embedding: int = 256
    hidden: int = 256
    attention: int = 512
    filters: int = 512
    coverage: bool = True
    aggregation: bool = True
    mirror: bool = True
    max_length: int = 200
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_counts(self, "stem", "growth", "layers", "embedding", "hidden", "attention")
        check_counts(self, "filters", "max_length")
        check_shares(self, "dropout")
        if self.embedding % 2:
            raise DataError(f"embedding must be even for the maxout, found {self.embedding}")
        if not 0 < self.reduction <= 1:
            raise DataError(f"reduction must be a share above 0, at most 1, found {self.reduction}")

    def build(self, vocabulary: Vocabulary, channels: int = 1) -> RecurrentRecognizer:
        """The network with fresh weights; seed torch before to repeat it."""
        encoder = DenseEncoder(
            self.stem, self.growth, self.layers, self.reduction, self.dropout, channels
        )
        decoder = self._decoder(len(vocabulary), encoder.channels)
        mirror = self._decoder(len(vocabulary), encoder.channels) if self.mirror else None
        return RecurrentRecognizer(encoder, decoder, self.max_length, mirror)

    def _decoder(self, vocabulary: int, channels: int) -> RecurrentDecoder:
        kernels = KERNELS if self.aggregation else KERNELS[:1]
        return RecurrentDecoder(
            vocabulary,
            channels,
            self.embedding,
            self.hidden,
            self.attention,
            kernels if self.coverage else (),
            self.filters,
            self.dropout,
        )


def abm() -> Recipe:
    """Attention aggregation and bidirectional mutual learning."""
    return Recipe(
        "abm",
        AbmModel(),
        MutualLearning(),
        Optimisation(
            optimizer="adadelta",
            learning_rate=1.0,
            warmup=0.0,
            weight_decay=1e-4,
            gradient_clip=100.0,
            # published: 16 captions a step; in one batch they would take 25 GB
            batch_size=16,
            max_pixels=400_000,
            accumulate=4,
        ),
        rendering=CANONICAL,
    )
