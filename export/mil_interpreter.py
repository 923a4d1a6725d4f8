"""Runs a CoreML program operation by operation, where there is no Mac to run it.

It reads the saved package, not what it was converted from, and computes what Apple's documentation
of each operation says (coremltools.converters.mil.mil.ops.defs), with values of the very types that
the program gives them: half precision is rounded to after each operation. That proves the program;
how CoreML schedules it, and how fast it is, only a device can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ..core.errors import ExportError
from .to_coreml import loaded_coremltools, quiet_coremltools

Array: TypeAlias = NDArray[Any]
Operation: TypeAlias = Callable[..., Any]

_TYPES = {
    **{"fp16": np.float16, "fp32": np.float32, "bool": np.bool_},
    **{"int32": np.int32, "int16": np.int16, "uint16": np.uint16, "int8": np.int8},
}


class MilProgram:
    """A program that was read back from an ML package.

    Args:
        package: the folder of the package.

    Raises:
        RuntimeUnavailable: coremltools is not installed.
        ExportError: it cannot be read.
    """

    def __init__(self, package: Path) -> None:
        with quiet_coremltools():
            coremltools = loaded_coremltools()
            from coremltools.converters.mil.frontend.milproto.load import load

            try:
                model = coremltools.models.MLModel(str(package), skip_model_load=True)
                spec = model.get_spec()
                program = load(spec, spec.specificationVersion, model.weights_dir)
            except Exception as error:  # whatever is wrong with the files
                raise ExportError(f"{package}: expected an ML package ({error})") from error
        self._function = program.functions["main"]
        self._outputs = [each.name for each in spec.description.output]
        self._states = {
            each.name: tuple(self._function.inputs[each.name].shape)
            for each in spec.description.state
        }

    def make_state(self) -> dict[str, Array]:
        """The program's own state at the start, by name: float16 zeros."""
        return {name: np.zeros(shape, np.float16) for name, shape in self._states.items()}

    def __call__(
        self, inputs: Mapping[str, Array], state: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        """Inputs by name to outputs by name, float32; integers are taken as int32.

        Args:
            state: of `make_state`, if the program has one; it is changed in place.

        Raises:
            ExportError: an operation that is not known here.
        """
        state = self.make_state() if state is None else state
        values: dict[Any, Any] = {
            variable: name
            if name in self._states
            else np.asarray(
                inputs[name], np.int32 if inputs[name].dtype.kind == "i" else np.float32
            )
            for name, variable in self._function.inputs.items()
        }

        def value(argument: Any) -> Any:
            if isinstance(argument, list | tuple):
                return [value(each) for each in argument]
            if argument in values:
                return values[argument]
            return argument.val

        for operation in self._function.operations:
            if operation.op_type == "const":
                continue
            given = {
                name: value(each) for name, each in operation.inputs.items() if each is not None
            }
            found: Any
            if operation.op_type.startswith("constexpr_"):
                # weights of few bits: what they stand for does not depend on the input
                found = operation.materialized_val_inference()
            elif operation.op_type == "read_state":
                found = state[given["input"]]
            elif operation.op_type == "coreml_update_state":
                found = state[given["state"]] = np.asarray(given["value"], np.float16)
            elif operation.op_type in OPERATIONS:
                found = OPERATIONS[operation.op_type](**given)
            else:
                raise ExportError(f"the operation {operation.op_type} is not known here; add it")
            results = found if isinstance(found, list) else [found]
            for variable, result in zip(operation.outputs, results, strict=True):
                values[variable] = np.asarray(result, _dtype(variable))
        by_name = {each.name: values[each] for each in self._function.outputs}
        return {name: np.asarray(by_name[name], np.float32) for name in self._outputs}


def _dtype(variable: Any) -> Any:
    from coremltools.converters.mil.mil.types import nptype_from_builtin

    return nptype_from_builtin(variable.dtype)


def _torch(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _convolution(
    x: Array,
    weight: Array,
    strides: Array,
    pad_type: str,
    pad: Array,
    dilations: Array,
    groups: int,
    bias: Array | None = None,
) -> Array:
    assert str(pad_type) in ("custom", "valid")
    top, bottom, left, right = (0, 0, 0, 0) if str(pad_type) == "valid" else pad.tolist()
    padded = functional.pad(_torch(x), (left, right, top, bottom))
    return functional.conv2d(
        padded,
        _torch(weight),
        None if bias is None else _torch(bias),
        tuple(strides.tolist()),
        0,
        tuple(dilations.tolist()),
        int(groups),
    ).numpy()


def _max_pool(
    x: Array, kernel_sizes: Array, strides: Array, pad_type: str, pad: Array, ceil_mode: bool
) -> Array:
    assert not np.any(pad)
    return functional.max_pool2d(
        _torch(x), tuple(kernel_sizes.tolist()), tuple(strides.tolist()), ceil_mode=bool(ceil_mode)
    ).numpy()


def _average_pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array,
    pad_type: str,
    pad: Array,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Array:
    assert not np.any(pad)
    return functional.avg_pool2d(
        _torch(x), tuple(kernel_sizes.tolist()), tuple(strides.tolist()), ceil_mode=bool(ceil_mode)
    ).numpy()


def _upsample(x: Array, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Array:
    rows, columns = int(scale_factor_height), int(scale_factor_width)
    return x.repeat(rows, axis=2).repeat(columns, axis=3)


def _slice(
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    rank = x.ndim
    stride = np.ones(rank, np.int32) if stride is None else stride
    masks = [np.zeros(rank, bool) if each is None else each for each in (begin_mask, end_mask)]
    squeeze = np.zeros(rank, bool) if squeeze_mask is None else squeeze_mask
    parts: list[Any] = []
    for axis in range(rank):
        if squeeze[axis]:
            parts.append(int(begin[axis]))
            continue
        first = None if masks[0][axis] else int(begin[axis])
        last = None if masks[1][axis] else int(end[axis])
        parts.append(slice(first, last, int(stride[axis])))
    return np.asarray(x[tuple(parts)])


def _slice_update(x: Array, update: Array, begin: Array, end: Array, **masks: Any) -> Array:
    found = np.array(x)
    numbers = np.arange(x.size).reshape(x.shape)
    found.ravel()[_slice(numbers, begin, end, **masks).ravel()] = np.ravel(update)
    return found


def _scatter_nd(
    data: Array, indices: Array, updates: Array, mode: str = "add", **checks: Any
) -> Array:
    assert str(mode) == "update"
    found = np.array(data)
    found[tuple(np.moveaxis(indices, -1, 0))] = updates
    return found


def _gather(
    x: Array, indices: Array, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Array:
    assert not batch_dims
    return np.take(x, indices, axis=int(axis))


def _concat(values: list[Array], axis: int, interleave: bool = False) -> Array:
    assert not interleave
    return np.concatenate([np.atleast_1d(each) for each in values], axis=int(axis))


def _split(
    x: Array, axis: int, split_sizes: Array | None = None, num_splits: int | None = None
) -> list[Array]:
    if split_sizes is None:
        assert num_splits is not None
        return np.split(x, int(num_splits), axis=int(axis))
    return np.split(x, np.cumsum(split_sizes)[:-1], axis=int(axis))


def _reshape(x: Array, shape: Array) -> Array:
    # 0 keeps the size that is there
    sizes = [x.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)]
    return x.reshape(sizes)


def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    found = x.astype(np.float32) @ weight.astype(np.float32).T
    return found if bias is None else found + bias.astype(np.float32)


def _matmul(x: Array, y: Array, transpose_x: bool = False, transpose_y: bool = False) -> Array:
    x, y = x.astype(np.float32), y.astype(np.float32)
    x = np.swapaxes(x, -1, -2) if transpose_x else x
    return np.asarray(x @ (np.swapaxes(y, -1, -2) if transpose_y else y))


def _softmax(x: Array, axis: int = -1) -> Array:
    return torch.softmax(_torch(x), int(axis)).numpy()


def _layer_norm(
    x: Array,
    axes: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 1e-5,
) -> Array:
    shape = [x.shape[axis] for axis in axes.tolist()]
    weight, bias = (None if each is None else _torch(each) for each in (gamma, beta))
    return functional.layer_norm(_torch(x), shape, weight, bias, float(epsilon)).numpy()


def _cast(x: Array, dtype: str) -> Array:
    return np.asarray(x).astype(_TYPES[str(dtype)])


def _divide(x: Array, y: Array) -> Array:
    if np.asarray(x).dtype.kind == "i":
        return np.floor_divide(x, y)
    return np.divide(x, y)


def _log(x: Array, epsilon: float = 1e-45) -> Array:
    with np.errstate(divide="ignore"):
        found: Array = np.log(np.asarray(x, np.float32) + float(epsilon))
    return found


def _reduce(function: Operation) -> Operation:
    def reduced(x: Array, axes: Array | None = None, keep_dims: bool = False) -> Any:
        along = None if axes is None else tuple(axes.tolist())
        return function(np.asarray(x, np.float32), axis=along, keepdims=bool(keep_dims))

    return reduced


OPERATIONS: dict[str, Operation] = {
    "add": lambda x, y: np.add(x, y),
    "avg_pool": _average_pool,
    "cast": _cast,
    "concat": _concat,
    "conv": _convolution,
    "cos": lambda x: np.cos(x),
    "equal": lambda x, y: np.equal(x, y),
    "expand_dims": lambda x, axes: np.expand_dims(x, tuple(np.atleast_1d(axes).tolist())),
    "fill": lambda shape, value: np.full(shape, value),
    "floor_div": lambda x, y: np.floor_divide(x, y),
    "gather": _gather,
    "greater": lambda x, y: np.greater(x, y),
    "greater_equal": lambda x, y: np.greater_equal(x, y),
    "identity": lambda x: x,
    "layer_norm": _layer_norm,
    "less": lambda x, y: np.less(x, y),
    "linear": _linear,
    "log": _log,
    "logical_not": lambda x: np.logical_not(x),
    "matmul": _matmul,
    "max_pool": _max_pool,
    "maximum": lambda x, y: np.maximum(x, y),
    "mul": lambda x, y: np.multiply(x, y),
    "range_1d": lambda start, end, step: np.arange(start, end, step),
    "real_div": _divide,
    "reduce_max": _reduce(np.max),
    "reduce_mean": _reduce(np.mean),
    "reduce_sum": _reduce(np.sum),
    "relu": lambda x: np.maximum(x, 0),
    "reshape": _reshape,
    "scatter_nd": _scatter_nd,
    "select": lambda cond, a, b: np.where(cond, a, b),
    "shape": lambda x: np.array(x.shape, np.int32),
    "sigmoid": lambda x: torch.sigmoid(_torch(x)).numpy(),
    "sin": lambda x: np.sin(x),
    "slice_by_index": _slice,
    "slice_update": _slice_update,
    "softmax": _softmax,
    "split": _split,
    "squeeze": lambda x, axes=None: np.squeeze(x, None if axes is None else tuple(axes.tolist())),
    "stack": lambda values, axis: np.stack(values, axis=int(axis)),
    "sub": lambda x, y: np.subtract(x, y),
    "tanh": lambda x: np.tanh(np.asarray(x, np.float32)),
    "tile": lambda x, reps: np.tile(x, reps),
    "transpose": lambda x, perm: np.transpose(x, perm.tolist()),
    "upsample_nearest_neighbor": _upsample,
}
"""By the name of an operation, what it computes from its inputs by name."""
