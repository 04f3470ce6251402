"""Every network of the documents and of the default package, through NVIDIA's own parser and builder, for every GPU that TensorRT-RTX builds for.

The nearest thing to a user's machine that runs without a GPU. It is not Jetson's TensorRT, and a plan that was built has not run.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from converters.original import Array
from converters.quantization.int8 import quantize_int8
from converters.quantization.placement import quantisable
from converters.quantization.prepared import prepared
from converters.systems.known import KNOWN
from edge.engine.fp16 import to_fp16
from edge.engine.trt.build import Network, Target, build_plan, buildable
from edge.engine.trt.child import WORKSPACE_MB
from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.library import find_library
from edge.package import Precision, load_package
from edge.stage import EmbeddingInput, input_shapes

RTX = find_library(["tensorrt_rtx"])
EVERY_GPU = Target(RTX, tuple(buildable(RTX)))
N = 4

NEURAL = [name for name, system in KNOWN.items() if not system.cpu_only]
CPU_ONLY = [name for name, system in KNOWN.items() if system.cpu_only]


def noise(shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Array]:
    """N inputs that differ. What a network answers is none of this test's business: weights and scales have no bearing on whether it builds."""
    rng = np.random.default_rng(zlib.crc32(repr(sorted(shapes)).encode()))
    return {name: rng.random((N, *(size or 1 for size in shape[1:])), np.float32) for name, shape in shapes.items()}


def networks(name: str) -> dict[str, onnx.ModelProto]:
    """The networks of a system by stage, untrained, or as we trained them."""
    system = KNOWN[name]
    pictures = {stage.name: noise(input_shapes(stage.input)) for stage in system.stages if not isinstance(stage.input, EmbeddingInput)}
    return {stage: original.to_onnx() for stage, original in system.build(pictures, 0).items()}


def build(where: str, network: onnx.ModelProto, precision: Precision) -> int:
    """Build for every GPU and return the plan's size in bytes."""
    said: list[str] = []
    content = network.SerializeToString(deterministic=True)
    plan = build_plan(Network(where, precision, content), EVERY_GPU, workspace_mb=WORKSPACE_MB, timing_cache=None, say=said.append)
    assert not plan.notes, "weakly typed"
    return len(plan.content)


def check(where: str, network: onnx.ModelProto) -> None:
    """In FP16 it builds, and in INT8 where there is something to quantise: in every convolutional network there is."""
    operators = {node.op_type for node in network.graph.node}
    assert build(where, to_fp16(network), "fp16") > 10_000
    feeds = noise({value.name: tuple(size.dim_value or None for size in value.type.tensor_type.shape.dim) for value in network.graph.input})
    if not quantisable(prepared(network)):
        assert not operators & {"Conv", "ConvTranspose"}, f"{where} is convolutional"
        return
    quantised = quantize_int8(network, feeds, calibrator="max")
    assert any(node.op_type == "QuantizeLinear" for node in quantised.graph.node)
    assert build(where, to_fp16(quantised), "int8") > 10_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NEURAL)
def test_every_neural_system_builds(name: str) -> None:
    for stage, network in networks(name).items():
        check(f"{name}/{stage}", network)


@pytest.mark.parametrize("name", ["default", "mesh-chain", "blazeface"])
def test_the_default_packages_build(name: str, models: Path) -> None:
    package = load_package(models / name)
    for stage in package.manifest.stages:
        check(f"{name}/{stage.name}", onnx.load(package.path / stage.model))


@pytest.mark.parametrize("name", CPU_ONLY)
def test_what_says_cpu_only_cannot_be_built(name: str) -> None:
    """The reason that the package gives is the one that the library gives."""
    assert KNOWN[name].cpu_only == "TensorRT has no operator for decision trees"
    for stage, network in networks(name).items():
        with pytest.raises(BuildFailed, match=r"\(TreeEnsembleClassifier\): TensorRT-RTX \S+ does not support this operator"):
            build(f"{name}/{stage}", network, "fp32")


def test_the_systems_that_do_not_build_are_these() -> None:
    assert CPU_ONLY == ["random-forest-5"]
    assert len(NEURAL) == 23
    assert EVERY_GPU.compute_capabilities == ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
