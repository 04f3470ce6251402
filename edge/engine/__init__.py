"""Engines: what runs a network. `choose` decides, `open_engines` loads: ONNX Runtime always, and TensorRT over it where it is chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from edge.engine.engine import Engine
from edge.engine.fit import check_fit
from edge.engine.pace import WORTHWHILE, side_by_side_ms
from edge.errors import ConfigError, EdgeError, require
from edge.package import Package, Precision
from edge.stage import Stage

if TYPE_CHECKING:
    from edge.engine.trt.switching import SwitchingEngine

EngineName = Literal["auto", "onnxruntime", "tensorrt"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]
Say = Callable[[str], None]

LOG = logging.getLogger("edge")


class Choice(msgspec.Struct, frozen=True):
    """What the settings came to.

    Attributes:
        engine: What is to run the networks.
        precision: Of the networks; with TensorRT, of those that ONNX Runtime serves with until a plan takes over.
        cuda: ONNX Runtime runs them on an NVIDIA GPU.
        fallback: A GPU that does not start may be replaced by the CPU, loudly.
        why: One line for the log: what was chosen and why.
        to_try: The precisions of TensorRT's plans, in the order in which they are tried; empty for ONNX Runtime.
        required: TensorRT, or a precision that it alone has here, was asked for by name.
        notes: What a user must hear of it.
    """

    engine: Literal["onnxruntime", "tensorrt"]
    precision: Precision
    cuda: bool
    fallback: bool
    why: str
    to_try: tuple[Precision, ...] = ()
    required: bool = False
    notes: tuple[str, ...] = ()


def choose(engine: EngineName, precision: PrecisionChoice, package: Package, *, gpu: bool = True) -> Choice:
    """Decide what runs a package's networks, and in which precision.

    `auto` takes TensorRT where it and a GPU are there. On a CPU, where the package offers INT8 and `auto` may choose, both precisions are timed here, and INT8
    is taken where it is faster.

    Args:
        engine: As asked.
        precision: As asked.
        package: What is to run.
        gpu: Where there is a GPU, ONNX Runtime may use it; not where it was found not to start.

    Raises:
        ConfigError: An engine or precision was asked for by name that cannot be had.
        MissingDependency: The inference library is not installed, or TensorRT was asked for and is not.
        PackageNotFound: The package does not offer the precision.
        EngineError: A network cannot be loaded, or TensorRT was asked for and there is no GPU.
    """
    if precision != "auto":
        package.require_offered(precision)
    for module in ("onnx", "onnxruntime"):
        require(module, install=f"make setup   or: pip install {module}", why="inference")
    from edge.engine import ort

    cpu_only = package.manifest.cpu_only
    cuda = gpu and ort.cuda_available() and not cpu_only
    why_engine = "as asked"
    if engine != "onnxruntime":
        from edge.engine.trt.start import find_tensorrt

        try:
            library, device = find_tensorrt(package)
        except EdgeError as error:
            if engine == "tensorrt":
                raise
            why_engine = f"no TensorRT ({error.args[0]})"
        else:
            return _on_tensorrt(engine, precision, package, cuda=cuda, where=f"{library.title} on {device.name}")
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


def _on_tensorrt(engine: EngineName, precision: PrecisionChoice, package: Package, *, cuda: bool, where: str) -> Choice:
    reduced: tuple[Precision, ...] = ("fp16", "int8")  # INT8 has to be faster than what serves by then
    best = tuple(offered for offered in reduced if offered in package.offers) or ("fp32",)
    to_try: tuple[Precision, ...] = (precision,) if precision != "auto" else best
    # A precision that was named is honoured from the first frame, where ONNX Runtime has it here.
    meanwhile: Precision = "fp32" if precision == "auto" or (precision == "fp16" and not cuda) else precision
    required = engine == "tensorrt" or precision not in ("auto", meanwhile)
    why = f"tensorrt: {where}, {', then '.join(to_try)}; ONNX Runtime serves until its plans are there"
    notes = ("TensorRT: not yet run on hardware by us: compare its numbers with those of --engine onnxruntime before you rely on them",)
    return Choice(engine="tensorrt", precision=meanwhile, to_try=to_try, required=required, cuda=cuda, fallback=engine == "auto", why=why, notes=notes)


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


def open_engines(package: Package, choice: Choice, *, say: Say = LOG.info) -> list[Engine]:
    """Load every network of a package, in the order of its stages.

    Args:
        package: What is to run.
        choice: What `choose` came to for it.
        say: Takes lines for the user, from any thread, while TensorRT's plans are built.

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
        if choice.engine == "tensorrt":
            from edge.engine.trt.start import switching_engines

            engines = [engine for _, engine in opened.values()]
            return [*switching_engines(package, engines, precision=choice.precision, to_try=choice.to_try, required=choice.required, say=say)]
    except BaseException:
        close_engines(engine for _, engine in opened.values())
        raise
    return [engine for _, engine in opened.values()]


def serving(engines: Sequence[Engine], choice: Choice) -> tuple[str, Precision]:
    """Return what runs the networks at this moment, and their lowest precision: `tensorrt`, `onnxruntime`, or both where not all have gone over."""
    switching = _switching(engines, choice)
    if not switching:
        return "onnxruntime", choice.precision
    names = {"tensorrt" if engine.on_tensorrt else "onnxruntime" for engine in switching}
    precisions: tuple[Precision, ...] = ("int8", "fp16", "fp32")
    return "+".join(sorted(names)), min((engine.precision for engine in switching), key=precisions.index)


def wait_until_opened(engines: Iterable[Engine], choice: Choice) -> None:
    """Wait until TensorRT's first plans are built and opened, for those who would rather begin late than on ONNX Runtime.

    Raises:
        EngineError: A plan cannot be built or opened.
    """
    for engine in _switching(engines, choice):
        engine.wait_until_opened()


def close_engines(engines: Iterable[Engine]) -> None:
    """Close them all."""
    for engine in engines:
        engine.close()


def _switching(engines: Iterable[Engine], choice: Choice) -> list[SwitchingEngine]:
    if choice.engine == "onnxruntime":
        return []
    from edge.engine.trt.switching import SwitchingEngine

    return [engine for engine in engines if isinstance(engine, SwitchingEngine)]
