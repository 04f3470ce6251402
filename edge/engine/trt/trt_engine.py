"""TensorRT and TensorRT for RTX: one plan, loaded and ready. Not yet run on hardware by us.

Buffers are taken once, for the largest batch of the plan. Each bucket (batch 1, 2, 4, 8) has an execution context of its own, whose work (copies in, network,
copies out) is recorded as one CUDA graph: a graph holds the addresses and shapes of its recording, and its context must not serve another. Smaller batches are
padded with zeros up to the next bucket, larger ones run in pieces. TensorRT for RTX compiles its kernels on the device and records graphs by itself; what it
compiled is kept beside the plan.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.engine.engine import Array, check_feeds
from edge.engine.trt.device import Bytes, Device, Graph, Memory, Stream
from edge.engine.trt.errors import PlanRefused
from edge.engine.trt.jit_cache import JitCache
from edge.engine.trt.library import Library
from edge.engine.trt.messages import Messages, undisturbed
from edge.engine.trt.plan_file import Plan
from edge.errors import EdgeError, EngineError, InferenceFailed, PackageError, SpecMismatch

if TYPE_CHECKING:
    import tensorrt as trt

_FP32_BYTES = 4
_PARTS = ("h2d", "compute", "d2h")


class TrtEngine:
    """One plan on one GPU.

    It may be used by one thread and closed by another: closing waits for an inference that is running.

    Args:
        plan: As `read_plan` gave it: nothing else may be loaded.
        library: What built it.
        device: The GPU.

    Attributes:
        notes: What a user must hear of.

    Raises:
        PlanRefused: The library does not take the plan: it comes from another version of it.
        PackageError: The plan takes or gives something else than float32 tensors.
        EngineError: It cannot be loaded: the GPU lacks memory, or CUDA failed.
        MissingDependency: The driver is too old for the library.
    """

    def __init__(self, plan: Plan, *, library: Library, device: Device) -> None:
        self._where = plan.path.name
        self._device = device
        self._library = library
        self._description = f"{library.title} {plan.key.precision} on {device.name}"
        self.notes = [*plan.notes]
        self._messages = Messages(library)
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._library_objects: list[Any] = []
        self._tensors: dict[str, _Tensor] = {}
        self._buckets: dict[int, _Bucket] = {}
        try:
            with undisturbed(), device.current(), self._messages.listening():
                self._open(plan)
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """Version, precision and GPU."""
        return self._description

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by input name; the batch is free, whatever the plan's is."""
        return self._inputs

    @property
    def output_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by output name; the batch is that of the inputs."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network; see `edge.engine.engine.Engine.run`.

        Raises:
            SpecMismatch: A name, shape or dtype is not the network's, the inputs differ in their batch, or it is 0.
            InferenceFailed: TensorRT or CUDA failed, or the engine was closed.
        """
        return self.timed_run(feeds)[0]

    def timed_run(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], float]:
        """Run the network as `run` does; see `edge.engine.pace.Timed`.

        Raises:
            SpecMismatch: See `run`.
            InferenceFailed: See `run`.
        """
        with self._lock:
            start_ns = time.perf_counter_ns()
            n = self._checked_batch(feeds)
            outputs = {name: np.empty((n, *shape[1:]), np.float32) for name, shape in self._output_rows.items()}
            with self._at_work():
                for start in range(0, n, self._max_batch):
                    self._run_piece(feeds, outputs, start, min(n, start + self._max_batch))
            return outputs, (time.perf_counter_ns() - start_ns) / 1e6

    def parts_ms(self, feeds: Mapping[str, Array]) -> dict[str, float]:
        """Run the network once, part by part, and time the parts by the GPU's own clock (CUDA events).

        The parts are put into the stream one after another, for an event inside a recorded graph has no time of its own: their sum is not what `run` takes.

        Args:
            feeds: As for `run`, of a batch that the plan takes at once.

        Returns:
            Milliseconds of `h2d` (inputs to the GPU), `compute` and `d2h` (outputs to the CPU); of `compute` alone where both share their memory.

        Raises:
            SpecMismatch: See `run`; or the batch is larger than the plan's.
            InferenceFailed: See `run`.
        """
        with self._lock:
            n = self._checked_batch(feeds)
            if n > self._max_batch:
                raise SpecMismatch(f"{self._where}: expected at most the plan's batch of {self._max_batch} to time, got {n}")
            with self._at_work():
                bucket = self._fill(feeds, 0, n)
                parts = [partial(part, bucket) for part in (self._copy_in, self._execute, self._copy_out)]
                times = zip(_PARTS, self._stream.timed(parts), strict=True)
            return {name: ms for name, ms in times if name == "compute" or not self._device.shares_memory}

    def close(self) -> None:
        """Free the plan and its memory."""
        with undisturbed(), self._lock, suppress(EdgeError), self._device.current():
            # A GPU that has failed refuses to free as well; the error that stopped the inference is the one to tell.
            self._held.close()

    def _open(self, plan: Plan) -> None:
        self._stream: Stream = self._keep(self._device.new_stream())
        engine = self._load(plan)
        inputs, lowest, self._max_batch = _inputs_of(engine, self._library, where=self._where)
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        self._check_float32(engine, names)
        new_context, compiled = self._context_maker(engine, plan)
        # The largest first: it tells how large the outputs get.
        for batch in sorted({self._max_batch, *_powers_of_two(lowest, self._max_batch)}, reverse=True):
            context = new_context()
            self._held.callback(self._buckets.clear)
            for name, row in inputs.items():
                self._must(context.set_input_shape(name, (batch, *row)), f"set_input_shape of '{name}' to a batch of {batch}")
            shapes = {name: (batch, *inputs[name]) if name in inputs else tuple(context.get_tensor_shape(name)) for name in names}
            if not self._tensors:
                self._take_buffers(shapes, inputs)
            for name, tensor in self._tensors.items():
                if shapes[name] != (batch, *tensor.host.shape[1:]):
                    raise EngineError(f"{self._where}: expected a row of '{name}' for each input, got {list(shapes[name])} for a batch of {batch}", hint=_CPU)
                self._must(context.set_tensor_address(name, tensor.memory.address), f"set_tensor_address of '{name}'")
            self._buckets[batch] = _Bucket(batch, context)
            self._warm_up(self._buckets[batch], record=compiled is None)
        if compiled is not None:
            self.notes += compiled.save()
        self._inputs = {name: (None, *row) for name, row in inputs.items()}
        self._output_rows = {name: tensor.host.shape for name, tensor in self._tensors.items() if name not in inputs}
        self._outputs = {name: (None, *shape[1:]) for name, shape in self._output_rows.items()}

    def _load(self, plan: Plan) -> trt.ICudaEngine:
        self._held.callback(self._free_library_objects)
        try:
            runtime = self._library.module.Runtime(self._messages.logger)
        except TypeError as error:  # what the binding makes of a null pointer
            raise self._failure("starting the library") from error
        self._library_objects.append(runtime)
        engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan.content)
        if engine is None:
            raise self._failure("loading it")
        self._library_objects.append(engine)
        return engine

    def _free_library_objects(self) -> None:
        while self._library_objects:  # each uses those before it
            self._library_objects.pop()

    def _context_maker(self, engine: trt.ICudaEngine, plan: Plan) -> tuple[Callable[[], trt.IExecutionContext], JitCache | None]:
        """Return what makes execution contexts, and where the library compiles its kernels here, what it compiled."""
        module = self._library.module
        compiled: JitCache | None = None
        arguments: list[Any] = []
        if hasattr(module, "CudaGraphStrategy"):
            config: Any = engine.create_runtime_config()
            config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            # The batches are known and each is run once before the first face: nothing is left to be compiled behind a frame's back.
            config.dynamic_shapes_kernel_specialization_strategy = module.DynamicShapesKernelSpecializationStrategy.EAGER
            compiled = JitCache(config, plan.path, self._device)
            arguments = [config]
            self._library_objects += [compiled, config]  # the contexts use them

        def new_context() -> trt.IExecutionContext:
            context: trt.IExecutionContext | None = engine.create_execution_context(*arguments)
            if context is None:
                raise self._failure("making an execution context")
            return context

        return new_context, compiled

    def _take_buffers(self, shapes: Mapping[str, tuple[int, ...]], inputs: Mapping[str, Any]) -> None:
        mapped = self._device.shares_memory
        for name, shape in shapes.items():
            if -1 in shape:
                raise EngineError(f"{self._where}: the size of '{name}' depends on what is in the inputs: {list(shape)}", hint=_CPU)
            n_bytes = int(np.prod(shape)) * _FP32_BYTES
            host = self._keep(self._device.allocate_host(n_bytes, mapped=mapped))
            memory = host if mapped else self._keep(self._device.allocate(n_bytes))
            self._tensors[name] = _Tensor(host.bytes.view(np.float32).reshape(shape), memory, is_input=name in inputs, is_copied=not mapped)
            self._tensors[name].host[...] = 0
        self._held.callback(self._tensors.clear)

    def _warm_up(self, bucket: _Bucket, *, record: bool) -> None:
        # TensorRT finishes its set-up in the first enqueue after a change of shapes; that cannot be recorded.
        self._enqueue(bucket)
        self._stream.synchronize()
        if not record:
            return
        if not self._device.supports_graphs:
            self._note("without CUDA graphs: PyCUDA has none; with cuda-bindings there are")
            return
        try:
            bucket.graph = self._keep(self._stream.capture(lambda: self._enqueue(bucket)))
        except EngineError as error:
            self._note(f"without CUDA graphs: {error.args[0]}")

    def _checked_batch(self, feeds: Mapping[str, Array]) -> int:
        if not self._buckets:
            raise InferenceFailed(f"{self._where}: the engine is closed", hint="make a new one")
        check_feeds(feeds, self._inputs, where=self._where)
        batches = {name: len(array) for name, array in feeds.items()}
        n = min(batches.values())
        if n != max(batches.values()) or n == 0:
            raise SpecMismatch(f"{self._where}: expected inputs of one batch, of 1 and more, got {batches}")
        return n

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        try:
            with self._device.current(), self._messages.listening():
                yield
        except EngineError as error:
            raise InferenceFailed(f"{self._where}: {error.args[0]}", hint=error.hint) from error

    def _fill(self, feeds: Mapping[str, Array], start: int, end: int) -> _Bucket:
        """Put rows into the inputs of the smallest bucket that holds them."""
        n = end - start
        bucket = self._buckets[min(batch for batch in self._buckets if batch >= n)]
        for name, array in feeds.items():
            host = self._tensors[name].host
            host[:n] = array[start:end]
            host[n : bucket.batch] = 0
        return bucket

    def _run_piece(self, feeds: Mapping[str, Array], outputs: Mapping[str, Array], start: int, end: int) -> None:
        bucket = self._fill(feeds, start, end)
        if bucket.graph is not None:
            bucket.graph.launch()
        else:
            self._enqueue(bucket)
        self._stream.synchronize()
        for name, output in outputs.items():
            output[start:end] = self._tensors[name].host[: end - start]

    def _enqueue(self, bucket: _Bucket) -> None:
        self._copy_in(bucket)
        self._execute(bucket)
        self._copy_out(bucket)

    def _copy_in(self, bucket: _Bucket) -> None:
        for tensor in self._tensors.values():
            if tensor.is_copied and tensor.is_input:
                self._stream.copy_in(tensor.memory.address, tensor.bytes_of(bucket.batch))

    def _execute(self, bucket: _Bucket) -> None:
        self._must(bucket.context.execute_async_v3(self._stream.handle), "execute_async_v3")

    def _copy_out(self, bucket: _Bucket) -> None:
        for tensor in self._tensors.values():
            if tensor.is_copied and not tensor.is_input:
                self._stream.copy_out(tensor.bytes_of(bucket.batch), tensor.memory.address)

    def _check_float32(self, engine: trt.ICudaEngine, names: list[str]) -> None:
        for name in names:
            if (dtype := engine.get_tensor_dtype(name)) != self._library.module.DataType.FLOAT:
                raise PackageError(f"{self._where}: expected float32 tensors, got {dtype} for '{name}'", hint="convert the network with float32 in and out")

    def _keep(self, resource: Any) -> Any:
        self._held.callback(_freed, resource)
        return resource

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _must(self, succeeded: bool, doing: str) -> None:
        if not succeeded:
            raise self._failure(doing)

    def _failure(self, doing: str) -> EngineError:
        """What the library's log says of it."""
        lines, failed = [*self._messages.errors], self._messages.failed(self._where, doing=doing)
        self._messages.errors.clear()
        if any(_FOREIGN.search(line) for line in lines):
            return PlanRefused(f"{self._where}: {self._library.title} does not take this plan, {doing}: {lines[0]}", hint="delete it: edge-run builds it again")
        return EngineError(failed.args[0], hint=failed.hint)


