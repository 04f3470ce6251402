"""Builds plans: the one place that parses ONNX for TensorRT, on the device and ahead of time alike.

What is built follows from the package alone, wherever it is built: FP32 and FP16 networks as the package holds them; INT8 as the package's quantised
float32 graph with FP16 around it. Networks are strongly typed: they compute in the precisions that they are written in, the ones that were measured.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edge.engine.fp16 import to_fp16
from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.graph_check import check_graph
from edge.engine.trt.library import Library
from edge.engine.trt.messages import Messages, Say, progress_monitor, undisturbed
from edge.engine.trt.plan_file import PROFILE, PlanKey, edge_version, find_plan, one_builder, remove_replaced, write_plan, write_whole
from edge.errors import PackageRefused
from edge.package import Package, Precision, model_file
from edge.stage import Stage

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class Target:
    """What a plan is built for.

    Attributes:
        library: What builds it, and must run it.
        compute_capabilities: Such as `sm87`: of the GPU that is here, or of all those that it is to run on.
        gpu: Name of the GPU that is here; empty to build ahead of time, without one, which TensorRT-RTX alone can.
    """

    library: Library
    compute_capabilities: tuple[str, ...]
    gpu: str = ""


@dataclass(frozen=True)
class Network:
    """What a stage runs on TensorRT.

    Attributes:
        where: Package and stage, for messages.
        precision: Of the stage, which may be `fp32` where the package runs in another.
        content: ONNX, as it is to be computed.
        untyped: The same in float32, for a TensorRT that fails to build the strongly typed one and can choose precisions itself; None where it must not.
    """

    where: str
    precision: Precision
    content: bytes
    untyped: bytes | None = None


@dataclass(frozen=True)
class Built:
    """A plan as the library serialised it, and what must be known of it."""

    content: bytes
    notes: tuple[str, ...]


def stage_network(package: Package, stage: Stage, precision: Precision) -> Network:
    """Return what a stage runs on TensorRT where its package runs in a precision. Deterministic: the plan's key holds its hash.

    Args:
        package: A loaded package.
        stage: One of its stages.
        precision: Of the package.

    Raises:
        PackageRefused: No GPU can hold the package's networks.
        PackageNotFound: The package does not offer the precision.
        EngineError: Its quantised network cannot be brought to FP16.
    """
    if package.manifest.cpu_only:
        raise PackageRefused(f"package '{package.name}' is cpu-only: {package.manifest.cpu_only}", hint="edge-run --engine onnxruntime runs it")
    where = f"package '{package.name}', stage '{stage.name}'"
    of_stage = package.stage_precision(stage, precision)
    content = package.model_path(stage, precision).read_bytes()
    if of_stage == "fp32":
        return Network(where, of_stage, content)
    keep = package.manifest.keep_fp32.get(stage.name, ())
    if of_stage == "fp16":
        float32 = (package.path / model_file(stage, "fp32")).read_bytes()
        # Left to itself the library would compute in FP16 what must stay in FP32.
        return Network(where, of_stage, content, untyped=None if keep else float32)
    around = to_fp16(onnx.load_from_string(content), keep=keep).SerializeToString(deterministic=True)
    return Network(where, of_stage, around, untyped=None if keep else content)


def plan_key(package: Package, stage: Stage, network: Network, target: Target) -> PlanKey:
    """Return the key of the plan of a stage's network."""
    return PlanKey(
        package=package.name,
        stage=stage.name,
        model_sha256=hashlib.sha256(network.content).hexdigest(),
        precision=network.precision,
        library=target.library.name,
        library_version=target.library.version,
        gpu=target.gpu,
        compute_capabilities=target.compute_capabilities,
        edge_version=edge_version(),
        profile=PROFILE,
    )


def build_stage(package: Package, stage: Stage, precision: Precision, target: Target, *, folder: Path, workspace_mb: int, say: Say) -> tuple[Path, PlanKey]:
    """Build the plan of one stage, unless it is there.

    Args:
        package: A loaded package.
        stage: One of its stages.
        precision: Of the package.
        target: What for.
        folder: Where plans lie. What the new one replaces is removed.
        workspace_mb: Most scratch memory that a kernel may ask for.
        say: Takes progress lines, from any thread.

    Returns:
        Path of the plan, and its key.

    Raises:
        BuildFailed: The library cannot build it.
        EngineError: Its quantised network cannot be brought to FP16.
        PackageRefused: No GPU can hold the package's networks.
        PackageNotFound: The package does not offer the precision.
        OSError: It could not be written.
    """
    network = stage_network(package, stage, precision)
    key = plan_key(package, stage, network, target)
    # Plans are whole or not there, so that looking needs no lock: a folder that cannot be written to serves where the plan is in it.
    there = find_plan(folder, key, say=lambda _: None)
    if there is not None:
        say(f"{there} is there and fits")
        return there, key
    with one_builder(folder, say=say):
        if (there := find_plan(folder, key, say=say)) is not None:  # another builder's, that was waited for
            say(f"{there} is there and fits")
            return there, key
        built = build_plan(network, target, workspace_mb=workspace_mb, timing_cache=_timing_cache(folder, target), say=say)
        path = write_plan(folder, key, built.content, built.notes)
        for old in remove_replaced(folder, key):
            say(f"removed {old.name}, which it replaces")
    return path, key


