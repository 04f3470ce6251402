"""What the gate does with an INT8 network that was spoiled on purpose: refuses it, or takes back the block that was spoiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration import CalibrationSet
from converters.quantization.blocks import blocks
from converters.quantization.feeds import record
from converters.quantization.gate import failures, strain
from converters.quantization.int8 import quantize_int8
from converters.quantization.prepared import prepared
from converters.quantization.sensitivity import quantised_nodes, search, without_quantisation
from converters.quantization.trial import Trial
from edge.package import load_package


@pytest.fixture(scope="module")
def trial(emotion: Path, small_set: CalibrationSet, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    package = load_package(emotion)
    calibration, held_out = (record(package, small_set, split) for split in ("calibration", "held-out"))
    return Trial(package, package.manifest.stages[0], calibration, held_out, tmp_path_factory.mktemp("trial"))


@pytest.fixture(scope="module")
def int8(emotion: Path, trial: Trial) -> onnx.ModelProto:
    model = quantize_int8(prepared(onnx.load(emotion / "emotion.onnx")), trial.feeds, calibrator="max")
    assert strain(trial.judge(model)) <= 1
    return model


def with_scales(model: onnx.ModelProto, change: Callable[[list[float]], list[float]]) -> onnx.ModelProto:
    """A copy with other scales of its activations, in the order of the graph."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    wanted = [node.input[1] for node in copy.graph.node if node.op_type == "QuantizeLinear"]
    scales = {tensor.name: tensor for tensor in copy.graph.initializer if tensor.name in wanted and not tensor.dims}
    names = [name for name in dict.fromkeys(wanted) if name in scales]
    values = change([float(numpy_helper.to_array(scales[name])) for name in names])
    for name, value in zip(names, values, strict=True):
        scales[name].CopyFrom(numpy_helper.from_array(np.array(value, np.float32), name))
    return copy


def swapped(scales: list[float]) -> list[float]:
    """The largest and the smallest change places: the one grid overflows, the other has a few steps left."""
    low, high = scales.index(min(scales)), scales.index(max(scales))
    scales[low], scales[high] = scales[high], scales[low]
    return scales


@pytest.mark.parametrize(
    "spoil",
    [lambda scales: [scale / 8 for scale in scales], lambda scales: [scale * 32 for scale in scales], lambda scales: [scales[0] / 10, *scales[1:]], swapped],
    ids=["all too small", "all too large", "the first too small", "two swapped"],
)
def test_wrong_scales_are_refused(trial: Trial, int8: onnx.ModelProto, spoil: Callable[[list[float]], list[float]]) -> None:
    problems = failures(trial.judge(with_scales(int8, spoil)))
    assert any("of emotions is" in problem for problem in problems), problems


def test_a_calibration_with_noise_is_refused(emotion: Path, trial: Trial) -> None:
    rng = np.random.default_rng(0)
    noise = {name: rng.normal(0, 0.05, (64, *values.shape[1:])).astype(np.float32) for name, values in trial.feeds.items()}
    model = quantize_int8(prepared(onnx.load(emotion / "emotion.onnx")), noise, calibrator="max")
    assert any("of emotions is" in problem for problem in failures(trial.judge(model)))


def test_a_spoiled_block_goes_back_and_nothing_else(trial: Trial, int8: onnx.ModelProto, emotion: Path) -> None:
    spoiled = with_scales(int8, lambda scales: [scales[0] / 20, *scales[1:]])
    said: list[str] = []
    found = search(blocks(prepared(onnx.load(emotion / "emotion.onnx"))), lambda kept: without_quantisation(spoiled, kept), trial, say=said.append)
    assert found.reason == ""
    assert len(found.back) == 1
    assert 0 < len(quantised_nodes(found.model)) < len(quantised_nodes(int8))
    onnx.checker.check_model(found.model, full_check=True)
    assert "looking for the blocks that lose most" in said[0]
    assert said[-1] == f"emotion: without {found.back[0].block}: passes"


def test_without_any_quantised_node_nothing_differs(trial: Trial, int8: onnx.ModelProto) -> None:
    bare = without_quantisation(int8, {node.name for node in int8.graph.node})
    assert {node.op_type for node in bare.graph.node} & {"QuantizeLinear", "DequantizeLinear"} == set()
    assert trial.harm(bare) < 1e-6 < trial.harm(int8)
