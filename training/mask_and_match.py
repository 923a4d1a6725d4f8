"""`mask_and_match`: an encoder that has learnt from ink without labels, then a transformer decoder.

After "Mask & Match: Learning to Recognize Handwritten Math with Self-Supervised Attention" (Mitra
et al., 2025): `inktex pretrain` does its first two stages, contrastive pre-training of the encoder
(contrastive.py) and the self-supervised attention network under progressive masking (masking.py);
this recipe, started from the result (`inktex train --recipe mask_and_match --encoder FILE`), is the
third, supervised fine-tuning. Neither code nor tables are published. Chosen by us, each a setting:
the encoder is that of DenseWAP and ABM; the shape of the attention network; a decoder of the size
that CoMER uses, with its own coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import DataError
from ..core.rendering import CANONICAL
from ..core.vocabulary import Vocabulary
from .dense_encoder import DenseEncoder
from .objectives import CrossEntropy
from .recipe import Optimisation, Recipe
from .self_attention_network import AttentiveEncoder, SelfAttentionNetwork
from .settings import check_counts, check_shares
from .transformer_decoder import CoverageTransformer
from .transformer_recognizer import TransformerRecognizer

CELL = 16
"""A cell of the memory is `CELL` x `CELL` pixels."""


@dataclass(frozen=True)
class MaskAndMatchModel:
    """The shape of the network.

    Attributes:
        stem: channels of the encoder at stride 2.
        growth: channels that each of its layers adds.
        blocks: layers of its three dense blocks.
        reduction: share of the channels that is kept between two blocks.
        encoder_dropout: in the dense blocks.
        features: width of the attention network, the memory and the decoder.
        heads: attention heads of both, a divisor of `features`.
        attention_hidden, attention_layers: of the attention network; 0 layers leave it out.
        hidden: width of the decoder's feed-forward layers.
        layers: layers of the decoder.
        coverage: whether past attention tells on the decoder's scores.
        max_length: the longest caption that can be written, in tokens.
        dropout: in attention network and decoder.
    """

    stem: int = 48
    growth: int = 24
    blocks: tuple[int, int, int] = (16, 16, 16)
    reduction: float = 0.5
    encoder_dropout: float = 0.2
    features: int = 256
    heads: int = 8
    attention_hidden: int = 512
    attention_layers: int = 2
    hidden: int = 1024
    layers: int = 3
    coverage: bool = True
    max_length: int = 160
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_counts(self, "stem", "growth", "blocks", "features", "attention_hidden", "hidden")
        check_counts(self, "layers", "max_length")
        check_counts(self, "attention_layers", least=0)
        check_shares(self, "encoder_dropout", "dropout")
        if not 0 < self.reduction <= 1:
            raise DataError(f"reduction must be a share above 0, at most 1, found {self.reduction}")
        if self.heads < 1 or self.features % self.heads or self.features % 4:
            raise DataError(
                f"features must be a multiple of heads and of 4, found {self.features} features "
                f"and {self.heads} heads"
            )

    def build(self, vocabulary: Vocabulary, channels: int = 1) -> TransformerRecognizer:
        """The network with fresh weights; seed torch before to repeat it."""
        trunk = DenseEncoder(
            self.stem, self.growth, self.blocks, self.reduction, self.encoder_dropout, channels
        )
        attention = SelfAttentionNetwork(
            self.features, self.heads, self.attention_hidden, self.attention_layers, self.dropout
        )
        encoder = AttentiveEncoder(trunk, trunk.channels, self.features, attention, CELL)
        decoder = CoverageTransformer(
            len(vocabulary),
            self.features,
            self.heads,
            self.hidden,
            self.layers,
            self.max_length,
            self.dropout,
            self.coverage,
        )
        return TransformerRecognizer(encoder, decoder, CELL)


def mask_and_match() -> Recipe:
    """The recipe for fine-tuning; it also trains from nothing, as the ablation does."""
    return Recipe(
        "mask_and_match",
        MaskAndMatchModel(),
        CrossEntropy(),
        # dense blocks keep all their layers' features for the way back: 25 GB a million pixels
        Optimisation(max_pixels=400_000, accumulate=4),
        rendering=CANONICAL,
    )
