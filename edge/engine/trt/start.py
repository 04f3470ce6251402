"""Whether TensorRT can run here, and the start of it: over each network of a package an engine that goes over to its plan."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge.engine.engine import Engine
from edge.engine.trt.device import Device, find_device
from edge.engine.trt.library import LIBRARIES, Library, find_library
from edge.errors import ConfigError
from edge.package import Package, Precision

if TYPE_CHECKING:
    from edge.engine.trt.plan_file import Say
    from edge.engine.trt.switching import SwitchingEngine


def find_tensorrt(package: Package) -> tuple[Library, Device]:
    """Return the library and the GPU that would run a package.

    Raises:
        ConfigError: The package is for CPUs only.
        MissingDependency: TensorRT, what calls CUDA from Python, or the driver is missing, or too old.
        EngineError: There is no GPU, or it does not start.
    """
    if package.manifest.cpu_only:
        raise ConfigError(f"no TensorRT: package '{package.name}' is for CPUs only: {package.manifest.cpu_only}", hint="--engine onnxruntime, or auto")
    if all(importlib.util.find_spec(name) is None for name in LIBRARIES):
        return find_library(), find_device()  # says what to install
    device = find_device()  # first: without a GPU nobody waits for the library to load
    return find_library(), device


def switching_engines(
    package: Package, engines: Sequence[Engine], *, precision: Precision, to_try: Sequence[Precision], required: bool, say: Say
) -> list[SwitchingEngine]:
    """Return engines that serve at once and go over to TensorRT when its plans are there and answer alike.

    Args:
        package: A loaded package.
        engines: ONNX Runtime's, one for each stage; owned by what is returned.
        precision: Of the package, in which they run.
        to_try: Precisions of the package for TensorRT, in this order.
        required: See `SwitchingEngine`.
        say: See `SwitchingEngine`.

    Raises:
        MissingDependency: See `find_tensorrt`.
        EngineError: See `find_tensorrt`.
        PackageNotFound: The package does not offer a precision.
    """
    # Here and not above: who has no TensorRT need not wait for them at each start.
    from edge.engine.trt.child import WORKSPACE_MB
    from edge.engine.trt.plan_file import plans_dir
    from edge.engine.trt.switching import SwitchingEngine, candidates, target_here

    library, device = find_tensorrt(package)
    target = target_here(library, device)
    of_stages = [
        candidates(package, stage, to_try, target=target, device=device, folder=plans_dir(), workspace_mb=WORKSPACE_MB) for stage in package.manifest.stages
    ]
    return [
        SwitchingEngine(f"{package.name}/{stage.name}", engine, package.stage_precision(stage, precision), tried, required=required, say=say)
        for stage, engine, tried in zip(package.manifest.stages, engines, of_stages, strict=True)
    ]
