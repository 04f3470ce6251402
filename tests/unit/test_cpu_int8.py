"""INT8 graphs for the CPU: the same grids, in the form that ONNX Runtime's kernels compute in INT8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from converters.quantization.int8 import quantize_int8
from edge.engine.cpu_int8 import CANONICAL, SUM_REACH, for_cpu_int8
from edge.engine.ort import OrtEngine
from tests.small_graphs import Array, SmallGraph, noise_ratio_db, operators, pictures, residual_network, run

MACHINES = ("x86_64", "aarch64")


def quantised(model: onnx.ModelProto, x: Array) -> onnx.ModelProto:
    return quantize_int8(model, {"x": x}, calibrator="max")


def grids(model: onnx.ModelProto) -> list[str]:
    """The tensors that activations' QuantizeLinear give."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in constants]


def zero_points(model: onnx.ModelProto) -> dict[str, int]:
    """By what an activation's grid gives."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear") and values[node.input[2]].ndim == 0]
    names = {node.name: (node.output if node.op_type == "QuantizeLinear" else node.input)[0] for node in nodes}
    return {names[node.name].removesuffix("/unclamped"): int(values[node.input[2]]) for node in nodes}


def as_onnx_runtime_runs_it(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(operators(onnx.load(folder / "optimized.onnx")))


def one_grid_each() -> onnx.ModelProto:
    """Layers whose numbers cannot drift apart: each tensor's grid follows from the input's through at most two layers."""
    g = SmallGraph(3, 16, 16)
    relu = g.node("Relu", g.conv("x", 3, 16, name="relu_conv"), name="relu")
    six = g.node("Clip", g.conv("x", 3, 16, name="six_conv"), g.constant(np.float32(0)), g.constant(np.float32(1)), name="six")
    plain = g.conv("x", 3, 16, name="plain")
    join = g.node("Concat", g.node("MaxPool", relu, name="pool", kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4), six, plain, name="join", axis=1)
    return g.model(g.head(g.node("Relu", g.conv(join, 48, 16, name="end_conv"), name="end"), 16))


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_is_the_canonical_one_or_its_neighbour(machine: str) -> None:
    x = pictures(8, 3, 16, 16)
    model = quantised(one_grid_each(), x)
    changed = for_cpu_int8(model, machine=machine)
    names = [name for name in grids(model) if name in {output for node in changed.graph.node for output in node.output}]
    assert len(names) == len(grids(model)) == 7
    zeros = zero_points(changed)
    for name, expected, got in zip(names, run(model, 3 * x, *names), run(changed, 3 * x, *names), strict=True):  # beyond what was measured: saturated alike
        difference = np.abs((got.astype(int) - zeros.get(name, zeros["join/quantized"])) - expected.astype(int))
        assert difference.max() <= 1, name
        assert (difference > 0).mean() < 0.01, name
    assert {int(expected.max()) for expected in run(model, 3 * x, *names)} >= {127}


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_of_the_machines_kind(machine: str) -> None:
    x = pictures(4, 3, 16, 16)
    changed = for_cpu_int8(quantised(one_grid_each(), x), machine=machine)
    unsigned = machine == "x86_64"
    zeros = zero_points(changed)
    around, above = (128, 0) if unsigned else (0, -128)
    assert zeros["x/quantized"] == around
    assert zeros["end/quantized"] == above
    kinds = {tensor.name: tensor.data_type for tensor in changed.graph.initializer}
    assert {kinds[node.input[2]] for node in changed.graph.node if node.op_type == "QuantizeLinear"} == {TensorProto.UINT8 if unsigned else TensorProto.INT8}


def test_a_residual_network_is_computed_in_int8(tmp_path: Path) -> None:
    x = pictures()
    model = quantised(residual_network(), x)
    runs = as_onnx_runtime_runs_it(for_cpu_int8(model, machine="x86_64"), tmp_path)
    assert (runs["QLinearConv"], runs["QLinearAdd"], runs["Conv"], runs["Add"], runs["Relu"]) == (6, 2, 0, 0, 0)
    as_it_is = as_onnx_runtime_runs_it(model, tmp_path)
    assert as_it_is["Conv"] + as_it_is["FusedConv"] == 6  # what the rewriting is for
    true, canonical = run(residual_network(), x)[0], run(model, x)[0]
    got = run(for_cpu_int8(model), x, optimized=True)[0]
    assert noise_ratio_db(true, canonical) > 20
    assert noise_ratio_db(true, got) > noise_ratio_db(true, canonical) - 2


def test_a_sum_differs_by_one_step_at_most() -> None:
    g = SmallGraph(16, 8, 8)
    skip = g.node("Relu", g.conv("x", 16, 16, name="first"), name="skip")
    total = g.node("Relu", g.node("Add", g.conv(skip, 16, 16, name="main"), skip, name="sum"), name="total")
    model = quantised(g.model(g.head(total, 16)), pictures(4, 16, 8, 8))
    changed = for_cpu_int8(model, machine="x86_64")
    x = pictures(4, 16, 8, 8)
    expected, got = run(model, x, "total/quantized")[0].astype(int), run(changed, x, "total/quantized")[0].astype(int)
    assert np.abs(expected - got).max() == 1
    assert [entry.key for entry in model.metadata_props] == [CANONICAL[0], f"{SUM_REACH}main"]
    # The grid of what is added is no wider than needed: without the measured reach it is coarser.
    del model.metadata_props[:]
    steps = [numpy_helper.to_array(t) for m in (changed, for_cpu_int8(model, machine="x86_64")) for t in m.graph.initializer if t.name == "main/scale"]
    assert steps[0] < steps[1]


def test_a_block_that_died_in_training_adds_nothing_and_can_be_loaded(tmp_path: Path) -> None:
    g = SmallGraph(16, 8, 8)
    skip = g.node("Relu", g.conv("x", 16, 16, name="first"), name="skip")
    dead = g.node("Conv", skip, g.constant(np.zeros((16, 16, 1, 1), np.float32)), g.constant(np.zeros(16, np.float32)), name="dead", kernel_shape=[1, 1])
    total = g.node("Relu", g.node("Add", dead, skip, name="sum"), name="total")
    model = quantised(g.model(g.head(total, 16)), pictures(4, 16, 8, 8))
    assert f"{SUM_REACH}dead" in {entry.key for entry in model.metadata_props if entry.value == "0.0"}
    for machine in MACHINES:
        changed = for_cpu_int8(model, machine=machine)
        (step,) = (float(numpy_helper.to_array(tensor)) for tensor in changed.graph.initializer if tensor.name == "dead/scale")
        assert 0 < step < np.inf
        x = pictures(4, 16, 8, 8)
        assert (run(changed, x, "dead/dequantized")[0] == 0).all()
        assert run(changed, x, optimized=True)[0] == pytest.approx(run(model, x)[0], abs=1e-2)
    onnx.save(model, tmp_path / "dead.int8.onnx")
    OrtEngine(tmp_path / "dead.int8.onnx", cuda=False, threads=1).close()


def test_a_sum_that_goes_on_in_float_too_is_of_a_convolution_in_int8(tmp_path: Path) -> None:
    """As where a mean over the picture and a further layer read the last block: without a grid of its own, the most expensive layer would compute in float."""
    g = SmallGraph(16, 8, 8)
    skip = g.node("Relu", g.conv("x", 16, 16, name="first"), name="skip")
    total = g.node("Relu", g.node("Add", g.conv(skip, 16, 16, name="main"), skip, name="sum"), name="total")
    mean = g.node("ReduceMean", total, name="mean", axes=[2, 3], keepdims=1)
    answers = g.node("Add", g.conv(g.conv(total, 16, 16, name="placed"), 16, 16, name="end"), mean, name="answers")
    model = quantised(g.model(g.head(answers, 16)), pictures(4, 16, 8, 8))
    x = pictures(4, 16, 8, 8)
    for machine in MACHINES:
        changed = for_cpu_int8(model, machine=machine)
        (step,) = (float(numpy_helper.to_array(tensor)) for tensor in changed.graph.initializer if tensor.name == "main/scale")
        expected, got = run(model, x, "total")[0], run(changed, x, "total")[0]
        assert np.abs(expected - got).max() <= step  # half a step of its own grid, and a little of the bias's
    runs = as_onnx_runtime_runs_it(for_cpu_int8(model, machine="x86_64"), tmp_path)
    assert runs["QLinearConv"] == 4
    # Where nobody measured how far it reaches, it computes in float, as it is.
    del model.metadata_props[:]
    assert as_onnx_runtime_runs_it(for_cpu_int8(model, machine="x86_64"), tmp_path)["QLinearConv"] == 3


def test_what_no_grid_follows_computes_in_float_with_the_rounded_weights(tmp_path: Path) -> None:
    g = SmallGraph(16, 8, 8)
    gate = g.conv("x", 16, 16, name="gate")
    gated = g.node("Mul", gate, g.node("Sigmoid", gate, name="sigmoid"), name="gated")
    model = quantised(g.model(g.head(g.conv(gated, 16, 16, name="conv"), 16)), pictures(4, 16, 8, 8))
    changed = for_cpu_int8(model)
    x = pictures(4, 16, 8, 8)
    assert run(changed, x, "gated")[0] == pytest.approx(run(model, x, "gated")[0], abs=1e-5)
    runs = as_onnx_runtime_runs_it(changed, tmp_path)
    assert (runs["QLinearConv"], runs["Conv"]) == (1, 1)
    assert runs["DequantizeLinear"] == 2  # of activations; none of a weight, which every picture would pay for


def test_a_bias_that_drowns_its_weights_does_not_overflow() -> None:
    g = SmallGraph(16, 8, 8)
    weight = g.rng.normal(0, 0.1, (16, 16, 1, 1)).astype(np.float32)
    weight[3] *= 1e-6
    bias = np.zeros(16, np.float32)
    bias[3] = 50
    first = g.node("Conv", "x", g.constant(weight), g.constant(bias), name="first", kernel_shape=[1, 1])
    model = quantised(g.model(g.head(g.node("Relu", first, name="relu"), 16)), pictures(4, 16, 8, 8))
    changed = for_cpu_int8(model)
    (stored,) = (numpy_helper.to_array(tensor) for tensor in changed.graph.initializer if tensor.name == "first/bias")
    assert 2**28 < abs(int(stored[3])) <= 2**30
    x = pictures(4, 16, 8, 8)
    for optimized in (False, True):
        assert run(changed, x, optimized=optimized)[0] == pytest.approx(run(model, x)[0], rel=1e-3, abs=1e-2)


def test_the_given_model_is_left_alone_and_the_same_comes_out_every_time() -> None:
    model = quantised(residual_network(), pictures())
    before = model.SerializeToString()
    assert for_cpu_int8(model).SerializeToString() == for_cpu_int8(model).SerializeToString()
    assert model.SerializeToString() == before


def test_the_engine_takes_an_int8_network(tmp_path: Path) -> None:
    x = pictures()
    model = quantised(residual_network(), x)
    onnx.save(model, tmp_path / "model.int8.onnx")
    engine = OrtEngine(tmp_path / "model.int8.onnx", cuda=False, threads=1)
    (got,) = engine.run({"x": x}).values()
    engine.close()
    assert np.array_equal(got, run(for_cpu_int8(model), x, optimized=True)[0])


def test_an_int8_graph_without_a_layer_to_fuse_stays_what_it_is() -> None:
    g = SmallGraph(4)
    scale, zero = g.constant(np.float32(0.5)), g.constant(np.int8(0))
    quantised_input = g.node("QuantizeLinear", "x", scale, zero, name="q")
    model = g.model(g.node("Neg", g.node("DequantizeLinear", quantised_input, scale, zero, name="d"), name="end"))
    x = np.array([[-0.6, 0.2, 0.3, 500]], np.float32)
    assert run(for_cpu_int8(model), x)[0].tolist() == [[0.5, 0, -0.5, -63.5]] == run(model, x)[0].tolist()
