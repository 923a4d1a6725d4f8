from __future__ import annotations

import math

import pytest

from inktex.core.confidence import FARTHEST, LEAST, Calibration, features


def test_the_features_are_sum_least_and_number() -> None:
    assert features([-0.5, -1.5, 0.0]) == (-2.0, -1.5, 3.0)
    assert features([-1e4, 1e-3]) == (LEAST, LEAST, 2.0)  # the grammar's; a rounding error
    assert features([]) == (0.0, 0.0, 0.0)


def test_where_readings_were_compared_the_margin_is_one_more() -> None:
    assert features([-1.0], 0.5) == (-1.0, -1.0, 1.0, 0.5)
    assert features([-1.0], math.inf)[3] == FARTHEST
    assert features([-1.0], -30.0)[3] == -FARTHEST
    calibration = Calibration(0.5, 1.0, 0.0, 0.0, 2.0)
    assert calibration([-1.0], 0.75) == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert calibration([-1.0]) == pytest.approx(1 / (1 + math.exp(0.5)))


def test_confidence_is_a_logistic_function_of_them() -> None:
    calibration = Calibration(0.5, 1.0, 2.0, 0.1)
    logit = 0.5 + 1.0 * -2.0 + 2.0 * -1.5 + 0.1 * 3
    assert calibration([-0.5, -1.5, 0.0]) == pytest.approx(1 / (1 + math.exp(-logit)))


@pytest.mark.parametrize("weight", [1e6, -1e6])
def test_confidence_stays_a_probability(weight: float) -> None:
    assert 0 <= Calibration(0, weight, weight, weight)([-3.0] * 200) <= 1
