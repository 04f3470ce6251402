"""One network that serves on ONNX Runtime while its TensorRT plan is built, and goes over to it once it has answered live inputs alike.

A thread of its own builds (in a child process), opens and compares, one network of the process after the other; whoever runs the network never waits for it.
Not yet run on hardware by us.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from edge.engine.engine import Array, Engine
from edge.engine.pace import WORTHWHILE, side_by_side_ms
from edge.engine.trt.child import Done, Failed, PlanBuild, Progress
from edge.engine.trt.device import Device
from edge.engine.trt.library import Library
from edge.engine.trt.likeness import N_COMPARED, Likeness
from edge.engine.trt.plan_file import Say, read_plan
from edge.engine.trt.trt_engine import TrtEngine
from edge.errors import EdgeError, EngineError
from edge.package import Package, Precision
from edge.stage import Stage

if TYPE_CHECKING:
    from edge.engine.trt.build import Target

_POLL_S = 0.1
_SAY_EVERY_S = 10.0
# An opening that is under way cannot be interrupted. Source: a guess at how long one may take; after that the process ends without it.
_CLOSE_S = 10.0
# Builders take memory, and time kernels, as comparisons time networks: beside another one they would measure that as well.
_one_at_a_time = threading.Lock()
_T = TypeVar("_T")


class Build(Protocol):
    """A plan in the making, see `edge.engine.trt.child.PlanBuild`."""

    def poll(self) -> Progress | Done | Failed:
        """Return how far it is. Never waits."""
        ...

    def cancel(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A plan that may take over.

    Attributes:
        precision: Of its network.
        start: Starts to build it in a child process, which ends with the thread that calls this.
        open_plan: Loads it.
    """

    precision: Precision
    start: Callable[[], Build]
    open_plan: Callable[[Done], TrtEngine]


def target_here(library: Library, device: Device) -> Target:
    """Return what plans are built for on this machine."""
    from edge.engine.trt.build import Target

    major, minor = device.compute_capability
    return Target(library, (f"sm{major}{minor}",), device.name)


def candidates(
    package: Package, stage: Stage, precisions: Sequence[Precision], *, target: Target, device: Device, folder: Path, workspace_mb: int
) -> list[Candidate]:
    """Return the candidates of a stage, one for each precision that its network differs in.

    Args:
        package: A loaded package.
        stage: One of its stages.
        precisions: Of the package, in the order in which they are to be tried.
        target: What plans are built for, see `target_here`.
        device: What runs them.
        folder: Where plans lie.
        workspace_mb: Most scratch memory that a builder may ask for.

    Raises:
        PackageNotFound: The package does not offer a precision.
    """
    differing = {package.stage_precision(stage, precision): precision for precision in reversed(precisions)}

    def candidate(of_stage: Precision, of_package: Precision) -> Candidate:
        def start() -> PlanBuild:
            return PlanBuild.start(package, stage, of_package, target, folder=folder, workspace_mb=workspace_mb)

        def open_plan(built: Done) -> TrtEngine:
            # The key is the builder's: deriving the network here once more would hold up the frames that are being served.
            return TrtEngine(read_plan(Path(built.path), built.key), library=target.library, device=device)

        return Candidate(of_stage, start, open_plan)

    return [candidate(of_stage, of_package) for of_stage, of_package in reversed(differing.items())]


