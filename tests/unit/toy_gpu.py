"""A stand-in for a GPU and the queue of work for it: work is done at `synchronize`, memory is the CPU's and known apart by who may use it, freed is gone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge.engine.trt.device import Bytes, cuda_error

if TYPE_CHECKING:
    from tests.unit.toy_tensorrt import ToyContext


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

    def timed(self, parts: Sequence[Callable[[], None]]) -> list[float]:
        """Count a millisecond for each piece of work."""
        reached = [len(self.queue)]
        for part in parts:
            part()
            reached.append(len(self.queue))
        self.synchronize()
        return [float(later - earlier) for earlier, later in itertools.pairwise(reached)]

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
