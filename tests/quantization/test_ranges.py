from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inktex.quantization.ranges import LEVELS, METHODS, Range, Seen, activation_ranges, watch


def range_of(values: np.ndarray, method: str = "mse", symmetric: bool = False) -> Range:
    return METHODS[method](Seen(values, np.array([values.min(), values.max()])), symmetric)


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    """Of the nearest of the levels from low to high, one of which is 0."""
    step = (high - low) / LEVELS
    levels = np.clip(np.round(values / step), np.round(low / step), np.round(high / step))
    return float(np.mean((levels * step - values) ** 2))


@settings(max_examples=40)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50),
    st.sampled_from(sorted(METHODS)),
    st.booleans(),
)
def test_a_range_holds_zero_and_nothing_beyond_the_values(
    values: list[float], method: str, symmetric: bool
) -> None:
    array = np.array(values, np.float32)
    low, high = range_of(array, method, symmetric)
    if symmetric and array.any():
        assert low == -high
        array = np.append(array, -array)
    assert low <= 0 <= high
    assert low < high
    if np.ptp(np.append(array, 0)) > 0:
        assert low >= min(array.min(), 0) - 1e-6
        assert high <= max(array.max(), 0) + 1e-6


def test_an_outlier_is_cut_off_where_that_loses_less() -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=100_000), [60.0]).astype(np.float32)
    low, high = range_of(values)
    assert 4 < high < 57
    assert squared_error(values, low, high) < squared_error(values, float(values.min()), 60.0)


def test_even_values_keep_their_whole_range() -> None:
    low, high = range_of(np.linspace(-1, 1, 10_001, dtype=np.float32))
    assert (low, high) == pytest.approx((-1, 1), abs=0.05)


def test_no_value_but_zero_gives_a_range_to_divide_by() -> None:
    low, high = range_of(np.zeros(5, np.float32))
    assert low == 0
    assert high > 0


def test_the_methods_differ_in_what_they_do_to_outliers() -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=100_000), [60.0]).astype(np.float32)
    highs = {method: range_of(values, method)[1] for method in METHODS}
    assert highs["minmax"] == 60
    assert 3 < highs["percentile"] < 5
    assert highs["entropy"] < 57
    assert range_of(values, "percentile", symmetric=True)[1] == pytest.approx(3.9, abs=0.3)


MODEL = """
<ir_version: 10, opset_import: ["": 18]>
g (float[1, 1, h, w] images) => (float[1, 1, h, w] out) <float[1, 1, 1, 1] k = {-2.0}>
{
    dark = Conv (images, k)
    lit = Relu (dark)
    twice = Conv (lit, k)
    out = Neg (twice)
}
"""


def test_the_tensors_around_the_operators_are_watched() -> None:
    images = [np.full((1, 1, 4, 4), value, np.float32) for value in (-3.0, 1.0)]
    model = onnx.parser.parse_model(MODEL)
    ranges = activation_ranges(model, watch(model, images, ["Conv"], 0), "mse")
    assert set(ranges) == {"images", "dark", "lit", "twice"}
    assert ranges["images"] == pytest.approx((-3, 1), rel=0.05)
    assert ranges["lit"] == pytest.approx((0, 6), rel=0.05)
    assert ranges["dark"] == ranges["lit"]  # one operator once quantised
    assert ranges["twice"] == pytest.approx((-12, 0), rel=0.05)
