from __future__ import annotations

import numpy as np
import pytest

from inktex.benchmarks.profiler.distribution import Distribution, early_stopping


def test_percentiles_are_values_that_occurred() -> None:
    found = Distribution.of([float(each) for each in range(1, 101)][::-1])
    assert (found.least, found.p50, found.p90, found.p95, found.p99, found.most) == (
        1, 50, 90, 95, 99, 100,
    )  # fmt: skip
    assert (found.count, found.mean) == (100, 50.5)
    assert Distribution.of([7.0]).p99 == 7.0


@pytest.mark.parametrize(
    ("share", "fewest"),
    # loadgen: MinPassingQueriesFinder(1, 0.9) + 1 and (1, 0.99) + 1
    [(0.9, 64), (0.99, 662)],
)
def test_too_few_values_say_nothing_of_a_percentile(share: float, fewest: int) -> None:
    values = list(range(fewest))
    assert early_stopping(values[:-1], share) is None
    assert early_stopping(values, share) == values[-1]


def test_of_ten_thousand_values_77_are_above_what_p99_is_at_most() -> None:
    # the number of queries that loadgen discards at n = 10000, p = 0.99, c = 0.99, d = 0
    assert early_stopping(list(range(10_000)), 0.99) == 10_000 - 77


def test_the_bound_holds_in_99_of_100_samples() -> None:
    random = np.random.default_rng(3)
    bounds = [early_stopping(random.random(400).tolist(), 0.9) for _ in range(300)]
    assert np.mean([bound is not None and bound >= 0.9 for bound in bounds]) >= 0.97
