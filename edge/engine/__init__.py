"""Engines: what runs a network. TensorRT gets its own file beside `ort.py`, and a line in `choose`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from edge.engine.engine import Engine
from edge.engine.fit import check_fit
from edge.engine.pace import WORTHWHILE, side_by_side_ms
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


def choose(engine: EngineName, precision: PrecisionChoice, package: Package, *, gpu: bool = True) -> Choice:
    """Decide what runs a package's networks, and in which precision.

    Where the package offers INT8 and `auto` may choose, both precisions are timed here: INT8 is taken where it is faster.

    Args:
        engine: As asked.
        precision: As asked.
        package: What is to run.
        gpu: Where there is a GPU it may be used; not where it was found not to start.

    Raises:
        ConfigError: An engine or precision was asked for by name that cannot be had.
        MissingDependency: The inference library is not installed.
        PackageNotFound: The package does not offer the precision.
        EngineError: A network cannot be loaded.
    """
    if engine == "tensorrt":
        raise ConfigError("not yet: --engine tensorrt", hint="--engine onnxruntime, or auto")
    if precision != "auto":
        package.require_offered(precision)
    for module in ("onnx", "onnxruntime"):
        require(module, install=f"make setup   or: pip install {module}", why="inference")
    from edge.engine import ort

    cpu_only = package.manifest.cpu_only
    cuda = gpu and ort.cuda_available() and not cpu_only
    why_engine = "as asked" if engine == "onnxruntime" else "the only engine of this version"
    why_processor = f"this build of ONNX Runtime has {'the' if cuda else 'no'} CUDA provider"
    if cpu_only:
        why_processor = f"the package is for CPUs only: {cpu_only}"
    elif not gpu:
        why_processor = "the CUDA provider did not start"
    chosen, why_precision = (precision, "as asked") if precision != "auto" else _best_on_cuda(package) if cuda else _best_on_cpu(package)
    if chosen == "fp16" and not cuda:
        raise ConfigError("fp16 is for GPUs: on a CPU it is computed as fp32, and slower", hint="--precision fp32, int8 or auto")
    why = f"onnxruntime: {why_engine}; {'CUDA' if cuda else 'CPU'}: {why_processor}; {chosen}: {why_precision}"
    return Choice(engine="onnxruntime", precision=chosen, cuda=cuda, fallback=engine == "auto", why=why)


def _best_on_cuda(package: Package) -> tuple[Precision, str]:
    # ONNX Runtime's CUDA provider computes Q/DQ pairs in float around float kernels: INT8 gains nothing there.
    return ("fp16", "for a GPU") if "fp16" in package.offers else ("fp32", "the package's own")


def _best_on_cpu(package: Package) -> tuple[Precision, str]:
    if "int8" not in package.offers:
        return "fp32", "the package's own"
    opened: dict[Precision, list[Engine]] = {}
    try:
        for precision in ("fp32", "int8"):
            opened[precision] = open_engines(package, Choice(engine="onnxruntime", precision=precision, cuda=False, fallback=False, why=""))
        fp32_ms, int8_ms = side_by_side_ms(*opened.values())
    finally:
        close_engines(engine for engines in opened.values() for engine in engines)
    measured = f"measured here, {fp32_ms:.2g} ms a face in fp32 and {int8_ms:.2g} ms in int8"
    return ("int8" if int8_ms * WORTHWHILE < fp32_ms else "fp32"), measured


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
