"""What can go wrong, what to do next, and the exit code of `edge-run` for each.

    EdgeError                               exit
    ├── ConfigError         (ValueError)       2   flags, TOML, values out of range
    ├── MissingDependency   (ImportError)      3   a library, GStreamer element or driver is absent
    ├── PackageError                           4   model packages
    │   ├── PackageNotFound (FileNotFoundError)
    │   ├── PackageCorrupt                         a hash differs, a file is missing
    │   └── PackageRefused                         well-formed, but must not run here (untrained, unknown kind)
    ├── CaptureError                           5   cameras, streams, files
    │   ├── SourceNotFound  (FileNotFoundError)
    │   ├── SourceLost                             it worked and then stopped
    │   ├── CaptureTimeout  (TimeoutError)
    │   └── UnsupportedFormat                      a picture or stream that cannot be read right
    ├── EngineError                            6   inference
    │   ├── SpecMismatch    (ValueError)           wrong name, shape or dtype
    │   └── InferenceFailed                        the backend's own error
    └── OutputError         (OSError)          7   a result could not be written

Anything else that escapes is a bug: traceback and exit 70. The end of a file, a dropped frame and an empty picture are not errors.
"""

from __future__ import annotations

import importlib.util


class EdgeError(Exception):
    """An error that a user can act on.

    Args:
        message: What was expected, what came, and where.
        hint: What to do next; printed on a line of its own.
    """

    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message}\n  {self.hint}" if self.hint else message


class ConfigError(EdgeError, ValueError):
    """A flag, a configuration key or a value that cannot be used."""

    exit_code = 2


class MissingDependency(EdgeError, ImportError):
    """A library, a GStreamer element or a driver that is not installed."""

    exit_code = 3


class PackageError(EdgeError):
    """A model package that cannot be used."""

    exit_code = 4


class PackageNotFound(PackageError, FileNotFoundError):
    """No package of that name or at that path."""


class PackageCorrupt(PackageError):
    """A package whose files are not the ones its manifest names."""


class PackageRefused(PackageError):
    """A sound package that must not, or cannot yet, run here."""


class CaptureError(EdgeError):
    """A source that cannot be opened or read."""

    exit_code = 5


class SourceNotFound(CaptureError, FileNotFoundError):
    """No such file, camera or address."""


class SourceLost(CaptureError):
    """A source that delivered frames and then failed."""


class CaptureTimeout(CaptureError, TimeoutError):
    """A source that stayed silent longer than it may."""


class UnsupportedFormat(CaptureError):
    """Pixels that cannot be brought to RGB without guessing."""


class EngineError(EdgeError):
    """Inference that cannot start or failed."""

    exit_code = 6


class SpecMismatch(EngineError, ValueError):
    """A tensor whose name, shape or dtype is not what the network takes."""


class InferenceFailed(EngineError):
    """The inference library reported an error of its own."""


class OutputError(EdgeError, OSError):
    """A result that could not be written."""

    exit_code = 7


def require(module: str, *, install: str, why: str) -> None:
    """Check that a library can be imported, without importing it.

    Args:
        module: Import name, such as `onnxruntime`.
        install: The command that brings it.
        why: What needs it, in a few words.

    Raises:
        MissingDependency: It is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingDependency(f"{why} needs the Python module '{module}', which is not installed", hint=install)
