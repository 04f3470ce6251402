"""The CPU engine's rewrites change the form of a graph, not its answer."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.engine.cpu_rewrites import rewrite_for_cpu

SLOPES = np.array([[[0.25]], [[-0.5]], [[0.0]], [[1.5]]], np.float32)


def graph(node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]], *, out_channels: int = 4) -> onnx.ModelProto:
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 5, 6])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", out_channels, "H", "W"])
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    model = helper.make_model(helper.make_graph([node], "toy", [source], [result], initializers), ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model


def prelu(slopes: NDArray[np.float32]) -> onnx.ModelProto:
    return graph(helper.make_node("PRelu", ["x", "slopes"], ["y"]), {"slopes": slopes})


def pad(amounts: list[int], *, mode: str = "constant", value: float | None = None, out_channels: int = 7) -> onnx.ModelProto:
    constants: dict[str, NDArray[np.generic]] = {"pads": np.array(amounts, np.int64)}
    if value is not None:
        constants["value"] = np.array(value, np.float32)
    return graph(helper.make_node("Pad", ["x", *constants], ["y"], mode=mode), constants, out_channels=out_channels)


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return dict(collections.Counter(node.op_type for node in model.graph.node))


def run(model: onnx.ModelProto, feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, feeds)]


def test_a_prelu_becomes_depthwise_convolutions() -> None:
    model = prelu(SLOPES)
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    assert kinds(rewritten) == {"Conv": 2, "Relu": 1, "Add": 1}
    onnx.checker.check_model(rewritten, full_check=True)
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(run(rewritten, {"x": x})[0], run(model, {"x": x})[0], rtol=0, atol=1e-6)
    assert kinds(model) == {"PRelu": 1}


def test_one_slope_serves_all_channels() -> None:
    model = prelu(SLOPES[:1])
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    assert "PRelu" not in kinds(rewritten)
    np.testing.assert_allclose(run(rewritten, {"x": x})[0], run(model, {"x": x})[0], rtol=0, atol=1e-6)


def test_appended_channels_become_a_convolution() -> None:
    model = pad([0, 0, 0, 0, 0, 3, 0, 0])
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    assert kinds(rewritten) == {"Conv": 1}
    onnx.checker.check_model(rewritten, full_check=True)
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(rewritten, {"x": x})[0], run(model, {"x": x})[0])


@pytest.mark.parametrize(
    "model",
    [
        prelu(np.ones((4, 5, 6), np.float32)),
        pad([0, 1, 0, 0, 0, 2, 0, 0]),
        pad([0, 0, 1, 0, 0, 3, 1, 0]),
        pad([0, 0, 0, 0, 0, 3, 0, 0], mode="edge"),
        pad([0, 0, 0, 0, 0, 3, 0, 0], value=1.0),
    ],
    ids=["a slope for each place", "channels in front", "rows too", "edge values", "ones"],
)
def test_anything_else_stays(model: onnx.ModelProto) -> None:
    assert rewrite_for_cpu(model, machine="x86_64") == model


def test_without_a_blocked_layout_nothing_is_rewritten() -> None:
    assert rewrite_for_cpu(prelu(SLOPES), machine="aarch64") == prelu(SLOPES)


@pytest.mark.parametrize("name", ["default/mesh", "blazeface/short"])
def test_the_default_networks_give_the_same_answer(models: Path, name: str) -> None:
    model = onnx.load(models / f"{name}.onnx")
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    assert {"PRelu", "Pad"} & set(kinds(model))
    assert not {"PRelu", "Pad"} & set(kinds(rewritten))
    source = model.graph.input[0]
    shape = [2, *(size.dim_value for size in source.type.tensor_type.shape.dim[1:])]
    x = np.random.default_rng(0).random(shape, np.float32)
    for before, after in zip(run(model, {source.name: x}), run(rewritten, {source.name: x}), strict=True):
        # 0.001 of 256 pixels, or of logits of up to 100: float32's rounding over 106 convolutions.
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-3)
