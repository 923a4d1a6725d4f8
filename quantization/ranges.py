"""Ranges of activations for 8 bits: where to clip, by one of four methods.

The greatest and least values ever seen make poor ranges: a few outliers cost everything else its
resolution. Cutting them off costs the outliers instead. How much to cut is found, per tensor, on
values drawn from calibration images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ..core.errors import QuantizationError
from ..core.progress import Progress
from ..runtimes.onnx_session import session_options
from ..runtimes.processors import default_threads

LEVELS = 255
PERCENTILE = 99.99
_SHARES = np.linspace(0.2, 1.0, 41)
_VALUES_PER_IMAGE = 2000
_BINS = 4096
_LEAST_SHARE = 1e-9  # of a bin, so that its logarithm is finite

Range = tuple[float, float]


class Seen(NamedTuple):
    """What was seen of a tensor.

    drawn: float32 [n], values at random
    extremes: float32 [2 x images], the least and the greatest of every image
    """

    drawn: NDArray[np.float32]
    extremes: NDArray[np.float32]

    @property
    def all(self) -> NDArray[np.float32]:
        """Drawn values and extremes."""
        return np.concatenate([self.drawn, self.extremes])


def min_max(seen: Seen, symmetric: bool = False) -> Range:
    """From the least to the greatest value that was seen."""
    return _whole(seen.extremes, symmetric)


def percentile(seen: Seen, symmetric: bool = False) -> Range:
    """What holds 99.99 % of the drawn values; of both signs as much is cut off."""
    if symmetric:
        most = float(np.percentile(np.abs(seen.drawn), PERCENTILE))
        return _checked(-most, most)
    beyond = (100 - PERCENTILE) / 2
    low, high = np.percentile(seen.drawn, [beyond, 100 - beyond])
    return _checked(min(float(low), 0.0), max(float(high), 0.0))


def squared_error(seen: Seen, symmetric: bool = False) -> Range:
    """The range whose levels represent the values with the least squared error.

    One share of the full range is tried after another (Banner et al., 2019, arXiv:1810.05723, give
    the analysis).
    """
    values = seen.all

    def error(low: float, high: float, step: float) -> float:
        levels = np.clip(np.round(values / step), round(low / step), round(high / step))
        return float(np.mean((levels * step - values) ** 2))

    return _least(values, symmetric, error)


def entropy(seen: Seen, symmetric: bool = False) -> Range:
    """The range that loses the least information: the Kullback-Leibler divergence between the
    histogram of the clipped values and the same in as many bins as there are levels (Migacz, 2017,
    "8-bit Inference with TensorRT")."""
    values = seen.all
    # 0 has a level of its own, and loses nothing
    counts, edges = np.histogram(values[values != 0], _BINS, _whole(values, symmetric))
    centres = (edges[:-1] + edges[1:]) / 2

    def divergence(low: float, high: float, step: float) -> float:
        inside = (centres > low) & (centres < high)
        found = counts[inside]
        level = np.round(centres[inside] / step).astype(int)
        level -= level[0]
        # a level's values are spread over those of its bins that hold any
        bins = np.maximum(np.bincount(level, found > 0), 1)
        spread = np.where(found > 0, (np.bincount(level, found) / bins)[level], 0)
        clipped = found.copy()
        clipped[0] += counts[centres <= low].sum()
        clipped[-1] += counts[centres >= high].sum()
        p = clipped / max(clipped.sum(), 1)
        q = np.maximum(spread / max(spread.sum(), 1), _LEAST_SHARE)
        return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))

    return _least(values, symmetric, divergence)


METHODS: dict[str, Callable[[Seen, bool], Range]] = {
    "mse": squared_error,
    "minmax": min_max,
    "percentile": percentile,
    "entropy": entropy,
}
"""How a range is found, by the names of `--method`."""


def activation_ranges(
    model: onnx.ModelProto, seen: dict[str, Seen], method: str, symmetric: bool = False
) -> dict[str, Range]:
    """The range of every tensor that was seen.

    Args:
        model: a convolution and the ReLU after it share the ReLU's range, because their quantised
            form is one operator.
        seen: by `watch`.
        method: one of `METHODS`.
        symmetric: whether the range has to reach as far below 0 as above it.

    Returns:
        tensor -> (low, high), low <= 0 <= high.
    """
    rectified = {node.input[0] for node in model.graph.node if node.op_type == "Relu"}
    return {
        name: METHODS[method](
            Seen(*(np.maximum(part, 0) for part in each)) if name in rectified else each,
            symmetric,
        )
        for name, each in seen.items()
    }


def watch(
    model: onnx.ModelProto,
    images: Sequence[NDArray[np.float32]],
    operators: Iterable[str],
    seed: int,
) -> dict[str, Seen]:
    """Values of every tensor between the operators that are to be quantised.

    Args:
        model: with one input.
        images: for the input, float32 [1, channels, h, w].
        operators: types, such as "Conv".
        seed: of the values drawn: at most 2000 per tensor and image.

    Raises:
        QuantizationError: ONNX Runtime refuses the graph, or a value is not finite.
    """
    names = _between(model, set(operators))
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in (*watched.graph.input, *watched.graph.output)}
    for name in names:
        if name not in known:
            watched.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = session_options(default_threads())
    # what the optimiser would fuse could not be watched
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own types, which it does not export
        raise QuantizationError(
            f"ONNX Runtime cannot run the graph to calibrate: {error}"
        ) from None
    [entry] = session.get_inputs()
    outputs = [name for name in names if name != entry.name]
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    extremes: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    with Progress(len(images), "formulas to calibrate with") as progress:
        for image in images:
            found = dict(zip(outputs, session.run(outputs, {entry.name: image}), strict=True))
            for name in names:
                flat = found.get(name, image).ravel()
                picked = rng.integers(0, flat.size, min(_VALUES_PER_IMAGE, flat.size))
                drawn[name].append(flat[picked])
                extremes[name].append(np.array([flat.min(), flat.max()], np.float32))
            progress.advance()
    seen = {name: Seen(np.concatenate(drawn[name]), np.concatenate(extremes[name]))
            for name in names}  # fmt: skip
    for name, each in seen.items():
        if not np.isfinite(each.extremes).all():
            raise QuantizationError(
                f"expected finite values of the tensor {name} on the calibration formulas, found "
                "others; export the bundle again, from a checkpoint that `inktex verify` accepts"
            )
    return seen


def _between(model: onnx.ModelProto, operators: set[str]) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return sorted(
        {
            name
            for node in model.graph.node
            if node.op_type in operators
            for name in (*node.input, *node.output)
            if name and name not in constants
        }
    )


def _least(
    values: NDArray[np.float32], symmetric: bool, cost: Callable[[float, float, float], float]
) -> Range:
    """The share of the whole range that costs least; `cost` takes low, high and the step."""
    low, high = _whole(values, symmetric)
    levels = LEVELS - symmetric  # -127 to 127
    ranges = [(low * float(share), high * float(share)) for share in _SHARES]
    costs = [cost(*each, (each[1] - each[0]) / levels) for each in ranges]
    return ranges[int(np.argmin(costs))]


def _whole(values: NDArray[np.float32], symmetric: bool) -> Range:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    return _checked(low, high)


def _checked(low: float, high: float) -> Range:
    """A range to divide by, also where all values are 0."""
    return (low, low + 1.0) if low == high else (low, high)
