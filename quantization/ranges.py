"""Ranges of activations for 8 bits: where to clip, so that the squared error is least.

The greatest and least values ever seen make poor ranges: a few outliers cost everything else its
resolution. Cutting them off costs the outliers instead. The best cut is found by trying, per
tensor, on values drawn from calibration images (Banner et al., 2019, arXiv:1810.05723, give the
analysis).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

LEVELS = 255
_SHARES = np.linspace(0.2, 1.0, 41)
_VALUES_PER_IMAGE = 2000


def activation_ranges(
    model: onnx.ModelProto,
    images: Iterable[NDArray[np.float32]],
    operators: Iterable[str],
    seed: int,
) -> dict[str, tuple[float, float]]:
    """The range of every tensor between the operators that are to be quantised.

    Args:
        model: with one input; a convolution and the ReLU after it share the ReLU's range,
            because their quantised form is one operator.
        images: for the input, float32 [1, 1, h, w].
        operators: types, such as "Conv".
        seed: of the values drawn: at most 2000 per tensor and image.

    Returns:
        tensor -> (low, high), low <= 0 <= high.
    """
    chosen = set(operators)
    rectified = {node.input[0] for node in model.graph.node if node.op_type == "Relu"}
    constants = {tensor.name for tensor in model.graph.initializer}
    names = {
        name
        for node in model.graph.node
        if node.op_type in chosen
        for name in (*node.input, *node.output)
        if name and name not in constants
    }
    values = _drawn_values(model, sorted(names), images, seed)
    return {
        name: clipped_range(np.maximum(found, 0) if name in rectified else found)
        for name, found in values.items()
    }


def clipped_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The range (low, high) around 0 whose 256 levels represent `values` with the least squared
    error; one share of the full range is tried after another.

    >>> clipped_range(np.array([0.0, 1.0, 2.0], np.float32))[0]
    0.0
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return low, low + 1.0
    best, least = (low, high), np.inf
    for share in _SHARES:
        step = (high - low) * share / LEVELS
        levels = np.clip(
            np.round(values / step), round(low * share / step), round(high * share / step)
        )
        error = float(np.mean((levels * step - values) ** 2))
        if error < least:
            best, least = (low * float(share), high * float(share)), error
    return best


def _drawn_values(
    model: onnx.ModelProto, names: list[str], images: Iterable[NDArray[np.float32]], seed: int
) -> dict[str, NDArray[np.float32]]:
    """Values of the tensors on all images: the extremes of each, and a random draw."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in (*watched.graph.input, *watched.graph.output)}
    for name in names:
        if name not in known:
            watched.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    # what the optimiser would fuse could not be watched
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    [entry] = session.get_inputs()
    outputs = [name for name in names if name != entry.name]
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for image in images:
        found = dict(zip(outputs, session.run(outputs, {entry.name: image}), strict=True))
        for name in names:
            flat = found.get(name, image).ravel()
            picked = rng.integers(0, flat.size, min(_VALUES_PER_IMAGE, flat.size))
            extremes = np.array([flat.min(), flat.max()], np.float32)
            drawn[name].append(np.concatenate([flat[picked], extremes]))
    return {name: np.concatenate(parts) for name, parts in drawn.items()}
