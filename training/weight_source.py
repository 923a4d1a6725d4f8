"""Weights that a training, a teacher or an average takes over, wherever they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..core.errors import CheckpointError
from ..core.vocabulary import Vocabulary
from .checkpoint import Checkpoint, Progress
from .recipe import Recipe


@dataclass(frozen=True)
class Source:
    """Weights to start from.

    Attributes:
        recipe: whose model they are of.
        vocabulary: of the rows that belong to tokens.
        tensors: by name.
        folded: whether batch norms were folded into their convolutions and are identities now,
            whose statistics are to be measured anew (`measure_norms`).
        provenance: how they came about, free JSON: data, steps, their own source.
    """

    recipe: Recipe
    vocabulary: Vocabulary
    tensors: Mapping[str, Tensor]
    folded: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def origin(self) -> dict[str, Any]:
        """What a training that starts from these, or learns from them, keeps of where they are
        from, free JSON."""
        told = {"recipe": self.recipe.name, **self.provenance}
        return dict(json.loads(json.dumps(told)))

    def checkpoint(self) -> Checkpoint:
        """These weights as a slim checkpoint, to evaluate and to export; what only training needs,
        and they lack, is new."""
        network = self.recipe.build(self.vocabulary)
        network.load_state_dict(dict(self.tensors), strict=False)
        data = self.provenance.get("data", {})
        average = network.state_dict()
        return Checkpoint(self.recipe, self.vocabulary, Progress(), {}, average, {}, data)

    def check_reads_as(self, recipe: Recipe, option: str) -> None:
        """Raise CheckpointError if they see formulas otherwise than a recipe's, or write other
        captions of them; `option` is what the user gave them to."""
        for name, theirs, mine in (
            ("rendering", self.recipe.rendering, recipe.rendering),
            ("brief", self.recipe.brief, recipe.brief),
        ):
            if theirs != mine:
                raise CheckpointError(
                    f"{option}: expected one with the {name} of the recipe, {mine}, found "
                    f"{theirs}; set the recipe's to that, or take another"
                )
