"""What is quantised, on which grids, and what is left out: on small networks with one joint each, and on a real ResNet18."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import HistogramCollector

from converters.errors import ConversionError
from converters.quantization import ranges
from converters.quantization.blocks import blocks
from converters.quantization.int8 import quantize_int8
from converters.quantization.overflow import overflow_nodes
from converters.quantization.placement import place, quantisable
from converters.quantization.prepared import named, prepared
from converters.quantization.ranges import reaches
from converters.systems.known import KNOWN
from edge.engine.fp16 import to_fp16
from tests.small_graphs import SmallGraph, makers, noise_ratio_db, operators, pictures, residual_network, run

X = pictures(24, 16, 8, 8)


def quantised(model: onnx.ModelProto, x: NDArray[np.float32] = X, calibrator: ranges.Calibrator = "max", **options: list[str]) -> onnx.ModelProto:
    return quantize_int8(model, {"x": x}, calibrator=calibrator, **options)


def scale(model: onnx.ModelProto, tensor: str) -> float:
    (value,) = (numpy_helper.to_array(constant) for constant in model.graph.initializer if constant.name == f"{tensor}/scale")
    return float(value)


# Names, and what is folded.


def test_nodes_get_names_of_their_own() -> None:
    g = SmallGraph(4)
    g.node("Relu", "x", name="kept")
    g.node("Neg", "kept", name="twice")
    g.node("Abs", "twice", name="b")
    g.nodes[2].name = "twice"
    g.nodes.append(helper.make_node("Exp", ["b"], ["end"]))
    model = g.model("end")
    names = [node.name for node in named(model).graph.node]
    assert names == ["kept", "Neg:twice", "Abs:b", "Exp:end"]
    assert [node.name for node in named(named(model)).graph.node] == names
    assert [node.name for node in model.graph.node] == ["kept", "twice", "twice", ""]


def test_what_follows_a_convolution_goes_into_it() -> None:
    g = SmallGraph(16, 8, 8)
    padded = g.node("Pad", "x", g.constant(np.array([0, 0, 1, 1, 0, 0, 2, 2])), name="pad")
    norm = g.batch_norm(g.conv(padded, 16, 16, name="a", pads=[0, 0, 0, 0], strides=[2, 2]), 16)
    scaled = g.node("Mul", g.conv(g.node("Relu", norm, name="relu"), 16, 16, name="b", bias=False), g.constant(np.float32(0.17)), name="mul")
    shifted = g.node("Add", scaled, g.constant(g.rng.normal(0, 1, (16, 1, 1)).astype(np.float32)), name="add")
    model = g.model(g.batch_norm(g.conv(shifted, 16, 16, name="c", group=16), 16, name="end"))
    folded = prepared(model)
    assert [(node.op_type, node.name) for node in folded.graph.node] == [("Conv", "a"), ("Relu", "relu"), ("Conv", "b"), ("Conv", "c")]
    assert noise_ratio_db(run(model, X)[0], run(folded, X)[0]) > 100
    assert prepared(folded).SerializeToString() == folded.SerializeToString()


def test_what_others_read_is_not_folded() -> None:
    g = SmallGraph(16, 8, 8)
    a = g.conv("x", 16, 16, name="a")
    b = g.node("Add", g.batch_norm(a, 16, name="norm"), a, name="b")
    shared = g.nodes[0].input[1]
    c = g.node("Conv", b, shared, name="c", kernel_shape=[3, 3], pads=[1] * 4)
    d = g.node("Conv", g.node("Mul", c, g.constant(np.float32(3)), name="times"), shared, name="d", kernel_shape=[3, 3], pads=[1] * 4)
    nonzero = g.node("Pad", d, g.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])), g.constant(np.float32(1)), name="ones")
    model = g.model(g.conv(nonzero, 16, 16, name="end"))
    folded = prepared(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv", "BatchNormalization", "Add", "Conv", "Conv", "Pad", "Conv"]
    assert noise_ratio_db(run(model, X)[0], run(folded, X)[0]) > 100  # `times` went into c alone, whose weight d shares


# Placement.


def test_layers_read_grids_and_give_float() -> None:
    model = quantised(residual_network(), pictures())
    for name in ("stem", "a1", "a2", "b1", "b2", "b_short"):
        assert makers(model, name) == ["DequantizeLinear", "DequantizeLinear", "constant"]  # no grid for the bias
    for name in ("stem_relu", "a1_relu", "a", "b"):
        assert makers(model, name)[0] in ("Conv", "Add")
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]


def test_of_an_addition_only_the_skip_input_has_a_grid() -> None:
    model = quantised(residual_network(), pictures())
    assert makers(model, "a_add") == ["Conv", "DequantizeLinear"]
    assert makers(model, "b_add") == ["Conv", "DequantizeLinear"]
    (add,) = (node for node in model.graph.node if node.name == "b_add")
    assert add.input[0] == "b2"  # the longer branch is the main one, whichever comes first
    swapped = residual_network()
    (add,) = (node for node in swapped.graph.node if node.name == "b_add")
    add.input[0], add.input[1] = add.input[1], add.input[0]
    assert makers(quantised(swapped, pictures()), "b_add") == ["DequantizeLinear", "Conv"]


def test_what_moves_numbers_keeps_their_grid() -> None:
    model = quantised(residual_network(), pictures())
    assert makers(model, "pool") == ["DequantizeLinear"]
    assert scale(model, "stem_relu") == scale(model, "pool")
    assert makers(model, "head_mean") == ["DequantizeLinear"]


def test_inputs_of_a_concatenation_share_a_scale() -> None:
    g = SmallGraph(16, 8, 8)
    small = g.conv("x", 16, 16, name="small")
    large = g.node("Mul", g.node("Relu", g.conv("x", 16, 16, name="wide"), name="relu"), g.constant(np.float32(9)), name="large")
    join = g.node("Concat", small, large, name="join", axis=1)
    model = quantised(g.model(g.head(g.conv(join, 32, 16, name="next"), 16)))
    assert makers(model, "join") == ["DequantizeLinear"] * 2
    assert scale(model, "small") == scale(model, "large") == scale(model, "join") > scale(model, "x")


def test_narrow_layers_and_the_last_one_stay_in_float() -> None:
    g = SmallGraph(3, 8, 8)
    first = g.conv("x", 3, 16, name="first")  # three channels in: the pictures
    narrow = g.conv(g.conv(first, 16, 12, name="narrow_out"), 12, 16, name="narrow_in")
    eights = g.conv(g.conv(narrow, 16, 24, name="eights"), 24, 32, name="wide")
    flat = g.node("Flatten", g.node("GlobalAveragePool", eights, name="mean"), name="flat")
    gemms = g.gemm(g.gemm(g.gemm(flat, 32, 64, name="gemm"), 64, 12, name="narrow_gemm"), 12, 64, name="from_narrow")
    model = g.model(g.node("Sigmoid", g.gemm(gemms, 64, 64, name="last"), name="answers"))
    assert quantisable(model) == ("first", "eights", "wide", "gemm")
    assert makers(quantised(model, pictures(8, 3, 8, 8)), "answers") == ["Gemm"]


def test_a_gate_computed_from_means_stays_in_float() -> None:
    g = SmallGraph(16, 8, 8)
    body = g.conv("x", 16, 32, name="body")
    mean = g.node("GlobalAveragePool", body, name="mean")
    gate = g.node("Sigmoid", g.conv(g.node("Relu", g.conv(mean, 32, 16, kernel=1, name="squeeze")), 16, 32, kernel=1, name="excite"), name="gate")
    model = g.model(g.head(g.conv(g.node("Mul", body, gate, name="gated"), 32, 16, name="project"), 16))
    assert quantisable(model) == ("body", "project")
    done = quantised(model)
    assert makers(done, "gated") == ["Conv", "Sigmoid"]
    assert makers(done, "mean") == ["Conv"]


def test_weights_have_a_scale_for_each_output() -> None:
    g = SmallGraph(16, 8, 8)
    deep = g.conv("x", 16, 16, name="depthwise", group=16)
    flat = g.node("Flatten", deep, name="flat")
    gemm = g.gemm(flat, 1024, 24, name="by_rows")
    product = g.node("MatMul", gemm, g.constant(g.rng.normal(0, 1, (24, 48)).astype(np.float32), "columns"), name="by_columns")
    model = quantised(g.model(g.gemm(product, 48, 20, name="last")))
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    axes = {
        node.input[0]: (helper.get_node_attr_value(node, "axis"), shapes[node.input[1]])
        for node in model.graph.node
        if "axis" in node.name and node.op_type[0] == "Q"
    }
    assert sorted(axes.values()) == [(0, (16,)), (0, (24,)), (1, (48,))]


def test_a_transposed_convolution_stays_in_float() -> None:
    g = SmallGraph(16, 8, 8)
    up = g.node("ConvTranspose", g.conv("x", 16, 16, name="before"), g.constant(g.rng.normal(0, 0.1, (16, 16, 2, 2)).astype(np.float32)), strides=[2, 2])
    model = g.model(g.head(g.conv(up, 16, 16, name="after"), 16))
    assert quantisable(model) == ("before", "after")


def test_grids_are_signed_around_zero_and_fp16_holds_their_steps() -> None:
    model = quantised(residual_network(), pictures())
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            steps, zero = values[node.input[1]], values[node.input[2]]
            assert (zero.dtype, steps.dtype) == (np.dtype(np.int8), np.dtype(np.float32))
            assert not zero.any()
            assert np.array_equal(steps.astype(np.float16).astype(np.float32), steps)
            assert (steps > 0).all()
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) == 14
    for node in pairs:
        name, reach = node.input[0], values[node.input[1]] * 127
        numbers = values.get(name)
        if numbers is None:
            largest = np.abs(pictures() if name == "x" else run(residual_network(), pictures(), name)[0]).max()
        else:
            largest = np.abs(numbers).max(axis=(1, 2, 3))
        # Never less than was measured, but for float32's rounding; of tensors that share a scale, more than the smaller ones need.
        assert (reach >= largest * (1 - 1e-6)).all()
        assert numbers is None or (reach <= largest * 1.002).all()


def test_an_output_whose_weights_are_zero_gets_a_grid() -> None:
    g = SmallGraph(16, 8, 8)
    conv = g.conv("x", 16, 16, name="conv", bias=False)
    weight = numpy_helper.to_array(g.constants[0]).copy()
    weight[2] = 0
    g.constants[0].CopyFrom(numpy_helper.from_array(weight, g.constants[0].name))
    model = quantised(g.model(g.head(conv, 16)))
    assert not run(model, X, "conv")[0][:, 2].any()


def test_nodes_to_skip_stay_in_float() -> None:
    model = quantised(residual_network(), pictures(), skip=["a1", "b_add"])
    assert makers(model, "a1") == ["MaxPool", "constant", "constant"]
    assert makers(model, "b_add") == ["Conv", "Conv"]
    assert makers(model, "a2")[0] == "DequantizeLinear"


# A ResNet18 as it is converted.


@pytest.fixture(scope="module")
def resnet18() -> onnx.ModelProto:
    system = KNOWN["resnet18-22"]
    warmth = {system.stages[0].name: {"crop": pictures98(8)}}
    return system.build(warmth, 0)[system.stages[0].name].to_onnx()


def pictures98(n: int) -> NDArray[np.float32]:
    return pictures(n, 1, 100, 80)[:, :, :98]


def test_resnet18(resnet18: onnx.ModelProto, tmp_path: Path) -> None:
    x = pictures98(8)
    model = quantize_int8(resnet18, {"crop": x}, calibrator="max")
    placement = place(prepared(resnet18))
    assert len(placement.nodes) == operators(resnet18).count("Conv") == 20
    adds = [makers(model, node.name) for node in model.graph.node if node.op_type == "Add"]
    assert [sorted(pair) for pair in adds] == [["Conv", "DequantizeLinear"]] * 8
    # A grid for each tensor: the crop, what 16 ReLUs, the pool and 3 short cuts give, and the pool's input; readers share them.
    assert len(placement.readers) == len({node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}) - 20 == 22
    onnx.save(to_fp16(model), tmp_path / "half.onnx")
    assert (tmp_path / "half.onnx").stat().st_size < resnet18.ByteSize() / 3.5


def test_blocks_of_resnet18(resnet18: onnx.ModelProto) -> None:
    model = prepared(resnet18)
    found = blocks(model)
    assert len(found) == 9
    assert [sum(name in quantisable(model) for name in block.nodes) for block in found] == [1, 2, 2, 3, 2, 3, 2, 3, 2]
    assert found[1].name == "/layer1/layer1.0/conv1/Conv"
    assert set(quantisable(model)) <= {name for block in found for name in block.nodes}
    skipped = quantize_int8(model, {"crop": pictures98(2)}, calibrator="max", skip=found[1].nodes)
    assert operators(skipped).count("QuantizeLinear") < operators(quantize_int8(model, {"crop": pictures98(2)}, calibrator="max")).count("QuantizeLinear")


# Parts.


def test_branches_beside_each_other_are_cut_layer_by_layer() -> None:
    g = SmallGraph(16, 8, 8)
    left, right = "x", "x"
    for number in range(3):
        left, right = g.conv(left, 16, 16, name=f"left{number}"), g.conv(right, 16, 16, name=f"right{number}")
    join = g.node("Concat", left, right, name="join", axis=1)
    model = g.model(g.head(g.conv(join, 32, 16, name="end"), 16))
    assert [block.nodes for block in blocks(model)] == [("left0",), ("right0",), ("left1",), ("right1",), ("left2",), ("right2",), ("end",)]


def test_a_network_without_a_layer_to_quantise_has_no_parts() -> None:
    g = SmallGraph(8)
    assert blocks(g.model(g.gemm(g.gemm("x", 8, 12), 12, 7))) == []


# How far grids reach.


def passing(*shape: int) -> onnx.ModelProto:
    g = SmallGraph(*shape)
    return g.model(g.node("Neg", "x", name="y"))


def test_max_is_the_largest_absolute_value() -> None:
    x = np.random.default_rng(0).normal(size=(50, 100)).astype(np.float32)
    assert reaches(passing(100), {"y": "max"}, {"x": x}) == {"y": float(np.abs(x).max())}
    assert reaches(passing(100), {"y": "max"}, {"x": 0 * x}) == {"y": 0.0}


def test_percentile_is_onnx_runtimes(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).standard_t(3, size=(200, 1000)).astype(np.float32)
    collector = HistogramCollector("percentile", symmetric=True, num_bins=2048, num_quantized_bins=128, percentile=99.99, scenario="same")
    collector.collect({"y": [x]})
    theirs = float(collector.compute_collection_result()["y"][1])
    capsys.readouterr()  # it prints
    ours = reaches(passing(1000), {"y": "percentile"}, {"x": x})["y"]
    assert ours == pytest.approx(theirs, abs=2 * float(np.abs(x).max()) / 1024)
    assert ours == pytest.approx(float(np.quantile(np.abs(x), 0.9999)), rel=0.05)


def test_entropy_cuts_off_what_is_rare_and_large_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    even = rng.uniform(-1, 1, size=(40, 1000)).astype(np.float32)
    assert reaches(passing(1000), {"y": "entropy"}, {"x": even})["y"] > 0.95
    normal = rng.normal(size=(40, 1000)).astype(np.float32)
    far = normal.copy()
    far[0, 0] = 60
    assert 2.5 < reaches(passing(1000), {"y": "entropy"}, {"x": far})["y"] < 8
    sparse = far * (rng.random(far.shape) > 0.9)
    assert 2.5 < reaches(passing(1000), {"y": "entropy"}, {"x": sparse.astype(np.float32)})["y"] < 8  # zeros, which every grid has, do not count


@pytest.mark.parametrize("calibrator", ["entropy", "percentile"])
def test_the_order_of_the_pictures_matters_little(calibrator: ranges.Calibrator) -> None:
    x = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32) * np.linspace(0.1, 3, 64, dtype=np.float32)[:, None]
    rising, falling = (reaches(passing(1000), {"y": calibrator}, {"x": order})["y"] for order in (x, x[::-1]))
    assert rising == pytest.approx(falling, rel=0.05)


def test_pictures_are_taken_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(ranges, "_BATCH_BYTES", 100 * 4 * 2 * 2 * 4)  # four inputs of two tensors, twice each
    x = np.ones((10, 100), np.float32)
    ranges.watch(passing(100), ["x", "y"], {"x": x}, lambda name, values: seen.append(len(values)) if name == "y" else None)
    assert seen == [1, 4, 4, 1]


# What FP16 cannot hold.


def test_nodes_that_overflow_fp16_are_found() -> None:
    g = SmallGraph(64)
    thousands = g.node("Mul", "x", g.constant(np.float32(1000)), name="thousands")
    mean = g.node("ReduceMean", thousands, name="mean", axes=[1], keepdims=1)
    back = g.node("Mul", mean, g.constant(np.float32(1e-3)), name="back")
    square = g.node("Mul", thousands, thousands, name="square")
    tiny = g.node("Add", g.node("Sqrt", square, name="root"), g.constant(np.float32(1e-12)), name="tiny")
    bounded = g.node("Clip", tiny, g.constant(np.float32(-3e38)), g.constant(np.float32(3e38)), name="bounded")
    model = g.model(g.node("Div", back, bounded, name="end"))
    x = 1 + np.abs(np.random.default_rng(0).normal(size=(16, 64))).astype(np.float32)
    found = overflow_nodes(model, {"x": x})
    assert found == ("mean", "square", "root", "tiny")
    assert overflow_nodes(model, {"x": x / np.float32(1000)}) == ("tiny",)
    assert onnx.shape_inference.infer_shapes(to_fp16(model, found)).graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


# Refusals.


def test_a_network_of_narrow_layers_is_refused_with_the_reason() -> None:
    g = SmallGraph(15)
    model = g.model(g.gemm(g.node("Relu", g.gemm("x", 15, 32)), 32, 7))
    with pytest.raises(ConversionError, match="nothing to quantise: 2 with fewer than 16 channels\n  INT8 brings nothing here: use fp16 or fp32"):
        quantised(model, np.ones((2, 15), np.float32))


def test_a_network_without_layers_or_with_all_of_them_skipped_is_refused() -> None:
    with pytest.raises(ConversionError, match="nothing to quantise: it has no convolution and no product of matrices"):
        quantised(passing(4), np.ones((2, 4), np.float32))
    with pytest.raises(ConversionError, match=re.escape("nothing to quantise: 6 left out as asked; 1 with the network's answers as its output")):
        quantised(residual_network(), pictures(), skip=list(quantisable(residual_network())))


def test_other_forms_of_layers_are_refused_with_the_reason() -> None:
    g = SmallGraph(16, 32)
    turned = g.node("Gemm", g.node("Flatten", "x"), g.constant(np.ones((512, 512), np.float32)), transA=1, name="turned")
    with pytest.raises(ConversionError, match="nothing to quantise: 1 with factors of another form than a layer's"):
        quantised(g.model(g.node("Relu", turned)), np.ones((2, 16, 32), np.float32))
    g = SmallGraph(16, 16)
    with pytest.raises(ConversionError, match="nothing to quantise: 1 with weights that are computed"):
        quantised(g.model(g.node("MatMul", "x", "x")), np.ones((2, 16, 16), np.float32))
    g = SmallGraph(16, 32)
    conv = g.node("Conv", "x", g.constant(np.ones((16, 16, 3), np.float32)), name="line", kernel_shape=[3])
    with pytest.raises(ConversionError, match="nothing to quantise: 1 with a convolution along one dimension"):
        quantised(g.model(g.node("Relu", conv)), np.ones((2, 16, 32), np.float32))


def test_names_that_no_node_bears_are_refused() -> None:
    with pytest.raises(ConversionError, match=re.escape("expected names of nodes to leave in float, got ['nobody']")):
        quantised(residual_network(), pictures(), skip=["a1", "nobody"])


def test_without_pictures_nothing_is_measured() -> None:
    with pytest.raises(ConversionError, match="expected pictures to measure the network on, got none"):
        quantised(residual_network(), pictures(0))


def test_numbers_that_are_not_finite_are_refused() -> None:
    x = pictures(4)
    x[2, 0, 3, 3] = np.nan
    with pytest.raises(ConversionError, match="'x' takes values that are no finite numbers"):
        quantised(residual_network(), x)


def test_a_reach_beyond_every_grid_is_refused() -> None:
    with pytest.raises(ConversionError, match=re.escape("an activation reaches 1e+08, beyond every grid")):
        quantised(residual_network(), np.full((2, 1, 32, 32), 1e8, np.float32))


def test_branches_inside_a_network_are_refused_by_name() -> None:
    g = SmallGraph(16, 8, 8)
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = g.model(g.node("If", g.constant(np.array(True)), name="either", then_branch=branch, else_branch=branch))
    with pytest.raises(ConversionError, match=re.escape("without branches or loops inside, got 'either' (If)\n  it runs in fp32")):
        quantised(model)
