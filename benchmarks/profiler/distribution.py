"""Latencies as a distribution, and how far its tail can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

import numpy as np

CONFIDENCE = 0.99
"""Of the early-stopping estimate, as in MLPerf."""


@dataclass(frozen=True)
class Distribution:
    """Of some values, in their unit. Percentiles are values that occurred (nearest rank)."""

    count: int
    mean: float
    least: float
    p50: float
    p90: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution:
        """The distribution of `values`, which are one or more."""
        shares = [0, 50, 90, 95, 99, 100]
        least, p50, p90, p95, p99, most = np.percentile(
            values, shares, method="inverted_cdf"
        ).tolist()
        return cls(len(values), float(np.mean(values)), least, p50, p90, p95, p99, most)


def early_stopping(values: Sequence[float], share: float) -> float | None:
    """An upper bound of a percentile that holds with a confidence of 99 %, however few values.

    The early-stopping estimate of MLPerf's single-stream scenario ("Early stopping criterion" in
    the inference rules of MLCommons; `PerformanceSummary::EarlyStopping` in loadgen's
    `results.cc`): of n values in order, the t-th greatest, where t is the most for which
    finding no more than t of n above the percentile would be a surprise,

    .. math::
        P(\\mathrm{Binomial}(n, 1 - p) \\le t) \\le 1 - c.

    Args:
        share: the percentile as a share, 0.9 for p90.

    Returns:
        None where the values are too few: p90 needs 64, p99 needs 662.

    >>> early_stopping(range(1, 65), 0.9)
    64
    >>> early_stopping(range(1, 64), 0.9) is None
    True
    """
    count = len(values)
    above = 1 - share
    reached, total = -1, 0.0
    for failures in range(count + 1):
        total += exp(
            lgamma(count + 1) - lgamma(failures + 1) - lgamma(count - failures + 1)
            + failures * log(above) + (count - failures) * log(share)
        )  # fmt: skip
        if total > 1 - CONFIDENCE:
            break
        reached = failures
    return sorted(values)[count - reached] if reached >= 1 else None
