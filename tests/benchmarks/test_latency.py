from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.clips import Clip, open_clip, paced_pipeline
from benchmarks.latency import STEADY_AFTER, measure_stages, measure_start, network_ms
from benchmarks.networks import check_same
from benchmarks.timed_process import RunFailed
from edge.errors import SourceNotFound, UnsupportedFormat


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
    assert {len(part.numbers["samples_ms"][name]) for name in ("frame", "read", "overhead")} == {part.numbers["frames"] - STEADY_AFTER - 1}
    with pytest.raises(RunFailed, match="edge-run: expected exit code 0, got 5") as caught:
        measure_stages(Clip(path=Path("/no/such/clip.mp4"), frames=2, fps=25.0), load_budgets())
    assert caught.value.exit_code == 5


def test_start_of_a_real_run(clip: Callable[[str], Path], models: Path) -> None:
    part = measure_start(open_clip(clip("single_face.mp4")), load_budgets(), runs=1)
    assert len(part.numbers["seconds"]) == 1
    assert 0.05 < part.numbers["seconds"][0] < 60
    with pytest.raises(RunFailed, match="edge-run: expected a record and exit code 0, got 5"):
        measure_start(Clip(path=Path("/no/such/clip.mp4"), frames=2, fps=25.0), load_budgets(), runs=1)
