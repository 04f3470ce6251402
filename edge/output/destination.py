"""Whether a file may be written, asked before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

from edge.errors import ConfigError


def check_destination(path: Path, *, option: str, input_path: Path | None = None) -> None:
    """Check that a file can be written where the user wants it. Nothing is created and nothing is changed.

    Args:
        path: The file to be. It may exist: it will be overwritten.
        option: The flag that named it, for the message.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The folder is absent or closed to us, the path is a folder, or it is the input.
    """
    if path.is_dir():
        raise ConfigError(f"{option} expects a file, got the folder {path}", hint=f"name a file in it, such as {path / 'out.jsonl'}")
    if not path.parent.is_dir():
        raise ConfigError(f"{option}: the folder {path.parent} does not exist", hint=f"mkdir -p {path.parent}")
    if path.exists():
        if input_path is not None and input_path.exists() and path.samefile(input_path):
            raise ConfigError(f"{option} names the file that is being read: {path}", hint="choose another name for the output")
        if not os.access(path, os.W_OK):
            raise ConfigError(f"{option}: {path} may not be written", hint="choose another place, or change its permissions")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{option}: no file may be made in {path.parent}", hint="choose another place, or change the folder's permissions")
