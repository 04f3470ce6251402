"""A network that is not the one its manifest describes is refused when it is loaded, with what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest

from edge.analyzer import Analyzer
from edge.config import Config
from edge.engine import choose, ort
from edge.errors import PackageError
from edge.stage import Stage
from tests.toy import affect_manifest, make_affect, save_package
from tests.toy_kinds import SOUND, make_clip_stage, make_embedding_stages, make_frame_stage, manifest_of, save

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
        (with_input(size_wh_px=(9, 8)), r"expects float32\[N, 4, 8, 9\] for 'clip', .*: the network takes float32\[N, 4, 8, 8\]"),
        (with_input(color="rgb"), r"expects float32\[N, 12, 8, 8\] for 'clip'"),
        (with_input(n_frames=5), r"expects float32\[N, 5, 8, 8\] for 'clip'"),
        (with_input(frames_as="depth"), r"expects float32\[N, 1, 4, 8, 8\] for 'clip'"),
        (with_input(tensor="film"), r"expects inputs \['film', 'sound'\], .*: the network takes \['clip', 'sound'\]"),
        (with_input(audio=replace(SOUND, size_wh_px=(28, 5))), r"expects float32\[N, 1, 5, 28\] for 'sound', .* float32\[N, 1, 4, 28\]"),
        (with_output(tensor="some"), r"expects an output 'some', .*: the network gives \['all'\]"),
        (with_output(labels=("a", "b")), r"expects 2 numbers in 'all', one for each label, .*: the network gives 32"),
        (with_output(labels=("a", "b"), columns=(31, 33)), r"expects at least 33 columns in 'all', .*: the network gives 32"),
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
    with pytest.raises(PackageError, match=r"stage 'judge' .*expects an output 'code' of stage 'extract', .*: its network gives \['features'\]"):
        loaded(tmp_path / "toy", extract, with_input(source="code")(judge))
    model = onnx.load(tmp_path / "toy" / "judge.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(model.graph.initializer[0]).repeat(2, 0)[:3], "weights"))
    onnx.save(model, tmp_path / "toy" / "judge.onnx")
    with pytest.raises(PackageError, match=r"expects 3 numbers in 'features' of stage 'extract', .*: its network gives 2"):
        loaded(tmp_path / "toy", extract, judge)


def test_a_network_for_one_face_at_a_time(tmp_path: Path) -> None:
    folder = make_affect(tmp_path / "toy-affect")
    model = onnx.load(folder / "brightness.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, folder / "brightness.onnx")
    save_package(folder, affect_manifest())
    with pytest.raises(PackageError, match=r"expects float32\[N, 1, 8, 8\] for 'crop', .*: the network takes float32\[1, 1, 8, 8\]"):
        Analyzer(Config(model=str(folder)))


def test_packages_for_cpus_only_stay_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where CUDA is not there, the same build that has it is what a test can ask for; a session on it would fail to start here, and with it this test.
    monkeypatch.setattr(ort, "cuda_available", lambda: True)
    assert choose("auto", "auto").cuda
    stage = make_frame_stage(tmp_path / "toy")
    analyzer = Analyzer(Config(model=str(save(tmp_path / "toy", manifest_of(stage, detector="", cpu_only="trees have no GPU engine"))), engine="onnxruntime"))
    assert not analyzer.choice.cuda
    assert "CPU: the package is for CPUs only: trees have no GPU engine" in analyzer.choice.why
    assert "CPU" in analyzer.engine_description
    analyzer.close()
