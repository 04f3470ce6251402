"""Writes a folder whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from edge.errors import ConfigError

# Source: linux/fs.h and fcntl.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def in_one_step(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder anew; what was there before is replaced in one step, or stays.

    Args:
        folder: The folder.
        fill: Called with the path of a folder to be made, beside it; what it raises leaves what was there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        temporary.chmod(0o755)
        fill(temporary / "new")
        if folder.exists() and not _exchanged(temporary / "new", folder):
            folder.rename(temporary / "old")
        if not folder.exists():
            (temporary / "new").rename(folder)
    finally:
        if (temporary / "old").exists() and not folder.exists():
            (temporary / "old").rename(folder)
        shutil.rmtree(temporary)


def try_out(folder: Path) -> None:
    """Find out whether `in_one_step` can write a folder, before there is anything to write; nothing is changed.

    Args:
        folder: The folder, absolute and without links.

    Raises:
        ConfigError: It is, or holds, the folder that the process is in, which would be gone.
        OSError: It cannot be written, or what is there cannot be replaced, as where another file system is mounted.
    """
    if Path.cwd().resolve().is_relative_to(folder):
        raise ConfigError(f"{folder} is the folder that you are in: it cannot be replaced", hint="name a new folder, in it or elsewhere")
    with tempfile.TemporaryDirectory(dir=next(parent for parent in folder.parents if parent.exists()), prefix=f".{folder.name}-") as temporary:
        if folder.exists():
            (Path(temporary) / "full").mkdir()
            try:
                # It can never take the place of a folder that is not empty; what else is wrong is said first.
                folder.rename(temporary)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders swap their names, so that a process killed at any moment leaves one of them in its place; False where the file system cannot."""
    return bool(ctypes.CDLL(None).renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
