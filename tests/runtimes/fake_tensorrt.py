"""TensorRT and a GPU for machines that have neither: engines are ONNX files that ONNX Runtime runs,
the device's memory is the host's.

It has the few names of TensorRT that inktex uses, and is as strict: sizes beyond the profile,
tensors without an address and memory that is used after it was freed are errors.
"""

from __future__ import annotations

import ctypes
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

HEAD = b"fake engine of "


class HostDevice:
    """A `Device` in the host's memory.

    Attributes:
        live: the blocks that are allocated, by address.
        allocations, uploads: how many there were.
    """

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.live: dict[int, Any] = {}
        self.allocations = self.uploads = self.streams = 0

    def allocate(self, size: int) -> int:
        block = ctypes.create_string_buffer(b"\xff" * size, size)  # no zeros by chance
        address = ctypes.addressof(block)
        self.live[address] = block
        self.allocations += 1
        return address

    def free(self, address: int) -> None:
        del self.live[address]

    def stream(self) -> int:
        self.streams += 1
        return self.streams

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        assert array.flags.c_contiguous
        self.check(address, array.nbytes)
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
        self.uploads += 1

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        self.check(address, array.nbytes)
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        self.check(target, size)
        self.check(source, size)
        ctypes.memmove(target, source, size)

    def facts(self) -> dict[str, int | str]:
        return {"name": self.name}

    def check(self, address: int, size: int) -> None:
        """That these bytes are allocated."""
        blocks = list(self.live.items())  # at once: other threads allocate and free meanwhile
        assert any(
            start <= address and address + size <= start + len(block) for start, block in blocks
        )


class Context:
    """An execution context."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.profile = 0

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        self.profile = number
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.ranges[self.profile][name]
        assert all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)), (name, shape)
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._run()[name].shape

    def execute_async_v3(self, stream: int) -> bool:
        for name, array in self._run().items():
            self.engine.device.upload(self.addresses[name], array, stream)
        self.addresses.clear()  # every call has to name all of them again
        return self.engine.works

    def _run(self) -> dict[str, NDArray[Any]]:
        inputs = {}
        for each in self.engine.session.get_inputs():
            dtype = np.int64 if each.type == "tensor(int64)" else np.float32
            array = np.empty(self.shapes[each.name], dtype)
            self.engine.device.download(array, self.addresses[each.name], 0)
            inputs[each.name] = array
        names = [each.name for each in self.engine.session.get_outputs()]
        found = self.engine.session.run(names, inputs)
        return {name: np.ascontiguousarray(each) for name, each in zip(names, found, strict=True)}


class Engine:
    """An engine that was loaded."""

    def __init__(self, data: bytes, device: HostDevice, works: bool) -> None:
        text, graph = data.removeprefix(HEAD).split(b"\n", 1)
        self.ranges: Any = eval(text)  # what this very file wrote
        self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.device, self.works = device, works

    def create_execution_context(self) -> Context:
        return Context(self)


def fake_tensorrt(device: HostDevice, version: str = "10.3.0", works: bool = True) -> ModuleType:
    """A module like `tensorrt`.

    Args:
        works: whether engines run.
    """
    module = ModuleType("tensorrt")
    built: list[int] = []

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None:
            pass

    class Profile(dict[str, Any]):
        def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
            self[name] = shapes

    class Builder:
        def __init__(self, logger: Logger) -> None:
            pass

        def create_network(self, flags: int) -> SimpleNamespace:
            return SimpleNamespace(flags=flags, graph=b"")

        def create_builder_config(self) -> Any:
            profiles: list[Profile] = []
            return SimpleNamespace(
                profiles=profiles,
                set_memory_pool_limit=lambda pool, size: None,
                add_optimization_profile=profiles.append,
            )

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            built.append(1)
            ranges = [dict(each) for each in config.profiles]
            graph: bytes = network.graph
            return HEAD + repr(ranges).encode() + b"\n" + graph

    class OnnxParser:
        def __init__(self, network: Any, logger: Logger) -> None:
            self.network = network
            self.problems: list[str] = []

        @property
        def num_errors(self) -> int:
            return len(self.problems)

        def get_error(self, number: int) -> str:
            return self.problems[number]

        def parse(self, graph: bytes) -> bool:
            known = onnx.load_from_string(graph)
            self.problems = [
                f"no importer for {node.op_type}"
                for node in known.graph.node
                if node.op_type == "DynamicQuantizeLinear"
            ]
            self.network.graph = graph
            return not self.problems

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            pass

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            return Engine(data, device, works) if data.startswith(HEAD) else None

    for each in (Logger, Builder, OnnxParser, Runtime):
        setattr(module, each.__name__, each)
    module.__version__ = version  # type: ignore[attr-defined]
    module.built = built  # type: ignore[attr-defined]
    module.MemoryPoolType = SimpleNamespace(WORKSPACE=0)  # type: ignore[attr-defined]
    module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)  # type: ignore[attr-defined]
    return module
