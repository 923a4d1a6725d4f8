"""How sure a reading may be: from the model's log-probabilities to the chance of being right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

LEAST = -20.0
"""Log-probabilities below count as this: what the grammar forces is as unlikely as it gets."""


@dataclass(frozen=True)
class Calibration:
    """A logistic regression on what the model says of its tokens.

    As Platt scaling (Platt, 1999) on three features of a reading: the sum of the log-probabilities
    of its tokens, the least of them, and their number, `<eos>` included. A network trained with
    smoothed labels is never sure of a token, so that the sum alone says long readings were wrong.

    Attributes:
        bias, total, least, length: the weights.
    """

    bias: float
    total: float
    least: float
    length: float

    def __call__(self, token_log_probs: Sequence[float]) -> float:
        """The chance, 0..1, that the whole reading is right."""
        total, least, length = features(token_log_probs)
        logit = self.bias + self.total * total + self.least * least + self.length * length
        return 1 / (1 + exp(-min(max(logit, -50.0), 50.0)))


def features(token_log_probs: Sequence[float]) -> tuple[float, float, float]:
    """The sum, the least, and the number of the log-probabilities; each is taken for `LEAST` at
    the least, and for certain at the most."""
    known = [min(max(each, LEAST), 0.0) for each in token_log_probs]
    return sum(known), min(known, default=0.0), float(len(known))
