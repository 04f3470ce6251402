"""What the library says while it parses and builds, and which of it is worth reading."""

from __future__ import annotations

import ctypes
import functools
import gc
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edge.clock import monotonic_ns
from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.library import Library

if TYPE_CHECKING:
    import tensorrt as trt

Say = Callable[[str], None]

_ELSEWHERE = "edge-run --engine onnxruntime runs it"
# The parser frames its errors with the node's text; the error itself is told by the parser's own records.
_FRAME = re.compile(r"While parsing node|^(\S+: )?--- (Begin|End) node|ModelImporter\.cpp:\d+: (--- |While)")
# What a line of the library means: (a pattern, what it says, what to do).
_MEANINGS = (
    (
        r"Turing \(SM75\)",
        "{library} lacks a kernel for Turing GPUs (sm75)",
        "take --precision fp16, or leave out sm75: --target rtx:sm80,sm86,sm89,sm120,sm121",
    ),
    (
        r"cudaError 35\b|error: 35\b|driver version is insufficient",
        "there is no NVIDIA driver here, or it is older than the CUDA that {library} needs",
        "nvidia-smi shows the driver and the CUDA version that it goes up to: update it (on a Jetson: JetPack); "
        "without a GPU: python -m converters build PACKAGE --target rtx",
    ),
    (
        r"cudaError 100\b|error: 100\b|no CUDA-capable device",
        "{library} finds no NVIDIA GPU",
        "nvidia-smi shows what the driver sees; --engine onnxruntime runs on the CPU",
    ),
    (
        r"out of memory|OutOfMemory|insufficient memory|GPU memory .* could not be allocated|cudaError 2\b|error: 2\b",
        "{library} ran out of memory, or out of the workspace that it may use",
        "take a larger --workspace-mb where that is small; else close what uses the GPU (on a Jetson also the CPU: they share memory)",
    ),
    (
        r"within workspace limit|workspace size|Could not find any implementation for node",
        "{library} has no kernel for a part of the network within the workspace",
        "take a larger --workspace-mb; where INT8 fails (some versions on Orin do: TensorRT issue 4832), --precision fp16",
    ),
)
_BETWEEN_LINES_NS = 2_000_000_000
_OPERATOR = re.compile(r"Plugin not found|No importer registered|Unsupported operator|UNSUPPORTED_NODE")
_TYPES = re.compile(r"same types?\b")


_making = threading.RLock()


@contextmanager
def undisturbed() -> Iterator[None]:
    """While inside, which is where objects of the library are made and freed, no other thread does, and Python collects no garbage.

    The library calls our logger while it holds a lock of its own, and freeing any of its objects takes that lock: a collection inside the logger that found an
    object of an earlier failure waited for ever. What an error's frames hold of the library is freed here, too, and not when somebody drops the error.
    """
    with _making:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            if collects:
                gc.enable()


class Messages:
    """The errors that the library logs for one of its users; the rest is dropped.

    Args:
        library: Whose.

    Attributes:
        errors: Of the last piece of work under `listening`.
        logger: For the library; all `Messages` of a library share it.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self.errors: list[str] = []
        self.logger = _only_log(library.module.ILogger)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While inside, what the library says is kept: of the calling thread's work, and of threads of the library's own."""
        self.errors.clear()
        thread, listeners = threading.get_ident(), self.logger.listeners
        before = listeners.get(thread)
        listeners[thread] = self.errors
        try:
            yield
        finally:
            if before is None:
                del listeners[thread]
            else:
                listeners[thread] = before

    def failed(self, where: str, *, doing: str) -> BuildFailed:
        """Return the error that the kept lines amount to.

        Args:
            where: The network, for the message.
            doing: What failed.
        """
        # The first is the cause. Where there is no GPU, what cleans up after it complains of that as well.
        line = next((line for line in self.errors if not _FRAME.search(line)), "it gave no reason")
        for pattern, meaning, hint in _MEANINGS:
            if re.search(pattern, line, re.IGNORECASE):
                return BuildFailed(f"{where}: {meaning.format(library=self._library.title)}, {doing} ({_short(line)})", hint=hint)
        return BuildFailed(f"{where}: {self._library.title} failed, {doing}: {_short(line)}", hint=_ELSEWHERE)

    def refused(self, parser: trt.OnnxParser, where: str) -> BuildFailed:
        """Return the error that the parser's records amount to.

        Args:
            parser: A parser that refused a network.
            where: The network, for the message.
        """
        if not parser.num_errors:
            return self.failed(where, doing="reading the network")
        error = parser.get_error(0)
        text = error.desc()
        operator = error.node_operator() if hasattr(error, "node_operator") else ""
        name = error.node_name() if hasattr(error, "node_name") else f"number {error.node()}"
        what = f"{where}: node '{name}'" + (f" ({operator})" if operator else "")
        if _OPERATOR.search(f"{error.code()} {text}"):
            return BuildFailed(f"{what}: {self._library.title} does not support this operator ({_short(text)})", hint=_ELSEWHERE)
        if _TYPES.search(text):
            return BuildFailed(f"{what} mixes types, and a strongly typed network may not ({_short(text)})", hint="make the precision's network again")
        return BuildFailed(f"{what}: {self._library.title} does not take it: {_short(text)}", hint=_ELSEWHERE)


def progress_monitor(library: Library, say: Say) -> trt.IProgressMonitor | None:
    """Return what tells how far a build is: a line every two seconds at most.

    Args:
        library: Whose build.
        say: Takes the lines, from any thread.

    Returns:
        For the builder's configuration; None where the library has no such thing.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library.module
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._last_ns = 0
            self._lock = threading.Lock()  # the library calls from several threads

        def phase_start(self, phase_name: str, _parent_phase: str, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._tell(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if steps := self._steps.get(phase_name, 0):
                self._tell(f"{phase_name}: {100 * (step + 1) // steps} %")
            return True  # go on

        def _tell(self, line: str) -> None:
            with self._lock:
                if monotonic_ns() - self._last_ns >= _BETWEEN_LINES_NS:
                    self._last_ns = monotonic_ns()
                    say(line)

    return Monitor()


@functools.cache
def _only_log(logger: Any) -> Any:
    """The one log of a library, made of its `ILogger`, that outlives everything.

    TensorRT keeps the first logger that a process gives it for as long as any builder, runtime or what they made lives, and ignores the others: one that goes
    with its user is memory that is used after it was freed.
    Source: TensorRT API, `getLogger()` and `createInferRuntime()`.
    """

    class Log(logger):
        def __init__(self) -> None:
            logger.__init__(self)
            self.listeners: dict[int, list[str]] = {}  # by thread

        def log(self, severity: Any, msg: str) -> None:
            if severity in (logger.ERROR, logger.INTERNAL_ERROR):
                listeners = dict(self.listeners)
                mine = listeners.get(threading.get_ident())
                for errors in listeners.values() if mine is None else (mine,):
                    errors.append(msg)

    log = Log()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(log))  # Python clears its modules when it ends, in an order of its own
    return log


def _short(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= 300 else f"{text[:297]}..."
