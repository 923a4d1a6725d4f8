"""Other hands for the same formula: augmentation of strokes, before they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """How far ink may be bent. Each value is a standard deviation or a range, as said.

    Attributes:
        scale: the size is multiplied by exp(uniform(-scale, scale)).
        aspect: likewise for width against height.
        rotation: standard deviation, in degrees.
        shear: standard deviation of the slant, x += shear * y.
        symbol: standard deviation of the scale of each symbol by itself; its shift is half
            of that, in symbol sizes, its rotation 40 times that, in degrees.
        warp: amplitude of a smooth wave through the line, in typical heights.
        jitter: standard deviation of every point, in pixels of the rendering.
        pen: range of the width of the pen, in pixels of the rendering.
        splices: share of the formulas that are spliced with another, of those that can be.
    """

    scale: float = 0.25
    aspect: float = 0.18
    rotation: float = 2.5
    shear: float = 0.12
    symbol: float = 0.07
    warp: float = 0.12
    jitter: float = 0.15
    pen: tuple[float, float] = (1.2, 2.6)
    splices: float = 0.4


def bend(
    strokes: Sequence[FloatArray],
    symbols: Sequence[Sequence[int]],
    rng: Generator,
    augmentation: Augmentation,
) -> list[FloatArray]:
    """Bend ink that is in pixels of the rendering; its size stays about the same.

    Args:
        strokes: arrays [n, 2] of x and y.
        symbols: the indices of the strokes of each symbol, which are bent together.
        rng: where the randomness comes from.
        augmentation: how far.
    """
    bent = list(strokes)
    for indices in symbols:
        points = np.concatenate([strokes[index] for index in indices])
        low, high = points.min(axis=0), points.max(axis=0)
        centre, size = (low + high) / 2, float(min((high - low).max(), 40.0))
        grow = np.exp(rng.normal(0, augmentation.symbol, 2))
        angle = np.deg2rad(rng.normal(0, 40 * augmentation.symbol))
        # a long bar turned by a few degrees would leave its place: the longer, the less
        angle *= min(1.0, 20.0 / max(size, 1.0))
        shift = rng.normal(0, augmentation.symbol / 2, 2) * min(size, 16.0)
        turn = _rotation(angle) * grow
        for index in indices:
            bent[index] = (bent[index] - centre) @ turn.T + centre + shift
    aspect = np.exp(rng.uniform(-augmentation.aspect, augmentation.aspect) / 2)
    whole = _rotation(np.deg2rad(rng.normal(0, augmentation.rotation)))
    whole = whole @ np.array([[1.0, rng.normal(0, augmentation.shear)], [0.0, 1.0]])
    whole = whole @ np.diag([aspect, 1 / aspect])
    amplitude = rng.uniform(-augmentation.warp, augmentation.warp, 2) * 16
    phase, wavelength = rng.uniform(0, 2 * np.pi, 2), rng.uniform(60, 300, 2)
    result = []
    for stroke in bent:
        turned = stroke @ whole.T
        wave = amplitude * np.sin(2 * np.pi * turned[:, :1] / wavelength + phase)
        noise = rng.normal(0, augmentation.jitter, turned.shape)
        result.append(turned + wave + noise)
    return result


def _rotation(angle: float) -> FloatArray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