class SwitchingEngine:
    """An engine that starts as one and may end as another.

    Candidates are tried in order. The first that answers live inputs as ONNX Runtime does takes over; a later one takes over from it only if it is also over
    5 % faster, both measured here: give FP16 before INT8. ONNX Runtime stays loaded for the comparisons and is freed when the last candidate is settled and
    one has taken over. It may be used by one thread and closed by another.

    Args:
        name: Of the network, for messages.
        fallback: ONNX Runtime, owned by this engine from now on. Its shapes are this engine's.
        fallback_precision: Of its network.
        to_try: At least one candidate.
        required: TensorRT was asked for by name: where no candidate can take over, `run` raises instead of staying with ONNX Runtime.
        say: Takes lines for the user, from any thread.

    Attributes:
        notes: What a user must hear of, also at the end; grows while it works, and when it is closed.
    """

    def __init__(self, name: str, fallback: Engine, fallback_precision: Precision, to_try: Sequence[Candidate], *, required: bool, say: Say) -> None:
        assert to_try, "nothing to switch to"
        self.notes: list[str] = []
        self._name, self._required, self._say_line = name, required, say
        self._fallback, self._fallback_precision = fallback, fallback_precision
        self._serving: Engine = fallback
        self._precision = fallback_precision
        self._shapes = (fallback.input_shapes, fallback.output_shapes)
        self._next: tuple[Engine, Precision] | None = None
        self._replaced: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        self._n_by_fallback = 0
        self._wanted = threading.Semaphore(0)
        self._seen: queue.SimpleQueue[Mapping[str, Array]] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._status = "waiting for its turn"
        self._stop, self._opened, self._settled = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, args=(to_try,), name=f"tensorrt {name}", daemon=True)
        self._thread.start()

    @property
    def description(self) -> str:
        """What runs where, at this moment; and what is being done about it."""
        serving = self._serving.description
        return serving if self._settled.is_set() else f"{serving} (TensorRT: {self._status})"

    @property
    def precision(self) -> Precision:
        """Of the network that serves at this moment."""
        return self._precision

    @property
    def on_tensorrt(self) -> bool:
        """Whether TensorRT serves at this moment."""
        return self._serving is not self._fallback

    @property
    def settled(self) -> bool:
        """Whether nothing will change any more."""
        return self._settled.is_set()

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by input name; None stands for a free dimension."""
        return self._shapes[0]

    @property
    def output_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by output name; None stands for a dimension that depends on the input."""
        return self._shapes[1]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network; see `edge.engine.engine.Engine.run`.

        Raises:
            SpecMismatch: A name, shape or dtype is not the network's.
            InferenceFailed: The backend failed, or the engine was closed.
            EngineError: TensorRT was asked for by name, and cannot take over.
        """
        if self._failure is not None:
            raise self._failure
        if self._next is not None:  # between two inferences, by the thread that runs them: neither engine is in use
            before = self._serving
            (self._serving, self._precision), self._next = self._next, None
            self._replaced.put(before)
        answers = self._serving.run(feeds)
        self._n_by_fallback += not self.on_tensorrt
        if self._wanted.acquire(blocking=False):
            self._seen.put({name: array.copy() for name, array in feeds.items()})
        return answers

    def parts_ms(self, feeds: Mapping[str, Array]) -> dict[str, float]:
        """Time the parts of an inference, see `TrtEngine.parts_ms`; of none while ONNX Runtime serves, which does not tell them apart.

        Raises:
            SpecMismatch: See `TrtEngine.parts_ms`.
            InferenceFailed: See `TrtEngine.parts_ms`.
        """
        return self._serving.parts_ms(feeds) if isinstance(self._serving, TrtEngine) else {}

    def wait_until_opened(self) -> None:
        """Wait until the first candidate that can be opened is: for those who would rather begin late than on ONNX Runtime.

        Raises:
            EngineError: TensorRT was asked for by name, and no candidate can be built or opened.
        """
        self._opened.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End what is being built, and free everything. Closing twice is allowed."""
        self._stop.set()
        self._thread.join(_CLOSE_S)
        if self._required and self._n_by_fallback:
            self._summed_up()
        self._serving.close()
        self._fallback.close()

    def _summed_up(self) -> None:
        answered = f"{self._n_by_fallback} inference{'s were' if self._n_by_fallback > 1 else ' was'} answered by {self._fallback.description}"
        note = f"{self._name}: asked for TensorRT: {answered} in {self._fallback_precision}"
        if note not in self.notes:
            self.notes.append(note)

    def _work(self, to_try: Sequence[Candidate]) -> None:
        try:
            reasons = [reason for candidate in to_try if (reason := self._tried(candidate)) is not None]
            if self.on_tensorrt:
                self._fallback.close()
            elif self._required:
                self._failure = EngineError(f"{self._name}: TensorRT cannot take over: {reasons[-1].args[0]}", hint=reasons[-1].hint)
            else:
                self._note(f"{self._name} stays on {self._fallback.description}")
        except _Closed:
            pass
        except BaseException as bug:  # noqa: BLE001 - nobody looks at this thread: `run` raises it where it is seen
            self._failure = bug
        finally:
            self._opened.set()
            self._settled.set()

    def _tried(self, candidate: Candidate) -> EdgeError | None:
        """Try a candidate; return why it cannot take over."""
        try:
            self._try(candidate)
        except _Closed:
            raise
        except EdgeError as error:
            self._note(f"TensorRT {candidate.precision} is not used for {self._name}: {error.args[0]}")
            return error
        except Exception as bug:
            if self._required and not self.on_tensorrt:
                raise
            told = f"{type(bug).__name__}: {bug}"
            self._note(f"TensorRT {candidate.precision} is not used for {self._name}: {told} (this is a bug: please report it)")
            return EngineError(told, hint="this is a bug: please report it")
        return None

    def _try(self, candidate: Candidate) -> None:
        """Let a candidate take over.

        Raises:
            EdgeError: It cannot, or it is not worth it.
        """
        begun_s = time.monotonic()
        with self._turn():
            built = self._built(candidate, begun_s)
            self._status = f"{candidate.precision} is opened"
            engine = candidate.open_plan(built)
        try:
            self._opened.set()
            self._status = f"{candidate.precision} is compared with what serves"
            before_ms, after_ms = self._compared(candidate, engine)
            if self.on_tensorrt:
                before_ms, after_ms = self._faster(engine)
            self._next = engine, candidate.precision
            before = self._awaited(self._replaced)
        except BaseException:
            engine.close()
            raise
        if before is not self._fallback:
            before.close()
        took_s = time.monotonic() - begun_s
        self._say_line(f"TensorRT takes over {self._name} after {took_s:.0f} s: {engine.description}, {after_ms:.2g} ms instead of {before_ms:.2g} ms")
        self.notes += [note for note in engine.notes if note not in self.notes]

    def _built(self, candidate: Candidate, begun_s: float) -> Done:
        self._status = f"{candidate.precision} is built"
        build = candidate.start()
        said_s = begun_s
        try:
            while True:
                state = build.poll()
                for line in state.lines:
                    self._status = f"{candidate.precision} is built: {line}"
                if isinstance(state, Done):
                    return state
                if isinstance(state, Failed):
                    raise state.error()
                if time.monotonic() - said_s >= _SAY_EVERY_S:
                    said_s = time.monotonic()
                    self._say_line(f"TensorRT for {self._name}, {said_s - begun_s:.0f} s: {self._status}")
                if self._stop.wait(_POLL_S):
                    raise _Closed
        finally:
            build.cancel()

    def _compared(self, candidate: Candidate, engine: TrtEngine) -> tuple[float, float]:
        """Answer live inputs with both.

        Returns:
            Milliseconds of ONNX Runtime and of the candidate, medians.

        Raises:
            EngineError: They do not answer alike.
        """
        likeness = Likeness(self._fallback, engine)
        for _ in range(N_COMPARED):
            self._wanted.release()
        for _ in range(N_COMPARED):
            likeness.answer(self._awaited(self._seen))
        likeness.check(candidate.precision, self._fallback_precision)
        return likeness.median_ms

    def _faster(self, engine: TrtEngine) -> tuple[float, float]:
        """Return milliseconds of what serves and of a candidate.

        Raises:
            EngineError: The candidate is not worth it.
        """
        with self._turn():
            now_ms, then_ms = side_by_side_ms([self._serving], [engine])
        if then_ms * WORTHWHILE >= now_ms:
            raise EngineError(
                f"it is not faster here: {then_ms:.2g} ms a face, {now_ms:.2g} ms in {self._precision}", hint="--precision by name takes it anyway"
            )
        return now_ms, then_ms

    @contextmanager
    def _turn(self) -> Iterator[None]:
        while not _one_at_a_time.acquire(timeout=_POLL_S):
            if self._stop.is_set():
                raise _Closed
        try:
            if self._stop.is_set():
                raise _Closed
            yield
        finally:
            _one_at_a_time.release()

    def _awaited(self, source: queue.SimpleQueue[_T]) -> _T:
        while not self._stop.is_set():
            with suppress(queue.Empty):
                return source.get(timeout=_POLL_S)
        raise _Closed

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self._say_line(text)


class _Closed(Exception):
    """The engine is closed: whatever its thread does, it ends."""
