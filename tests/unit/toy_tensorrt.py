"""A stand-in for TensorRT on the GPU of `toy_gpu`, so that what our engine does around it can be tested where there is neither.

It computes with ONNX Runtime on the CPU's memory and is strict about order: nothing runs before every shape and address is set, nothing is recorded before it
ran once, a graph is spoilt when its context is changed. It proves nothing about hardware: that TensorRT itself behaves so is what its documentation says, and
what the tests marked `gpu` are for.
"""

from __future__ import annotations

import enum
import json
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edge.engine.trt.library import Library
from edge.engine.trt.plan_file import PROFILE, Plan, PlanKey
from edge.errors import EngineError
from tests.unit.toy_gpu import ToyGpu

VERSION = "10.99.0"


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = 0, 1, 2


class DataType(enum.Enum):
    FLOAT, HALF = 0, 1


class CudaGraphStrategy(enum.Enum):
    DISABLED, WHOLE_GRAPH_CAPTURE = 0, 1


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY, EAGER, NONE = 0, 1, 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class Held:
    """An object of the library as Python holds it: gone, and noted, with its last reference."""

    def __init__(self, held: Any, freed: list[str]) -> None:
        self.__dict__["_held"] = held
        weakref.finalize(self, freed.append, type(held).__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._held, name, value)


class ToyRuntimeConfig(SimpleNamespace):
    """`IRuntimeConfig`."""


class ToyContext:
    """`IExecutionContext`."""

    def __init__(self, engine: ToyEngine) -> None:
        self.engine, self.changes = engine, 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._has_run = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        if not all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True)):
            return self.engine.fail(f"IExecutionContext::setInputShape: {shape} lies outside the profile")
        self._shapes[name], self._has_run = tuple(shape), False
        self.changes += 1
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, *rest = self.engine.get_tensor_shape(name)
        batches = {shape[0] for shape in self._shapes.values()}
        known = len(self._shapes) == len(self.engine.inputs) and len(batches) == 1
        return (min(batches) if batch == -1 and known else batch, *rest)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        self.changes += 1
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        gpu = self.engine.runtime.gpu
        gpu.check_current()
        (stream,) = (stream for stream in gpu.streams if stream.handle == stream_handle)
        if self._addresses.keys() != {*self.engine.inputs, *self.engine.outputs} or self._shapes.keys() != self.engine.inputs.keys():
            return self.engine.fail("IExecutionContext::enqueueV3: Error Code 3: API Usage Error (an address or a shape is not set)")
        if stream.recording is not None:
            if self.engine.runtime.is_rtx or not self._has_run:
                return self.engine.fail("IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)")
            if self.engine.runtime.refuses_recording:
                raise EngineError("recording a graph: CUDA failed: operation would make the legacy stream depend on a capturing blocking stream (error 906)")
            stream.recording.append(self)
        if self.engine.runtime.fails_at_work:
            return self.engine.fail(f"IExecutionContext::enqueueV3: Error Code 1: Cuda Driver ({self.engine.runtime.fails_at_work})")
        self._has_run = True
        shapes = dict(self._shapes)
        stream.queue.append(lambda: self._compute(shapes))
        return True

    def _compute(self, shapes: dict[str, tuple[int, ...]]) -> None:
        time.sleep(self.engine.runtime.delay_s)
        answers = self.engine.session.run(None, {name: self._array(name, shape).copy() for name, shape in shapes.items()})
        self.engine.runtime.batches.append(next(iter(shapes.values()))[0])
        for name, answer in zip(self.engine.outputs, answers, strict=True):
            self._array(name, answer.shape)[...] = answer

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return self.engine.runtime.gpu.at(self._addresses[name], int(np.prod(shape)) * 4, on_gpu=True).view(np.float32).reshape(shape)


