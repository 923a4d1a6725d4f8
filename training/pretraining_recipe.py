"""What a pre-training is made of: a recipe, and how its encoder learns without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from ..core.errors import DataError
from .contrastive import Contrast
from .masking import Masking
from .recipe import Optimisation, Recipe
from .self_attention_network import AttentiveEncoder


class Stage(NamedTuple):
    """A part of a pre-training: "contrast" or "masking", from one share of the budget to another"""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class PretrainingRecipe(Recipe):
    """A recipe whose encoder is to be pre-trained; the objective is not used.

    Attributes:
        contrast, masking: settings of the two stages.
        contrastive_share: share of the budget that the first stage gets; all of it where the
            encoder has no attention network. The learning rate rises and falls in each stage.
    """

    contrast: Contrast = field(default_factory=Contrast)
    masking: Masking = field(default_factory=Masking)
    contrastive_share: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.contrastive_share <= 1:
            raise DataError(
                f"contrastive_share must be a share from 0 to 1, found {self.contrastive_share}"
            )
        if self.rendering.trail:
            raise DataError(
                "expected rendering.trail false, as an encoder is pre-trained on drawings alone, "
                "found true; leave it out here, and give it to the training that follows"
            )

    def override(self, assignments: Mapping[str, str]) -> PretrainingRecipe:
        """As `Recipe.override`."""
        recipe = super().override(assignments)
        assert isinstance(recipe, PretrainingRecipe)
        return recipe

    def stages(self, encoder: nn.Module) -> tuple[Stage, ...]:
        """The stages of this encoder in their order; together they take the whole budget."""
        attentive = isinstance(encoder, AttentiveEncoder) and len(encoder.attention.layers) > 0
        first = self.contrastive_share if attentive else 1.0
        both = (Stage("contrast", 0.0, first), Stage("masking", first, 1.0))
        return tuple(stage for stage in both if stage.start < stage.end)


def pretraining(recipe: Recipe) -> PretrainingRecipe:
    """The pre-training of a recipe's encoder, in batches as large as the recipe's.

    Optimiser and rate are the defaults, whatever the recipe does with labels.
    """
    values = {each.name: getattr(recipe, each.name) for each in dataclasses.fields(Recipe)}
    limits = recipe.optimisation
    optimisation = Optimisation(batch_size=limits.batch_size, max_pixels=limits.max_pixels)
    return PretrainingRecipe(**{**values, "optimisation": optimisation})
