"""Two clips side by side, composed by GStreamer: two faces, two numbers, one batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import edge_run, records_of


@pytest.mark.usefixtures("models")
def test_two_faces_keep_their_numbers(clip: Callable[[str], Path], tmp_path: Path) -> None:
    left, right = clip("WolfgangLanger_Pexels.mp4"), clip("single_face.mp4")
    pipeline = (
        f'gst:filesrc location="{left}" ! decodebin ! c.sink_0 '
        f'filesrc location="{right}" ! decodebin ! videoconvert ! videoscale ! video/x-raw,width=640,height=360 ! c.sink_1 '
        "compositor name=c sink_1::xpos=640 ! video/x-raw,width=1280,height=360"
    )
    run = edge_run("--source", pipeline, "--frames", 70, "--output", tmp_path / "out.jsonl")
    assert run.returncode == 0, run.stderr
    records = records_of(tmp_path / "out.jsonl")[1:]
    assert len(records) == 70
    sides: dict[int, set[str]] = {}
    for record in records:
        if record["seq"] >= 24:  # the compositor may begin before both clips do, and a newcomer is looked for every 200 ms
            assert len(record["faces"]) == 2
        assert sum(face["primary"] for face in record["faces"]) == 1
        for face in record["faces"]:
            side = "left" if sum(face["box_ltrb_px"][::2]) / 2 < 640 else "right"
            sides.setdefault(face["track"], set()).add(side)
    assert sorted(map(sorted, sides.values())) == [["left"], ["right"]]
