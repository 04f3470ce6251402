"""A stand-in for the builder of TensorRT 10, which needs a GPU: NVIDIA's own builder for RTX, behind the surface that version 10 has and RTX lacks.

It proves nothing about TensorRT 10: it lets our code for it run, strictly. Networks may be weakly typed, precisions may be flags, STRONGLY_TYPED stands at
another place, there is a timing cache, and nothing can be built ahead of time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import tensorrt_rtx

from edge.engine.trt.library import Library


class NetworkDefinitionCreationFlag(enum.Enum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1

    def __int__(self) -> int:
        return int(self.value)


class BuilderFlag(enum.Enum):
    FP16 = 0
    INT8 = 1
    TF32 = 6


@dataclass
class ToyBuilderLibrary:
    """An installation of the toy.

    Attributes:
        refuses_strong_typing: It fails to build strongly typed networks, as 10.3 does with some.
        starts: The builder starts; it does not where the driver is too old.
        networks: The flags of each network that was made.
        flags: The builder flags that are set; TF32 is from the start.
        caches: The timing cache that each build was given; None for none.
    """

    refuses_strong_typing: bool = False
    starts: bool = True
    networks: list[int] = field(default_factory=list)
    flags: set[BuilderFlag] = field(default_factory=lambda: {BuilderFlag.TF32})
    caches: list[bytes | None] = field(default_factory=list)

    def library(self, version: str = "10.3.0") -> Library:
        """As `find_library` gives it."""
        names = ("ILogger", "IProgressMonitor", "OnnxParser", "MemoryPoolType", "ProfilingVerbosity", "Dims")
        real = {name: getattr(tensorrt_rtx, name) for name in names}
        own = {"Builder": self._builder, "BuilderFlag": BuilderFlag, "NetworkDefinitionCreationFlag": NetworkDefinitionCreationFlag}
        return Library("tensorrt", version, SimpleNamespace(__version__=version, **real, **own))

    def _builder(self, logger: Any) -> Any:
        if not self.starts:
            logger.log(tensorrt_rtx.ILogger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _ToyBuilder(self, logger)


class _ToyBuilder:
    def __init__(self, toy: ToyBuilderLibrary, logger: Any) -> None:
        self._toy, self._logger = toy, logger
        self._real = tensorrt_rtx.Builder(logger)

    def create_network(self, flags: int) -> Any:
        known = {1 << int(flag) for flag in NetworkDefinitionCreationFlag} | {0}
        assert flags in known, "flags are positions, from the enumeration of the library that is installed"
        self._toy.networks.append(flags)
        return self._real.create_network(1 << int(tensorrt_rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def create_builder_config(self) -> Any:
        return _ToyConfig(self._toy, self._real.create_builder_config())

    def create_optimization_profile(self) -> Any:
        return self._real.create_optimization_profile()

    def build_serialized_network(self, network: Any, config: _ToyConfig) -> Any:
        self._toy.caches.append(config.cache and config.cache.content)
        if self._toy.refuses_strong_typing and self._toy.networks[-1]:
            self._logger.log(tensorrt_rtx.ILogger.ERROR, "Error Code 10: Internal Error (Could not find any implementation for node conv.)")
            return None
        return self._real.build_serialized_network(network, config.real)


@dataclass
class _ToyCache:
    content: bytes

    def serialize(self) -> bytes:
        return self.content + b"measured;"


class _ToyConfig:
    def __init__(self, toy: ToyBuilderLibrary, real: Any) -> None:
        real.num_compute_capabilities = 1
        real.set_compute_capability(tensorrt_rtx.ComputeCapability.SM89, 0)
        self.__dict__.update(real=real, toy=toy, cache=None)

    def __getattr__(self, name: str) -> Any:
        assert name in ("set_memory_pool_limit", "add_optimization_profile"), f"TensorRT 10 has no {name}"
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in ("profiling_verbosity", "progress_monitor"), f"TensorRT 10 has no {name}"
        setattr(self.real, name, value)

    def set_flag(self, flag: BuilderFlag) -> None:
        self.toy.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.toy.flags.discard(flag)

    def create_timing_cache(self, content: bytes) -> _ToyCache:
        return _ToyCache(content)

    def set_timing_cache(self, cache: _ToyCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content.startswith(b"foreign"):
            return False
        self.__dict__["cache"] = cache
        return True
