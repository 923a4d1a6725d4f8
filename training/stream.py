"""The order of batches: expressions bucketed by size, epochs of them with new ones, without end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.rendering import DEFAULT_RENDERING, Rendering, drawn_size, normalized_strokes
from ..core.vocabulary import Vocabulary
from .augmentation import Augmentation
from .batches import Batch, collate, collate_compact, draw
from .inkset import Expression
from .splicing import all_joints, with_splices
from .synthesis.captions import Writing
from .synthesis.synthesizer import Synthesizer

_MOST_ROWS = 16
_ROW_BATCHES = 6  # that a row of formulas of about the same height must fill


class Buckets:
    """Batches of expressions of about the same size, so that little paper is padded.

    Args:
        sizes: int [n, 2], height and width of each expression as drawn.
        batch_size: expressions in a batch.
        max_pixels: a batch of large expressions holds fewer, so that it has no more pixels.
    """

    def __init__(self, sizes: NDArray[np.int64], batch_size: int, max_pixels: int) -> None:
        self.sizes = sizes
        self.batch_size = batch_size
        self.max_pixels = max_pixels

    def plan(self, rng: Generator | None = None) -> list[list[int]]:
        """One epoch: every expression once, in random batches in random order.

        Without `rng` the plan is in order of size and always the same.
        """
        widths = self.sizes[:, 1].astype(np.float64)
        if rng is not None:
            widths = widths * np.exp(rng.uniform(-0.08, 0.08, len(widths)))
        heights = self.sizes[:, 0]
        count = len(heights) // (_ROW_BATCHES * self.batch_size)
        count = min(max(count, 1), _MOST_ROWS)
        by_height = np.argsort(heights, kind="stable")
        batches: list[list[int]] = []
        for members in np.array_split(by_height, count):
            batch: list[int] = []
            height = 0
            for member in members[np.argsort(widths[members], kind="stable")].tolist():
                height = max(height, int(self.sizes[member, 0]))
                pixels = (len(batch) + 1) * height * int(self.sizes[member, 1])
                if batch and (len(batch) == self.batch_size or pixels > self.max_pixels):
                    batches.append(batch)
                    batch, height = [], int(self.sizes[member, 0])
                batch.append(member)
            if batch:
                batches.append(batch)
        if rng is not None:
            batches = [batches[number] for number in rng.permutation(len(batches))]
        return batches


class TrainingStream:
    """An endless stream of batches that can start anywhere and is the same for the same seed.

    Args:
        longest: tokens that a formula made anew may have.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        vocabulary: Vocabulary,
        augmentation: Augmentation,
        batch_size: int,
        max_pixels: int,
        seed: int,
        longest: int,
        rendering: Rendering = DEFAULT_RENDERING,
    ) -> None:
        self.expressions = expressions
        self.vocabulary = vocabulary
        self.augmentation = augmentation
        self.batch_size, self.max_pixels = batch_size, max_pixels
        self.seed = seed
        self.longest = longest
        self.rendering = rendering

    @cached_property
    def _known(self) -> tuple[dict[int, list[int]], NDArray[np.int64]]:
        """Where each expression can be cut, and how large it is drawn: the same in every epoch."""
        return all_joints(self.expressions), drawn_sizes(self.expressions, self.rendering)

    @cached_property
    def synthesizer(self) -> Synthesizer | None:
        """What new formulas are made by; None where there are to be none, or where it is not known
        of any ink which strokes make which symbol. To make it takes seconds."""
        if not self.augmentation.synthetic:
            return None
        try:
            return Synthesizer(
                self.expressions, Writing(longest=min(self.longest, Writing.longest))
            )
        except DataError:
            return None

    def epoch(self, number: int) -> list[list[Expression]]:
        """The batches of an epoch: every expression once, some of them spliced with others, some
        left out for new ones."""
        rng = np.random.default_rng([self.seed, number])
        share = self.augmentation.splices
        cuts, sizes = self._known
        expressions = with_splices(self.expressions, share, self.longest, rng, cuts)
        if self.synthesizer:
            chosen = rng.random(len(expressions)) < self.augmentation.synthetic
            for index in np.flatnonzero(chosen).tolist():
                expressions[index] = self.synthesizer.expression(f"new {index}", rng)
        sizes = sizes.copy()
        for index, (made, plain) in enumerate(zip(expressions, self.expressions, strict=True)):
            if made is not plain:
                sizes[index] = _drawn_size(made, self.rendering)
        buckets = Buckets(sizes, self.batch_size, self.max_pixels)
        return [[expressions[index] for index in batch] for batch in buckets.plan(rng)]

    def plans(self, lane: int = 0, lanes: int = 1) -> Iterator[tuple[int, list[Expression]]]:
        """(epoch, expressions) for every batch of a lane, without end"""
        for epoch in itertools.count(lane, lanes):
            for batch in self.epoch(epoch):
                yield epoch, batch

    def batches(
        self, skip: int = 0, stride: int = 1, lane: int = 0, lanes: int = 1
    ) -> Iterator[tuple[int, Batch]]:
        """(epoch, compact batch): the one after `skip`, then every `stride`-th of a lane.

        Args:
            lane, lanes: of so many, which each plan every `lanes`-th epoch, so that none does what
                another has done; a lane alone has all epochs.
        """
        for number, (epoch, expressions) in enumerate(self.plans(lane, lanes)):
            if number >= skip and (number - skip) % stride == 0:
                rng = np.random.default_rng([self.seed, 1, number * lanes + lane])
                yield epoch, self.draw(expressions, rng)

    def draw(self, expressions: Sequence[Expression], rng: Generator) -> Batch:
        """Draw one compact batch; all its images share a scale, so that they stay of one size, and
        formulas of about as many tokens stand together."""
        expressions = sorted(expressions, key=lambda each: len(each.caption))
        scale = float(np.exp(rng.uniform(-self.augmentation.scale, self.augmentation.scale)))
        drawings = [
            draw(each, self.augmentation, rng, scale, self.rendering) for each in expressions
        ]
        return collate_compact(expressions, drawings, self.vocabulary)


def drawn_sizes(
    expressions: Sequence[Expression], rendering: Rendering = DEFAULT_RENDERING
) -> NDArray[np.int64]:
    """int [n, 2]: height and width of each expression as drawn without augmentation"""
    return np.array([_drawn_size(each, rendering) for each in expressions], np.int64).reshape(-1, 2)


def _drawn_size(expression: Expression, rendering: Rendering) -> tuple[int, int]:
    if expression.image is not None:
        scale = rendering.symbol_px / expression.rendering.symbol_px
        height, width = (round(side * scale) for side in expression.image.shape)
        return height, width
    strokes = [stroke.astype(np.float64) for stroke in expression.strokes]
    return drawn_size(normalized_strokes(strokes, rendering.symbol_px))


def evaluation_batches(
    expressions: Sequence[Expression],
    vocabulary: Vocabulary,
    batch_size: int,
    max_pixels: int,
    rendering: Rendering = DEFAULT_RENDERING,
) -> Iterator[tuple[list[int], Batch]]:
    """(indices, batch) over all expressions, as they are, in order of size"""
    for indices in Buckets(drawn_sizes(expressions, rendering), batch_size, max_pixels).plan():
        chosen = [expressions[index] for index in indices]
        drawings = [draw(each, rendering=rendering) for each in chosen]
        yield indices, collate(chosen, drawings, vocabulary)
