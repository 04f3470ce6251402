"""A run without numbers says why, and a setting that cannot apply is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import helper

from edge.config import Config
from edge.errors import ConfigError
from edge.pipeline import Pipeline
from edge.stage import CropInput, FrameInput, Scores, Stage
from tests.command import edge_run
from tests.toy import save_graph
from tests.toy_kinds import MIDDLE, SIDE_PX, SOUND, make_clip_stage, make_frame_stage, manifest_of, save

Clip = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("models")


@pytest.mark.parametrize(
    ("source", "duration_s", "hears", "statuses", "why"),
    [
        ("face_noface.mov", 0.1, True, {"ok": 0, "warming_up": 4, "low_quality": 8}, "no numbers in 12 of 12: no sound 8, warming up 4"),
        ("single_face.mp4", 50.0, False, {"ok": 0, "warming_up": 12, "low_quality": 0}, "no numbers in 12 of 12: warming up to the end, for this package"),
        ("single_face.jpg", 0.5, False, {"ok": 0, "warming_up": 1, "low_quality": 0}, "no numbers in 1 of 1: warming up to the end, for this package"),
        ("single_face.mp4", 0.1, False, {"ok": 9, "warming_up": 3, "low_quality": 0}, "no numbers in 3 of 12: warming up\n"),
    ],
    ids=["no sound", "longer than the run", "picture", "usual"],
)
def test_a_run_says_why_it_has_no_numbers(clip: Clip, tmp_path: Path, source: str, duration_s: float, hears: bool, statuses: dict[str, int], why: str) -> None:
    stage = make_clip_stage(tmp_path / "toy", n_frames=4, duration_s=duration_s, audio=SOUND if hears else None)
    package = save(tmp_path / "toy", manifest_of(stage, detector="blazeface"))
    run = edge_run("--source", clip(source), "--model", package, "--frames", 12, "--summary", tmp_path / "s.json")
    assert run.returncode == 0, run.stderr
    assert why in run.stderr
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["statuses"] == statuses
    assert report["faces"] == sum(statuses.values())
    assert report["reasons"] == ({"no sound": 8} if hears else {})


@pytest.mark.parametrize(
    ("detector", "why"),
    [("", "note: no numbers of the whole picture in 3 of 3 frames: its networks gave none"), ("blazeface", "no numbers in 3 of 3: no number\n")],
    ids=["pictures", "faces"],
)
@pytest.mark.parametrize("activation", ["none", "softmax"])
def test_networks_that_overflow(clip: Clip, tmp_path: Path, detector: str, why: str, activation: str) -> None:
    """Not a number is no number: neither in a record nor in a mean, and nothing fails on it."""
    folder = tmp_path / "toy"
    shape: list[str | int] = ["N", 3, SIDE_PX, SIDE_PX]
    nodes = [helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[2, 3], keepdims=0)]
    nodes += [helper.make_node("Sub", ["mean", "mean"], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["nan"])]
    folder.mkdir()
    save_graph(folder / "nan.onnx", nodes, {"picture": shape}, {"nan": ["N", 3]}, {})
    frame = FrameInput(tensor="picture", color="rgb", size_wh_px=(SIDE_PX, SIDE_PX), resize="stretch", scale=1 / 255)
    face = CropInput(tensor="picture", color="rgb", size_wh_px=(SIDE_PX, SIDE_PX), region=MIDDLE, scale=1 / 255)
    scores = Scores(tensor="nan", activation=activation, labels=("a", "b", "c"))  # type: ignore[arg-type]
    stage = Stage(name="nan", model="nan.onnx", input=face if detector else frame, outputs=(scores,))
    package = save(folder, manifest_of(stage, detector=detector))
    run = edge_run("--source", clip("single_face.mp4"), "--model", package, "--frames", 3, "--output", tmp_path / "o.jsonl", "--summary", tmp_path / "s.json")
    assert run.returncode == 0, run.stderr
    assert why in run.stderr
    assert "NaN" not in (tmp_path / "o.jsonl").read_text() + (tmp_path / "s.json").read_text()
    assert not json.loads((tmp_path / "s.json").read_text()).keys() & {"scores", "frame"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min-face", "50"], "--min-face 50.0: the package 'toy' looks at whole pictures, and at no faces\n  leave it out, or choose another --model"),
        (["--max-faces", "1", "--primary", "central"], "--max-faces 1, --primary central: the package 'toy' looks at whole pictures"),
    ],
)
def test_settings_of_faces_where_nobody_looks_at_any(clip: Clip, tmp_path: Path, flags: list[str], message: str) -> None:
    package = save(tmp_path / "toy", manifest_of(make_frame_stage(tmp_path / "toy"), detector=""))
    run = edge_run("--source", clip("single_face.jpg"), "--model", package, *flags)
    assert run.returncode == 2, run.stderr
    assert message in run.stderr


def test_printed_settings_run_with_every_package(clip: Clip, tmp_path: Path) -> None:
    package = save(tmp_path / "toy", manifest_of(make_frame_stage(tmp_path / "toy"), detector=""))
    path = tmp_path / "all.toml"
    path.write_text(edge_run("--source", clip("single_face.jpg"), "--model", package, "--print-config").stdout)
    assert "max-faces = 8" in path.read_text()
    run = edge_run("--config", path)
    assert run.returncode == 0, run.stderr


def test_from_python_too(tmp_path: Path) -> None:
    package = save(tmp_path / "toy", manifest_of(make_frame_stage(tmp_path / "toy"), detector=""))
    with pytest.raises(ConfigError, match="--primary longest: the package 'toy' looks at whole pictures, and at no faces"):
        Pipeline(Config(model=str(package), primary="longest"))
