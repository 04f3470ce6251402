"""Engines: what runs a network. TensorRT gets its own file beside `ort.py`, and a line in `choose`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from edge.engine.engine import Engine
from edge.engine.fit import check_fit
from edge.errors import ConfigError, require
from edge.package import Package, Precision
from edge.stage import Stage

EngineName = Literal["auto", "onnxruntime", "tensorrt"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]


class Choice(msgspec.Struct, frozen=True):
    """What the settings came to.

    Attributes:
        engine: Name of the engine, as in the summary.
        precision: Of the networks.
        cuda: Run them on an NVIDIA GPU.
        fallback: A GPU that does not start may be replaced by the CPU, loudly.
        why: One line for the log: what was chosen and why.
    """

    engine: Literal["onnxruntime"]
    precision: Precision
    cuda: bool
    fallback: bool
    why: str


def choose(engine: EngineName, precision: PrecisionChoice, *, cpu_only: str = "") -> Choice:
    """Decide what runs the networks.

    Args:
        engine: As asked.
        precision: As asked.
        cpu_only: Why no GPU can hold one of the packages; empty where one can.

    Raises:
        ConfigError: An engine or precision was asked for by name that cannot be had.
        MissingDependency: The inference library is not installed.
    """
    if engine == "tensorrt":
        raise ConfigError("not yet: --engine tensorrt", hint="--engine onnxruntime, or auto")
    if precision in ("fp16", "int8"):
        raise ConfigError(f"not yet: --precision {precision}", hint="--precision fp32, or auto")
    for module in ("onnx", "onnxruntime"):
        require(module, install=f"make setup   or: pip install {module}", why="inference")
    from edge.engine import ort

    cuda = ort.cuda_available() and not cpu_only
    why_engine = "as asked" if engine == "onnxruntime" else "the only engine of this version"
    why_processor = f"this build of ONNX Runtime has {'the' if cuda else 'no'} CUDA provider" if not cpu_only else f"the package is for CPUs only: {cpu_only}"
    why_precision = "as asked" if precision == "fp32" else "the package's own"
    why = f"onnxruntime: {why_engine}; {'CUDA' if cuda else 'CPU'}: {why_processor}; fp32: {why_precision}"
    return Choice(engine="onnxruntime", precision="fp32", cuda=cuda, fallback=engine == "auto", why=why)


def open_engines(package: Package, choice: Choice) -> list[Engine]:
    """Load every network of a package, in the order of its stages.

    Raises:
        PackageNotFound: The package lacks the precision.
        PackageError: A network is not what the manifest says of it.
        EngineError: A network cannot be loaded, or CUDA does not start.
    """
    from edge.engine import ort

    threads = ort.default_threads()
    opened: dict[str, tuple[Stage, Engine]] = {}
    try:
        for stage in package.manifest.stages:
            engine = ort.OrtEngine(package.model_path(stage, choice.precision), cuda=choice.cuda, threads=threads)
            earlier, opened = opened, {**opened, stage.name: (stage, engine)}
            check_fit(stage, engine, earlier, where=f"package '{package.name}'")
    except BaseException:
        close_engines(engine for _, engine in opened.values())
        raise
    return [engine for _, engine in opened.values()]


def close_engines(engines: Iterable[Engine]) -> None:
    """Close them all."""
    for engine in engines:
        engine.close()
