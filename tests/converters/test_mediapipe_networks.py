"""The five networks of the packages `blazeface` and `mesh-chain`: no needless Transpose, a free batch, and MediaPipe's own numbers."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from converters.errors import ParityFailure
from converters.from_tflite.float_weights import with_float_weights
from converters.from_tflite.litert_run import TfliteOriginal
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.mediapipe_packages import BLAZEFACE, BLENDSHAPE_LANDMARKS, BLENDSHAPES, MESH_CHAIN
from converters.original import Array
from converters.parity import check_parity
from converters.real_inputs import picture_inputs, read_frames, stage_inputs
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine import choose, close_engines, open_engines
from edge.face import overlap
from edge.package import Package, load_package

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "mediapipe_golden"
STAGES = ("short", "full", "mesh", "blendshapes", "emotion")

# The heads of `short` become rows of boxes and scores: four tensors [N, C, H, W] to [N, H W A, C / A]. `full` has one head of 16 values a cell; its
# scores have one channel, which needs no moving. The mixer's token and channel steps are products from the left and from the right of one matrix.
TRANSPOSES = {"short": 4, "full": 1, "mesh": 0, "blendshapes": 0, "emotion": 0}

Inputs = Mapping[str, Mapping[str, Array]]


@pytest.fixture(scope="module")
def inputs(clip: Callable[[str], Path], models: Path, converted: Mapping[str, onnx.ModelProto]) -> Inputs:
    """Crops of the sample clip by stage and tensor."""
    stages = [stage for recipe in (BLAZEFACE, MESH_CHAIN) for stage in recipe.manifest.stages]
    pictures = picture_inputs(stages, clip("WolfgangLanger_Pexels.mp4"), load_package(models / "blazeface"))
    every = stage_inputs(stages, pictures, converted)
    return {name: {tensor: array[::4] for tensor, array in tensors.items()} for name, tensors in every.items()}


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, dict(feeds))]


@pytest.mark.parametrize("stage", STAGES)
def test_only_what_the_mathematics_needs_is_transposed(stage: str, converted: Mapping[str, onnx.ModelProto]) -> None:
    found = collections.Counter(node.op_type for node in converted[stage].graph.node)
    assert found["Transpose"] == TRANSPOSES[stage]
    assert {node.domain for node in converted[stage].graph.node} == {""}
    assert found["LayerNormalization"] == (8 if stage == "blendshapes" else 0)
    assert found["Pad"] == {"short": 11, "mesh": 3}.get(stage, 0)  # appended channels; the padding of heights and widths is the convolutions' own


@pytest.mark.parametrize("stage", STAGES)
def test_a_batch_is_its_pictures_one_by_one(stage: str, converted: Mapping[str, onnx.ModelProto], inputs: Inputs) -> None:
    ((tensor, array),) = inputs[stage].items()
    for value in (*converted[stage].graph.input, *converted[stage].graph.output):
        sizes = value.type.tensor_type.shape.dim
        assert sizes[0].dim_param == "N"
        assert all(size.dim_value > 0 for size in sizes[1:])
    singles = [run(converted[stage], {tensor: array[number : number + 1]}) for number in range(3)]
    for batch, *rows in zip(run(converted[stage], {tensor: array[:3]}), *singles, strict=True):
        assert len(batch) == 3
        np.testing.assert_allclose(batch, np.concatenate(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_the_networks_compute_what_litert_computes(
    stage: str, originals: Mapping[str, bytes], converted: Mapping[str, onnx.ModelProto], inputs: Inputs
) -> None:
    report = check_parity(TfliteOriginal(with_float_weights(originals[stage])), _without_idle(converted[stage]), inputs[stage], limit=1e-3, where=stage)
    assert report.n_inputs >= 6
    assert all(0 <= output.mean_error <= output.p99_error <= output.max_error for output in report.outputs)


def _without_idle(model: onnx.ModelProto) -> onnx.ModelProto:
    """The mesh's third output is nearly the same number for every face: agreement on it would show nothing."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if len(copy.graph.output) == 3:
        del copy.graph.output[2]
    return copy


def test_an_output_that_hardly_varies_shows_nothing(originals: Mapping[str, bytes], converted: Mapping[str, onnx.ModelProto], inputs: Inputs) -> None:
    alike = {"input_12": np.repeat(inputs["mesh"]["input_12"][:1], 3, axis=0)}
    with pytest.raises(ParityFailure, match=r"mesh: output 'Identity' does not vary over the inputs \(deviation "):
        check_parity(TfliteOriginal(originals["mesh"]), converted["mesh"], alike, limit=1e-3, where="mesh")


def test_no_inputs_show_nothing(originals: Mapping[str, bytes], converted: Mapping[str, onnx.ModelProto]) -> None:
    with pytest.raises(ParityFailure, match=r"mesh: expected at least 2 inputs that differ, got 0\n  take several crops"):
        check_parity(TfliteOriginal(originals["mesh"]), converted["mesh"], {"input_12": np.empty((0, 3, 256, 256), np.float32)}, limit=1e-3, where="mesh")


def test_inputs_of_another_network_are_refused(originals: Mapping[str, bytes], converted: Mapping[str, onnx.ModelProto], inputs: Inputs) -> None:
    with pytest.raises(ParityFailure, match=r"expected the inputs \['input_12'\], got \['x'\]"):
        check_parity(TfliteOriginal(originals["mesh"]), converted["mesh"], inputs["emotion"], limit=1e-3, where="mesh")


