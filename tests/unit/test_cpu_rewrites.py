"""The CPU engine's rewrites change the form of a graph, not its answer."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.engine import cpu_channels
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


NETWORKS = ["blazeface/short", "blazeface/full", "mesh-chain/mesh", "mesh-chain/emotion"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_default_networks_give_the_same_answer(models: Path, clip: Callable[[str], Path], name: str) -> None:
    model = onnx.load(models / f"{name}.onnx")
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    assert not {"PRelu", "Pad"} & set(kinds(rewritten))
    source = model.graph.input[0]
    channels, height, width = (size.dim_value for size in source.type.tensor_type.shape.dim[1:])
    picture = cv2.imread(str(clip("single_face.jpg")))
    assert picture is not None
    picture = cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_BGR2RGB)
    real = picture.transpose(2, 0, 1)[:channels].astype(np.float32) / 255
    x = np.stack([real, np.random.default_rng(0).random(real.shape, np.float32)])
    for before, after in zip(run(model, {source.name: x}), run(rewritten, {source.name: x}), strict=True):
        # 0.001 of 256 pixels, or of logits of up to 100: float32's rounding over 106 convolutions.
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-3)


def test_the_detector_pads_between_whole_blocks_only(models: Path) -> None:
    model = onnx.load(models / "blazeface/short.onnx")
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    # 11 Pads, of them 32 -> 36, 48 -> 56, 64 -> 72 and 80 -> 88 into a new block; 2 Concats were there.
    assert kinds(model)["Pad"] == 11
    assert kinds(rewritten)["Concat"] == 2 + 4
    assert kinds(rewritten)["Conv"] == kinds(model)["Conv"] + 4


Constants = dict[str, NDArray[np.generic]]
CLIP: Constants = {"low": np.array(-0.5, np.float32), "zero": np.array(0, np.float32), "half": np.array(0.5, np.float32), "six": np.array(6, np.float32)}


def conv(source: str, output: str, inputs: int, outputs: int, **attributes: Any) -> tuple[onnx.NodeProto, Constants]:
    """A 3x3 convolution with weights and biases from its name's own seed."""
    generator = np.random.default_rng(sum(output.encode()))
    weight = generator.normal(size=(outputs, inputs // attributes.get("group", 1), 3, 3)).astype(np.float32) / 3
    constants: Constants = {f"{output}_weight": weight, f"{output}_bias": generator.normal(size=outputs).astype(np.float32)}
    return helper.make_node("Conv", [source, *constants], [output], pads=[1, 1, 1, 1], **attributes), constants


def network(middle: list[onnx.NodeProto], constants: Constants, *, channels: int = 13, end: int = 13) -> onnx.ModelProto:
    """Return a convolution from x to `a` of so many channels, the middle, and a convolution from its `b` of `end` channels to y."""
    first, first_constants = conv("x", "a", 3, channels)
    last, last_constants = conv("b", "y", end, 3)
    every = {**first_constants, **constants, **last_constants}
    nodes = [first, *middle, last]
    used = {name for node in nodes for name in node.input}
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 10])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, "H", "W"])
    initializers = [numpy_helper.from_array(array, name) for name, array in every.items() if name in used]
    model = helper.make_model(helper.make_graph(nodes, "toy", [source], [result], initializers), ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    # Shapes of inner tensors come with a canonical model; they may not contradict the rewritten one.
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def node(kind: str, *inputs: str, output: str = "b", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs) or ["a"], [output], **attributes)


def append(source: str, output: str, amount: int) -> tuple[onnx.NodeProto, Constants]:
    return node("Pad", source, f"{output}_pads", output=output), {f"{output}_pads": np.array([0, 0, 0, 0, 0, amount, 0, 0], np.int64)}


def channels_of(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.output)}
    return {name: shape[1].dim_value for name, shape in shapes.items() if len(shape) == 4}


def difference(model: onnx.ModelProto) -> float:
    """Return how far the rewritten network's answers are from the network's."""
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    onnx.checker.check_model(rewritten, full_check=True)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 10)).astype(np.float32)
    return max(float(np.abs(a - b).max()) for a, b in zip(run(model, {"x": x}), run(rewritten, {"x": x}), strict=True))


def assert_same_answer(model: onnx.ModelProto) -> None:
    assert difference(model) < 2e-5  # float32's rounding: outputs are of the order of 10


