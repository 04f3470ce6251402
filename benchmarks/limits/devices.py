"""On what the limits can be measured here, and the engines of a package on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import msgspec

from benchmarks.limits.finding import Device
from edge.engine import choose, close_engines, open_engines, wait_until_opened
from edge.engine.engine import Engine
from edge.errors import EngineError
from edge.package import Package, Precision, load_package

_FP16_ON_CPU = "FP16 is for GPUs: a CPU computes it as FP32, and slower"
_ONLY_CUDA = "this build of ONNX Runtime takes the GPU by itself, which edge-run cannot be kept from; an environment with plain onnxruntime runs on the CPU"


class Place(msgspec.Struct, frozen=True):
    """A device, and what runs networks on it.

    Attributes:
        device: `cpu` or `gpu`.
        engine: As of `edge-run --engine`.
        problem: Why no network runs on it; empty where they do.
        path_problem: Why the runtime's whole path cannot be measured on it, where single networks can; else empty.
    """

    device: Device
    engine: Literal["onnxruntime", "tensorrt"]
    problem: str = ""
    path_problem: str = ""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that networks are made in for it."""
        return ("fp32", "int8") if self.device == "cpu" else ("fp32", "fp16", "int8")

    def lacks(self, precision: Precision, *, whole_path: bool = False) -> str:
        """Return why nothing runs on it in a precision; empty where it does."""
        fp16 = "" if precision in self.precisions else _FP16_ON_CPU
        return self.problem or fp16 or (self.path_problem if whole_path else "")


def find_places(devices: Sequence[Device]) -> list[Place]:
    """Return each device with what the runtime itself would take on it, as it finds out for the default package.

    Raises:
        PackageError: The default package is not installed, or cannot be used.
        MissingDependency: The inference library is not installed.
        EngineError: A network of the default package cannot be loaded.
    """
    choice = choose("auto", "fp32", load_package("default"))
    on_gpu = choice.engine == "tensorrt" or choice.cuda
    places = {
        "cpu": Place("cpu", "onnxruntime", path_problem=_ONLY_CUDA if choice.cuda else ""),
        "gpu": Place("gpu", choice.engine, problem="" if on_gpu else choice.why),
    }
    return [places[device] for device in devices]


@contextmanager
def opened(package: Package, place: Place, precision: Precision) -> Iterator[list[Engine]]:
    """Open a package's networks as the runtime does, and close them at the end; TensorRT's plans are waited for.

    Args:
        package: It offers the precision.
        place: On which networks run.
        precision: Of the networks.

    Raises:
        EngineError: A network cannot be loaded, or CUDA did not take it.
        PackageNotFound: The package does not offer the precision.
    """
    choice = choose(place.engine, precision, package, gpu=place.device == "gpu")
    if place.device == "gpu" and not (choice.cuda or choice.engine == "tensorrt"):
        raise EngineError(f"expected package '{package.name}' on the GPU, got: {choice.why}", hint="edge-doctor says what it finds")
    engines = open_engines(package, choice)
    try:
        wait_until_opened(engines, choice)
        yield engines
    finally:
        close_engines(engines)
