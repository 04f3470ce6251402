"""Plans on disk: one file each that says what it was built from and for, and that is loaded only where all of that holds and every byte is in place.

    "edge-plan/1" and a line feed | length of the header, 4 bytes | SHA-256 of the header | header (JSON) | the library's plan

Whoever builds holds the folder's lock (`one_builder`), so whatever else lies half-written in the folder is nobody's.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.engine.trt.errors import PlanRefused
from edge.engine.trt.library import LibraryName
from edge.package import Precision
from edge.stage import Strict

Say = Callable[[str], None]

# Batches 1 to 8, tuned for 4. Source: as many faces as the runtime follows at once, a few of them usual.
PROFILE = (1, 4, 8)

_MAGIC = b"edge-plan/1\n"
_LENGTH_BYTES = 4
_START = len(_MAGIC) + _LENGTH_BYTES + hashlib.sha256().digest_size
# More is no header of ours. Source: a key takes about 600 bytes.
_MAX_HEADER_BYTES = 1 << 16
_SUFFIX, _HALF = ".plan", ".half"
# Of what a library compiled from a plan on the device: `PLAN-GPU-DRIVER.jit`.
KERNELS_SUFFIX = ".jit"
_N_PARTS = 4  # of a plan's name, between hyphens


class PlanKey(Strict, frozen=True):
    """What a plan was built from and for. All of it decides whether the plan may be loaded.

    Attributes:
        package: Name of the package.
        stage: Name of the stage.
        model_sha256: Of the ONNX bytes that were handed to the builder.
        precision: Of the stage's network.
        library: What built it.
        library_version: All of it.
        gpu: Name of the GPU that it was built on; empty for a plan built ahead of time, for any GPU of `compute_capabilities`.
        compute_capabilities: Such as `sm87`.
        edge_version: Of this program, whose derivation of the network it is.
        profile: Smallest, usual and largest batch.
    """

    package: str
    stage: str
    model_sha256: str
    precision: Precision
    library: LibraryName
    library_version: str
    gpu: str
    compute_capabilities: tuple[str, ...]
    edge_version: str
    profile: tuple[int, int, int]

    @property
    def file_name(self) -> str:
        """Readable, and another one for every key."""
        digest = hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]
        return "-".join((*(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in (self.package, self.stage, self.precision)), digest)) + _SUFFIX  # `_N_PARTS`


class _Header(Strict, frozen=True):
    key: PlanKey
    notes: tuple[str, ...]
    plan_bytes: int
    plan_sha256: str


@dataclass(frozen=True)
class Plan:
    """A plan that may be loaded.

    Attributes:
        path: Where it lies.
        key: What it was built from and for.
        notes: What the builder had to say of it, such as that it is weakly typed.
        content: For the library's `deserialize_cuda_engine`.
    """

    path: Path
    key: PlanKey
    notes: tuple[str, ...]
    content: bytes


def plans_dir() -> Path:
    """Return the folder of this device's plans: `$EDGE_STATE/plans`, else `$XDG_STATE_HOME/edge/plans`, else `~/.local/state/edge/plans`."""
    if folder := os.environ.get("EDGE_STATE"):
        return Path(folder) / "plans"
    # Unlike Path.home(), expanduser() bears a service without a home; the root keeps what it then returns from meaning a folder of whoever started it.
    return Path(os.environ.get("XDG_STATE_HOME") or Path("/", os.path.expanduser("~"), ".local/state")) / "edge" / "plans"


def edge_version() -> str:
    """Return this program's version; `checkout` where it was never installed."""
    try:
        return importlib.metadata.version("facial-affect-edge")
    except importlib.metadata.PackageNotFoundError:
        return "checkout"


def write_plan(folder: Path, key: PlanKey, content: bytes, notes: tuple[str, ...] = ()) -> Path:
    """Write a plan so that no reader, and no interrupted run, ever sees half of it. The caller holds the folder's lock.

    Args:
        folder: Where plans lie; made where it is missing.
        key: What the plan was built from and for.
        content: As the library serialised it.
        notes: What must be known of it.

    Returns:
        Its path.

    Raises:
        OSError: It could not be written.
    """
    header = _Header(key=key, notes=notes, plan_bytes=len(content), plan_sha256=hashlib.sha256(content).hexdigest())
    return write_whole(folder / key.file_name, _sealed(msgspec.json.encode(header)), content)


