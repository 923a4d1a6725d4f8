"""New expressions: written, laid out and inked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..inkset import Expression
from .captions import Captions, Writing
from .layout import Layout
from .samples import Samples
from .tree import caption

_UNIT = 100.0  # of a recorder, for a symbol of the formula's own line


class Synthesizer:
    """Makes formulas that nobody has written out of ones that somebody has.

    Captions are real ones whose parts were exchanged for those of others, or follow a grammar
    learnt from them; every symbol is one that was written, mostly by one writer; sizes and
    distances are drawn from those of real formulas. It is known of every stroke which token it
    belongs to.

    Args:
        expressions: ink whose strokes are known by symbol; others are passed over.
        writing: what captions are made of.

    Raises:
        DataError: there is no such ink.
    """

    def __init__(self, expressions: Sequence[Expression], writing: Writing | None = None) -> None:
        self.samples = Samples.collect(expressions)
        self.captions = Captions(self.samples.rows, writing or Writing())

    def expressions(self, count: int, seed: int) -> Iterator[Expression]:
        """New formulas, the first of them the same whatever the count."""
        for number in range(count):
            yield self.expression(
                f"synthetic-{seed}-{number}", np.random.default_rng([seed, number])
            )

    def expression(self, identifier: str, rng: Generator) -> Expression:
        """One new formula."""
        row = self.captions.caption(rng)
        writers = self.samples.writers
        writer = writers[rng.integers(len(writers))]
        laid = Layout(self.samples, writer, rng).row(row)
        placed = iter(laid.placed)
        tokens: list[str] = []
        strokes: list[NDArray[np.float32]] = []
        ink: list[tuple[int, ...]] = []
        for token, node in caption(row):
            mine = [] if node is None else next(placed).strokes
            tokens.append(token)
            ink.append(tuple(range(len(strokes), len(strokes) + len(mine))))
            strokes += [(stroke * _UNIT).astype(np.float32) for stroke in mine]
        return Expression(identifier, writer, tuple(tokens), tuple(strokes), tuple(ink))
