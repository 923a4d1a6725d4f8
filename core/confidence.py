"""How sure a reading may be: from the model's log-probabilities to the chance of being right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

LEAST = -20.0
"""Log-probabilities below count as this: what the grammar forces is as unlikely as it gets."""
FARTHEST = 4.0
"""Margins beyond count as this: who is so far ahead has no rival, and a search that is asked for
one reading does not follow what lags further. On validation that costs one formula of 376, and
spares two fifths of the rows."""


@dataclass(frozen=True)
class Calibration:
    """A logistic regression on what the model says of its tokens.

    As Platt scaling (Platt, 1999) on features of a reading: the sum of the log-probabilities of its
    tokens, the least of them, their number, `<eos>` included, and, where a search compared several
    readings, how far it is ahead of the next. A network trained with smoothed labels is never sure
    of a token, so that the sum alone says long readings were wrong.

    Attributes:
        bias, total, least, length, margin: the weights.
    """

    bias: float
    total: float
    least: float
    length: float
    margin: float = 0.0

    def __call__(self, token_log_probs: Sequence[float], margin: float | None = None) -> float:
        """The chance, 0..1, that the whole reading is right.

        Args:
            margin: as `features`.
        """
        weights = (self.total, self.least, self.length, self.margin)
        # where nothing was compared, the last weight has no feature
        known = zip(weights, features(token_log_probs, margin), strict=False)
        logit = self.bias + sum(weight * feature for weight, feature in known)
        return 1 / (1 + exp(-min(max(logit, -50.0), 50.0)))


def features(token_log_probs: Sequence[float], margin: float | None = None) -> tuple[float, ...]:
    """The sum, the least, and the number of the log-probabilities; each is taken for `LEAST` at
    the least, and for certain at the most. With a margin that, too.

    Args:
        margin: the log-probability of the reading less that of the likeliest other one, at most
            `FARTHEST` in either direction; None where there was no other to compare with.
    """
    known = [min(max(each, LEAST), 0.0) for each in token_log_probs]
    found = (sum(known), min(known, default=0.0), float(len(known)))
    return found if margin is None else (*found, min(max(margin, -FARTHEST), FARTHEST))
