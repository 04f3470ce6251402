"""Builds a plan in a process of its own, beside a runtime that goes on serving: both ends of the pipe between them.

The builder gives way to everything else (nice 10), is the first to be ended where memory runs out, ends with its parent, and leaves the old plan or the new one
whenever it is ended.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.library import LIBRARIES, find_library
from edge.engine.trt.plan_file import PlanKey, Say
from edge.errors import EdgeError
from edge.package import Package, Precision, load_package
from edge.stage import Stage

if TYPE_CHECKING:
    from edge.engine.trt.build import Target

# Scratch memory that kernels may use. Devices whose CPU and GPU share memory must not give much more. Source: four times what the most demanding of the known
# systems, ar3-22 in float32, needs with TensorRT-RTX 1.7.1: it builds with 128 MB and not with 64.
WORKSPACE_MB = 512

_BUILD_AHEAD = "free memory where it is short; a plan built beforehand needs no builder here: python -m converters build; or: --engine onnxruntime"
_NICE = 10
# The upper end of the kernel's scale; a process may raise its own. Source: proc(5).
_FIRST_TO_BE_ENDED = 1000
# Source: linux/prctl.h.
_PR_SET_PDEATHSIG = 1


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """The builder works; `lines` are what it said since it was last asked, without line ends."""

    lines: tuple[str, ...]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The plan is there, built from and for what `key` says; `lines` are what the builder said since it was last asked."""

    path: str
    key: PlanKey
    lines: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """There is no plan; `message` and `hint` are an error's, `lines` what the builder said since it was last asked."""

    message: str
    hint: str
    lines: tuple[str, ...] = ()

    def error(self) -> BuildFailed:
        """As an exception."""
        return BuildFailed(self.message, hint=self.hint)


class PlanBuild:
    """A plan in the making; ask `poll` for it, from one thread at a time. Made by `start`."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], where: str) -> None:
        self._process, self._errors, self._where = process, errors, where
        self._rest = b""
        self._end: Done | Failed | None = None

    @classmethod
    def start(cls, package: Package, stage: Stage, precision: Precision, target: Target, *, folder: Path, workspace_mb: int) -> PlanBuild:
        """Start building the plan of one stage.

        Args:
            package: A loaded package; the builder loads it again.
            stage: One of its stages.
            precision: Of the package.
            target: What for.
            folder: Where plans lie.
            workspace_mb: Most scratch memory that a kernel may ask for.

        Returns:
            The build. It ends with the thread that started it, if not before: start it in one that lives as long as the runtime.

        Raises:
            BuildFailed: The builder cannot be started.
        """
        where = f"package '{package.name}', stage '{stage.name}'"
        if not sys.executable:
            raise BuildFailed(f"{where}: the builder cannot be started: this program does not know its Python (sys.executable is empty)", hint=_BUILD_AHEAD)
        command = [sys.executable, "-c", _code(), str(package.path.resolve()), "--stage", stage.name, "--precision", precision]
        command += ["--library", target.library.name, "--gpu", target.gpu, "--compute-capabilities", *target.compute_capabilities]
        command += ["--folder", str(folder.resolve()), "--workspace-mb", str(workspace_mb), "--parent", str(os.getpid())]
        try:
            with ExitStack() as stack:
                errors = stack.enter_context(tempfile.TemporaryFile())
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
                stack.pop_all()  # it lives as long as the build
        except OSError as error:
            raise BuildFailed(f"{where}: the builder cannot be started: {error}", hint=_BUILD_AHEAD) from error
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return cls(process, errors, where)

    def poll(self) -> Progress | Done | Failed:
        """Return how far it is. Never waits; asked again after the end, it says the same without lines."""
        if self._end is not None:
            return msgspec.structs.replace(self._end, lines=())
        ended = self._process.poll() is not None  # asked first: what it said before it ended is then all there
        lines: list[str] = []
        for message in self._messages():
            if isinstance(message, Progress):
                lines.extend(message.lines)
            else:
                self._end = message
        if self._end is None and not ended:
            return Progress(tuple(lines))
        self._end = self._end or self._died()
        self._close()
        return msgspec.structs.replace(self._end, lines=tuple(lines))

    def wait(self, say: Say) -> Path:
        """Wait for the end, for commands that have nothing else to do.

        Args:
            say: Takes progress lines.

        Returns:
            Path of the plan.

        Raises:
            BuildFailed: It could not be built.
        """
        assert self._process.stdout is not None
        while True:
            if self._end is None:
                select.select([self._process.stdout], [], [])
            state = self.poll()
            for line in state.lines:
                say(line)
            if isinstance(state, Done):
                return Path(state.path)
            if isinstance(state, Failed):
                raise state.error()

    def cancel(self) -> None:
        """End it. Cancelling twice, or what has ended, is allowed."""
        if self._end is None:
            self._process.kill()
            self._end = Failed(f"{self._where}: the build was cancelled", "")
            self._close()

    def _messages(self) -> list[Progress | Done | Failed]:
        assert self._process.stdout is not None
        while block := _read(self._process.stdout):
            self._rest += block
        *whole, self._rest = self._rest.split(b"\n")
        return [msgspec.json.decode(line, type=Progress | Done | Failed) for line in whole]

    def _died(self) -> Failed:
        code = self._process.returncode
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        if code < 0:
            hint = "where memory ran out the kernel ends the builder first: close other programs, or take a smaller --workspace-mb"
            return Failed(f"{self._where}: the builder was ended by {signal.Signals(-code).name}{_after(said)}", hint)
        return Failed(f"{self._where}: the builder ended with exit code {code}{_after(said)}", "report it, with the line above and what edge-doctor says")

    def _close(self) -> None:
        assert self._process.stdout is not None
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Build one plan and say how it went on standard output, a JSON object a line.

    Raises:
        OSError: The parent no longer listens.
    """
    options = _parser().parse_args(arguments)
    # The libraries print what they like: it must not come between the lines.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as pipe:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def tell(message: Progress | Done | Failed) -> None:
            pipe.write(msgspec.json.encode(message) + b"\n")

        if not _end_with(options.parent):
            return 1
        tell(Progress((f"building in the background, workspace up to {options.workspace_mb} MB; {_give_way()}",)))
        try:
            path, key = _build(options, lambda line: tell(Progress((line,))))
            tell(Done(str(path), key))
        except EdgeError as error:
            tell(Failed(str(error.args[0]), error.hint))
        except MemoryError:
            tell(Failed(f"{options.stage}: the builder ran out of memory", "close other programs, or take a smaller --workspace-mb"))
        except OSError as error:
            tell(_unreadable_or_unwritable(error, options.folder))
    return 0


