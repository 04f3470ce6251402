"""What TensorRT for RTX compiled on this device, kept beside the plan so that the next start need not compile it again. Not yet run on hardware by us."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from edge.engine.trt.device import Device
from edge.engine.trt.plan_file import KERNELS_SUFFIX, write_whole

_DIGEST_BYTES = hashlib.sha256().digest_size


class JitCache:
    """The kernels of one plan for one GPU and driver.

    A file that is damaged is not handed to the library, and the library refuses one of another environment by itself: then it compiles anew.

    Args:
        config: The library's `IRuntimeConfig`; is told to use the cache.
        plan: The plan's file. Its name tells the network, the library and the precision.
        device: The GPU.
    """

    def __init__(self, config: Any, plan: Path, device: Device) -> None:
        environment = re.sub(r"[^A-Za-z0-9.]+", "_", f"{device.name}-{device.driver_version}")
        self._plan = plan
        self._path = plan.with_name(f"{plan.stem}-{environment}{KERNELS_SUFFIX}")
        self._before = _read(self._path)
        self._cache = config.create_runtime_cache()
        if self._before:
            self._cache.deserialize(self._before)
        config.set_runtime_cache(self._cache)

    def save(self) -> list[str]:
        """Write what was compiled, where that is new, and remove what another GPU or driver had compiled for the same plan.

        Returns:
            What a user must hear of: nothing, or why it was not written.
        """
        after = bytes(self._cache.serialize())
        if after == self._before:
            return []
        try:
            write_kernels(self._path, after)
            for other in self._plan.parent.glob(f"{self._plan.stem}-*{KERNELS_SUFFIX}"):
                if other != self._path:
                    other.unlink()
        except OSError as error:
            return [f"kernels were compiled for this GPU and cannot be kept, so that each start compiles them: {self._path} ({error.strerror})"]
        return []


def write_kernels(path: Path, content: bytes) -> None:
    """Write what the library compiled so that damage is noticed.

    Raises:
        OSError: It could not be written.
    """
    write_whole(path, hashlib.sha256(content).digest(), content)


def _read(path: Path) -> bytes:
    """The content of a cache; empty where there is none that is whole."""
    try:
        sealed = path.read_bytes()
    except OSError:
        return b""
    digest, content = sealed[:_DIGEST_BYTES], sealed[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else b""
