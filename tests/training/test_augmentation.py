from __future__ import annotations

import numpy as np
import pytest

from inktex.core.rendering import (
    MARGIN_PX,
    MAX_SIDE_PX,
    PEN_PX,
    draw_strokes,
    normalized_strokes,
)
from inktex.training.augmentation import Augmentation, bend, bend_image, turn

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


def drawing(number: int = 2) -> np.ndarray:
    return draw_strokes(ink(number)[0])


def ink_size(image: np.ndarray) -> np.ndarray:
    rows, columns = (image >= 96).any(axis=1), (image >= 96).any(axis=0)
    return np.array([np.ptp(np.flatnonzero(each)) for each in (rows, columns)])


def test_an_image_that_is_not_turned_stays_as_it_is() -> None:
    image = drawing()
    same = bend_image(image, PEN_PX, np.eye(2))
    assert np.abs(np.subtract(same.shape, image.shape)).max() <= 2
    assert ink_size(same) == pytest.approx(ink_size(image), abs=1)
    assert float(same.sum()) == pytest.approx(float(image.sum()), rel=0.05)


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_an_image_is_scaled_within_its_margin(scale: float) -> None:
    image = drawing(0)
    scaled = bend_image(image, PEN_PX, np.diag([scale, 2 * scale]))
    wanted = (np.array(image.shape) - 2 * MARGIN_PX) * [2 * scale, scale]
    assert scaled.dtype == np.uint8
    assert np.subtract(scaled.shape, 2 * MARGIN_PX) == pytest.approx(wanted, abs=5)  # the pen grew
    margin = MARGIN_PX - 3
    assert scaled[:margin].max() == scaled[-margin:].max() == 0
    assert scaled[:, :margin].max() == scaled[:, -margin:].max() == 0


def test_an_image_is_turned_as_its_strokes_would_be() -> None:
    strokes, _ = ink(0)
    for seed in range(5):
        whole = turn(np.random.default_rng(seed), Augmentation(rotation=8.0))
        turned = [stroke @ whole.T for stroke in strokes]
        low = np.min([stroke.min(axis=0) for stroke in turned], axis=0)
        wanted = draw_strokes([stroke - low + MARGIN_PX for stroke in turned])
        found = bend_image(draw_strokes(strokes), PEN_PX, whole)
        assert np.abs(np.subtract(found.shape, wanted.shape)).max() <= 3
        h, w = np.minimum(found.shape, wanted.shape)
        shifts = [
            np.roll(found[:h, :w].astype(float), (dy, dx), (0, 1))
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        best = max(float(np.corrcoef(s.ravel(), wanted[:h, :w].ravel())[0, 1]) for s in shifts)
        assert best > 0.85


def test_a_wider_pen_leaves_more_ink_and_a_thinner_one_less() -> None:
    image = drawing(0)
    amounts = [float(bend_image(image, PEN_PX, np.eye(2), pen).sum()) for pen in (1.2, PEN_PX, 2.6)]
    assert amounts[0] < 0.9 * amounts[1]
    assert amounts[2] > 1.15 * amounts[1]
    thin = bend_image(image, PEN_PX, np.eye(2), 0.1)
    assert thin.max() > 96  # it never vanishes


def test_no_image_grows_beyond_what_is_drawn() -> None:
    bar = np.zeros((20, 1800), np.uint8)
    bar[9:11, 8:-8] = 255
    assert (
        MAX_SIDE_PX - 40
        < bend_image(bar, PEN_PX, 2 * np.eye(2)).shape[1]
        <= MAX_SIDE_PX + 2 * MARGIN_PX
    )


def test_an_image_without_ink_is_no_obstacle() -> None:
    assert not bend_image(np.zeros((20, 30), np.uint8), PEN_PX, 1.1 * np.eye(2), 2.0).any()
    assert not bend_image(np.zeros((1, 1), np.uint8), PEN_PX, 0.5 * np.eye(2), 1.0).any()