class ToyEngine:
    """`ICudaEngine`."""

    def __init__(self, runtime: ToyRuntime, content: bytes, profile: tuple[int, int, int]) -> None:
        self.runtime, self.profile = runtime, profile
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.inputs: dict[str, tuple[int, ...]] = {node.name: self._shape(node) for node in self.session.get_inputs()}
        self.outputs: dict[str, tuple[int, ...]] = {node.name: self._shape(node) for node in self.session.get_outputs()}
        self.num_io_tensors = len(self.inputs) + len(self.outputs)

    def fail(self, message: str) -> bool:
        self.runtime.logger.log(ILogger.ERROR, message)
        return False

    def get_tensor_name(self, index: int) -> str:
        names: list[str] = [*self.inputs, *self.outputs]
        return names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.HALF if name in self.runtime.half else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {**self.inputs, **self.outputs}[name]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        assert name in self.inputs
        return [tuple(batch if size == -1 else size for size in self.inputs[name]) for batch in self.profile]

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        assert (runtime_config is not None) == self.runtime.is_rtx, "RTX gets a configuration, TensorRT none"
        if self.runtime.contexts_left == 0:
            self.runtime.logger.log(ILogger.ERROR, "[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)")
            return None
        self.runtime.contexts_left -= 1
        return Held(ToyContext(self), self.runtime.freed)

    def create_runtime_config(self) -> Any:
        assert self.runtime.is_rtx
        self.runtime.config = ToyRuntimeConfig(create_runtime_cache=ToyRuntimeCache, set_runtime_cache=self._set_runtime_cache)
        return Held(self.runtime.config, self.runtime.freed)

    def _set_runtime_cache(self, cache: ToyRuntimeCache) -> bool:
        self.runtime.cache = cache
        return True

    def _shape(self, node: Any) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in node.shape)


class ToyRuntimeCache:
    """`IRuntimeCache`: what it was given, or that it had to compile."""

    def __init__(self) -> None:
        self.content = b"compiled here"

    def deserialize(self, blob: bytes) -> bool:
        self.content = blob
        return True

    def serialize(self) -> bytes:
        return self.content


@dataclass(eq=False)
class ToyRuntime:
    """`Runtime`; with the failures that a test asks for."""

    gpu: ToyGpu
    logger: Any
    is_rtx: bool
    refuses_recording: bool = False
    fails_at_work: str = ""
    contexts_left: int = 100
    delay_s: float = 0.0
    half: tuple[str, ...] = ()
    config: Any = None
    cache: ToyRuntimeCache | None = None
    batches: list[int] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        self.gpu.check_current()
        head, _, network = content.partition(b"\n")
        plan = json.loads(head)
        if plan["version"] != VERSION:
            said = f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization (version tag does not match. Note: {plan['version']})"
            self.logger.log(ILogger.ERROR, said)
            return None
        return Held(ToyEngine(self, network, tuple(plan["profile"])), self.freed)


@dataclass(eq=False)
class ToyTensorrt:
    """An installation: the library for our engine, and its last runtime, so that tests can look into it.

    Attributes:
        gpu: What it runs on.
        rtx: Be TensorRT for RTX.
        faults: What its runtimes are made with.
    """

    gpu: ToyGpu
    rtx: bool = False
    faults: dict[str, Any] = field(default_factory=dict)
    runtime: ToyRuntime | None = None

    @property
    def library(self) -> Library:
        def new_runtime(logger: Any) -> Any:
            self.runtime = ToyRuntime(self.gpu, logger, self.rtx, **self.faults)
            return Held(self.runtime, self.runtime.freed)

        module = SimpleNamespace(Runtime=new_runtime, ILogger=ILogger, TensorIOMode=TensorIOMode, DataType=DataType)
        if self.rtx:
            module.CudaGraphStrategy = CudaGraphStrategy
            module.DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy
        return Library("tensorrt_rtx" if self.rtx else "tensorrt", VERSION, module)


def toy_plan(folder: Path, network: Path, *, profile: tuple[int, int, int] = PROFILE, version: str = VERSION) -> Plan:
    """A plan that the stand-in loads: the network itself, behind a line that says what it was built for."""
    key = PlanKey(
        package="toy",
        stage=network.stem,
        model_sha256="0" * 64,
        precision="fp16",
        library="tensorrt",
        library_version=VERSION,
        gpu=ToyGpu.name,
        compute_capabilities=("sm87",),
        profile=profile,
        edge_version="test",
    )
    content = json.dumps({"version": version, "profile": profile}).encode() + b"\n" + onnx.load(network).SerializeToString()
    return Plan(folder / key.file_name, key, (), content)
