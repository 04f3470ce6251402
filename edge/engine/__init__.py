"""Engines: what runs a network. TensorRT gets its own file beside `ort.py`, and a line in `choose`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from edge.engine.engine import Engine
from edge.errors import ConfigError, require
from edge.package import Package, Precision

EngineName = Literal["auto", "onnxruntime", "tensorrt"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]


class Choice(msgspec.Struct, frozen=True):
    """What `auto` came to.

    Attributes:
        engine: Name of the engine, as in the summary.
        precision: Of the networks.
        why: One line for the log: what was chosen and why.
    """

    engine: Literal["onnxruntime"]
    precision: Precision
    why: str


def choose(engine: EngineName, precision: PrecisionChoice) -> Choice:
    """Decide what runs the networks.

    Raises:
        ConfigError: An engine or precision was asked for by name that cannot be had.
    """
    if engine == "tensorrt":
        raise ConfigError("not yet: --engine tensorrt", hint="--engine onnxruntime, or auto")
    if precision in ("fp16", "int8"):
        raise ConfigError(f"not yet: --precision {precision}", hint="--precision fp32, or auto")
    asked = "as asked" if engine == "onnxruntime" else "the only engine of this version"
    return Choice(
        engine="onnxruntime",
        precision="fp32",
        why=f"engine onnxruntime ({asked}), precision fp32 ({'as asked' if precision == 'fp32' else 'the precision of the package'})",
    )


def open_engines(package: Package, choice: Choice) -> list[Engine]:
    """Load every network of a package, in the order of its stages.

    Raises:
        MissingDependency: The inference library is not installed.
        PackageNotFound: The package lacks the precision.
        EngineError: A network cannot be loaded.
    """
    require("onnxruntime", install="pip install onnxruntime   (or: make setup)", why="inference")
    from edge.engine import ort

    cuda, threads = ort.cuda_available(), ort.default_threads()
    engines: list[Engine] = []
    try:
        for stage in package.manifest.stages:
            path = package.model_path(stage, choice.precision)
            engines.append(ort.OrtEngine(path, cuda=cuda, threads=threads))
    except BaseException:
        close_engines(engines)
        raise
    return engines


def close_engines(engines: Sequence[Engine]) -> None:
    """Close them all."""
    for engine in engines:
        engine.close()
