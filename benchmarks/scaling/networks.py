"""The networks whose latency is held against their size: those of the installed packages, and untrained ones, for a time does not depend on weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from benchmarks.limits.untrained import resnet_package, system_package
from converters.errors import ConversionError
from converters.mac_count import count_macs
from edge.errors import EdgeError, MissingDependency, require
from edge.package import Package, Precision, load_package

PACKAGES = ("default", "blazeface", "mesh-chain")
BLOCKS, QUICK_BLOCKS = (8, 16, 33), (8,)
SYSTEMS = ("resnet18-22", "inception-resnet-22", "inceptionv4-22")
_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")  # FP16 is for GPUs


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        macs: Multiply-accumulates for one input.
        parameters: Numbers in its weights and biases.
        fed: Numbers of one input.
        given: Numbers of one answer.
    """

    macs: int
    parameters: int
    fed: int
    given: int


def size_of(path: Path) -> Size:
    """Count an ONNX file in FP32.

    Raises:
        ConversionError: An operator of it cannot be counted.
    """
    model = onnx.load(path)
    # A float number by itself is a factor or a limit, no weight: what has no dimensions does not count.
    parameters = sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.dims and tensor.data_type == onnx.TensorProto.FLOAT)
    fed, given = (sum(_numbers(value) for value in values) for values in (model.graph.input, model.graph.output))
    return Size(count_macs(model, batch=1), parameters, fed, given)


def _numbers(value: onnx.ValueInfoProto) -> int:
    """Of one input or answer: the first dimension is the batch."""
    return math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])


@dataclass(frozen=True)
class Network:
    """A network that can be run.

    Attributes:
        name: Package and stage, or architecture.
        path: Its ONNX file.
        precision: Of it.
        size: Of its FP32 form.
        trained: False for random weights.
        batches: False where it takes the views of one frame, not faces: one input at a time.
    """

    name: str
    path: Path
    precision: Precision
    size: Size
    trained: bool
    batches: bool


@dataclass
class Collected:
    """What was found.

    Attributes:
        networks: Those that can be measured.
        not_run: A line for each that cannot, with the reason.
    """

    networks: list[Network] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    def add_installed(self, name: str) -> None:
        """Add the networks of an installed package."""
        try:
            self._add(load_package(name))
        except EdgeError as error:
            self._refuse(name, error)

    def add_resnet(self, blocks: int, built: list[str]) -> None:
        """Add an untrained ResNet; `built` gets a line where it had to be made."""
        try:
            self._add(resnet_package(blocks, _PRECISIONS, built))
        except (MissingDependency, ConversionError) as error:
            self._refuse(f"ResNet of {blocks} blocks", error)

    def add_system(self, name: str, built: list[str]) -> None:
        """Add the untrained network of a document's system; `built` gets a line where it had to be made."""
        try:
            self._add(system_package(name, _PRECISIONS, built))
        except (MissingDependency, ConversionError) as error:
            self._refuse(name, error)

    def add_candidates(self, names: Sequence[str], folder: Path) -> None:
        """Add architectures of `train candidates`, with random weights.

        Args:
            names: Keys of `CANDIDATES`; empty for all.
            folder: Gets their files.

        Raises:
            ConversionError: One cannot be converted.
        """
        try:
            require("torch", install="make frameworks", why="making architectures to measure their latency")
        except MissingDependency as error:
            self._refuse("candidates", error)
            return
        from converters.training.affect.candidates import CANDIDATES
        from converters.training.affect.export import to_onnx

        for name in names or CANDIDATES:
            path = folder / f"{name}.onnx"
            onnx.save(to_onnx(CANDIDATES[name].build().eval()), path)
            self.networks.append(Network(f"candidate {name}", path, "fp32", size_of(path), trained=False, batches=True))

    def _add(self, package: Package) -> None:
        for stage in package.manifest.stages:
            name = f"{package.name}/{stage.name}" if package.manifest.trained else package.name
            try:
                size = size_of(package.model_path(stage))
            except ConversionError as error:
                self._refuse(name, error)
                continue
            for precision in _PRECISIONS:
                # A package may keep a stage in FP32 in its INT8 form: the same file, once.
                if precision in package.offers and package.stage_precision(stage, precision) == precision:
                    path, faces = package.model_path(stage, precision), package.manifest.task == "face-affect"
                    self.networks.append(Network(name, path, precision, size, trained=package.manifest.trained, batches=faces))

    def _refuse(self, name: str, error: EdgeError) -> None:
        self.not_run.append(f"{name}: not run: {' '.join(str(error).split())}")