def build_plan(network: Network, target: Target, *, workspace_mb: int, timing_cache: Path | None, say: Say) -> Built:
    """Parse a network and build its plan, strongly typed; where TensorRT 10 fails at that, once more with its own choice of precisions, and says so.

    Args:
        network: What to build.
        target: What for.
        workspace_mb: Most scratch memory that a kernel may ask for.
        timing_cache: File of what earlier builds on this GPU measured; None for none. A new or updated one is written there.
        say: Takes progress lines, from any thread.

    Returns:
        The plan.

    Raises:
        BuildFailed: The network cannot be built: what the library said first, what that means and what to do.
    """
    check_graph(network.content, where=network.where)
    messages = Messages(target.library)
    try:
        with undisturbed(), messages.listening():
            return Built(_build(network, target, messages, typed=True, workspace_mb=workspace_mb, timing_cache=timing_cache, say=say), ())
    except BuildFailed as error:
        if network.untyped is None or not target.library.has_weak_typing:
            raise
        note = f"weakly typed: {target.library.title} chose the layers' precisions, which were not measured so; strongly typed it failed: {error.args[0]}"
        say(note)
        with undisturbed(), messages.listening():
            return Built(_build(network, target, messages, typed=False, workspace_mb=workspace_mb, timing_cache=timing_cache, say=say), (note,))


def _build(network: Network, target: Target, messages: Messages, *, typed: bool, workspace_mb: int, timing_cache: Path | None, say: Say) -> bytes:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = target.library.module
    content = network.content if typed or network.untyped is None else network.untyped
    try:
        builder = trt.Builder(messages.logger)
    except TypeError as error:  # what the binding makes of a null pointer
        raise messages.failed(network.where, doing="starting the builder") from error
    # Flags are positions, and STRONGLY_TYPED has moved between versions.
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if typed else 0)
    parser = trt.OnnxParser(definition, messages.logger)
    if not parser.parse(content):
        raise messages.refused(parser, network.where)
    config = builder.create_builder_config()
    _limit(config, target.library, workspace_mb)
    _add_profile(builder, definition, config, target.library, network.where)
    if not typed:
        for flag in [trt.BuilderFlag.FP16, *([trt.BuilderFlag.INT8] if network.precision == "int8" else [])]:
            config.set_flag(flag)
    _set_compute_capabilities(config, target, network.where)
    cache = _use_timing_cache(config, timing_cache) if timing_cache is not None else None
    if (monitor := progress_monitor(target.library, say)) is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(definition, config)
    if plan is None:
        raise messages.failed(network.where, doing="building the plan")
    if cache is not None and timing_cache is not None:
        write_whole(timing_cache, bytes(cache.serialize()))
    return bytes(plan)


def _limit(config: trt.IBuilderConfig, library: Library, workspace_mb: int) -> None:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library.module
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    # What was measured against the limits is float32, not TF32's ten bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def _add_profile(builder: trt.Builder, definition: trt.INetworkDefinition, config: trt.IBuilderConfig, library: Library, where: str) -> None:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library.module
    profile = builder.create_optimization_profile()
    free = False
    for index in range(definition.num_inputs):
        tensor = definition.get_input(index)
        batch, *rest = tensor.shape
        if any(size < 0 for size in rest):
            shape = ", ".join("any" if size < 0 else str(size) for size in rest)
            raise BuildFailed(f"{where}: expected fixed sizes behind the batch, got [N, {shape}] for input '{tensor.name}'", hint="export it with fixed sizes")
        if batch < 0:
            free = True
            smallest, usual, largest = (trt.Dims([n, *rest]) for n in PROFILE)
            profile.set_shape(tensor.name, smallest, usual, largest)
    if free:
        config.add_optimization_profile(profile)


def _set_compute_capabilities(config: trt.IBuilderConfig, target: Target, where: str) -> None:
    if target.gpu and not target.library.builds_ahead:
        return  # TensorRT builds for the GPU that it runs on
    if not target.library.builds_ahead:
        raise BuildFailed(
            f"{where}: {target.library.title} builds for the GPU that it runs on, not ahead of time", hint="build on the device, or with --target rtx"
        )
    known = target.library.module.ComputeCapability
    members = ["CURRENT"] if target.gpu else [name.upper() for name in target.compute_capabilities]
    if unknown := [name for name in members if not hasattr(known, name)]:
        raise BuildFailed(f"{where}: {target.library.title} cannot build for {unknown[0].lower()}", hint=f"it can for {', '.join(buildable(target.library))}")
    ahead: Any = config  # of TensorRT-RTX alone
    ahead.num_compute_capabilities = len(members)
    for index, name in enumerate(members):
        ahead.set_compute_capability(getattr(known, name), index)


def buildable(library: Library) -> Sequence[str]:
    """Return the compute capabilities that a library builds for ahead of time, such as `sm89`; none for TensorRT, which builds for the GPU that it runs on."""
    return [name.lower() for name in library.module.ComputeCapability.__members__ if name.startswith("SM")] if library.builds_ahead else []


def _timing_cache(folder: Path, target: Target) -> Path | None:
    """Where TensorRT's measurements on this GPU lie; TensorRT-RTX makes none."""
    if target.library.builds_ahead:
        return None
    gpu = re.sub(r"[^A-Za-z0-9]+", "_", target.gpu)
    return folder / f"timing-{target.library.version}-{gpu}-{'-'.join(target.compute_capabilities)}.cache"


def _use_timing_cache(config: trt.IBuilderConfig, path: Path) -> trt.ITimingCache:
    try:
        known = path.read_bytes()
    except FileNotFoundError:
        known = b""
    cache = config.create_timing_cache(known)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        # Of another GPU or version: the library says so itself, and measures anew.
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache
