"""A stand-in for TensorRT, for a GPU and for the queue between them, so that what our engine does around them can be tested where there is neither.

It computes with ONNX Runtime on the CPU's memory and is strict about order: work is queued and done at `synchronize`, nothing runs before every shape and
address is set, nothing is recorded before it ran once, a graph is spoilt when its context is changed, freed memory is gone. It proves nothing about hardware:
that TensorRT itself behaves so is what its documentation says, and what the tests marked `gpu` are for.
"""

from __future__ import annotations

import enum
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edge.engine.trt.device import Bytes, cuda_error
from edge.engine.trt.library import Library
from edge.engine.trt.plan_file import PROFILE, Plan, PlanKey
from edge.errors import EngineError

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


@dataclass(eq=False)
class ToyMemory:
    """Bytes at an address; the GPU's and the CPU's alike, known apart by where they may be used."""

    gpu: ToyGpu
    bytes: Bytes
    on_gpu: bool
    on_cpu: bool

    @property
    def address(self) -> int:
        return self.bytes.ctypes.data

    def free(self) -> None:
        self.gpu.memory.remove(self)


@dataclass(eq=False)
class ToyGraph:
    work: list[Callable[[], None]]
    stream: ToyStream
    is_spoilt: Callable[[], bool]

    def launch(self) -> None:
        assert not self.is_spoilt(), "the graph's context was changed after the recording"
        assert self in self.stream.gpu.graphs, "the graph was freed"
        self.stream.gpu.launches += 1
        self.stream.queue.extend(self.work)

    def free(self) -> None:
        self.stream.gpu.graphs.remove(self)


@dataclass(eq=False)
class ToyStream:
    gpu: ToyGpu
    handle: int
    queue: list[Callable[[], None]] = field(default_factory=list)
    recording: list[ToyContext] | None = None

    def copy_in(self, address: int, source: Bytes) -> None:
        self.queue.append(lambda: self._copy(self.gpu.at(address, source.nbytes, on_gpu=True), self.gpu.at(source.ctypes.data, source.nbytes, on_gpu=False)))

    def copy_out(self, target: Bytes, address: int) -> None:
        self.queue.append(lambda: self._copy(self.gpu.at(target.ctypes.data, target.nbytes, on_gpu=False), self.gpu.at(address, target.nbytes, on_gpu=True)))

    def capture(self, work: Callable[[], None]) -> ToyGraph:
        assert not self.queue, "recording into a stream that is at work"
        self.recording = []
        try:
            work()
            assert len(self.recording) == 1, "a graph holds one enqueue"
            (context,) = self.recording
            change = context.changes
            graph = ToyGraph(self.queue, self, lambda: context.changes != change)
            self.gpu.graphs.append(graph)
            return graph
        finally:
            self.queue, self.recording = [], None

    def synchronize(self) -> None:
        self.gpu.check_current()
        if self.gpu.is_broken:
            raise cuda_error(700, "an illegal memory access was encountered", doing="waiting for the GPU")
        self.gpu.reached.set()
        assert self.gpu.gate.wait(30)
        queue, self.queue = self.queue, []
        for work in queue:
            work()

    def free(self) -> None:
        self.gpu.streams.remove(self)

    def _copy(self, target: Bytes, source: Bytes) -> None:
        self.gpu.copies += 1
        target[...] = source


class ToyGpu:
    """The device. `capacity` limits its memory, in bytes; `shares_memory` makes it a Jetson; without `supports_graphs` it is PyCUDA's.

    Attributes:
        gate: While it is not set, nothing is done: waiting for a stream waits for it.
        reached: Set when somebody waits for a stream.
    """

    name, compute_capability, driver_version = "Toy GPU", (8, 7), "12.6"

    def __init__(self, *, shares_memory: bool = False, supports_graphs: bool = True, capacity: int = 1 << 30) -> None:
        self.shares_memory, self.supports_graphs, self.capacity = shares_memory, supports_graphs, capacity
        self.memory: list[ToyMemory] = []
        self.streams: list[ToyStream] = []
        self.graphs: list[ToyGraph] = []
        self.copies = self.launches = self.is_current = 0
        self.is_broken = False
        self.reached, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def memory_mb(self) -> tuple[float, float]:
        return (self.capacity - self._used) / 2**20, self.capacity / 2**20

    @contextmanager
    def current(self) -> Iterator[None]:
        self.is_current += 1
        try:
            yield
        finally:
            self.is_current -= 1

    def allocate(self, n_bytes: int) -> ToyMemory:
        self.check_current()
        if self._used + n_bytes > self.capacity:
            raise cuda_error(2, "out of memory", doing=f"taking {n_bytes} bytes of the GPU's memory", memory_mb=self.memory_mb())
        return self._new(n_bytes, on_gpu=True, on_cpu=False)

    def allocate_host(self, n_bytes: int, *, mapped: bool) -> ToyMemory:
        self.check_current()
        return self._new(n_bytes, on_gpu=mapped, on_cpu=True)

    def new_stream(self) -> ToyStream:
        self.check_current()
        self.streams.append(ToyStream(self, handle=1000 + len(self.streams)))
        return self.streams[-1]

    def at(self, address: int, n_bytes: int, *, on_gpu: bool) -> Bytes:
        for memory in self.memory:
            start = address - memory.address
            if start >= 0 and start + n_bytes <= memory.bytes.nbytes and (memory.on_gpu if on_gpu else memory.on_cpu):
                return memory.bytes[start : start + n_bytes]
        raise AssertionError(f"no memory of the {'GPU' if on_gpu else 'CPU'} at {address:#x}: freed, or never taken, or the other's")

    def check_current(self) -> None:
        assert self.is_current, "the GPU is used by a thread that it is not current in"

    @property
    def _used(self) -> int:
        return sum(memory.bytes.nbytes for memory in self.memory if memory.on_gpu)

    def _new(self, n_bytes: int, *, on_gpu: bool, on_cpu: bool) -> ToyMemory:
        # Rubbish, as in real memory: a row that nobody wrote must not happen to be zero.
        self.memory.append(ToyMemory(self, np.full(n_bytes, 0x7F, np.uint8), on_gpu, on_cpu))
        return self.memory[-1]


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

    def create_execution_context(self, runtime_config: Any = None) -> ToyContext | None:
        assert (runtime_config is not None) == self.runtime.is_rtx, "RTX gets a configuration, TensorRT none"
        if self.runtime.contexts_left == 0:
            self.runtime.logger.log(ILogger.ERROR, "[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)")
            return None
        self.runtime.contexts_left -= 1
        return ToyContext(self)

    def create_runtime_config(self) -> Any:
        assert self.runtime.is_rtx
        self.runtime.config = SimpleNamespace(create_runtime_cache=ToyRuntimeCache, set_runtime_cache=self._set_runtime_cache)
        return self.runtime.config

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

    def deserialize_cuda_engine(self, content: bytes) -> ToyEngine | None:
        self.gpu.check_current()
        head, _, network = content.partition(b"\n")
        plan = json.loads(head)
        if plan["version"] != VERSION:
            said = f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization (version tag does not match. Note: {plan['version']})"
            self.logger.log(ILogger.ERROR, said)
            return None
        return ToyEngine(self, network, tuple(plan["profile"]))


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
        def new_runtime(logger: Any) -> ToyRuntime:
            self.runtime = ToyRuntime(self.gpu, logger, self.rtx, **self.faults)
            return self.runtime

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
