"""The JSON Schemas describe the records that are written, and refuse others."""

from __future__ import annotations

import copy
import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge.output.header import make_header
from edge.output.summary import Summary
from edge.package import load_package
from edge.result import Estimate
from tests.output.example_results import a_face, a_header, a_picture_estimate, a_picture_result, a_result, an_estimate

Record = dict[str, Any]


def schema(name: str) -> jsonschema.Draft202012Validator:
    text = (importlib.resources.files("edge") / "schemas" / f"{name}.schema.json").read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    return jsonschema.Draft202012Validator(json.loads(text))


def result_record() -> Record:
    poor = a_face(track=8, status="low_quality", reasons=("blur", "yaw>35"), primary=False)
    return a_result(a_face(), poor, age_ms=12.3).record(raw=True)


def summary_record() -> Record:
    summary = Summary(engine="onnxruntime", precision="fp32", model="toy")
    for seq in range(3):
        summary.add(a_result(a_face(), a_face(track=8, status="low_quality", reasons=("yaw>35",)), seq=seq, age_ms=10.0))
    return summary.report("done")


def picture_record() -> Record:
    return a_picture_result().record(raw=True)


def picture_summary() -> Record:
    summary = Summary(engine="onnxruntime", precision="fp32", model="toy")
    summary.add(a_picture_result())
    summary.add(a_result(a_face(estimate=Estimate(scores={"calm": 1.0})), frame=an_estimate()))
    return summary.report("done")


def test_real_records_fit() -> None:
    for record in (
        result_record(),
        a_result().record(),
        a_result(a_face(status="warming_up")).record(),
        a_result(a_face(estimate=Estimate(scores={"calm": 1.0}))).record(),
        picture_record(),
        a_picture_result().record(),
        a_result(frame=a_picture_estimate()).record(raw=True),
        a_result(a_face(), frame=an_estimate()).record(),
    ):
        schema("result").validate(json.loads(json.dumps(record)))
    schema("header").validate(a_header().record())
    schema("header").validate(a_header(frame_labels={"scores": ("sadness", "not sadness"), "emotions": ("sad",)}).record())
    summary = Summary(engine="onnxruntime", precision="int8", model="toy")
    for record in (summary_record(), picture_summary(), summary.report("failed", error="no camera"), summary.report("interrupted")):
        schema("summary").validate(json.loads(json.dumps(record)))


def test_header_of_the_real_package_fits(models: Path) -> None:
    header = make_header(load_package(models / "default"), source="clip.mp4", settings={"frames": None, "roi": [1, 2, 3, 4]}, gstreamer="1.22.0")
    record = header.record()
    schema("header").validate(record)
    assert record["package"]["au_quantity"] in ("presence", "intensity")
    assert {"python", "numpy", "opencv", "onnxruntime", "gstreamer"} <= record["versions"].keys()


def _set(*path: Any) -> Callable[[Record], None]:
    *way, last, value = path

    def change(record: Record) -> None:
        part: Any = record
        for step in way:
            part = part[step]
        part[last] = value

    return change


def _drop(name: str) -> Callable[[Record], None]:
    return lambda record: record.pop(name)


@pytest.mark.parametrize(
    ("name", "make", "breaking"),
    [
        ("result", result_record, _set("schema", "edge.result/2")),
        ("result", result_record, _set("pixels", [1, 2, 3])),
        ("result", result_record, _drop("t_media_ns")),
        ("result", result_record, _set("status", "fine")),
        ("result", result_record, _set("status", "no_face")),
        ("result", result_record, _set("faces", [])),
        ("result", result_record, _set("age_ms", "12")),
        ("result", result_record, _set("seq", -1)),
        ("result", result_record, _set("faces", 0, "embedding", [0.1])),
        ("result", result_record, _set("faces", 0, "box_ltrb_px", [1, 2, 3])),
        ("result", result_record, _set("faces", 0, "emotions", "joyful", 0.1)),
        ("result", result_record, _set("faces", 0, "emotions", "happy", 1.1)),
        ("result", result_record, _set("faces", 0, "action_units", "AU45", 0.1)),
        ("result", result_record, _set("faces", 0, "action_units", "AU12", None)),
        ("result", result_record, _set("faces", 0, "reasons", ["blur"])),
        ("result", result_record, _set("faces", 0, "label", "calm")),
        ("result", result_record, _set("faces", 1, "reasons", [])),
        ("result", result_record, _set("faces", 1, "emotions", {"happy": 0.5})),
        ("result", picture_record, _drop("frame")),
        ("result", picture_record, _set("frame", {})),
        ("result", picture_record, _set("frame", "embedding", [0.1])),
        ("result", picture_record, _set("frame", "scores", "sadness", 1.2)),
        ("result", picture_record, _set("frame", "emotion", "sad")),
        ("result", picture_record, _set("frame", "raw", "raw", {"label": "a", "scores": {"a": 1}})),
        ("result", picture_record, _set("frame", "raw", "label", 1)),
        ("header", lambda: a_header(frame_labels={"scores": ("a",)}).record(), _set("package", "frame_labels", "landmarks", ["x"])),
        ("header", lambda: a_header(frame_labels={"scores": ("a",)}).record(), _set("package", "frame_labels", "scores", [])),
        ("summary", picture_summary, _set("frame", {})),
        ("summary", picture_summary, _set("frame", "scores", "sadness", "seconds", -1)),
        ("summary", picture_summary, _set("frame", "emotions", "joyful", {"seconds": 1, "mean": 1})),
        ("summary", picture_summary, _set("scores", "calm", "mean", 2)),
        ("header", lambda: a_header().record(), _set("t_wall", "yesterday")),
        ("header", lambda: a_header().record(), _set("package", "sha256", "abc")),
        ("header", lambda: a_header().record(), _set("package", "au_quantity", "guess")),
        ("header", lambda: a_header().record(), _set("host", "my-machine")),
        ("header", lambda: a_header().record(), _set("versions", {})),
        ("summary", summary_record, _set("exit", "crashed")),
        ("summary", summary_record, _set("error", "none")),
        ("summary", summary_record, _set("exit", "failed")),
        ("summary", summary_record, _set("age_ms", {"p50": 1})),
        ("summary", summary_record, _set("emotions", "happy", "seconds", -1)),
        ("summary", summary_record, _set("action_units", "AU99", 0.5)),
        ("summary", summary_record, _drop("rss_mb")),
        ("summary", summary_record, _drop("statuses")),
        ("summary", summary_record, _set("statuses", "fine", 1)),
        ("summary", summary_record, _set("statuses", {"ok": 1})),
        ("summary", summary_record, _drop("reasons")),
        ("summary", summary_record, _set("reasons", "yaw>35", 0)),
        ("summary", summary_record, _set("precision", "auto")),
    ],
)
def test_broken_records_are_refused(name: str, make: Callable[[], Record], breaking: Callable[[Record], None]) -> None:
    record = copy.deepcopy(make())
    schema(name).validate(record)
    breaking(record)
    with pytest.raises(jsonschema.ValidationError):
        schema(name).validate(record)