def test_numbers_that_are_none_are_refused(originals: Mapping[str, bytes], converted: Mapping[str, onnx.ModelProto], inputs: Inputs) -> None:
    broken = {"x": inputs["emotion"]["x"].copy()}
    broken["x"][0] = np.nan
    with pytest.raises(ParityFailure, match="emotion: output 'Identity' holds values that are no finite numbers"):
        check_parity(TfliteOriginal(originals["emotion"]), converted["emotion"], broken, limit=1e-3, where="emotion")


def swap_channels(model: onnx.ModelProto) -> None:
    weights = next(tensor for tensor in model.graph.initializer if tensor.name.startswith("conv_2d") and tensor.name.endswith("/weight"))
    array = numpy_helper.to_array(weights).copy()
    array[[0, 1]] = array[[1, 0]]
    weights.CopyFrom(numpy_helper.from_array(array, weights.name))


def shift_pad(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Conv" and list(_pads(node).ints) == [0, 0, 1, 1])
    _pads(node).ints[:] = [1, 1, 0, 0]


def change_scale(model: onnx.ModelProto) -> None:
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.startswith("conv_2d") and tensor.name.endswith("/bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.float32(1.05), bias.name))


def _pads(node: onnx.NodeProto) -> onnx.AttributeProto:
    (pads,) = (item for item in node.attribute if item.name == "pads")
    assert isinstance(pads, onnx.AttributeProto)
    return pads


@pytest.mark.parametrize("stage", ["short", "mesh"])
@pytest.mark.parametrize("change", [swap_channels, shift_pad, change_scale])
def test_a_wrong_network_shows(
    stage: str, change: Callable[[onnx.ModelProto], None], originals: Mapping[str, bytes], converted: Mapping[str, onnx.ModelProto], inputs: Inputs
) -> None:
    wrong = _without_idle(converted[stage])
    change(wrong)
    with pytest.raises(
        ParityFailure, match=rf"{stage}: output '\w+' differs from the original's by up to .* allowed is 0.001\n  the converted network is wrong"
    ):
        check_parity(TfliteOriginal(originals[stage]), wrong, inputs[stage], limit=1e-3, where=stage)


def test_the_wrong_output_shows(originals: Mapping[str, bytes], converted: Mapping[str, onnx.ModelProto], inputs: Inputs) -> None:
    wrong = onnx.ModelProto.FromString(converted["mesh"].SerializeToString())
    wrong.graph.node.append(helper.make_node("Concat", ["Identity", "Identity_1"], ["joined"], axis=1))
    del wrong.graph.output[:]
    wrong.graph.output.append(helper.make_tensor_value_info("joined", onnx.TensorProto.FLOAT, ["N", 1435]))
    for node in wrong.graph.node:
        node.output[:] = [{"Identity": "landmarks", "joined": "Identity"}.get(name, name) for name in node.output]
        node.input[:] = [{"Identity": "landmarks"}.get(name, name) for name in node.input]
    wrong.graph.output[0].name = "Identity"
    with pytest.raises(ParityFailure, match=r"output 'Identity' has shape \[\d+, 1435\], the original's \[\d+, 1434, 1, 1\]"):
        check_parity(TfliteOriginal(originals["mesh"]), wrong, inputs["mesh"], limit=1e-3, where="mesh")


def test_outputs_can_be_left_out(originals: Mapping[str, bytes]) -> None:
    model = onnx_from_tflite(originals["mesh"], name="mesh", outputs=["Identity_1"])
    assert [output.name for output in model.graph.output] == ["Identity_1"]
    assert len(model.SerializeToString()) < len(onnx_from_tflite(originals["mesh"], name="mesh").SerializeToString()) - 1434 * 512 * 4


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no MediaPipe golden vectors at {GOLDEN}")
def test_blendshapes_are_mediapipes_own(converted: Mapping[str, onnx.ModelProto]) -> None:
    # MediaPipe's test data: face_blendshapes_in_landmarks (478 normalised points of an 820 x 1024 picture) and face_blendshapes_out.
    landmarks = (GOLDEN / "face_blendshapes_in_landmarks.prototxt").read_text()
    x, y = (np.array([float(value) for value in re.findall(rf"\b{axis}: (\S+)", landmarks)]) for axis in "xy")
    points = np.stack([x * 820, y * 1024], axis=1)[list(BLENDSHAPE_LANDMARKS)].astype(np.float32)
    answer = (GOLDEN / "face_blendshapes_out.prototxt").read_text()
    scores = {int(index): float(score) for index, score in re.findall(r"index: (\d+)\s+score: (\S+)", answer)}
    expected = np.array([scores[index] for index in range(len(BLENDSHAPES))])
    (got,) = run(converted["blendshapes"], {"serving_default_input_points:0": points[None]})
    assert np.abs(got[0] - expected).max() <= 1e-5
    assert re.findall(r'label: "(\w+)"', answer) == list(BLENDSHAPES)


def test_both_detectors_find_the_same_faces_and_the_left_eye_first(models: Path, clip: Callable[[str], Path]) -> None:
    frames = read_frames(clip("WolfgangLanger_Pexels.mp4"))
    package = load_package(models / "blazeface")
    engines = open_engines(package, choose("onnxruntime", "fp32", package))
    try:
        for frame in frames[::6]:
            found = []
            for stage, engine in zip(package.manifest.stages, engines, strict=True):
                one = Package(path=package.path, manifest=msgspec.structs.replace(package.manifest, stages=(stage,)), sha256=package.sha256)
                faces = FaceDetector(one, [engine]).detect(frame, StageTimes(), all_views=True)
                assert len(faces) == 1, f"{stage.name}: {faces}"
                found.append(faces[0])
            assert overlap(*found) > 0.5
            for face in found:
                (left_x, left_y), (right_x, right_y) = face.eyes_px
                assert left_x + 20 < right_x
                assert abs(left_y - right_y) < right_x - left_x
    finally:
        close_engines(engines)
