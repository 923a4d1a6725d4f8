"""A graph of a bundle as a session of ONNX Runtime, on the provider that was asked for."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Bundle, GraphSpec, TensorSpec
from ..core.errors import BundleError, RuntimeUnavailable
from ..core.external_data import external_tensors

CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "dml": "DmlExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
}
"""Execution providers by the names they have here, as in `onnxruntime:cuda`."""
_TENSOR_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}
"""Of ONNX's numbers for types, those that weights have."""
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


def loaded_library() -> Any:
    """The module `onnxruntime`.

    Raises:
        RuntimeUnavailable: it is not installed, or does not load.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailable(
            f"ONNX Runtime cannot be loaded ({error}); install it with `pip install onnxruntime`"
        ) from error
    return onnxruntime


def session_options(threads: int) -> Any:
    """What every session of ours is opened with.

    Products of 8 bits are exact on every processor. On x86 without instructions for them (VNNI) two
    would be added in 16 bits, and cut off where both are large, by which the recognizer that ships
    loses two points of ExpRate; ONNX Runtime's own way around costs 3 % of a reading there.

    Raises:
        RuntimeUnavailable: ONNX Runtime is not installed, or does not load.
    """
    options = loaded_library().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # one pattern would be kept for every size of image
    options.log_severity_level = 4  # what goes wrong is raised; nothing else to tell a user
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_session(bundle: Bundle, name: str, graph: GraphSpec, threads: int, provider: str) -> Any:
    """Load a graph, and check that it is what the manifest says.

    Args:
        name: the file in the bundle, in ONNX or in ONNX Runtime's own format (.ort).
        graph: its inputs and outputs, as the manifest has them.
        provider: one of `PROVIDERS`; the processor runs what it cannot.

    Raises:
        RuntimeUnavailable: this ONNX Runtime does not have the provider, or cannot start it.
        BundleError: it refuses the graph, or the graph is not as the manifest says.
    """
    ort = loaded_library()
    options = session_options(threads)
    kind = "ORT" if name.endswith(".ort") else "ONNX"
    options.add_session_config_entry("session.load_model_format", kind)
    providers = _providers(ort, provider)
    data = bundle.read(name)
    elsewhere = _shared_weights(bundle, name, data)
    if elsewhere:  # which the session copies
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in elsewhere.values()]
        options.add_external_initializers(list(elsewhere), values)
    try:
        session = ort.InferenceSession(data, options, providers=providers)
    except Exception as error:  # ONNX Runtime has a dozen kinds and no common one
        raise BundleError(
            f"{bundle.path}: ONNX Runtime {ort.__version__} refuses the graph {name!r}: {error}; "
            "export the bundle again, or upgrade onnxruntime"
        ) from error
    if session.get_providers()[0] != providers[0]:
        raise RuntimeUnavailable(
            f"ONNX Runtime {ort.__version__} lists the provider {providers[0]} and cannot start it "
            "here; its libraries or its device are missing; use another provider, or none"
        )
    _check(bundle, name, graph, session)
    return session


def _shared_weights(bundle: Bundle, name: str, graph: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a graph that lie in another file of its bundle, by name.

    Raises:
        BundleError: one is of a type that weights do not have, or of another size than its shape.
    """
    holders = bundle.weights_of(name)
    if not holders:
        return {}
    found = {}
    for tensor in external_tensors(graph, name):
        dtype, data = _TENSOR_DTYPES.get(tensor.data_type), tensor.data(holders)
        if dtype is None or prod(tensor.dims) * np.dtype(dtype).itemsize != len(data):
            raise BundleError(
                f"{bundle.path}: {name!r} has a tensor {tensor.name!r} of type "
                f"{tensor.data_type} and shape {list(tensor.dims)} in {len(data)} bytes; expected "
                f"one of the types {sorted(_TENSOR_DTYPES)} in as many bytes as it has; export the "
                "bundle again"
            )
        found[tensor.name] = np.frombuffer(data, dtype).reshape(tensor.dims)
    return found


def _providers(ort: Any, provider: str) -> list[str]:
    """The provider that was asked for, and the processor for what it cannot run."""
    there = ort.get_available_providers()
    wanted = PROVIDERS.get(provider)
    if wanted is None or wanted not in there:
        known = ", ".join(name for name, full in PROVIDERS.items() if full in there)
        raise RuntimeUnavailable(
            f"expected a provider of this onnxruntime ({known}), found {provider!r}; another build "
            "of onnxruntime may bring it"
        )
    return list(dict.fromkeys([wanted, CPU]))


def _check(bundle: Bundle, name: str, graph: GraphSpec, session: Any) -> None:
    """Refuse a session whose inputs and outputs are not those of the manifest."""
    for side, expected, found in (
        ("inputs", graph.inputs, session.get_inputs()),
        ("outputs", graph.outputs, session.get_outputs()),
    ):
        there = {each.name: each for each in found}
        wrong = [spec.name for spec in expected if not _fits(spec, there.get(spec.name))]
        unknown = sorted(set(there) - {spec.name for spec in expected})
        if wrong or (unknown and side == "inputs"):
            raise BundleError(
                f"{bundle.path}: the {side} of {name!r} are not as the manifest says; missing or "
                f"of another type or shape: {wrong}; unknown: {unknown}; export the bundle again"
            )


def _fits(spec: TensorSpec, found: Any) -> bool:
    """Whether an input or output of a session is as the manifest says."""
    if found is None:
        return False
    dtype = _DTYPES.get(found.type, found.type.removeprefix("tensor(").removesuffix(")"))
    return dtype == spec.dtype and (
        len(found.shape) == len(spec.shape)
        and all(
            not isinstance(size, int) or not isinstance(there, int) or size == there
            for size, there in zip(spec.shape, found.shape, strict=True)
        )
    )
