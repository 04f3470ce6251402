"""Packages of other kinds than the default one through the whole command, on real clips: networks that read brightness, faces found by the real detector."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest

from edge.stage import ActionUnits
from tests.command import edge_run, records_of
from tests.toy_kinds import SOUND, make_clip_stage, make_frame_stage, manifest_of, save

SCHEMAS = Path(__file__).resolve().parents[2] / "edge" / "schemas"
Clip = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("models")


def validate(name: str, record: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text())).validate(record)


def test_whole_pictures_in_every_output(clip: Clip, tmp_path: Path) -> None:
    package = save(tmp_path / "toy", manifest_of(make_frame_stage(tmp_path / "toy"), detector=""))
    outputs = [tmp_path / name for name in ("out.jsonl", "out.csv", "out.mp4", "summary.json")]
    jsonl, table, video, summary = outputs
    run = edge_run(
        *("--source", clip("single_face.mp4"), "--frames", 20, "--model", package, "--raw"),
        *("--output", jsonl, "--output", table, "--annotate", video, "--summary", summary),
    )
    assert run.returncode == 0, run.stderr
    assert "whole pictures" in run.stderr
    header, *records = records_of(jsonl)
    validate("header", header)
    assert header["package"]["frame_labels"] == {"scores": ["red", "green", "blue"]}
    assert len(records) == 20
    for record in records:
        validate("result", record)
        assert (record["status"], record["faces"]) == ("ok", [])
        assert 0 < record["frame"]["scores"]["red"] < 1
        assert "detect" not in record["stage_ms"]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame_score_red"] for row in rows] == [str(record["frame"]["scores"]["red"]) for record in records]
    assert [row["raw_frame_label"] for row in rows] == [record["frame"]["raw"]["label"] for record in records]
    report = json.loads(summary.read_text())
    validate("summary", report)
    assert report["frame"]["scores"]["red"]["mean"] == pytest.approx(sum(record["frame"]["scores"]["red"] for record in records) / 20, abs=1e-3)
    assert video.stat().st_size > 1000


def test_clips_of_real_faces(clip: Clip, tmp_path: Path) -> None:
    """Detected in every frame; half a second until the clip is full, and then each number is the one that was the newest a while ago."""
    labels = ("AU1", "AU2", "AU4", "AU5")
    stage = make_clip_stage(tmp_path / "toy", n_frames=4, duration_s=0.5)
    units = ActionUnits(tensor="frames", activation="none", labels=labels, quantity="presence", learned_from="arithmetic")
    package = save(tmp_path / "toy", manifest_of(msgspec.structs.replace(stage, outputs=(units,)), detector="blazeface"))
    run = edge_run("--source", clip("single_face.mp4"), "--model", package, "--smooth", "none", "--frames", 45, "--output", tmp_path / "out.jsonl")
    assert run.returncode == 0, run.stderr
    header, *records = records_of(tmp_path / "out.jsonl")
    assert header["package"]["au_quantity"] == "presence"
    faces = [record["faces"][0] for record in records]
    assert [face["status"] for face in faces] == ["warming_up"] * 15 + ["ok"] * 30  # 30 frames a second
    newest = [face["action_units"]["AU5"] for face in faces[15:]]
    assert len(set(newest)) > 5
    for back, label in ((15, "AU1"), (10, "AU2"), (5, "AU4")):
        assert [face["action_units"][label] for face in faces[15 + back :]] == newest[:-back]
    for record in records:
        validate("result", record)


def with_burst(clip: Path, folder: Path, *, at_s: float) -> Path:
    """A real clip with a sound track: silence, and 20 ms of noise."""
    rate_hz = 44100
    samples = np.zeros((3 * rate_hz, 2), np.int16)
    samples[round(at_s * rate_hz) :][: rate_hz // 50] = np.random.default_rng(0).integers(-20000, 20000, (rate_hz // 50, 2))
    with wave.open(str(folder / "burst.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    made = folder / "with_burst.mkv"
    parts = f"filesrc location={clip} ! qtdemux ! h264parse ! queue ! mux. filesrc location={folder / 'burst.wav'} ! wavparse ! queue ! mux."
    subprocess.run(shlex.split(f"gst-launch-1.0 -q {parts} matroskamux name=mux ! filesink location={made}"), check=True, capture_output=True, timeout=60)
    return made


def test_clips_with_the_sound_of_a_file(clip: Clip, tmp_path: Path) -> None:
    """From the file through GStreamer to the spectrogram: a burst stands where the frame's media time says."""
    package = save(tmp_path / "toy", manifest_of(make_clip_stage(tmp_path / "toy", n_frames=4, duration_s=0.3, audio=SOUND), detector="blazeface"))
    source = with_burst(clip("single_face.mp4"), tmp_path, at_s=1.0)
    run = edge_run("--source", source, "--model", package, "--smooth", "none", "--frames", 50, "--output", tmp_path / "out.jsonl")
    assert run.returncode == 0, run.stderr
    checked = 0
    for record in records_of(tmp_path / "out.jsonl")[1:]:
        validate("result", record)
        (face,) = record["faces"]
        assert face["status"] == ("ok" if record["seq"] >= 24 else "warming_up")  # 0.8 s, at 30 frames a second
        middle = (1.01 - record["t_media_ns"] / 1e9 + SOUND.duration_s) * SOUND.rate_hz
        column = (middle - SOUND.segment / 2) / (SOUND.segment - SOUND.overlap)
        if record["seq"] >= 24 and 0 < column < 27:
            power = [face["scores"][f"column {index}"] for index in range(28)]
            assert power.index(max(power)) == pytest.approx(column, abs=1)
            checked += 1
    assert checked >= 15


def test_a_file_without_sound_says_so_for_each_face(clip: Clip, tmp_path: Path) -> None:
    package = save(tmp_path / "toy", manifest_of(make_clip_stage(tmp_path / "toy", n_frames=4, duration_s=0.1, audio=SOUND), detector="blazeface"))
    run = edge_run("--source", clip("face_noface.mov"), "--model", package, "--frames", 12, "--output", tmp_path / "out.jsonl")
    assert run.returncode == 0, run.stderr
    faces = [record["faces"][0] for record in records_of(tmp_path / "out.jsonl")[1:]]
    assert [(face["status"], face["reasons"]) for face in faces] == [("warming_up", [])] * 4 + [("low_quality", ["no sound"])] * 8  # a tenth of a second
