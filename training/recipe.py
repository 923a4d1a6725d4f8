"""Recipes: everything that a training is made of, as frozen data."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import DataError
from .augmentation import Augmentation


@dataclass(frozen=True)
class ModelSettings:
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
    blocks: tuple[int, int, int] = (2, 4, 2)
    features: int = 256
    heads: int = 8
    hidden: int = 512
    layers: int = 3
    max_length: int = 160
    dropout: float = 0.1
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if self.heads < 1 or self.features % self.heads or self.features % 4:
            raise DataError(
                f"features must be a multiple of heads and of 4, found {self.features} features "
                f"and {self.heads} heads"
            )


@dataclass(frozen=True)
class Optimisation:
    """How the network is trained.

    Attributes:
        learning_rate: its peak; after a linear warm-up it falls to zero as half a cosine.
        warmup: share of the budget that the warm-up takes.
        weight_decay: of matrices and kernels only.
        gradient_clip: greatest norm of a gradient.
        batch_size: expressions in a batch, at the most.
        max_pixels: pixels in a batch, at the most.
        label_smoothing: share of a target that is spread over all tokens.
        alignment, symbols: weights of the two auxiliary losses.
        aligned_layers: decoder layers, from the last, that the alignment pulls.
        ema_decay: of the averaged weights, which are the ones that are evaluated.
        precision: "bf16" (autocast) or "fp32".
    """

    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.02
    gradient_clip: float = 2.0
    batch_size: int = 32
    max_pixels: int = 800_000
    label_smoothing: float = 0.1
    alignment: float = 0.3
    symbols: float = 0.5
    aligned_layers: int = 3
    ema_decay: float = 0.999
    precision: str = "bf16"

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise DataError(f"precision must be bf16 or fp32, found {self.precision!r}")
        if self.batch_size < 1:
            raise DataError(f"batch_size must be 1 or more, found {self.batch_size}")
        if not 0 <= self.warmup < 1:
            raise DataError(f"warmup must be a share from 0 to below 1, found {self.warmup}")


@dataclass(frozen=True)
class Recipe:
    """A named training.

    Attributes:
        name: which function made it.
        validation_share: share of the training data that is held out.
        seed: of the split, the initial weights, the order and the augmentation.
    """

    name: str
    model: ModelSettings = field(default_factory=ModelSettings)
    optimisation: Optimisation = field(default_factory=Optimisation)
    augmentation: Augmentation = field(default_factory=Augmentation)
    validation_share: float = 0.05
    seed: int = 1

    def override(self, assignments: Mapping[str, str]) -> Recipe:
        """A recipe with some values replaced: `{"optimisation.batch_size": "16"}`.

        Raises:
            DataError: there is no such setting, or the value is of another type.
        """
        recipe = self
        for name, text in assignments.items():
            recipe = _replace(recipe, name.split("."), text, name)
        return recipe

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_dict`, also after a journey through JSON."""
        parts = {
            "model": ModelSettings,
            "optimisation": Optimisation,
            "augmentation": Augmentation,
        }
        return cls(
            **{
                name: parts[name](**{key: _tuples(each) for key, each in value.items()})
                if name in parts
                else value
                for name, value in values.items()
            }
        )


def edge() -> Recipe:
    """The default: small enough for a phone, a two-scale encoder and a transformer decoder with
    coverage, trained in both directions with alignment supervision from the ink."""
    return Recipe("edge")


RECIPES: dict[str, Callable[[], Recipe]] = {"edge": edge}


def _replace(part: Any, path: list[str], text: str, name: str) -> Any:
    known = [each.name for each in dataclasses.fields(part)]
    if path[0] not in known:
        raise DataError(f"--set {name}: expected one of {', '.join(known)}, found {path[0]!r}")
    value = getattr(part, path[0])
    if len(path) > 1 and dataclasses.is_dataclass(value):
        return dataclasses.replace(part, **{path[0]: _replace(value, path[1:], text, name)})
    if len(path) > 1 or dataclasses.is_dataclass(value):
        raise DataError(f"--set {name}: a setting reads like optimisation.batch_size=16")
    try:
        found = json.loads(text) if not isinstance(value, str) else text
    except json.JSONDecodeError:
        found = text
    try:
        return dataclasses.replace(part, **{path[0]: _like(value, found)})
    except TypeError:
        raise DataError(f"--set {name}: expected a value like {value!r}, found {text!r}") from None


def _like(value: Any, found: Any) -> Any:
    """What was found, with the type of a value that stands there now; else TypeError."""
    if isinstance(value, tuple) and isinstance(found, list) and len(found) == len(value):
        return tuple(map(_like, value, found))
    if isinstance(value, float) and type(found) is int:
        return float(found)
    if type(found) is not type(value) or (isinstance(value, float) and not math.isfinite(found)):
        raise TypeError
    return found


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
