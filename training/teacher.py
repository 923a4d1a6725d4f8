"""A recognizer that can read already, and tells another what it expects of every token.

Distillation: what a larger network, or one that has learnt for longer, holds possible says more of
a token than its name alone (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..core.errors import CheckpointError
from ..core.vocabulary import Vocabulary
from .batches import Batch
from .recipe import Recipe
from .transformer_recognizer import TransformerRecognizer
from .weight_source import Source


@dataclass(frozen=True)
class Teacher:
    """A trained network, and how its tokens are numbered.

    Attributes:
        network: never in training.
        numbers: int64 [vocabulary], the teacher's number of each token of the student.
    """

    network: TransformerRecognizer
    numbers: Tensor

    @classmethod
    def of(cls, source: Source, recipe: Recipe, vocabulary: Vocabulary) -> Teacher:
        """The teacher for a recipe, of any shape, but one that reads the same images and writes the
        same tokens.

        Args:
            source: its weights, a checkpoint's or a bundle's.
            recipe, vocabulary: of the student.

        Raises:
            CheckpointError: it is of another architecture, or sees or writes something else.
        """
        longest = recipe.model.max_length  # places are computed, whatever it was trained with
        model: Any = source.recipe.model
        model = replace(model, max_length=longest)
        network = model.build(source.vocabulary, source.recipe.rendering.channels)
        if not isinstance(network, TransformerRecognizer):
            raise CheckpointError(
                "--teacher: expected a transformer recognizer (edge, mask_and_match), found one of "
                f"recipe {source.recipe.name!r}"
            )
        source.check_reads_as(recipe, "--teacher")
        unknown = [token for token in vocabulary.tokens if token not in source.vocabulary]
        if unknown:
            raise CheckpointError(
                f"--teacher: expected one that knows every token, found one without {unknown[0]!r}"
                f"{f' and {len(unknown) - 1} more' if unknown[1:] else ''}; train it on the same "
                "data first"
            )
        # what only training needs, such as a symbol head, a bundle has not
        network.load_state_dict(dict(source.tensors), strict=False)
        network.requires_grad_(False).eval()
        index = source.vocabulary.index
        return cls(network, torch.tensor([index[token] for token in vocabulary.tokens]))

    def to(self, device: torch.device) -> Teacher:
        """The teacher there."""
        return replace(self, network=self.network.to(device), numbers=self.numbers.to(device))

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """The logits of every token of a batch, [n, vocabulary], in the student's numbers, part by
        part as `CoverageTransformer.read` gives them."""
        memory = self.network.remember(batch.images)
        cells = memory.bias.shape[1]
        logits, _ = self.network.decoder.read(
            [self.numbers[batch.inputs[part.rows, :, : part.tokens]] for part in batch.parts],
            memory.split([(part.images, cells) for part in batch.parts]),
        )
        return logits[:, self.numbers]