def write_whole(path: Path, *parts: bytes) -> Path:
    """Write a file in one step: beside its place first, then through to the disk, then into its place.

    Raises:
        OSError: It could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}{_HALF}")
    try:
        with half.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the new name survives a power cut, too
    finally:
        os.close(folder)
    return path


def read_plan(path: Path, expected: PlanKey) -> Plan:
    """Read a plan that was built from and for what is expected.

    Args:
        path: A file that `write_plan` wrote.
        expected: The network, the library and the GPU that are here. A plan that was built ahead of time fits every GPU whose compute capability it lists.

    Raises:
        PlanRefused: It cannot be read, is no plan of ours, is cut short, was changed, or was built from or for something else.
    """
    try:
        with path.open("rb") as file:
            header = _read_header(path, file.read(_START), file.read)
            if difference := _difference(header.key, expected):
                raise PlanRefused(f"{path}: {difference}", hint=_AGAIN)
            content = file.read()
    except OSError as error:
        raise PlanRefused(f"{path} cannot be read ({error.strerror})", hint=_AGAIN) from error
    if len(content) != header.plan_bytes:
        raise PlanRefused(f"{path}: expected a plan of {header.plan_bytes} bytes, got {len(content)}", hint=_AGAIN)
    if hashlib.sha256(content).hexdigest() != header.plan_sha256:
        raise PlanRefused(f"{path}: the plan's bytes are not those that were written", hint=_AGAIN)
    return Plan(path, header.key, header.notes, content)


def find_plan(folder: Path, expected: PlanKey, *, say: Say) -> Path | None:
    """Look for a plan that `read_plan` takes.

    Args:
        folder: Where plans lie; need not be there.
        expected: See `read_plan`.
        say: Is told of each plan of the same package, stage and precision that is refused, and why.

    Returns:
        Its path; None where there is none.
    """
    for path in _plans_of(folder, expected):
        if problem := _problem(path, expected):
            say(f"not used: {problem}")
        else:
            return path
    return None


def remove_replaced(folder: Path, key: PlanKey) -> list[Path]:
    """Remove what a new plan replaces: plans of the same package, stage, precision and library for the same GPUs, damaged ones, half-written files, and kernels
    that were compiled from plans which are gone.

    Args:
        folder: Where plans lie. The caller holds its lock.
        key: Of the plan that is in its place.

    Returns:
        What was removed.
    """
    removed = [*folder.glob(f".*{_HALF}")]
    for path in _plans_of(folder, key):
        if path.name == key.file_name:
            continue
        try:
            with path.open("rb") as file:
                old = _read_header(path, file.read(_START), file.read).key
        except PlanRefused:
            removed.append(path)
            continue
        if _replaces(key, old):
            removed.append(path)
    for path in removed:
        path.unlink(missing_ok=True)
    orphans = [path for path in folder.glob(f"{_stage_prefix(key)}-*{KERNELS_SUFFIX}") if not (folder / _plan_of_kernels(path)).exists()]
    for path in orphans:
        path.unlink(missing_ok=True)
    return removed + orphans


@contextmanager
def one_builder(folder: Path, *, say: Say) -> Iterator[None]:
    """Hold the folder's lock: one builder at a time bounds what building takes from the machine. It is free again however the holder ends.

    Args:
        folder: Where plans lie; made where it is missing.
        say: Is told when another builder has to be waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another builder works in {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_AGAIN = "it is never loaded; edge-run builds plans anew where they are missing, or: python -m converters build PACKAGE --target tensorrt"


def _problem(path: Path, expected: PlanKey) -> str:
    """Why a plan is refused; empty where it is not."""
    try:
        read_plan(path, expected)
    except PlanRefused as error:
        return str(error.args[0])
    return ""


def _sealed(header: bytes) -> bytes:
    return _MAGIC + len(header).to_bytes(_LENGTH_BYTES, "little") + hashlib.sha256(header).digest() + header


def _read_header(path: Path, start: bytes, read: Callable[[int], bytes]) -> _Header:
    if not start.startswith(_MAGIC):
        raise PlanRefused(f"{path} is no plan that this program wrote", hint=_AGAIN)
    length = int.from_bytes(start[len(_MAGIC) : len(_MAGIC) + _LENGTH_BYTES], "little")
    header = read(min(length, _MAX_HEADER_BYTES))
    if start + header != _sealed(header):
        raise PlanRefused(f"{path}: what it says of itself is damaged, or cut short", hint=_AGAIN)
    try:
        return msgspec.json.decode(header, type=_Header)
    except msgspec.MsgspecError as error:
        raise PlanRefused(f"{path} was written by another version of this program ({error})", hint=_AGAIN) from error


def _difference(built: PlanKey, here: PlanKey) -> str:
    """What a plan was built from or for that is not here; empty where it fits."""
    ahead = not built.gpu
    if ahead and not set(here.compute_capabilities) <= set(built.compute_capabilities):
        return f"built ahead of time for {', '.join(built.compute_capabilities)}, wanted for {', '.join(here.compute_capabilities)}"
    gpu = {"gpu": here.gpu, "compute_capabilities": here.compute_capabilities} if ahead else {}
    comparable = msgspec.structs.replace(built, **gpu)
    for name in PlanKey.__struct_fields__:
        was, wanted = getattr(comparable, name), getattr(here, name)
        if was != wanted:
            return f"stale: built for {name} {_text(was)}, here it is {_text(wanted)}"
    return ""


def _replaces(new: PlanKey, old: PlanKey) -> bool:
    """Whether an old plan has nobody left to use it. One for other GPUs may belong to another machine that shares the folder."""
    names = ("package", "stage", "precision", "library")
    same_stage = all(getattr(new, name) == getattr(old, name) for name in names)
    same_gpu = (new.gpu, new.compute_capabilities) == (old.gpu, old.compute_capabilities)
    # One built ahead that had fitted would have been found, and nothing built.
    return same_stage and (same_gpu or (not old.gpu and set(new.compute_capabilities) <= set(old.compute_capabilities)))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _plans_of(folder: Path, key: PlanKey) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.name.rpartition("-")[0] == _stage_prefix(key))


def _stage_prefix(key: PlanKey) -> str:
    return key.file_name.rpartition("-")[0]


def _plan_of_kernels(path: Path) -> str:
    return "-".join(path.name.split("-")[:_N_PARTS]) + _SUFFIX  # a plan's parts hold no hyphen
