"""From a recipe to a network."""

from __future__ import annotations

from ..core.vocabulary import Vocabulary
from .decoder import CoverageTransformer
from .encoder import TwoScaleEncoder
from .network import RecognizerNetwork
from .recipe import ModelSettings


def build_network(settings: ModelSettings, vocabulary: Vocabulary) -> RecognizerNetwork:
    """The network with fresh weights; seed torch before to repeat it."""
    encoder = TwoScaleEncoder(
        settings.widths, settings.blocks, settings.features, settings.drop_path
    )
    decoder = CoverageTransformer(
        len(vocabulary),
        settings.features,
        settings.heads,
        settings.hidden,
        settings.layers,
        settings.max_length,
        settings.dropout,
    )
    return RecognizerNetwork(encoder, decoder, settings.features, len(vocabulary))
