"""The GPU as the TensorRT engine sees it: memory, one queue of work, and graphs of it. Two libraries can stand behind it: cuda-python and PyCUDA.

Not yet run on hardware by us: what this file and its neighbours do with a GPU is written after NVIDIA's documentation and exercised on a stand-in.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, EngineError, MissingDependency

Bytes = NDArray[np.uint8]

_INSTALL = "pip install 'facial-affect-edge[tensorrt]'   (cuda-bindings; on JetPack 6: 'facial-affect-edge[jetpack6]')"
_DRIVER = "https://www.nvidia.com/drivers on desktops; Jetsons get it with JetPack: sudo apt install nvidia-l4t-cuda"

# Source: CUDA Runtime API, cudaError_t.
_OUT_OF_MEMORY = 2
_NOT_STARTED = (3, 46, 999)  # initialization, every device in use, unknown
_DRIVER_TOO_OLD = 35
_NO_DEVICE = 100
_DRIVER_MISMATCH = (803, 804)


class Memory(Protocol):
    """A piece of memory that the GPU can address."""

    @property
    def address(self) -> int:
        """Where the GPU finds it."""
        ...

    def free(self) -> None:
        """Give it back; nothing may use it any more."""
        ...


class HostMemory(Memory, Protocol):
    """Memory of the CPU that does not move, so that the GPU can copy from and to it, or where it is mapped, use it as it is."""

    @property
    def bytes(self) -> Bytes:
        """The memory, as uint8[n]."""
        ...


class Graph(Protocol):
    """Work that was recorded once and is started as one."""

    def launch(self) -> None:
        """Put the recorded work into the stream that it was recorded from."""
        ...

    def free(self) -> None:
        """Forget it."""
        ...


class Stream(Protocol):
    """A queue of work for the GPU. Nothing is done when a call returns, everything is when `synchronize` does."""

    @property
    def handle(self) -> int:
        """What TensorRT knows it by."""
        ...

    def copy_in(self, address: int, source: Bytes) -> None:
        """Copy uint8[n] of a `HostMemory` to the GPU's memory at an address."""
        ...

    def copy_out(self, target: Bytes, address: int) -> None:
        """Copy from the GPU's memory at an address into uint8[n] of a `HostMemory`."""
        ...

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` puts into this stream instead of doing it.

        Raises:
            EngineError: Something in it cannot be recorded; the stream is as before.
        """
        ...

    def synchronize(self) -> None:
        """Wait until everything is done.

        Raises:
            EngineError: Some of it failed.
        """
        ...

    def timed(self, parts: Sequence[Callable[[], None]]) -> list[float]:
        """Let each of `parts` put its work into the stream, wait for all, and return the milliseconds of each by the GPU's own clock.

        Raises:
            EngineError: Some of it failed.
        """
        ...

    def free(self) -> None:
        """Forget the stream."""
        ...


class Device(Protocol):
    """The first GPU that this process may see (CUDA_VISIBLE_DEVICES chooses another)."""

    @property
    def name(self) -> str:
        """As the driver tells it, such as `Orin` or `NVIDIA GeForce RTX 4070`."""
        ...

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Its generation, such as (8, 7)."""
        ...

    @property
    def driver_version(self) -> str:
        """The newest CUDA version that the driver supports, such as `12.6`."""
        ...

    @property
    def shares_memory(self) -> bool:
        """Whether CPU and GPU use the same memory, as on Jetsons: copies would be waste there."""
        ...

    @property
    def supports_graphs(self) -> bool:
        """Whether `Stream.capture` works with the library behind this."""
        ...

    def memory_mb(self) -> tuple[float, float]:
        """Return free and total memory of the GPU in MB of 2^20 bytes."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """While inside, the GPU is the current one of the calling thread. Everything else here, and TensorRT, is called inside."""
        ...

    def allocate(self, n_bytes: int) -> Memory:
        """Return memory of the GPU.

        Raises:
            EngineError: There is not enough.
        """
        ...

    def allocate_host(self, n_bytes: int, *, mapped: bool) -> HostMemory:
        """Return pinned memory of the CPU; mapped memory may be used by the GPU as it is, at its `address`.

        Raises:
            EngineError: There is not enough.
        """
        ...

    def new_stream(self) -> Stream:
        """Return a stream that waits for no other.

        Raises:
            EngineError: CUDA failed.
        """
        ...


def find_device() -> Device:
    """Open the GPU with cuda-python, or with PyCUDA where that is what is installed.

    Raises:
        MissingDependency: Neither is installed, or there is no NVIDIA driver, or it is too old.
        EngineError: There is no GPU, or it does not start.
    """
    try:
        if _installed("cuda.bindings"):
            from edge.engine.trt.cuda_bindings_device import CudaBindingsDevice

            return CudaBindingsDevice()
    except EdgeError:
        raise
    except (ImportError, OSError, RuntimeError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingDependency(f"opening the GPU: the Python module 'cuda.bindings' does not load: {problem}", hint=_INSTALL) from error
    if _installed("pycuda"):
        from edge.engine.trt.pycuda_device import PycudaDevice

        return PycudaDevice()
    raise MissingDependency("TensorRT needs the Python module 'cuda.bindings' (or 'pycuda'), and neither is installed", hint=_INSTALL)


def cuda_error(code: int, text: str, *, doing: str, driver_version: str = "", library: str = "", memory_mb: tuple[float, float] | None = None) -> EdgeError:
    """Say what a CUDA error code means and what to do about it.

    Args:
        code: A `cudaError_t`; negative where it is not known.
        text: CUDA's own words for it.
        doing: What failed, such as `opening the GPU`.
        driver_version: The newest CUDA that the driver supports; empty where no driver answers.
        library: What called CUDA, with its version.
        memory_mb: Free and total memory, where it is known.

    Returns:
        MissingDependency where the driver is absent or too old, else EngineError.

    Source: CUDA Runtime API, cudaError_t.
    """
    if code == _DRIVER_TOO_OLD and not driver_version:
        return MissingDependency(f"{doing}: no NVIDIA driver is installed", hint=f"{_DRIVER}   or without a GPU: --engine onnxruntime")
    if code == _DRIVER_TOO_OLD and (ours := re.match(r"cuda-bindings (\d+)\.", library)) and int(ours[1]) > (major := int(driver_version.partition(".")[0])):
        problem = f"{doing}: {library} is made for a newer CUDA than the {driver_version} that the NVIDIA driver supports"
        return MissingDependency(problem, hint=f"pip install 'cuda-bindings<{major + 1}'   or, where there is one, a newer driver")
    if code == _DRIVER_TOO_OLD:
        return MissingDependency(f"{doing}: the NVIDIA driver is too old: it supports CUDA {driver_version}, {library} needs a newer one", hint=_DRIVER)
    if code in _DRIVER_MISMATCH:
        return MissingDependency(f"{doing}: the NVIDIA driver and its libraries are of different versions: {text}", hint="restart the machine")
    if code == _NO_DEVICE:
        hint = "ls /dev/nvidia* /dev/nvhost-gpu shows what this process can see (in a container: --gpus all, or --runtime nvidia)   or: --engine onnxruntime"
        return EngineError(f"{doing}: no NVIDIA GPU is there: {text}", hint=hint)
    if code == _OUT_OF_MEMORY:
        left = "" if memory_mb is None else f": {memory_mb[0]:.0f} of {memory_mb[1]:.0f} MB are free"
        return EngineError(
            f"{doing}: the GPU is out of memory{left}", hint="end what else uses it (nvidia-smi, or tegrastats on Jetsons), or: --engine onnxruntime"
        )
    if code in _NOT_STARTED:
        return EngineError(f"{doing}: CUDA does not start: {text} (error {code})", hint="sudo dmesg shows what the driver says; or: --engine onnxruntime")
    number = f" (error {code})" if code > 0 else ""
    return EngineError(f"{doing}: CUDA failed: {text}{number}", hint="edge-doctor shows the versions in use; or: --engine onnxruntime")


def version_text(number: int) -> str:
    """Return CUDA's version number, such as 12060, as `12.6`; empty for 0, which stands for no driver.

    Source: CUDA Runtime API, cudaDriverGetVersion: 1000 major + 10 minor.
    """
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _installed(module: str) -> bool:
    parent, _, _ = module.rpartition(".")
    return (not parent or importlib.util.find_spec(parent) is not None) and importlib.util.find_spec(module) is not None
