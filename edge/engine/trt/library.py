"""Which TensorRT is installed, told by what it can do: versions that call themselves alike differ, and the two libraries count apart."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge.errors import MissingDependency

LibraryName = Literal["tensorrt", "tensorrt_rtx"]
LIBRARIES: tuple[LibraryName, ...] = ("tensorrt", "tensorrt_rtx")

_TITLES: dict[LibraryName, str] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_INSTALL: dict[LibraryName, str] = {
    "tensorrt": "on a Jetson it comes with JetPack 6.1 or later (apt install python3-libnvinfer); elsewhere: pip install tensorrt",
    "tensorrt_rtx": "pip install tensorrt-rtx",
}


@dataclass(frozen=True)
class Library:
    """An installed TensorRT, 10 or later.

    Attributes:
        name: Its import name.
        version: All of it, such as `10.3.0`: plans of one version are not loaded by another.
        module: The module. Code that uses it declares it as `tensorrt`, so that mypy reads it against the stubs of 10.13; what only other versions have is
            asked for by `hasattr`.
    """

    name: LibraryName
    version: str
    module: Any

    @property
    def title(self) -> str:
        """As messages name it: `TensorRT 10.3.0`."""
        return f"{_TITLES[self.name]} {self.version}"

    @property
    def builds_ahead(self) -> bool:
        """Whether it builds plans for GPUs that are not there."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def has_weak_typing(self) -> bool:
        """Whether it also takes a float32 graph and chooses the precision of each layer itself; TensorRT 10 does."""
        return hasattr(self.module.BuilderFlag, "FP16") and hasattr(self.module.BuilderFlag, "INT8")


def find_library(names: Sequence[LibraryName] = LIBRARIES) -> Library:
    """Return the first library that is installed and can be used.

    Args:
        names: Where to look, in this order.

    Raises:
        MissingDependency: None is installed, or none that can be used: the message says it of each.
    """
    problems = []
    for name in names:
        found = _look(name)
        if isinstance(found, Library):
            return found
        problems.append(found)
    raise MissingDependency("; ".join(problem for problem, _ in problems), hint="   or: ".join(hint for _, hint in problems))


def usable(name: LibraryName, module: Any) -> Library | tuple[str, str]:
    """Return a module that was imported as a library, or why it is none: the problem, and what to do.

    Args:
        name: What it was imported as.
        module: The module.
    """
    # Type stubs leave a package without content behind.
    if not hasattr(module, "Builder") or not hasattr(module, "__version__"):
        return f"the Python module '{name}' is an empty shell, not {_TITLES[name]}", _INSTALL[name]
    flags = getattr(module, "NetworkDefinitionCreationFlag", None)
    if not hasattr(flags, "STRONGLY_TYPED") or not hasattr(module, "OnnxParser"):
        return (
            f"{_TITLES[name]} {module.__version__} is too old: expected 10 or later, which takes strongly typed networks",
            "JetPack 5 has TensorRT 8: update to JetPack 6.1 or later, or run with --engine onnxruntime",
        )
    return Library(name, module.__version__, module)


def _look(name: LibraryName) -> Library | tuple[str, str]:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return f"{_TITLES[name]} is not installed (Python module '{name}')", _INSTALL[name]
        return f"the Python module '{name}' lacks a part of its own: {error}", _INSTALL[name]
    except (ImportError, OSError, RuntimeError) as error:
        return f"the Python module '{name}' does not load: {(str(error).splitlines() or [type(error).__name__])[0]}", _INSTALL[name]
    return usable(name, module)
