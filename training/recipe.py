"""Recipes: everything that a training is made of, as frozen data."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.errors import DataError
from ..core.rendering import Rendering
from ..core.vocabulary import Vocabulary
from .augmentation import Augmentation
from .objectives import Objective
from .recognizer import Recognizer
from .settings import added, check_counts, check_shares, check_weights, values_before


class ModelSettings(Protocol):
    """The shape of an architecture, as a frozen dataclass."""

    @property
    def max_length(self) -> int:
        """The longest caption that can be written, in tokens."""
        ...

    def build(self, vocabulary: Vocabulary, channels: int = 1) -> Recognizer:
        """The network with fresh weights; seed torch before to repeat it.

        Args:
            channels: of the images.
        """
        ...


@dataclass(frozen=True)
class Optimisation:
    """How the network is trained.

    Attributes:
        optimizer: "adamw", "adam" or "adadelta".
        learning_rate: its peak.
        warmup: share of the budget in which the rate rises to it, in a line.
        schedule: what the rate does then: "cosine" (it falls to zero as half of one) or "constant".
        weight_decay: of matrices and kernels only.
        gradient_clip: greatest norm of a gradient.
        batch_size: expressions in a batch, at the most.
        max_pixels: pixels in a batch, at the most.
        accumulate: batches whose gradients are averaged for one step of the optimiser.
        freeze_encoder: whether the encoder stays as it starts, the statistics of its norms too.
        quantization_aware: whether the encoder computes as in 8 bits, its norms as they start.
        ema_decay: of the averaged weights, which are the ones that are evaluated.
        precision: "bf16" (autocast), "fp32", or "auto", the faster one where a training begins.
    """

    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.05
    schedule: str = "cosine"
    weight_decay: float = 0.02
    gradient_clip: float = 2.0
    batch_size: int = 32
    max_pixels: int = 800_000
    accumulate: int = 1
    freeze_encoder: bool = False
    quantization_aware: bool = added(False, before=False)
    ema_decay: float = 0.999
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, known in (
            ("optimizer", ("adamw", "adam", "adadelta")),
            ("schedule", ("cosine", "constant")),
            ("precision", ("auto", "bf16", "fp32")),
        ):
            if getattr(self, name) not in known:
                raise DataError(
                    f"{name} must be {' or '.join(known)}, found {getattr(self, name)!r}"
                )
        check_counts(self, "batch_size", "accumulate", "max_pixels")
        check_shares(self, "ema_decay", "warmup")
        check_weights(self, "learning_rate", "weight_decay")
        if self.gradient_clip <= 0:
            raise DataError(f"expected a gradient_clip above 0, found {self.gradient_clip}")
        if self.quantization_aware and self.freeze_encoder:
            raise DataError(
                "expected an encoder that learns to be quantised, found a frozen one; leave "
                "freeze_encoder or quantization_aware out"
            )


@dataclass(frozen=True)
class Recipe:
    """A named training.

    Attributes:
        name: which function made it.
        model: the architecture and its shape.
        objective: what is minimised.
        rendering: how large the network sees a formula.
        brief: as of the vocabulary, write an argument that is one symbol without braces.
        validation_share: share of the training data that is held out.
        split_seed: of what is held out, so that trainings of several seeds can be compared.
        seed: of the initial weights, the order and the augmentation.
    """

    name: str
    model: ModelSettings
    objective: Objective
    optimisation: Optimisation = field(default_factory=Optimisation)
    augmentation: Augmentation = field(default_factory=Augmentation)
    rendering: Rendering = field(default_factory=Rendering)
    brief: bool = added(False, before=False)
    validation_share: float = 0.05
    split_seed: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise DataError(
                f"validation_share must be from 0 to below 1, found {self.validation_share}"
            )
        for name in ("split_seed", "seed"):
            if not 0 <= getattr(self, name) < 2**32:
                raise DataError(
                    f"{name} must be from 0 to below 2**32, found {getattr(self, name)}"
                )

    def build(self, vocabulary: Vocabulary) -> Recognizer:
        """The network with fresh weights, for what its rendering shows; seed torch before to
        repeat it."""
        return self.model.build(vocabulary, self.rendering.channels)

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

    def with_values(self, values: Mapping[str, Any]) -> Recipe:
        """This recipe with the values of a `to_dict`, also after a journey through JSON, and of
        earlier versions, which knew fewer settings.

        Raises:
            DataError: a value is missing, unknown or of another type.
        """
        rendering = values.get("rendering", dataclasses.asdict(Rendering()))  # there was but one
        values = {
            "split_seed": values.get("seed"),
            **values,
            "rendering": {"trail": False, **rendering},  # nobody saw any
        }
        recipe: Recipe = _with_values(self, values, self.name)
        return recipe


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
        like = json.dumps(value)  # as it is to be written
        raise DataError(f"--set {name}: expected a value like {like}, found {text!r}") from None


def _with_values(part: Any, values: Mapping[str, Any], name: str) -> Any:
    known = {each.name: getattr(part, each.name) for each in dataclasses.fields(part)}
    values = {**values_before(part), **values}
    if known.keys() != values.keys():
        raise DataError(
            f"recipe {name}: expected the settings {', '.join(sorted(known))}, found "
            f"{', '.join(sorted(values))}; it was written by another version of inktex"
        )
    replaced = {}
    for key, value in known.items():
        if dataclasses.is_dataclass(value):
            replaced[key] = _with_values(value, values[key], f"{name}.{key}")
            continue
        try:
            replaced[key] = _like(value, values[key])
        except TypeError:
            raise DataError(
                f"recipe {name}: expected a {key} like {value!r}, found {values[key]!r}"
            ) from None
    return dataclasses.replace(part, **replaced)


def _like(value: Any, found: Any) -> Any:
    """What was found, with the type of a value that stands there now; else TypeError."""
    if isinstance(value, tuple) and isinstance(found, (list, tuple)) and len(found) == len(value):
        return tuple(map(_like, value, found))
    if isinstance(value, float) and type(found) is int:
        return float(found)
    if type(found) is not type(value) or (isinstance(value, float) and not math.isfinite(found)):
        raise TypeError
    return found