def _build(options: argparse.Namespace, say: Say) -> tuple[Path, PlanKey]:
    from edge.engine.trt.build import Target, build_stage

    package = load_package(options.package, allow_untrained=True)  # the parent has asked
    (stage,) = (stage for stage in package.manifest.stages if stage.name == options.stage)
    target = Target(find_library([options.library]), tuple(options.compute_capabilities), options.gpu)
    return build_stage(package, stage, options.precision, target, folder=options.folder, workspace_mb=options.workspace_mb, say=say)


def _unreadable_or_unwritable(error: OSError, folder: Path) -> Failed:
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder  # what a full disk refuses has no name
    if folder not in (path, *path.parents) and path not in folder.parents:
        return Failed(f"the builder cannot go on: {error}", "check that file, and its permissions")
    hint = "check permissions and free space; another folder: EDGE_STATE for edge-run, -o for python -m converters build"
    return Failed(f"the plan cannot be written: {error}", hint)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge.engine.trt.child", description="Builds one plan; started by edge-run and python -m converters build.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--library", required=True, choices=LIBRARIES)
    parser.add_argument("--gpu", default="")
    parser.add_argument("--compute-capabilities", nargs="+", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--workspace-mb", required=True, type=int)
    parser.add_argument("--parent", required=True, type=int, help="process that the builder ends with")
    return parser


def _code() -> str:
    """What the builder runs: with `-m` it would look for its modules in the working directory first, and not where a host program has put `edge`."""
    return f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}; from edge.engine.trt.child import main; sys.exit(main())"


def _end_with(parent: int) -> bool:
    """Ask the kernel to end this process with its parent; False where that is too late."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def _give_way() -> str:
    """Let everything else go first; returns what came of it."""
    os.nice(_NICE)
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_FIRST_TO_BE_ENDED))
    except OSError as error:  # a container may forbid it
        return f"nice {_NICE}; where memory runs out it may not be the first to be ended ({error.strerror})"
    return f"nice {_NICE}; the first to be ended where memory runs out"


def _read(stream: IO[bytes]) -> bytes:
    """What is there: nothing yet, or nothing any more, are the same to the caller."""
    try:
        return os.read(stream.fileno(), 1 << 16)
    except BlockingIOError:
        return b""


def _after(lines: Sequence[str]) -> str:
    return f": {lines[0]}" if lines else ""
