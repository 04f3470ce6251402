"""Strongly typed FP16: what it computes, what stays in float32, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from converters.quantization.int8 import quantize_int8
from edge.engine.fp16 import to_fp16
from edge.engine.ort import OrtEngine
from edge.errors import EngineError
from tests.small_graphs import Array, SmallGraph, makers, noise_ratio_db, operators, pictures, residual_network, run


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    return {**found, **{tensor.name: tensor.data_type for tensor in model.graph.initializer}}


def reference(model: onnx.ModelProto, x: Array) -> Array:
    """What ONNX's own implementation gives."""
    (result,) = ReferenceEvaluator(model).run(None, {"x": x})
    return np.asarray(result)


def test_inner_tensors_are_fp16_and_the_ends_float32() -> None:
    model = residual_network()
    half = to_fp16(model)
    kinds = types(half)
    ends = {value.name for value in (*half.graph.input, *half.graph.output)}
    assert {kinds[name] for name in ends} == {TensorProto.FLOAT}
    assert {kind for name, kind in kinds.items() if name not in ends} == {TensorProto.FLOAT16}
    assert operators(half).count("Cast") == 2
    assert half.opset_import[0].version == 17
    x = pictures()
    assert noise_ratio_db(run(model, x)[0], run(half, x)[0]) > 40
    assert [value.name for value in half.graph.output] == [value.name for value in model.graph.output]


def test_the_same_bytes_every_time_and_the_given_model_is_left_alone() -> None:
    model = residual_network()
    before = model.SerializeToString()
    assert to_fp16(model, ["a1", "b2"]).SerializeToString() == to_fp16(model, ["b2", "a1"]).SerializeToString()
    assert model.SerializeToString() == before


def large_numbers() -> onnx.ModelProto:
    """The square of numbers around 1000, and their root: beyond FP16 in between."""
    g = SmallGraph(4)
    scaled = g.node("Mul", "x", g.constant(np.float32(1000)), name="scaled")
    return g.model(g.node("Sqrt", g.node("Mul", scaled, scaled, name="square"), name="root"))


def test_nodes_that_are_kept_compute_in_float32() -> None:
    model = large_numbers()
    x = np.array([[0.5, 1, 2, 3]], np.float32)
    # ONNX's own implementation: ONNX Runtime's CPU kernels compute much of FP16 in float32, so that nothing overflows there.
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.isinf(reference(to_fp16(model), x)).any()
    half = to_fp16(model, ["square", "root"])
    assert reference(half, x) == pytest.approx(run(model, x)[0], rel=1e-3)
    kinds = types(half)
    assert (kinds["scaled"], kinds["square"]) == (TensorProto.FLOAT16, TensorProto.FLOAT)
    assert makers(half, "square") == ["Cast", "Cast"]
    assert makers(half, "root") == ["Mul"]  # no cast between two that are kept


def test_a_weight_that_both_kinds_read_is_there_in_both_types() -> None:
    g = SmallGraph(3)
    shared = g.constant(np.array([1, 2, 3], np.float32), "shared")
    model = g.model(g.node("Add", g.node("Mul", "x", shared, name="first"), shared, name="second"))
    half = to_fp16(model, ["second"])
    assert sorted(tensor.data_type for tensor in half.graph.initializer) == [TensorProto.FLOAT, TensorProto.FLOAT16]
    assert run(half, np.ones((1, 3), np.float32))[0].tolist() == [[2, 4, 6]]


def test_what_onnx_defines_for_float32_alone_stays_so() -> None:
    g = SmallGraph(2, 4, 4)
    size = g.node("Resize", "x", "", g.constant(np.array([1, 1, 2, 2], np.float32), "factors"), name="resize", mode="nearest")
    shape = g.node("Shape", size, name="shape")
    filled = g.node("ConstantOfShape", shape, name="filled", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5]))
    count = g.node("Cast", g.node("Size", size, name="count"), name="as_float", to=TensorProto.FLOAT)
    clipped = g.node("Clip", g.node("Add", size, filled, name="sum"), g.constant(np.float32(-3e38)), g.constant(np.float32(1)), name="clip")
    model = g.model(g.node("Div", clipped, count, name="end"))
    half = to_fp16(model)
    kinds = types(half)
    assert (kinds["factors"], kinds["shape"], kinds["count"]) == (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT64)
    assert {kinds[name] for name in ("resize", "filled", "as_float", "sum", "clip")} == {TensorProto.FLOAT16}
    x = np.random.default_rng(0).normal(size=(2, 2, 4, 4)).astype(np.float32)
    assert run(half, x)[0] == pytest.approx(run(model, x)[0], rel=2e-3, abs=1e-4)


def quantised() -> onnx.ModelProto:
    return quantize_int8(residual_network(), {"x": pictures()}, calibrator="max")


