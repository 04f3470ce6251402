"""`python -m converters build`: plans of a package's networks, ahead of time or on the device, through the runtime's own builder."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, cast

from converters.registry import Say
from edge.clock import monotonic_ns
from edge.engine.trt.child import WORKSPACE_MB, PlanBuild
from edge.engine.trt.library import Library, find_library
from edge.errors import ConfigError, PackageRefused
from edge.package import Package, Precision, load_package
from edge.stage import Stage

_EXAMPLES = """examples:
  python -m converters build default --precision fp16 --target rtx -o plans               for every GPU that TensorRT-RTX knows; needs none here
  python -m converters build default --precision fp16 --target rtx:sm89,sm120 -o plans    for two generations
  python -m converters build my-package --precision int8 --target tensorrt -o plans       for the GPU of this machine, a Jetson's say
  python -m converters build my-package --precision int8 --target rtx --stage network -o plans
  python -m converters build blazeface --precision fp16 --target rtx -o plans             the face detector's networks, too

A plan is loaded only by the version of the library that built it. edge-run builds what it lacks on the device; plans from here spare it that where they lie in
its $EDGE_STATE/plans, else $XDG_STATE_HOME/edge/plans, else ~/.local/state/edge/plans.
"""
_PRECISIONS = ("fp32", "fp16", "int8")


def add_parser(commands: Any) -> None:
    """Add the command's arguments.

    Args:
        commands: As `ArgumentParser.add_subparsers` returns it.
    """
    parser = commands.add_parser(
        "build", help="TensorRT plans of a package, ahead of time", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", metavar="PACKAGE", help="name or folder")
    parser.add_argument("--precision", required=True, choices=_PRECISIONS, help="one that the package offers")
    parser.add_argument("--target", required=True, metavar="tensorrt|rtx[:smNN,...]", help="the GPU here, or GPUs of these compute capabilities (default: all)")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the plans")
    parser.add_argument("--stage", metavar="NAME", help="of this stage alone")
    parser.add_argument(
        "--workspace-mb", type=_megabytes, default=WORKSPACE_MB, metavar="N", help=f"scratch memory that kernels may use (default: {WORKSPACE_MB})"
    )


def command(options: argparse.Namespace, say: Say) -> int:
    """Build the plans, one after the other, and print a table of them.

    Args:
        options: See `add_parser`.
        say: Takes progress lines.

    Returns:
        0.

    Raises:
        ConfigError: A target or stage that does not exist.
        MissingDependency: The library, or the GPU's driver, is not there.
        PackageNotFound: No such package, or it does not offer the precision.
        PackageRefused: No GPU can hold the package's networks.
        PackageError: The package cannot be read.
        EngineError: There is no GPU, or a plan cannot be built.
    """
    from edge.engine.trt.build import Target

    package = load_package(options.package, allow_untrained=True)
    if package.manifest.cpu_only:
        raise PackageRefused(
            f"package '{package.name}' is cpu-only, there is no plan of it: {package.manifest.cpu_only}", hint="edge-run runs it on ONNX Runtime as it is"
        )
    if not package.manifest.trained:
        say(f"package '{package.name}' was never trained: its plans are for measuring latency")
    stages = _stages(package, options.stage)
    precision = cast("Precision", options.precision)
    of_stages = {stage.name: package.stage_precision(stage, precision) for stage in stages}
    library, compute_capabilities, gpu = _target(options.target)
    target = Target(library, compute_capabilities, gpu)
    say(f"{library.title}: {', '.join(of_stages)} for {gpu or 'any GPU'} ({', '.join(compute_capabilities)})")
    rows: list[tuple[str, ...]] = [("stage", "precision", "MB", "s", "plan")]
    for stage in stages:
        started_ns = monotonic_ns()
        path = _build(PlanBuild.start(package, stage, precision, target, folder=options.output, workspace_mb=options.workspace_mb), stage, say)
        seconds = (monotonic_ns() - started_ns) / 1e9
        rows.append((stage.name, of_stages[stage.name], f"{path.stat().st_size / 1e6:.1f}", f"{seconds:.1f}", str(path)))
    sys.stdout.write("".join(f"{line}\n" for line in _table(rows)))
    return 0


def _build(build: PlanBuild, stage: Stage, say: Say) -> Path:
    try:
        return build.wait(lambda line: say(f"{stage.name}: {line}"))
    finally:
        build.cancel()


def _stages(package: Package, name: str | None) -> list[Stage]:
    stages = [stage for stage in package.manifest.stages if name in (None, stage.name)]
    if not stages:
        known = ", ".join(stage.name for stage in package.manifest.stages)
        raise ConfigError(f"--stage {name}: package '{package.name}' has no such stage", hint=f"it has {known}")
    return stages


def _target(text: str) -> tuple[Library, tuple[str, ...], str]:
    """Library, compute capabilities and name of the GPU; the name is empty ahead of time."""
    kind, colon, rest = text.partition(":")
    if kind == "rtx":
        from edge.engine.trt.build import buildable

        library = find_library(["tensorrt_rtx"])
        known = buildable(library)
        chosen = tuple(dict.fromkeys(rest.split(","))) if colon else tuple(known)
        if unknown := [name for name in chosen if name not in known]:
            builds = f"it builds for {', '.join(known)}; on a Jetson: --target tensorrt"
            raise ConfigError(f"--target {text}: {library.title} does not build for '{unknown[0]}'", hint=builds)
        return library, chosen, ""
    if text != "tensorrt":
        raise ConfigError(f"--target {text}: expected tensorrt, rtx, or rtx:sm89,sm120", hint="tensorrt builds for the GPU here, rtx for any, without one")
    library = find_library(["tensorrt"])
    from edge.engine.trt.device import find_device

    device = find_device()
    major, minor = device.compute_capability
    return library, (f"sm{major}{minor}",), device.name


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = (2, 3)
    cells = [[cell.rjust(width) if place in right else cell.ljust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))] for row in rows]
    return ["  ".join(row).rstrip() for row in cells]


def _megabytes(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"expected a whole number of megabytes, from 1 on, got '{text}'")
    return int(text)
