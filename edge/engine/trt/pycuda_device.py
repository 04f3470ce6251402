"""The GPU through PyCUDA, for devices that have it and not cuda-python. It has no graphs. Not yet run on hardware by us.

PyCUDA is built from source on the device, against its CUDA. Version 2026.1 was built for a trial of every call here but those of `timed`,
over a stand-in for NVIDIA's driver.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycuda

from edge.engine.trt.device import Bytes, Graph, cuda_error, version_text
from edge.errors import EdgeError, EngineError, MissingDependency

try:
    from pycuda import driver
except ImportError as error:
    raise MissingDependency(
        f"opening the GPU: PyCUDA cannot be loaded: {error}",
        hint="libcuda.so.1 comes with the NVIDIA driver; others: build PyCUDA again, or install cuda-bindings",
    ) from error

_MB = 2**20
# PyCUDA gives no codes, only CUDA's own words. Source: CUDA Driver API, cuGetErrorString.
_CODES = {"out of memory": 2, "initialization error": 3, "no CUDA-capable device": 100}
_UNKNOWN = -1


class PycudaDevice:
    """The first GPU, in its primary context, which is the one of the CUDA runtime and of TensorRT.

    Raises:
        MissingDependency: The driver is absent or too old.
        EngineError: There is no GPU, or it does not start.
    """

    supports_graphs = False

    def __init__(self) -> None:
        with _telling("opening the GPU"):
            driver.init()
            device = driver.Device(0)
            self._context = device.retain_primary_context()
            self.name: str = device.name()
            self.compute_capability: tuple[int, int] = device.compute_capability()
            self.shares_memory = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
            self.driver_version = version_text(driver.get_driver_version())

    def memory_mb(self) -> tuple[float, float]:
        """See `edge.engine.trt.device.Device`."""
        with _telling("asking for the GPU's memory"):
            free, total = driver.mem_get_info()
        return free / _MB, total / _MB

    @contextmanager
    def current(self) -> Iterator[None]:
        """See `edge.engine.trt.device.Device`."""
        with _telling("using the GPU"):
            self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def allocate(self, n_bytes: int) -> _Memory:
        """See `edge.engine.trt.device.Device`."""
        with _telling(f"taking {n_bytes / _MB:.1f} MB of the GPU's memory"):
            return _Memory(driver.mem_alloc(n_bytes))

    def allocate_host(self, n_bytes: int, *, mapped: bool) -> _HostMemory:
        """See `edge.engine.trt.device.Device`."""
        with _telling(f"taking {n_bytes / _MB:.1f} MB of pinned memory"):
            flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
            array = driver.pagelocked_empty(n_bytes, np.uint8, mem_flags=flags)
            return _HostMemory(address=int(array.base.get_device_pointer()) if mapped else 0, bytes=array)

    def new_stream(self) -> _Stream:
        """See `edge.engine.trt.device.Device`."""
        with _telling("making a stream"):
            return _Stream(driver.Stream(1))  # 1: CU_STREAM_NON_BLOCKING


@dataclass
class _Memory:
    allocation: Any

    @property
    def address(self) -> int:
        return int(self.allocation)

    def free(self) -> None:
        with _telling("freeing memory of the GPU"):
            self.allocation.free()


@dataclass
class _HostMemory:
    address: int
    bytes: Bytes

    def free(self) -> None:
        allocation: Any = self.bytes.base
        with _telling("freeing pinned memory"):
            allocation.free()


@dataclass
class _Stream:
    stream: Any

    @property
    def handle(self) -> int:
        return int(self.stream.handle)

    def copy_in(self, address: int, source: Bytes) -> None:
        with _telling("copying to the GPU"):
            driver.memcpy_htod_async(address, source, self.stream)

    def copy_out(self, target: Bytes, address: int) -> None:
        with _telling("copying from the GPU"):
            driver.memcpy_dtoh_async(target, address, self.stream)

    def capture(self, work: Callable[[], None]) -> Graph:  # noqa: ARG002 - there is nothing to do with it
        raise EngineError("recording a graph: PyCUDA has no graphs", hint="install cuda-bindings instead")

    def synchronize(self) -> None:
        with _telling("waiting for the GPU"):
            self.stream.synchronize()

    def timed(self, parts: Sequence[Callable[[], None]]) -> list[float]:
        def mark() -> Any:
            with _telling("timing the GPU"):
                event = driver.Event()
                event.record(self.stream)
                return event

        events = [mark()]
        for part in parts:
            part()
            events.append(mark())
        self.synchronize()
        with _telling("timing the GPU"):
            return [float(later.time_since(earlier)) for earlier, later in itertools.pairwise(events)]

    def free(self) -> None:
        # PyCUDA destroys a stream when its last reference goes.
        del self.stream


@contextmanager
def _telling(doing: str) -> Iterator[None]:
    try:
        yield
    except driver.Error as error:
        raise _failure(error, doing) from error


def _failure(error: Exception, doing: str) -> EdgeError:
    text = str(error)
    code = next((code for words, code in _CODES.items() if words in text), _UNKNOWN)
    return cuda_error(code, text, doing=doing, driver_version=version_text(driver.get_driver_version()), library=f"PyCUDA {pycuda.VERSION_TEXT}")
