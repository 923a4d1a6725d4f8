"""Start a training from the weights of another one: a checkpoint, or a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.bundle import Bundle
from ..core.errors import CheckpointError
from ..core.vocabulary import Vocabulary
from ..runtimes import bundle_folder
from .checkpoint import Checkpoint
from .recipe import ModelSettings
from .recognizer import Recognizer
from .weight_source import Source

_NAMED_AT_MOST = 8


@dataclass(frozen=True)
class Transfer:
    """What a warm start took over.

    Attributes:
        recipe: name of the source's recipe.
        count: tensors that were taken over.
        fresh: names of the tensors that the source does not have in this shape.
        tokens: the tokens that the source does not know.
        widened: names of the kernels that see channels of the images which the source does not.
    """

    recipe: str
    count: int
    fresh: tuple[str, ...]
    tokens: tuple[str, ...]
    widened: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line: "took 153 tensors over from edge; new: symbol_head.bias; new tokens: \\Pi"."""
        parts = [f"took {self.count} tensors over from {self.recipe}"]
        if self.fresh:
            parts.append(f"new: {_some(self.fresh)}")
        if self.tokens:
            parts.append(f"new tokens: {_some(self.tokens)}")
        return "; ".join(parts)


def load_source(path: Path) -> Source:
    """The weights of a checkpoint (a file) or of a bundle (a folder); "default" is the bundle that
    comes with inktex, where there is nothing else of that name.

    Raises:
        CheckpointError: the file is not a checkpoint, or the bundle's weights cannot be told.
        BundleError: the folder is not a bundle.
        ParityError: the network that was made of the bundle does not compute what it computes.
        RuntimeUnavailable: the package `onnx`, which bundles need, is not installed.
    """
    bundle = bundle_at(path)
    if bundle is not None:
        from .bundle_weights import bundle_source

        return bundle_source(bundle)
    checkpoint = Checkpoint.load(path)
    return Source(
        checkpoint.recipe,
        checkpoint.vocabulary,
        checkpoint.average,
        provenance={
            "data": dict(checkpoint.provenance),
            "training": checkpoint.progress.told(),
        },
    )


def bundle_at(path: Path) -> Bundle | None:
    """The bundle that a path to weights means, if it means one: a folder, or "default"."""
    path = Path(bundle_folder(path))
    return Bundle.open(path) if path.is_dir() else None


def grown(vocabulary: Vocabulary, captions: Iterable[Sequence[str]]) -> Vocabulary:
    """The vocabulary, and behind it the tokens of the captions that it lacks.

    >>> grown(Vocabulary.from_captions(["x"]), [["y", "x"]]).tokens[3:]
    ('x', 'y')
    """
    more = Vocabulary.from_captions(captions).tokens
    return Vocabulary(vocabulary.tokens + tuple(token for token in more if token not in vocabulary))


def transfer(
    network: Recognizer, model: ModelSettings, vocabulary: Vocabulary, source: Source
) -> Transfer:
    """Copy weights into a network, as far as they fit.

    What has a row for every token (embedding, classifier, symbol head) is matched by the tokens,
    so that the vocabularies may differ; of what has rows for every layer of a decoder (projections
    of the memory), or a part for every channel of the images (the first convolution), those that
    both have are taken; what the source does not have keeps its fresh weights, except that channels
    which it does not see count for nothing at first: an image is read as by the source.

    Args:
        network: that `model` has built for `vocabulary`.

    Raises:
        CheckpointError: no weight fits; the source is of another architecture.
    """
    mine: dict[str, Tensor] = dict(network.state_dict())
    axes = token_axes(model, vocabulary)
    channels = channel_axes(model, vocabulary)
    shared = dict(channels)
    if _as_wide(model, source.recipe.model):
        shared |= layer_axes(model, vocabulary)
    known = [token for token in vocabulary.tokens if token in source.vocabulary]
    here = torch.tensor([vocabulary.index[token] for token in known])
    there = torch.tensor([source.vocabulary.index[token] for token in known])
    fresh: list[str] = []
    widened: list[str] = []
    fitting = 0
    for name, tensor in mine.items():
        other = source.tensors.get(name)
        if other is not None and name in shared and other.ndim == tensor.ndim:
            common = min(each.shape[shared[name]] for each in (tensor, other))
            tensor, other = (each.narrow(shared[name], 0, common) for each in (tensor, other))
        wanted = list(tensor.shape)
        axis = axes.get(name)
        if axis is not None:
            wanted[axis] = len(source.vocabulary)
        if other is None or list(other.shape) != wanted:
            fresh.append(name)
            continue
        if name in channels and tensor.shape != mine[name].shape:
            mine[name].zero_()
            widened.append(name)
        other = other.to(tensor)
        if axis is None:
            tensor.copy_(other)
        else:
            tensor.index_copy_(axis, here, other.index_select(axis, there))
        # counters and vectors fit anywhere by chance: they are nothing without a matrix
        fitting += tensor.ndim > 1
    if not fitting:
        raise CheckpointError(
            "expected weights of the same architecture to start from, found those of recipe "
            f"{source.recipe.name!r} of which none fits; leave --recipe out to train that one"
        )
    return Transfer(
        source.recipe.name,
        len(mine) - len(fresh),
        tuple(fresh),
        tuple(token for token in vocabulary.tokens if token not in source.vocabulary),
        tuple(widened),
    )


def token_axes(model: ModelSettings, vocabulary: Vocabulary) -> dict[str, int]:
    """The axis along which a tensor has one entry for every token, by name; for those that do.

    Found by building the network, without memory for its weights, once more with one more token.
    """
    longer = Vocabulary((*vocabulary.tokens, "<one more>"))
    return _growing(model, vocabulary, model, longer)


def layer_axes(model: ModelSettings, vocabulary: Vocabulary) -> dict[str, int]:
    """The axis along which a tensor has entries for every layer of the decoder, one layer after the
    other, by name; for those that do."""
    layers = getattr(model, "layers", None)
    if not isinstance(layers, int):  # of a recurrent recognizer they are the encoder's, by stage
        return {}
    deeper: Any = dataclasses.replace(model, layers=layers + 1)  # type: ignore[type-var]
    return _growing(model, vocabulary, deeper, vocabulary)


def channel_axes(model: ModelSettings, vocabulary: Vocabulary) -> dict[str, int]:
    """The axis along which a tensor has entries for every channel of the images, by name; for those
    that do."""
    return _growing(model, vocabulary, model, vocabulary, channels=2)


def _as_wide(one: ModelSettings, other: ModelSettings) -> bool:
    """Whether a layer of both decoders has as many features, so that a part of one is a part of the
    other."""
    return getattr(one, "features", None) == getattr(other, "features", None)


def _growing(
    model: ModelSettings,
    vocabulary: Vocabulary,
    larger: ModelSettings,
    longer: Vocabulary,
    channels: int = 1,
) -> dict[str, int]:
    with torch.device("meta"):
        one = model.build(vocabulary).state_dict()
        other = larger.build(longer, channels).state_dict()
    return {
        name: axis
        for name, tensor in one.items()
        for axis, size in enumerate(tensor.shape)
        if size != other[name].shape[axis]
    }


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMED_AT_MOST
    text = ", ".join(names[:_NAMED_AT_MOST])
    return f"{text} and {more} more" if more > 0 else text