KEEPING = {
    "Relu": node("Relu"),
    "LeakyRelu": node("LeakyRelu", alpha=0.3),
    "MaxPool": node("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "AveragePool": node("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
    "Clip": node("Clip", "a", "low", "six"),
    "Clip from 0": node("Clip", "a", "zero", "six"),
    "Clip above only": node("Clip", "a", "", "six"),
    "Clip nothing": node("Clip", "a"),
    "Add": node("Add", "a", "a"),
}


@pytest.mark.parametrize("operator", KEEPING.values(), ids=KEEPING)
def test_channels_fill_a_block_through(operator: onnx.NodeProto) -> None:
    model = network([operator], CLIP)
    channels = channels_of(rewrite_for_cpu(model, machine="x86_64"))
    assert (channels["a"], channels["b"], channels["y"]) == (16, 16, 3)
    assert channels_of(model)["a"] == 13
    assert_same_answer(model)


def test_channels_fill_a_block_through_a_depthwise_convolution_and_a_prelu() -> None:
    depthwise, constants = conv("a", "d", 13, 13, group=13)
    slopes = np.linspace(-1, 2, 13, dtype=np.float32).reshape(-1, 1, 1)
    model = network([depthwise, node("PRelu", "d", "slopes")], {**constants, "slopes": slopes})
    rewritten = rewrite_for_cpu(model, machine="x86_64")
    assert {channels_of(rewritten)[name] for name in "adb"} == {16}
    assert "slopes" not in {tensor.name for tensor in rewritten.graph.initializer}
    assert_same_answer(model)


REFUSING = {
    "Sigmoid": node("Sigmoid"),
    "Clip from 0.5": node("Clip", "a", "half", "six"),
    "Clip to -0.5": node("Clip", "a", "", "low"),
    "Add of a constant": node("Add", "a", "ones"),
    "Add of other channels": node("Add", "a", "x1"),
    "Concat": node("Concat", "a", "a", axis=2),
    "Resize": node("Resize", "a", "", "scales"),
    "Transpose": node("Transpose", "a", perm=[0, 1, 3, 2]),
    "Pad of rows": node("Pad", "a", "rows"),
    "Softmax": node("Softmax", "a", axis=1),
    "Conv with weights at run time": node("Conv", "a", "computed", group=13),
    "PRelu of places": node("PRelu", "a", "places"),
}


@pytest.mark.parametrize("operator", REFUSING.values(), ids=REFUSING)
def test_what_meets_any_other_operator_is_left_alone(operator: onnx.NodeProto) -> None:
    # s is tied to r, and r to a: all are filled or none.
    (single, single_constants), (depthwise, depthwise_constants) = conv("x", "x1", 3, 1), conv("r", "s", 13, 13, group=13)
    before = [single, node("Identity", "kernel", output="computed"), node("Relu", "a", output="r"), depthwise]
    constants: Constants = {
        **CLIP,
        **single_constants,
        **depthwise_constants,
        "ones": np.ones((13, 1, 1), np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "rows": np.array([0, 0, 1, 0, 0, 0, 1, 0], np.int64),
        "kernel": np.full((13, 1, 1, 1), 2, np.float32),
        "places": np.full((13, 8, 10), 0.5, np.float32),
    }
    model = network([*before, operator], constants)
    channels = channels_of(rewrite_for_cpu(model, machine="x86_64"))
    assert [channels[name] for name in "arsb"] == [13, 13, 13, 13]
    assert_same_answer(model)


def test_a_refusing_operator_holds_back_the_other_end_of_its_group() -> None:
    depthwise, constants = conv("r", "s", 13, 13, group=13)
    model = network([node("Relu", "a", output="r"), depthwise, node("Sigmoid", "s")], constants)
    assert channels_of(rewrite_for_cpu(model, machine="x86_64")) == channels_of(model)
    assert_same_answer(model)


def test_what_is_computed_without_channels_is_left_alone() -> None:
    shapes: Constants = {"rows": np.array([0, 13, -1], np.int64), "places": np.array([0, 13, 8, 10], np.int64)}
    middle = [node("Reshape", "a", "rows", output="r"), node("Relu", "r", output="s"), node("Reshape", "s", "places")]
    model = network(middle, shapes)
    assert rewrite_for_cpu(model, machine="x86_64").graph.node == model.graph.node
    assert_same_answer(model)


@pytest.mark.parametrize(("channels", "group"), [(13, 13), (26, 2)], ids=["two outputs of each channel", "two halves"])
def test_groups_that_are_not_depthwise_are_left_alone(channels: int, group: int) -> None:
    grouped, constants = conv("a", "b", channels, 26, group=group)
    model = network([grouped], constants, channels=channels, end=26)
    assert channels_of(rewrite_for_cpu(model, machine="x86_64")) == channels_of(model)
    assert_same_answer(model)


@pytest.mark.parametrize(("channels", "filled"), [(11, 11), (12, 16), (16, 16), (17, 17), (24, 32), (25, 32)])
def test_no_more_than_a_third_is_added(channels: int, filled: int) -> None:
    model = network([node("Relu")], {}, channels=channels, end=channels)
    assert channels_of(rewrite_for_cpu(model, machine="x86_64"))["a"] == filled
    assert_same_answer(model)


def test_outputs_of_the_network_keep_their_channels() -> None:
    model = network([node("Relu")], {})
    model.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N", 13, 8, 10]))
    assert channels_of(rewrite_for_cpu(model, machine="x86_64"))["a"] == 13
    assert_same_answer(model)


def test_a_constant_output_of_the_network_stays() -> None:
    model = network([node("Relu")], {})
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "anchors"))
    model.graph.output.append(helper.make_tensor_value_info("anchors", TensorProto.FLOAT, [2]))
    assert_same_answer(model)


