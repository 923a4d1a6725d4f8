from __future__ import annotations

import numpy as np
import pytest

from inktex.core.rendering import normalized_strokes
from inktex.training.augmentation import Augmentation, bend

from .synthetic import expression

STILL = Augmentation(0, 0, 0, 0, 0, 0, 0)


def ink(number: int = 2) -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
    made = expression(number)
    strokes = normalized_strokes([stroke.astype(np.float64) for stroke in made.strokes])
    return strokes, [indices for indices in made.ink if indices]


def test_nothing_bends_nothing() -> None:
    strokes, symbols = ink()
    bent = bend(strokes, symbols, np.random.default_rng(0), STILL)
    for one, other in zip(bent, strokes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_the_same_seed_bends_in_the_same_way() -> None:
    strokes, symbols = ink()
    before = [stroke.copy() for stroke in strokes]

    def bent(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return np.concatenate(bend(strokes, symbols, rng, Augmentation()))

    np.testing.assert_array_equal(bent(3), bent(3))
    assert np.abs(bent(3) - bent(4)).max() > 0.5
    for stroke, kept in zip(strokes, before, strict=True):  # it works on copies
        np.testing.assert_array_equal(stroke, kept)


@pytest.mark.parametrize(
    "strokes",
    [
        [np.zeros((1, 2))],
        [np.zeros((5, 2))],
        [np.array([[0.0, 0.0], [500.0, 0.0]])],
        [np.array([[0.0, 0.0], [0.0, 16.0]]), np.array([[3.0, 3.0]])],
    ],
    ids=["dot", "dot of five points", "bar", "bar and dot"],
)
def test_bent_ink_stays_finite_and_has_the_points_it_had(strokes: list[np.ndarray]) -> None:
    symbols = [tuple(range(len(strokes)))]
    for seed in range(20):
        for known in (symbols, []):
            bent = bend(strokes, known, np.random.default_rng(seed), Augmentation())
            assert [each.shape for each in bent] == [each.shape for each in strokes]
            assert all(np.isfinite(each).all() for each in bent)


def test_the_size_stays_about_the_same() -> None:
    strokes, symbols = ink()
    height = np.ptp(np.concatenate(strokes), axis=0)
    sizes = []
    for seed in range(50):
        bent = bend(strokes, symbols, np.random.default_rng(seed), Augmentation())
        sizes.append(np.ptp(np.concatenate(bent), axis=0) / height)
    assert np.all(np.abs(np.median(sizes, axis=0) - 1) < 0.1)
    assert np.all((np.array(sizes) > 0.5) & (np.array(sizes) < 2))
    assert np.std(sizes) > 0.05


def test_each_of_its_ways_does_what_it_says() -> None:
    square = [np.array([[0.0, 0.0], [16.0, 0.0], [16.0, 16.0], [0.0, 16.0]])]

    def bent(**ways: float) -> np.ndarray:
        still = {**vars(STILL), **ways}
        return bend(square, [(0,)], np.random.default_rng(1), Augmentation(**still))[0]

    turned = bent(rotation=10.0)
    sides = np.linalg.norm(np.diff(turned, axis=0), axis=1)
    np.testing.assert_allclose(sides, 16, atol=1e-9)
    assert abs(turned[1, 1]) > 0.01
    slanted = bent(shear=0.3)
    np.testing.assert_allclose(slanted[:, 1], square[0][:, 1], atol=1e-9)
    assert abs(slanted[2, 0] - 16) > 0.1
    flattened = np.ptp(bent(aspect=0.3), axis=0)
    assert flattened.prod() == pytest.approx(256)
    assert abs(flattened[0] - 16) > 0.01
    noisy = bent(jitter=0.5)
    assert 0 < np.abs(noisy - square[0]).max() < 3


def test_the_strokes_of_a_symbol_are_bent_together() -> None:
    """One affine map moves all points of a symbol; two symbols have two."""
    lower = np.array([[0.0, 0.0], [16.0, 1.0], [9.0, 5.0]])
    strokes = [lower, lower + np.array([3.0, 12.0])]
    points = np.concatenate(strokes)
    only_symbols = Augmentation(**{**vars(STILL), "symbol": 0.2})

    def residual(symbols: list[tuple[int, ...]]) -> float:
        bent = np.concatenate(bend(strokes, symbols, np.random.default_rng(5), only_symbols))
        assert np.abs(bent - points).max() > 0.1
        homogeneous = np.column_stack([points, np.ones(len(points))])
        fitted = homogeneous @ np.linalg.lstsq(homogeneous, bent)[0]
        return float(np.abs(fitted - bent).max())

    assert residual([(0, 1)]) < 1e-9
    assert residual([(0,), (1,)]) > 0.1
