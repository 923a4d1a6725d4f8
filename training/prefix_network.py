"""Transformers as they are published: the whole prefix goes in at every step."""

from __future__ import annotations

from torch import Tensor, nn

from ..core.errors import DataError
from ..core.interface import TensorSpec
from .recognizer import Recognizer
from .transformer_recognizer import TransformerRecognizer


class PrefixNetwork(nn.Module):
    """An encoder, and a decoder that begins anew in every step; every method is to be written.

    Attributes:
        max_length: the most steps that can be made.
        vocabulary_size: tokens that it tells apart.
    """

    max_length: int
    vocabulary_size: int

    @property
    def memory(self) -> tuple[TensorSpec, ...]:
        """What the encoder gives and the decoder takes, of one image; the first axis is 1."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """images [1, channels, h, w], ink 1 on 0, sides multiples of 16 -> the memory"""
        raise NotImplementedError

    def read(self, tokens: Tensor, *memory: Tensor) -> Tensor:
        """tokens int64 [b, t], a memory repeated b times -> logits [b, t, vocabulary]"""
        raise NotImplementedError


class PlainTransformer(PrefixNetwork):
    """A transformer of ours without what makes it quick: all cells are kept, and the memory is
    projected in every step."""

    def __init__(self, network: TransformerRecognizer) -> None:
        super().__init__()
        self.network = network
        self.max_length = network.max_length
        self.vocabulary_size = network.decoder.embedding.num_embeddings

    @property
    def memory(self) -> tuple[TensorSpec, ...]:
        cells = (1, "cells", self.network.decoder.embedding.embedding_dim)
        return (
            TensorSpec("features", "float32", cells),
            TensorSpec("places", "float32", cells),
            TensorSpec("bias", "float32", cells[:2]),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.network.all_cells(images)[:3]

    def read(self, tokens: Tensor, *memory: Tensor) -> Tensor:
        decoder = self.network.decoder
        logits: Tensor = decoder(tokens, decoder.remember(*memory))[0]
        return logits


def prefix_network(network: Recognizer | PrefixNetwork) -> PrefixNetwork:
    """A network that re-feeds its prefix.

    Raises:
        DataError: it cannot, as it is no transformer.
    """
    if isinstance(network, PrefixNetwork):
        return network
    if isinstance(network, TransformerRecognizer):
        return PlainTransformer(network)
    raise DataError(
        "expected a transformer, which can re-feed its prefix, found a recurrent decoder; take "
        "comer, mask_and_match or edge"
    )