def test_a_weight_that_two_convolutions_share_is_filled_for_each() -> None:
    second, constants = conv("r", "s", 13, 13, group=1)
    third = helper.make_node("Conv", ["t", *second.input[1:]], ["u"], pads=[1, 1, 1, 1])
    model = network([node("Relu", output="r"), second, node("Sigmoid", "s", output="t"), third, node("Relu", "u")], constants)
    channels = channels_of(rewrite_for_cpu(model, machine="x86_64"))
    assert [channels[name] for name in "rstub"] == [16, 13, 13, 16, 16]
    assert_same_answer(model)


@pytest.mark.parametrize(("amount", "outcome"), [(1, {"Conv": 2}), (3, {"Conv": 2}), (16, {"Conv": 3, "Concat": 1}), (5, {"Conv": 3})])
def test_appended_channels_need_nothing_within_a_block(amount: int, outcome: dict[str, int]) -> None:
    """13 channels are filled to 16: up to 16 nothing is to be done, 29 become 32 by a Concat, 18 are left alone and take the identity."""
    padding, constants = append("r", "b", amount)
    model = network([node("Relu", output="r"), padding], constants, end=13 + amount)
    assert kinds(rewrite_for_cpu(model, machine="x86_64")) == {"Relu": 1, **outcome}
    assert_same_answer(model)


def test_one_pad_after_the_other_vanishes() -> None:
    (one, one_constants), (two, two_constants), (other, other_constants) = append("a", "p", 1), append("p", "q", 2), conv("x", "o", 3, 16)
    model = network([one, two, other, node("Add", "o", "q")], {**one_constants, **two_constants, **other_constants}, end=16)
    assert kinds(rewrite_for_cpu(model, machine="x86_64")) == {"Conv": 3, "Add": 1}
    assert_same_answer(model)


@pytest.mark.parametrize("amount", [1, 3], ids=["fewer than the block", "the whole block"])
def test_a_pad_that_makes_an_output_stays(amount: int) -> None:
    padding, constants = append("a", "q", amount)
    model = network([padding, node("Relu")], constants)
    model.graph.output.append(helper.make_tensor_value_info("q", TensorProto.FLOAT, ["N", 13 + amount, 8, 10]))
    channels = channels_of(rewrite_for_cpu(model, machine="x86_64"))
    assert (channels["a"], channels["q"]) == (16, 13 + amount)
    assert_same_answer(model)


def sigmoid_then_pad() -> onnx.ModelProto:
    padding, constants = append("s", "b", 3)
    return network([node("Sigmoid", output="s"), padding], constants, end=16)


def test_a_pad_after_what_makes_something_of_zeros_stays() -> None:
    assert kinds(rewrite_for_cpu(sigmoid_then_pad(), machine="x86_64")) == {"Conv": 3, "Sigmoid": 1}
    assert_same_answer(sigmoid_then_pad())


def test_the_comparison_would_notice_a_pad_that_vanished_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_channels, "_ZERO_KEEPING", ("Sigmoid",))
    assert kinds(rewrite_for_cpu(sigmoid_then_pad(), machine="x86_64")) == {"Conv": 2, "Sigmoid": 1}
    assert difference(sigmoid_then_pad()) > 0.1


def test_a_graph_with_subgraphs_is_left_alone() -> None:
    def branch(name: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 13, 8, 10])
        return helper.make_graph([helper.make_node("Sigmoid", ["r"], [name])], name, [], [result])

    middle = [node("Relu", output="r"), node("If", "yes", then_branch=branch("then"), else_branch=branch("else"))]
    model = network(middle, {"yes": np.array(True)})
    assert rewrite_for_cpu(model, machine="x86_64") == model
