from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.clips import Clip, open_clip, paced_pipeline
from benchmarks.latency import judge_paced, measure_paced, measure_stages, measure_start, network_ms
from benchmarks.networks import check_same
from benchmarks.timed_process import RunFailed
from edge.errors import SourceNotFound, UnsupportedFormat

FRAMES = 100


def _records(**changes: Any) -> list[dict[str, Any]]:
    """A paced run in which nothing went wrong."""
    return [{"seq": seq, "age_ms": 8.0, "dropped": 0, "faces": [{}], "t_capture_ns": round(seq * 1e9 / 30)} | changes for seq in range(FRAMES)]


def _words(records: list[dict[str, Any]], others_cpu: float = 0.0) -> dict[str, str]:
    return {verdict.name: verdict.word for verdict in judge_paced(records, FRAMES, others_cpu, load_budgets()).verdicts}


def test_a_paced_run_without_fault_passes() -> None:
    assert _words(_records()) == {"latency.paced_drops": "pass", "latency.paced_age": "pass"}


def test_one_drop_fails() -> None:
    records = _records()
    records[50]["dropped"] = 1
    assert _words(records) == {"latency.paced_drops": "fail", "latency.paced_age": "pass"}


def test_two_old_results_of_a_hundred_fail() -> None:
    records = _records()
    for record in records[40:42]:
        record["age_ms"] = 60.0
    assert _words(records)["latency.paced_age"] == "fail"


@pytest.mark.parametrize(
    ("records", "others_cpu", "reason"),
    [
        (_records(), 0.2, "other processes used 20% of the CPU"),
        (_records()[:-1], 0.0, "expected 100 records with an age, got 99 records and 99 ages"),
        (_records(age_ms=None), 0.0, "100 records and 0 ages"),
        (_records(faces=[]), 0.0, "a face in only 0 of 100 frames"),
        ([record | {"t_capture_ns": record["t_capture_ns"] * 2} for record in _records()], 0.0, "the source ran at 15.00 frames/s, not at 30"),
        (_records(t_capture_ns=5), 0.0, "the source ran at inf frames/s"),
    ],
)
def test_a_run_that_was_not_what_it_should_be_is_invalid(records: list[dict[str, Any]], others_cpu: float, reason: str) -> None:
    part = judge_paced(records, FRAMES, others_cpu, load_budgets())
    assert reason in part.verdicts[0].reason
    assert "pass" not in {verdict.word for verdict in part.verdicts}
    assert "fail" not in {verdict.word for verdict in part.verdicts}


def test_network_time_is_that_inside_the_networks() -> None:
    stages = {"read": 2.0, "detect": 3.0, "detect.infer": 1.5, "crop": 0.2, "infer": 7.1, "infer.mesh": 5.0, "infer.emotion": 2.0, "smooth": 0.1}
    assert network_ms({"stage_ms": stages}) == 8.5


def test_a_clip_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"no clip at .*none.mp4"):
        open_clip(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no clip")
    with pytest.raises(UnsupportedFormat, match="expected a clip of at least 2 frames and a known rate, got 0 frames"):
        open_clip(tmp_path / "text.mp4")


def test_paced_pipeline_repeats_the_clip_often_enough() -> None:
    text = paced_pipeline(Clip(path=Path('/clips/a "b".mp4'), frames=100, fps=25.0), frames=241, fps=30.0)
    assert text.count('filesrc location="/clips/a \\"b\\".mp4"') == 3
    assert "framerate=30000/1000" in text


def test_networks_are_compared_only_where_they_are_the_same() -> None:
    random = np.random.default_rng(3)
    outputs = [random.random((1, 50), dtype=np.float32), random.random((1, 1), dtype=np.float32)]
    other_order = [outputs[1].reshape(1), outputs[0].reshape(50, 1), random.random(7, dtype=np.float32)]
    check_same("toy", outputs, other_order)
    with pytest.raises(RunFailed, match=r"toy: expected the outputs of the original, got others \(correlation"):
        check_same("toy", outputs, [outputs[1], outputs[0][:, ::-1]])
    with pytest.raises(RunFailed, match=r"toy: expected outputs of the original's sizes \[3\], got one of 50"):
        check_same("toy", outputs, [np.zeros(3, dtype=np.float32)])


def test_stages_of_a_real_run(clip: Callable[[str], Path], models: Path) -> None:
    part = measure_stages(open_clip(clip("single_face.mp4")), load_budgets())
    stage_ms = part.numbers["stage_ms"]
    assert {"frame", "read", "infer", "overhead"} <= stage_ms.keys()
    assert any(name.startswith("infer.") for name in stage_ms)
    assert 0 < stage_ms["overhead"]["p50"] < stage_ms["frame"]["p50"]
    assert part.verdicts[0].name == "latency.overhead"
    with pytest.raises(RunFailed, match="edge-run: expected exit code 0, got 5") as caught:
        measure_stages(Clip(path=Path("/no/such/clip.mp4"), frames=2, fps=25.0), load_budgets())
    assert caught.value.exit_code == 5


def test_start_of_a_real_run(clip: Callable[[str], Path], models: Path) -> None:
    part = measure_start(open_clip(clip("single_face.mp4")), load_budgets(), runs=1)
    assert len(part.numbers["seconds"]) == 1
    assert 0.05 < part.numbers["seconds"][0] < 60
    with pytest.raises(RunFailed, match="edge-run: expected a record and exit code 0, got 5"):
        measure_start(Clip(path=Path("/no/such/clip.mp4"), frames=2, fps=25.0), load_budgets(), runs=1)


def test_a_real_paced_run(clip: Callable[[str], Path], models: Path) -> None:
    part = measure_paced(open_clip(clip("single_face.mp4")), load_budgets(), frames=60)
    assert part.numbers["frames"] == 60
    assert part.numbers["with_face"] >= 54
    assert part.numbers["age_ms"]["p50"] > 0
    assert "the source ran" not in part.verdicts[0].reason
