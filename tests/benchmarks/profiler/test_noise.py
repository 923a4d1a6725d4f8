from __future__ import annotations

import numpy as np
import pytest

from inktex.benchmarks.profiler.noise import Interval, of_repeats


def test_the_interval_is_that_of_students_t() -> None:
    found = of_repeats([np.e**1.0, np.e**2.0, np.e**3.0])
    assert found.value == pytest.approx(np.e**2)
    assert found.factor == pytest.approx(np.exp(4.303 / 3**0.5), rel=1e-3)
    assert found.low == pytest.approx(np.e**2 / np.exp(4.303 / 3**0.5), rel=1e-3)


def test_it_holds_the_truth_in_95_of_100_runs() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        found = of_repeats(np.exp(random.normal(0.0, 0.1, 5)).tolist())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1 <= found.high
    assert 925 <= held <= 975


def test_one_repeat_says_nothing_of_noise() -> None:
    found = of_repeats([3.0])
    assert found.value == pytest.approx(3.0)
    assert (found.factor, found.low, found.separates) == (None, None, False)
    assert not of_repeats([3.0, 3.0]).over(found).separates


def test_what_holds_1_cannot_be_separated() -> None:
    assert Interval(1.05, 1.02).separates
    assert not Interval(1.05, 1.06).separates
    assert Interval(0.9, 1.1).separates
    assert not Interval(0.95, 1.1).separates


def test_the_noise_of_a_quotient_is_that_of_both() -> None:
    found = Interval(4.0, 1.03).over(Interval(2.0, 1.04))
    assert found.value == 2.0
    assert found.factor == pytest.approx(1.0502, abs=1e-3)
