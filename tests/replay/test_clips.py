"""Real clips through the whole command: what is seen, and what is not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge.package import load_package
from tests.command import edge_run, records_of

SCHEMAS = Path(__file__).resolve().parents[2] / "edge" / "schemas"
Clip = Callable[[str], Path]
Records = list[dict[str, Any]]

pytestmark = pytest.mark.usefixtures("models")


def validator(name: str) -> jsonschema.protocols.Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def sample(clip: Clip, models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Records, dict[str, Any]]:
    """Records and summary of the sample clip."""
    clip("WolfgangLanger_Pexels.mp4")
    folder = tmp_path_factory.mktemp("sample")
    run = edge_run("--source", "sample", "--raw", "--output", folder / "out.jsonl", "--summary", folder / "s.json")
    assert run.returncode == 0, run.stderr
    summary = json.loads((folder / "s.json").read_text())
    # Which precision `auto` takes depends on the machine; what the summary says of it does not.
    assert f"default on {summary['engine']}, {summary['precision']}\n" in run.stderr
    assert f"; {summary['precision']}: measured here, " in run.stderr
    return records_of(folder / "out.jsonl"), summary


def test_every_frame_of_the_sample_has_a_record_in_order(sample: tuple[Records, dict[str, Any]]) -> None:
    header, *records = sample[0]
    assert [record["seq"] for record in records] == list(range(472))
    media = [record["t_media_ns"] for record in records]
    assert media == sorted(set(media))
    assert media[0] == 0
    assert media[-1] == pytest.approx(471 / 23.976 * 1e9, rel=1e-3)
    assert all(record["dropped"] == 0 and record["age_ms"] is None for record in records)
    assert header["package"]["name"] == "default"


def test_every_line_is_valid(sample: tuple[Records, dict[str, Any]]) -> None:
    header, *records = sample[0]
    validator("header").validate(header)
    result = validator("result")
    for record in records:
        result.validate(record)
    validator("summary").validate(sample[1])


def test_the_sample_shows_one_face_throughout(sample: tuple[Records, dict[str, Any]]) -> None:
    records = sample[0][1:]
    assert sum(len(record["faces"]) == 1 for record in records) >= 465
    assert {face["track"] for record in records for face in record["faces"]} == {1}


def test_numbers_are_numbers(sample: tuple[Records, dict[str, Any]]) -> None:
    emotions = {"neutral", "happy", "surprised", "angry", "disgusted", "sad", "afraid"}
    not_offered = set(load_package("default").manifest.not_offered)
    seen = set()
    for record in sample[0][1:]:
        for face in record["faces"]:
            if face["status"] != "ok":
                assert face["emotions"] is None
                assert face["reasons"]
                continue
            assert set(face["emotions"]) == emotions
            assert sum(face["emotions"].values()) == pytest.approx(1, abs=2e-3)
            assert "AU12" in face["action_units"]
            assert not not_offered & set(face["action_units"])  # absent, not 0
            assert all(0 <= value <= 1 for value in face["action_units"].values())
            assert sum(face["raw"]["emotions"].values()) == pytest.approx(1, abs=2e-3)
            seen.add(face["emotion"])
    assert len(seen) >= 3  # the person in the clip shows several


def test_smoothing_makes_the_top_emotion_steadier(sample: tuple[Records, dict[str, Any]]) -> None:
    def flips(labels: list[str]) -> int:
        return sum(a != b for a, b in itertools.pairwise(labels))

    faces = [face for record in sample[0][1:] for face in record["faces"] if face["status"] == "ok"]
    assert flips([face["emotion"] for face in faces]) < 0.6 * flips([face["raw"]["emotion"] for face in faces])


def test_the_summary_agrees_with_the_records(sample: tuple[Records, dict[str, Any]]) -> None:
    records, summary = sample[0][1:], sample[1]
    assert summary["frames"] == 472
    assert summary["faces"] == sum(len(record["faces"]) for record in records)
    assert (summary["exit"], summary["dropped"], summary["age_ms"]) == ("done", 0, None)
    assert (summary["engine"], summary["model"]) == ("onnxruntime", "default")
    # Whichever was faster here when it started.
    assert summary["precision"] in ("fp32", "int8")


def test_the_same_clip_gives_the_same_records(clip: Clip, tmp_path: Path) -> None:
    runs = []
    for name in ("a.jsonl", "b.jsonl"):
        assert edge_run("--source", clip("single_face.mp4"), "--output", tmp_path / name).returncode == 0
        runs.append([{"faces": record["faces"], "t": record["t_media_ns"]} for record in records_of(tmp_path / name)[1:]])
    assert runs[0] == runs[1]
    assert len(runs[0]) == 72


def counts(clip: Path, tmp_path: Path) -> list[int]:
    run = edge_run("--source", clip, "--output", tmp_path / "out.jsonl")
    assert run.returncode == 0, run.stderr
    return [len(record["faces"]) for record in records_of(tmp_path / "out.jsonl")[1:]]


def test_no_face_is_invented(clip: Clip, tmp_path: Path) -> None:
    seen = counts(clip("no_face.mp4"), tmp_path)
    assert len(seen) >= 90
    assert not any(seen)


# The cut between the two shots of the clips, looked up by eye: the first frame with the face, and the first one without.
FACE_APPEARS, FACE_GOES = 94, 72


def test_a_face_that_appears(clip: Clip, tmp_path: Path) -> None:
    seen = counts(clip("noface_face.mov"), tmp_path)
    assert not any(seen[:FACE_APPEARS])
    assert sum(seen[FACE_APPEARS:]) >= len(seen) - FACE_APPEARS - 8
    assert max(seen) == 1


def test_a_face_that_goes(clip: Clip, tmp_path: Path) -> None:
    seen = counts(clip("face_noface.mov"), tmp_path)
    assert sum(seen[:FACE_GOES]) >= FACE_GOES - 1
    assert not any(seen[FACE_GOES:])


def test_five_faces_in_a_picture(clip: Clip, tmp_path: Path) -> None:
    assert counts(clip("multi_face.jpg"), tmp_path) == [5]


def test_a_picture_without_faces(clip: Clip, tmp_path: Path) -> None:
    assert counts(clip("free-mountain-vector-01.jpg"), tmp_path) == [0]


def test_frames_and_duration_end_a_run(clip: Clip, tmp_path: Path) -> None:
    source = clip("single_face.mp4")
    assert edge_run("--source", source, "--frames", 10, "--output", tmp_path / "a.jsonl").returncode == 0
    assert len(records_of(tmp_path / "a.jsonl")) == 11
    assert edge_run("--source", source, "--duration", 1.0, "--output", tmp_path / "b.jsonl").returncode == 0
    assert len(records_of(tmp_path / "b.jsonl")) == 31


def test_from_python(clip: Clip) -> None:
    import edge

    with edge.Pipeline(source=str(clip("single_face.mp4")), frames=5) as pipeline:
        results = list(pipeline)
    assert [result.seq for result in results] == [0, 1, 2, 3, 4]
    assert results[-1].faces[0].estimate is not None
