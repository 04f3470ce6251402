"""A network that is not the one its manifest describes is refused when it is loaded, with what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from edge.analyzer import Analyzer
from edge.config import Config
from edge.engine import choose, ort
from edge.errors import PackageError
from edge.package import load_package
from edge.stage import Landmarks, PointsInput, Presence, Scores, Stage
from tests.toy import affect_manifest, make_affect, save_graph, save_package
from tests.toy_kinds import SOUND, make_clip_stage, make_embedding_stages, make_frame_stage, make_landmark_stage, manifest_of, save

replace = msgspec.structs.replace
Change = Callable[[Stage], Stage]


def loaded(folder: Path, *stages: Stage, **settings: Any) -> None:
    Analyzer(Config(model=str(save(folder, manifest_of(*stages, **settings))))).close()


def with_input(**changes: Any) -> Change:
    return lambda stage: replace(stage, input=replace(stage.input, **changes))


def with_output(**changes: Any) -> Change:
    return lambda stage: replace(stage, outputs=(replace(stage.outputs[0], **changes),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_input(size_wh_px=(9, 8)), r"expects float32\[N, 4, 8, 9\] for 'clip', the network takes float32\[N, 4, 8, 8\]"),
        (with_input(color="rgb"), r"expects float32\[N, 12, 8, 8\] for 'clip'"),
        (with_input(n_frames=5), r"expects float32\[N, 5, 8, 8\] for 'clip'"),
        (with_input(frames_as="depth"), r"expects float32\[N, 1, 4, 8, 8\] for 'clip'"),
        (with_input(tensor="film"), r"expects inputs \['film', 'sound'\], the network takes \['clip', 'sound'\]"),
        (with_input(audio=replace(SOUND, size_wh_px=(28, 5))), r"expects float32\[N, 1, 5, 28\] for 'sound', .* float32\[N, 1, 4, 28\]"),
        (with_output(tensor="some"), r"expects an output 'some', the network gives \['all'\]"),
        (with_output(labels=("a", "b")), r"expects 2 numbers in 'all', one for each label, the network gives 32"),
        (with_output(labels=("a", "b"), columns=(31, 33)), r"expects at least 33 columns in 'all', the network gives 32"),
    ],
)
def test_clips(tmp_path: Path, change: Change, message: str) -> None:
    folder = tmp_path / "toy"
    stage = make_clip_stage(folder, n_frames=4, duration_s=0.5, audio=SOUND)
    loaded(folder, stage)
    with pytest.raises(PackageError, match=rf"package 'toy': stage 'clip' \(clip.onnx\): the manifest {message}"):
        loaded(folder, change(stage))


def test_pictures(tmp_path: Path) -> None:
    stage = make_frame_stage(tmp_path / "toy")
    loaded(tmp_path / "toy", stage, detector="")
    with pytest.raises(PackageError, match=r"expects float32\[N, 1, 8, 8\] for 'picture'"):
        loaded(tmp_path / "toy", with_input(color="gray")(stage), detector="")


def test_embeddings(tmp_path: Path) -> None:
    extract, judge = make_embedding_stages(tmp_path / "toy")
    loaded(tmp_path / "toy", extract, judge)
    with pytest.raises(PackageError, match=r"stage 'judge' .*expects an output 'code' of stage 'extract', its network gives \['features'\]"):
        loaded(tmp_path / "toy", extract, with_input(source="code")(judge))
    model = onnx.load(tmp_path / "toy" / "judge.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(model.graph.initializer[0]).repeat(2, 0)[:3], "weights"))
    onnx.save(model, tmp_path / "toy" / "judge.onnx")
    with pytest.raises(
        PackageError,
        match=r"expects a row for each input in 'features', of the length of float32\[N, 3\], the network of stage 'extract' gives float32\[N, 2\]",
    ):
        loaded(tmp_path / "toy", extract, judge)


def test_a_network_for_one_face_at_a_time(tmp_path: Path) -> None:
    folder = make_affect(tmp_path / "toy-affect")
    model = onnx.load(folder / "brightness.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, folder / "brightness.onnx")
    save_package(folder, affect_manifest())
    with pytest.raises(PackageError, match=r"expects float32\[N, 1, 8, 8\] for 'crop', the network takes float32\[1, 1, 8, 8\]"):
        Analyzer(Config(model=str(folder)))


def saved_shape(path: Path, output: str, *shape: int | str) -> None:
    """Let a network declare another shape of an output than it has."""
    model = onnx.load(path)
    (value,) = [value for value in model.graph.output if value.name == output]
    value.CopyFrom(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, shape))
    onnx.save(model, path)


@pytest.mark.parametrize("shape", [(1, 3), ("N", 3, "H")])
def test_a_row_for_each_input_of_known_length(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    """What is cut out of longer rows, or of rows of nobody, would bear the labels of something else."""
    stage = make_frame_stage(tmp_path / "toy")
    saved_shape(tmp_path / "toy" / "picture.onnx", "colours", *shape)
    with pytest.raises(PackageError, match=r"expects a row of known length for each input in 'colours', the network gives float32\["):
        loaded(tmp_path / "toy", stage, detector="")


def test_landmarks_that_the_network_does_not_give(tmp_path: Path) -> None:
    stage = make_landmark_stage(tmp_path / "toy")
    (landmarks, *others) = stage.outputs
    assert isinstance(landmarks, Landmarks)
    loaded(tmp_path / "toy", stage)
    beyond = replace(landmarks, axes=(0, 1, 2, 400))
    with pytest.raises(PackageError, match=r"expects x, y, z of at least 401 points in '\w+', the network gives \d+ numbers"):
        loaded(tmp_path / "toy", replace(stage, outputs=(beyond, *others)))
    with pytest.raises(PackageError, match=r"expects one number in '\w+', the network gives \d+"):
        loaded(tmp_path / "toy", replace(stage, outputs=(landmarks, Presence(tensor=landmarks.tensor, activation="none", min_score=0.5))))
    points = PointsInput(tensor="points", stage=stage.name, indices=(0, 400))
    reader = Stage(name="reader", model="reader.onnx", input=points, outputs=(Scores(tensor="scores", activation="none", labels=("a",)),))
    row = [onnx.helper.make_node("ReduceMean", ["points"], ["mean"], axes=[1, 2], keepdims=0), onnx.helper.make_node("Reshape", ["mean", "row"], ["scores"])]
    save_graph(tmp_path / "toy" / "reader.onnx", row, {"points": ["N", 2, 2]}, {"scores": ["N", 1]}, {"row": np.array([-1, 1])})
    with pytest.raises(PackageError, match=rf"expects landmark 400 of stage '{stage.name}', its network gives \d+, counted from 0"):
        loaded(tmp_path / "toy", stage, reader)


def test_tensors_of_another_type(tmp_path: Path) -> None:
    stage = make_frame_stage(tmp_path / "toy")
    path = tmp_path / "toy" / "picture.onnx"
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Cast", ["colours"], ["doubles"], to=onnx.TensorProto.DOUBLE))
    model.graph.output.append(onnx.helper.make_tensor_value_info("doubles", onnx.TensorProto.DOUBLE, ["N", 3]))
    onnx.save(model, path)
    with pytest.raises(PackageError, match=r"picture.onnx: expected float32 tensors, got tensor\(double\) for 'doubles'\n  convert the network with float32"):
        loaded(tmp_path / "toy", stage, detector="")


def test_packages_for_cpus_only_stay_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where CUDA is not there, the same build that has it is what a test can ask for; a session on it would fail to start here, and with it this test.
    monkeypatch.setattr(ort, "cuda_available", lambda: True)
    stage = make_frame_stage(tmp_path / "toy")
    assert choose("auto", "auto", load_package(save(tmp_path / "toy", manifest_of(stage, detector="")))).cuda
    analyzer = Analyzer(Config(model=str(save(tmp_path / "toy", manifest_of(stage, detector="", cpu_only="trees have no GPU engine"))), engine="onnxruntime"))
    assert not analyzer.choice.cuda
    assert "CPU: the package is for CPUs only: trees have no GPU engine" in analyzer.choice.why
    assert "CPU" in analyzer.engine_description
    analyzer.close()