def test_around_int8_scales_are_fp16_and_grids_the_same() -> None:
    model = quantised()
    half = to_fp16(model)
    assert half.opset_import[0].version == 19
    assert model.opset_import[0].version == 17
    kinds = types(half)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    dequantizers = [node for node in half.graph.node if node.op_type == "DequantizeLinear"]
    assert len(dequantizers) == operators(model).count("DequantizeLinear")
    for node in dequantizers:
        assert (kinds[node.input[0]], kinds[node.input[1]], kinds[node.output[0]]) == (TensorProto.INT8, TensorProto.FLOAT16, TensorProto.FLOAT16)
        assert np.array_equal(values[node.input[1]], given[node.input[1].removesuffix("/fp16")])  # FP16 holds the scales exactly
    weights = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in given]
    for name, expected in zip(weights, run(model, pictures(1), *weights), strict=True):
        assert np.array_equal(values[name], expected)
    # ONNX's own implementation: ONNX Runtime 1.23's QuantizeLinear cuts FP16 numbers off where it should round them.
    x = pictures(4)
    assert noise_ratio_db(run(residual_network(), x)[0], reference(half, x)) > 15


def test_grids_before_a_kept_layer_give_float32() -> None:
    half = to_fp16(quantised(), ["a2"])
    assert makers(half, "a2")[:2] == ["DequantizeLinear", "DequantizeLinear"]
    (conv,) = (node for node in half.graph.node if node.name == "a2")
    kinds = types(half)
    assert [kinds[name] for name in (*conv.input, *conv.output)] == [TensorProto.FLOAT] * 4


def test_it_runs_on_the_cpu(tmp_path: Path) -> None:
    path = tmp_path / "model.fp16.onnx"
    onnx.save(to_fp16(residual_network()), path)
    engine = OrtEngine(path, cuda=False, threads=1)
    x = pictures(3)
    assert noise_ratio_db(run(residual_network(), x)[0], next(iter(engine.run({"x": x}).values()))) > 40
    engine.close()


def test_a_name_that_no_node_bears_is_refused() -> None:
    with pytest.raises(EngineError, match=re.escape("expected names of nodes to keep in FP32, got ['nobody'], which the network lacks")):
        to_fp16(residual_network(), ["head", "nobody"])


@pytest.mark.parametrize(("factor", "problem"), [(1e5, "has 1e+05, beyond FP16's 65504"), (1e-9, "has at most 1e-09, which is zero in FP16")])
def test_weights_that_fp16_does_not_hold_are_refused_unless_they_are_kept(factor: float, problem: str) -> None:
    g = SmallGraph(3)
    model = g.model(g.node("Mul", "x", g.constant(np.float32(factor), "factor"), name="scale"))
    with pytest.raises(EngineError, match=re.escape(f"node 'scale' (Mul): expected weights that FP16 holds, 'factor' {problem}")):
        to_fp16(model)
    assert run(to_fp16(model, ["scale"]), np.ones((1, 3), np.float32))[0] == pytest.approx(factor)


def test_branches_inside_a_network_are_refused() -> None:
    g = SmallGraph(3)
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = g.model(g.node("If", g.constant(np.array(True)), name="if", then_branch=branch, else_branch=branch))
    with pytest.raises(EngineError, match=re.escape("a network with branches or loops inside (If, Loop, Scan) cannot be brought to FP16")):
        to_fp16(model)


def test_constants_that_do_not_say_their_type_and_drawn_numbers_become_fp16() -> None:
    g = SmallGraph(3)
    shape = g.node("Shape", "x", name="shape")
    constants = [g.node("Constant", name="one", value_float=0.5), g.node("Constant", name="some", value_floats=[1.0, 2.0, 3.0])]
    constants += [g.node("ConstantOfShape", shape, name="zeros"), g.node("RandomUniformLike", "x", name="drawn", dtype=TensorProto.FLOAT, low=0.0, high=1e-6)]
    end = "x"
    for constant in constants:
        end = g.node("Add", end, constant)
    half = to_fp16(g.model(end))
    assert {types(half)[name] for name in constants} == {TensorProto.FLOAT16}
    assert run(half, np.ones((1, 3), np.float32))[0] == pytest.approx(np.array([[2.5, 3.5, 4.5]]), abs=1e-3)
    assert types(to_fp16(g.model(end), [*constants]))["drawn"] == TensorProto.FLOAT


def test_names_that_are_taken_are_left_alone() -> None:
    g = SmallGraph(3)
    doubled = g.node("Mul", "x", g.constant(np.float32(2), "w"), name="x/fp16")
    half = to_fp16(g.model(g.node("Add", g.node("Add", "x", doubled), g.constant(np.float32(5), "w/fp16"), name="y")))
    assert run(half, np.ones((1, 3), np.float32))[0].tolist() == [[8, 8, 8]]


def test_what_cannot_be_brought_to_fp16_says_so() -> None:
    g = SmallGraph(3)
    model = g.model(g.node("Relu", "x", name="end"))
    model.graph.node[0].op_type = "Nothing"
    with pytest.raises(EngineError, match=r"a network cannot be brought to FP16: .*Nothing"):
        to_fp16(model)
