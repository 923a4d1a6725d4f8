from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inktex.core.errors import DataError
from inktex.training.evaluation import Reading
from inktex.training.reliability import (
    cross_validated,
    draw_reliability,
    fit_calibration,
    of_readings,
    reliability,
)


def readings(count: int, seed: int = 0) -> list[Reading]:
    """Right with the chance sigmoid(3 + 2 * least), whatever the other tokens say; the product of
    the tokens says something else."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        log_probs = -rng.exponential(1.0, int(rng.integers(2, 12)))
        chance = 1 / (1 + math.exp(-(3 + 2 * log_probs.min())))
        right = rng.random() < chance
        tokens = ("x",) if right else ("y",)
        product = math.exp(log_probs.sum())
        told = tuple(log_probs.tolist())
        made.append(Reading(str(number), ("x",), tokens, product, token_log_probs=told))
    return made


def test_who_is_as_often_right_as_sure_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(20_000)
    found = reliability(sure.tolist(), (rng.random(20_000) < sure).tolist())
    assert found.calibration_error < 0.02
    assert found.brier == pytest.approx(1 / 6, abs=0.01)  # the mean of p (1 - p)
    assert [each.count for each in found.bins] == [2000] * 10
    assert found.accuracy_at[1.0] == pytest.approx(0.5, abs=0.02)
    assert found.accuracy_at[0.5] == pytest.approx(0.75, abs=0.02)


def test_who_is_too_sure_is_off_by_how_much() -> None:
    found = reliability([0.9] * 100, [True] * 60 + [False] * 40)
    assert found.calibration_error == pytest.approx(0.3, abs=0.15)  # of bins of ten
    assert found.brier == pytest.approx(0.6 * 0.01 + 0.4 * 0.81)


def test_few_readings_have_few_bins() -> None:
    found = reliability([0.2, 0.9], [False, True])
    assert [(each.count, each.accuracy) for each in found.bins] == [(1, 0.0), (1, 1.0)]
    assert found.accuracy_at[0.5] == 1.0
    with pytest.raises(DataError, match="found none"):
        reliability([], [])


def test_a_calibration_finds_what_confidence_depends_on() -> None:
    made = readings(4000)
    calibration = fit_calibration(made)
    assert calibration.least == pytest.approx(2, abs=0.5)
    assert abs(calibration.total) < 0.3
    other = readings(2000, seed=1)
    sure = [calibration(each.token_log_probs) for each in other]
    right = [each.tokens == each.caption for each in other]
    assert reliability(sure, right).calibration_error < 0.05
    assert of_readings(other).calibration_error > 0.2


def test_a_margin_counts_where_there_is_one() -> None:
    """Where half of the readings are right, by their margin alone."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(2000):
        margin = float(rng.normal(0, 2))
        tokens = ("x",) if rng.random() < 1 / (1 + math.exp(-1.5 * margin)) else ("y",)
        made.append(
            Reading(str(number), ("x",), tokens, 0.5, token_log_probs=(-1.0,), margin=margin)
        )
    calibration = fit_calibration(made)
    assert calibration.margin == pytest.approx(1.5, abs=0.3)
    assert calibration([-1.0], 2.0) > 0.9
    assert cross_validated(made).calibration_error < 0.05
    alone = [replace(each, margin=None) for each in made]
    assert fit_calibration(alone).margin == 0
    assert cross_validated(alone).brier > cross_validated(made).brier + 0.05


def test_no_reading_is_surer_for_being_less_likely() -> None:
    """Where the least token happens to be worst in what is right, only the others count."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(200):
        log_probs = -rng.exponential(1.0, 5)
        chance = 1 / (1 + math.exp(-(2 + log_probs.sum() - 2 * log_probs.min())))
        tokens = ("x",) if rng.random() < chance else ("y",)
        told = tuple(log_probs.tolist())
        made.append(Reading(str(number), ("x",), tokens, 0.5, token_log_probs=told))
    calibration = fit_calibration(made)
    assert calibration.total > 0
    assert calibration.least == -calibration.total
    assert calibration([-0.1, -9.0]) == pytest.approx(calibration([-0.1, -1.0]))
    assert calibration([-0.5, -9.0]) < calibration([-0.1, -9.0])


def test_cross_validation_measures_on_what_was_not_fitted() -> None:
    made = readings(600)
    found = cross_validated(made)
    assert found == cross_validated(made)
    assert found.calibration_error < of_readings(made).calibration_error
    noise = [
        Reading(each.identifier, each.caption, ("x" if number % 2 else "y",), 0.5,
                token_log_probs=each.token_log_probs)
        for number, each in enumerate(readings(40))
    ]  # fmt: skip
    assert cross_validated(noise).brier > 0.24  # nothing to learn, and nothing is


@pytest.mark.parametrize("right", [0, 30])
def test_a_calibration_wants_right_and_wrong_readings(right: int) -> None:
    made = [
        Reading(
            str(number), ("x",), ("x" if number < right else "y",), 0.5, token_log_probs=(-1.0,)
        )
        for number in range(30)
    ]
    with pytest.raises(DataError, match=f"found 30, {right} of them right"):
        fit_calibration(made)


def test_what_could_not_be_read_is_left_out() -> None:
    unread = Reading("bad", ("x",), (), math.nan, problem="no ink")
    assert of_readings([*readings(30), unread]) == of_readings(readings(30))


def test_the_diagram_is_drawn(tmp_path: Path) -> None:
    made = readings(100)
    draw_reliability(tmp_path / "made.png", {"a": of_readings(made), "b": cross_validated(made)})
    with Image.open(tmp_path / "made.png") as image:
        assert image.size == (1000, 500)
