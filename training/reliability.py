"""Whether a recognizer is as often right as it says: calibration of its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.confidence import Calibration, features
from ..core.errors import DataError
from ..core.replacement import replacing
from .evaluation import Reading

FloatArray = NDArray[np.float64]

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
"""Shares of the readings, the surest of them, whose accuracy is told."""

_BINS = 10
_FOLDS = 5
_RIDGE = 1.0  # a prior of unit variance on weights of standardised features, for few readings
_ROUNDS = 50
_FEWEST = 20


@dataclass(frozen=True)
class Bin:
    """Readings of about the same confidence: how many, how sure on average, how often right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """How far confidence can be trusted.

    Attributes:
        bins: in order of confidence, equally many readings in each.
        calibration_error: mean distance of confidence and accuracy over the bins, weighted by
            their readings (expected calibration error; Naeini et al., 2015, with equal mass).
        brier: mean squared distance of the confidence from 1 where right and 0 where wrong.
        accuracy_at: by coverage, the accuracy of the surest readings.
    """

    bins: tuple[Bin, ...]
    calibration_error: float
    brier: float
    accuracy_at: dict[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "calibration_error": self.calibration_error,
            "brier": self.brier,
            "accuracy_at": {str(share): value for share, value in self.accuracy_at.items()},
            "bins": [vars(each) for each in self.bins],
        }

    def __str__(self) -> str:
        surest = ", ".join(
            f"{100 * accuracy:.1f} % of the surest {100 * share:.0f} %"
            for share, accuracy in self.accuracy_at.items()
            if share < 1
        )
        return (
            f"confidence: off by {100 * self.calibration_error:.1f} points on average (expected "
            f"calibration error), Brier score {self.brier:.3f}; right are {surest}"
        )


def reliability(confidences: Sequence[float], right: Sequence[bool]) -> Reliability:
    """Compare how sure a recognizer was with how often it was right.

    Args:
        confidences: 0..1, of one reading each; what could not be read is not among them.

    Raises:
        DataError: there is nothing to compare.
    """
    if not len(confidences):
        raise DataError("expected readings to measure confidence on, found none; read some")
    sure, hits = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    order = np.argsort(sure, kind="stable")
    bins = tuple(
        Bin(len(part), float(sure[part].mean()), float(hits[part].mean()))
        for part in np.array_split(order, min(_BINS, len(order)))
    )
    error = sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / len(sure)
    surest = hits[order[::-1]]
    return Reliability(
        bins,
        error,
        float(((sure - hits) ** 2).mean()),
        {share: float(surest[: max(1, round(share * len(surest)))].mean()) for share in COVERAGES},
    )


def of_readings(readings: Sequence[Reading]) -> Reliability:
    """That of what could be read at all.

    Raises:
        DataError: nothing could be read.
    """
    read = [each for each in readings if not each.problem]
    return reliability(
        [each.confidence for each in read], [each.tokens == each.caption for each in read]
    )


def fit_calibration(readings: Sequence[Reading]) -> Calibration:
    """The calibration under which what was right and what was wrong is likeliest.

    Args:
        readings: of formulas that were not trained on, all found by the same search.

    Raises:
        DataError: they are too few, or all right, or all wrong.
    """
    read = [each for each in readings if each.token_log_probs]
    right = np.array([each.tokens == each.caption for each in read], np.float64)
    if len(read) < _FEWEST or right.min() == right.max():
        raise DataError(
            f"expected {_FEWEST} readings or more, some right and some wrong, to calibrate on, "
            f"found {len(read)}, {int(right.sum())} of them right; take more held-out formulas"
        )
    inputs = np.array([features(each.token_log_probs, each.margin) for each in read])
    inputs[:, 0] -= inputs[:, 1]  # the sum of all but the least
    while True:
        bias, others, least, *more = _fit(inputs, right).tolist()
        # the features say nearly the same, and among few readings one may come out the wrong way
        # round: none may be surer because a token, or its lead, is less likely
        wrong = [number for number, weight in ((0, others), (1, least)) if weight < 0]
        wrong += [3 for margin in more[1:] if margin < 0]
        if not wrong:
            return Calibration(bias, others, least - others, *more)
        inputs[:, wrong] = 0


def cross_validated(readings: Sequence[Reading], seed: int = 0) -> Reliability:
    """How well a calibration does on readings that it was not fitted on: each fifth of them with
    that of the other four.

    Raises:
        DataError: as `fit_calibration`.
    """
    read = [each for each in readings if each.token_log_probs]
    order = np.random.default_rng(seed).permutation(len(read))
    confidences = np.zeros(len(read))
    for fold in range(_FOLDS):
        held_out = set(order[fold::_FOLDS].tolist())
        known = [each for number, each in enumerate(read) if number not in held_out]
        calibration = fit_calibration(known)
        for number in held_out:
            confidences[number] = calibration(read[number].token_log_probs, read[number].margin)
    return reliability(confidences.tolist(), [each.tokens == each.caption for each in read])


def _fit(inputs: FloatArray, right: FloatArray) -> FloatArray:
    """Logistic regression by Newton's method (iteratively reweighted least squares).

    Args:
        inputs: [n, 3 or 4], features.
        right: [n], 0 or 1.

    Returns:
        [4 or 5], the bias and a weight for each feature.
    """
    mean, spread = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-6)
    design = np.column_stack([np.ones(len(inputs)), (inputs - mean) / spread])
    penalty = np.diag([0.0, *[_RIDGE] * inputs.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (right - chance) - penalty @ weights
        curvature = (design.T * np.maximum(chance * (1 - chance), 1e-6)) @ design + penalty
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    slopes = weights[1:] / spread
    return np.array([weights[0] - slopes @ mean, *slopes])


def draw_reliability(path: Path, curves: dict[str, Reliability]) -> None:
    """Confidence against accuracy, and accuracy against coverage, as a PNG.

    Args:
        curves: by name; the first is drawn pale, as what was before.

    Raises:
        DataError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    diagram, refusal = figure.subplots(1, 2)
    diagram.plot([0, 1], [0, 1], color="0.8")
    for name, each in curves.items():
        label = f"{name}, {100 * each.calibration_error:.1f} points off"
        points = [(bin_.confidence, bin_.accuracy) for bin_ in each.bins]
        diagram.plot(*zip(*points, strict=True), marker="o", label=label)
        refusal.plot(*zip(*each.accuracy_at.items(), strict=True), marker="o", label=name)
    diagram.set(xlabel="confidence", ylabel="right", xlim=(0, 1), ylim=(0, 1))
    refusal.set(xlabel="share answered, the surest first", ylabel="right", ylim=(0, 1))
    diagram.legend()
    refusal.legend()
    with replacing(path) as partial:
        figure.savefig(partial, format="png")