_CPU = "--engine onnxruntime runs the network on the CPU"
# What the libraries say of a plan that is damaged, or was built by another version or for another kind of GPU.
_FOREIGN = re.compile(r"Serialization \(|version tag|[Ii]ncompatible|not compatible")


@dataclass(frozen=True)
class _Tensor:
    """An input or output: float32[largest batch, ...] on the CPU's side, and what TensorRT reads or writes, which is the same memory where that is mapped."""

    host: Array
    memory: Memory
    is_input: bool
    is_copied: bool

    def bytes_of(self, batch: int) -> Bytes:
        return self.host[:batch].reshape(-1).view(np.uint8)


@dataclass
class _Bucket:
    batch: int
    context: trt.IExecutionContext
    graph: Graph | None = None


def _inputs_of(engine: trt.ICudaEngine, library: Library, *, where: str) -> tuple[dict[str, tuple[int, ...]], int, int]:
    """Return the shape of one row by input name, and the smallest and largest batch."""
    rows, batches = {}, set()
    for place in range(engine.num_io_tensors):
        name = engine.get_tensor_name(place)
        if engine.get_tensor_mode(name) != library.module.TensorIOMode.INPUT:
            continue
        smallest = largest = tuple(engine.get_tensor_shape(name))
        if -1 in smallest:
            smallest, _, largest = map(tuple, engine.get_tensor_profile_shape(name, 0))
        if smallest[1:] != largest[1:]:
            raise EngineError(f"{where}: expected sizes that are free in the batch only, got {smallest} to {largest} for '{name}'", hint=_CPU)
        rows[name] = largest[1:]
        batches.add((smallest[0], largest[0]))
    if len(batches) != 1:
        raise EngineError(f"{where}: expected inputs of one range of batches, got {sorted(batches)}", hint=_CPU)
    ((lowest, highest),) = batches
    return rows, lowest, highest


def _powers_of_two(low: int, high: int) -> list[int]:
    return [1 << bit for bit in range(high.bit_length()) if low <= 1 << bit <= high]


def _freed(resource: Any) -> None:
    with suppress(EdgeError):  # see `close`: the others still want to be freed
        resource.free()
