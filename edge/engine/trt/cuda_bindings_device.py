"""The GPU through NVIDIA's cuda-python: the CUDA runtime of `cuda.bindings`, 12 and 13. Not yet run on hardware by us."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cuda.bindings import __version__ as library_version
from cuda.bindings import runtime

from edge.engine.trt.device import Bytes, cuda_error, version_text
from edge.errors import EdgeError

_LIBRARY = f"cuda-bindings {library_version}"
_MB = 2**20


class CudaBindingsDevice:
    """The first GPU, in the context that the CUDA runtime and TensorRT share.

    Raises:
        MissingDependency: The driver is absent or too old.
        EngineError: There is no GPU, or it does not start.
    """

    supports_graphs = True

    def __init__(self) -> None:
        opening = "opening the GPU"
        _call(runtime.cudaGetDeviceCount, doing=opening)
        _call(runtime.cudaSetDevice, 0, doing=opening)
        properties = _call(runtime.cudaGetDeviceProperties, 0, doing=opening)
        self.name: str = properties.name.split(b"\0")[0].decode()
        self.compute_capability: tuple[int, int] = (properties.major, properties.minor)
        self.shares_memory = bool(properties.integrated)
        self.driver_version = _driver_version()

    def memory_mb(self) -> tuple[float, float]:
        """See `edge.engine.trt.device.Device`."""
        free, total = _call(runtime.cudaMemGetInfo, doing="asking for the GPU's memory")
        return free / _MB, total / _MB

    def current(self) -> AbstractContextManager[None]:
        """See `edge.engine.trt.device.Device`; the CUDA runtime takes the first GPU on every thread that names none, nothing is left to undo."""
        _call(runtime.cudaSetDevice, 0, doing="using the GPU")
        return nullcontext()

    def allocate(self, n_bytes: int) -> _Memory:
        """See `edge.engine.trt.device.Device`."""
        return _Memory(_call(runtime.cudaMalloc, n_bytes, doing=f"taking {n_bytes / _MB:.1f} MB of the GPU's memory"))

    def allocate_host(self, n_bytes: int, *, mapped: bool) -> _HostMemory:
        """See `edge.engine.trt.device.Device`."""
        flags = runtime.cudaHostAllocMapped if mapped else runtime.cudaHostAllocDefault
        pointer = _call(runtime.cudaHostAlloc, n_bytes, flags, doing=f"taking {n_bytes / _MB:.1f} MB of pinned memory")
        address = int(_call(runtime.cudaHostGetDevicePointer, pointer, 0, doing="mapping memory for the GPU")) if mapped else 0
        return _HostMemory(address=address, pointer=pointer, bytes=np.ctypeslib.as_array((ctypes.c_uint8 * n_bytes).from_address(pointer)))

    def new_stream(self) -> _Stream:
        """See `edge.engine.trt.device.Device`."""
        return _Stream(_call(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking, doing="making a stream"))


@dataclass
class _Memory:
    address: int

    def free(self) -> None:
        _call(runtime.cudaFree, self.address, doing="freeing memory of the GPU")


@dataclass
class _HostMemory:
    address: int
    pointer: int
    bytes: Bytes

    def free(self) -> None:
        _call(runtime.cudaFreeHost, self.pointer, doing="freeing pinned memory")


@dataclass
class _Graph:
    executable: Any
    stream: Any

    def launch(self) -> None:
        _call(runtime.cudaGraphLaunch, self.executable, self.stream, doing="starting a graph")

    def free(self) -> None:
        _call(runtime.cudaGraphExecDestroy, self.executable, doing="freeing a graph")


@dataclass
class _Stream:
    stream: Any
    handle: int = field(init=False)

    def __post_init__(self) -> None:
        self.handle = int(self.stream)

    def copy_in(self, address: int, source: Bytes) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call(runtime.cudaMemcpyAsync, address, source.ctypes.data, source.nbytes, kind, self.stream, doing="copying to the GPU")

    def copy_out(self, target: Bytes, address: int) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(runtime.cudaMemcpyAsync, target.ctypes.data, address, target.nbytes, kind, self.stream, doing="copying from the GPU")

    def capture(self, work: Callable[[], None]) -> _Graph:
        recording = "recording a graph"
        # Thread-local: another engine that takes memory on its own thread meanwhile does not spoil this recording.
        _call(runtime.cudaStreamBeginCapture, self.stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal, doing=recording)
        try:
            work()
        except BaseException:
            # Whatever these say: the first error is the one to tell. They end the recording, and keep a later call from being told its error.
            runtime.cudaStreamEndCapture(self.stream)
            runtime.cudaGetLastError()
            raise
        graph = _call(runtime.cudaStreamEndCapture, self.stream, doing=recording)
        try:
            return _Graph(_call(runtime.cudaGraphInstantiate, graph, 0, doing=recording), self.stream)
        finally:
            _call(runtime.cudaGraphDestroy, graph, doing=recording)

    def synchronize(self) -> None:
        _call(runtime.cudaStreamSynchronize, self.stream, doing="waiting for the GPU")

    def timed(self, parts: Sequence[Callable[[], None]]) -> list[float]:
        timing = "timing the GPU"
        with ExitStack() as held:

            def mark() -> Any:
                event = _call(runtime.cudaEventCreate, doing=timing)
                held.callback(_call, runtime.cudaEventDestroy, event, doing="freeing an event")
                _call(runtime.cudaEventRecord, event, self.stream, doing=timing)
                return event

            events = [mark()]
            for part in parts:
                part()
                events.append(mark())
            self.synchronize()
            # Source: CUDA Runtime API, cudaEventElapsedTime: milliseconds, to about half a microsecond.
            return [float(_call(runtime.cudaEventElapsedTime, *pair, doing=timing)) for pair in itertools.pairwise(events)]

    def free(self) -> None:
        _call(runtime.cudaStreamDestroy, self.stream, doing="freeing a stream")


def _call(function: Callable[..., tuple[Any, ...]], *arguments: Any, doing: str) -> Any:
    """Call CUDA: the answer without its error code."""
    error, *answer = function(*arguments)
    if int(error):
        raise _failure(error, doing)
    return answer[0] if len(answer) == 1 else tuple(answer)


def _failure(error: Any, doing: str) -> EdgeError:
    text = runtime.cudaGetErrorString(error)[1]
    asked, *memory = runtime.cudaMemGetInfo()
    return cuda_error(
        int(error),
        text.decode() if text else "unknown",
        doing=doing,
        driver_version=_driver_version(),
        library=_LIBRARY,
        memory_mb=None if int(asked) else (memory[0] / _MB, memory[1] / _MB),
    )


def _driver_version() -> str:
    error, number = runtime.cudaDriverGetVersion()
    return "" if int(error) else version_text(number)
