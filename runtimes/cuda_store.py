"""Arrays on a GPU: memories and states that stay there between steps."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RuntimeUnavailable


class Device(Protocol):
    """The little of CUDA that is needed. Addresses are of the device's memory; all that is asked
    of one stream happens in order."""

    def allocate(self, size: int) -> int:
        """The address of so many new bytes."""
        ...

    def free(self, address: int) -> None:
        """Give them back."""
        ...

    def stream(self) -> int:
        """A new stream."""
        ...

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """A contiguous array to the device."""
        ...

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """From the device into a contiguous array, once the stream has come so far."""
        ...

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Bytes within the device."""
        ...

    def facts(self) -> dict[str, int | str]:
        """What tells this device from others."""
        ...


class Cuda:
    """The GPU, through Polygraphy's view of the CUDA runtime.

    Raises:
        RuntimeUnavailable: no Polygraphy, no CUDA, or no GPU.
    """

    _CAPABILITY_MAJOR, _CAPABILITY_MINOR, _PROCESSORS = 75, 76, 16  # cudaDeviceAttr

    def __init__(self) -> None:
        try:
            from polygraphy import cuda
        except ImportError as error:
            raise RuntimeUnavailable(
                f"Polygraphy cannot be loaded ({error}); install it with `pip install polygraphy`"
            ) from error
        self._kinds = cuda.MemcpyKind
        try:
            self._cuda = cuda.wrapper()
            self.facts()
        except Exception as error:  # of Polygraphy and of the loader, without a common kind
            raise RuntimeUnavailable(
                f"CUDA cannot be used here ({error}); TensorRT needs an NVIDIA GPU and its driver"
            ) from error

    def allocate(self, size: int) -> int:
        return int(self._cuda.malloc(size))

    def free(self, address: int) -> None:
        self._cuda.free(address)

    def stream(self) -> int:
        return int(self._cuda.create_stream())

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        # from pageable memory: the array may change as soon as this returns
        self._cuda.memcpy(
            address, array.ctypes.data, array.nbytes, self._kinds.HostToDevice, stream
        )
        self._cuda.stream_synchronize(stream)

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        self._cuda.memcpy(
            array.ctypes.data, address, array.nbytes, self._kinds.DeviceToHost, stream
        )
        self._cuda.stream_synchronize(stream)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        self._cuda.memcpy(target, source, size, self._kinds.DeviceToDevice, stream)

    def facts(self) -> dict[str, int | str]:
        import ctypes

        library = self._cuda.handle

        def asked(function: Any, *arguments: int) -> int:
            value = ctypes.c_int()
            self._cuda.check(function(ctypes.byref(value), *arguments))
            return value.value

        device = asked(library.cudaGetDevice)
        attribute = library.cudaDeviceGetAttribute
        major = asked(attribute, self._CAPABILITY_MAJOR, device)
        return {
            "capability": f"{major}.{asked(attribute, self._CAPABILITY_MINOR, device)}",
            "processors": asked(attribute, self._PROCESSORS, device),
            "driver": asked(library.cudaDriverGetVersion),
            "runtime": asked(library.cudaRuntimeGetVersion),
        }


class DeviceArray:
    """An array on a device; its memory is for others once nobody holds it.

    Attributes:
        address, shape, dtype: of its elements, which lie row by row.
    """

    def __init__(self, pool: Pool, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype)
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self.address = pool.take(self.nbytes)
        weakref.finalize(self, pool.give, self.address, self.nbytes)


class Pool:
    """Memory of a device that is given out again and again: asking the driver takes longer than a
    step of the decoder.

    It is for one stream: what one user gave back may still be read on it when the next one gets
    it, and is then written later on the same stream.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._free: dict[int, list[int]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False

    def take(self, size: int) -> int:
        """The address of `size` bytes or more."""
        size = _rounded(size)
        with self._lock:
            if self._free[size]:
                return self._free[size].pop()
        return self.device.allocate(size)

    def give(self, address: int, size: int) -> None:
        """What `take` gave for this size."""
        with self._lock:
            if not self._closed:
                self._free[_rounded(size)].append(address)
                return
        self.device.free(address)

    def close(self) -> None:
        """Give back to the device what nobody uses, and from now on what comes back."""
        with self._lock:
            self._closed = True
            for addresses in self._free.values():
                while addresses:
                    self.device.free(addresses.pop())


def _close(pools: Sequence[Pool]) -> None:
    for pool in pools:
        pool.close()


def _rounded(size: int) -> int:
    """Up to a power of two, so that few sizes are in use."""
    return 1 << max(size - 1, 255).bit_length()


class CudaStore:
    """A `Store` on a device: nothing but what is asked for comes back to the host.

    Every thread has a stream of its own, on which whatever it asks for happens in order, and a
    pool of its own with it. The device's memory is free again once the store is gone.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._of_thread = threading.local()
        self._pools: list[Pool] = []
        weakref.finalize(self, _close, self._pools)

    @property
    def stream(self) -> int:
        """Of this thread."""
        return self._own[0]

    @property
    def pool(self) -> Pool:
        """Of this thread."""
        return self._own[1]

    @property
    def _own(self) -> tuple[int, Pool]:
        found: tuple[int, Pool] | None = getattr(self._of_thread, "own", None)
        if found is None:
            found = self._of_thread.own = (self.device.stream(), Pool(self.device))
            self._pools.append(found[1])
        return found

    def put(self, array: NDArray[Any]) -> DeviceArray:
        """A copy on the device."""
        array = np.ascontiguousarray(array)
        found = DeviceArray(self.pool, array.shape, array.dtype)
        self.device.upload(found.address, array, self.stream)
        return found

    def get(self, array: DeviceArray) -> NDArray[Any]:
        """A copy on the host."""
        found = np.empty(array.shape, array.dtype)
        self.device.download(found, array.address, self.stream)
        return found

    def zeros(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        """Zeros on the device."""
        return self.put(np.zeros(shape, dtype))

    def take(self, array: DeviceArray, order: NDArray[np.int64], axis: int) -> DeviceArray:
        """As numpy's `take`: what is at `order` along an axis."""
        shape = (*array.shape[:axis], len(order), *array.shape[axis + 1 :])
        found = DeviceArray(self.pool, shape, array.dtype)
        size = int(np.prod(array.shape[axis + 1 :])) * array.dtype.itemsize
        for outer in range(int(np.prod(array.shape[:axis]))):
            for place, number in enumerate(order.tolist()):
                self.device.copy(
                    found.address + (outer * len(order) + place) * size,
                    array.address + (outer * array.shape[axis] + number) * size,
                    size,
                    self.stream,
                )
        return found

    def grow(self, array: DeviceArray, axis: int, length: int) -> DeviceArray:
        """With zeros at the end of an axis, up to a length."""
        shape = (*array.shape[:axis], length, *array.shape[axis + 1 :])
        found = self.zeros(shape, array.dtype)
        inner = int(np.prod(array.shape[axis + 1 :])) * array.dtype.itemsize
        for outer in range(int(np.prod(array.shape[:axis]))):
            self.device.copy(
                found.address + outer * length * inner,
                array.address + outer * array.shape[axis] * inner,
                array.shape[axis] * inner,
                self.stream,
            )
        return found
