"""Start a training from the weights of another one."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..core.errors import CheckpointError
from ..core.vocabulary import Vocabulary
from .checkpoint import Checkpoint
from .recognizer import Recognizer

_ROWS_OF_TOKENS = (
    "decoder.embedding.weight",
    "decoder.classifier.weight",
    "decoder.classifier.bias",
    "symbol_head.weight",
    "symbol_head.bias",
)


class Transfer(NamedTuple):
    """What a warm start took over.

    fresh: names of the tensors that the source does not have in this shape
    tokens: the tokens that the source does not know
    """

    fresh: tuple[str, ...]
    tokens: tuple[str, ...]


def transfer(network: Recognizer, vocabulary: Vocabulary, source: Checkpoint) -> Transfer:
    """Copy the averaged weights of a checkpoint into a network, as far as they fit.

    Rows of the embedding, the classifier and the symbol head are matched by their tokens, so that
    the vocabularies may differ; what the source does not have keeps its fresh weights.

    Raises:
        CheckpointError: not one tensor fits; the checkpoint is of another architecture.
    """
    mine: dict[str, Tensor] = dict(network.state_dict())
    rows = [
        (vocabulary.index[token], source.vocabulary.index[token])
        for token in vocabulary.tokens
        if token in source.vocabulary
    ]
    here, there = map(list, zip(*rows, strict=True))
    fresh = []
    for name, tensor in mine.items():
        other = source.average.get(name)
        if other is None or other.shape[1:] != tensor.shape[1:]:
            fresh.append(name)
        elif name in _ROWS_OF_TOKENS:
            tensor[here] = other[there].to(tensor.dtype)
        elif other.shape == tensor.shape:
            tensor.copy_(other)
        else:
            fresh.append(name)
    if len(fresh) == len(mine):
        raise CheckpointError(
            "expected a checkpoint of the same architecture to start from, found one of recipe "
            f"{source.recipe.name!r} of which no tensor fits"
        )
    unknown = tuple(each for each in vocabulary.tokens if each not in source.vocabulary)
    return Transfer(tuple(fresh), unknown)
