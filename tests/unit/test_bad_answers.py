"""Networks that answer with what is no number, or not for each input: never a number in a record, and nothing that lasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.errors import InferenceFailed
from edge.result import FrameResult
from edge.stage import CropInput, FrameInput, Scores, Stage
from tests.toy import save_graph, spot_frame
from tests.toy_kinds import MIDDLE, SIDE_PX, manifest_of, save

DIM, BRIGHT = 180, 250


def results_of(folder: Path, brightness: list[int], *, detector: str = "toy-detector", others: int = 0) -> list[FrameResult]:
    (stage,) = stages(folder, detector)
    analyzer = Analyzer(Config(model=str(save(folder, manifest_of(stage, detector=detector)))))
    frames = [spot_frame(seq, [(12, 12, value), *[(52, 12 + 40 * other, DIM) for other in range(others)]]) for seq, value in enumerate(brightness)]
    try:
        return [analyzer.step(frame, StageTimes()) for frame in frames]
    finally:
        analyzer.close()


def stages(folder: Path, detector: str) -> tuple[Stage]:
    if detector:
        return (Stage(name="toy", model="toy.onnx", input=CropInput("crop", "gray", (SIDE_PX, SIDE_PX), MIDDLE, 1 / 255), outputs=(SCORES,)),)
    return (Stage(name="toy", model="toy.onnx", input=FrameInput("crop", "gray", (SIDE_PX, SIDE_PX), "stretch", 1 / 255), outputs=(SCORES,)),)


SCORES = Scores(tensor="scores", activation="none", labels=("root",))


def save_root(folder: Path, *, over: float, first_alone: bool = False) -> None:
    """The square root of what a crop's brightness lacks to `over`: no number for brighter ones. `first_alone`: for the first crop of a batch."""
    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("ReduceMean", ["crop"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean", "row"], ["column"]),
        helper.make_node("Sub", ["over", "column"], ["rest"]),
        helper.make_node("Sqrt", ["rest"], ["roots"]),
        helper.make_node("Slice", ["roots", "start", "end" if first_alone else "all"], ["scores"]),
    ]
    save_graph(
        folder / "toy.onnx",
        nodes,
        {"crop": ["N", 1, SIDE_PX, SIDE_PX]},
        {"scores": ["N", 1]},
        {"row": np.array([-1, 1]), "over": np.float32(over), "start": np.array([0]), "end": np.array([1]), "all": np.array([2**31])},
    )


def test_what_is_no_number_is_a_reason_and_does_not_last(tmp_path: Path) -> None:
    save_root(tmp_path / "toy", over=0.9)
    results = results_of(tmp_path / "toy", [DIM, DIM, BRIGHT, DIM, DIM], others=1)
    for result in results:
        first, other = sorted(result.faces, key=lambda face: face.box_ltrb_px)
        if result.seq == 2:
            assert (first.status, first.reasons, first.estimate, first.raw) == ("low_quality", ("no number",), None, None)
        else:
            assert first.status == "ok"
            assert first.estimate is not None
            assert first.estimate.scores == pytest.approx({"root": np.sqrt(0.9 - DIM / 255)}, abs=1e-3)
        assert other.status == "ok"  # its neighbour in the batch is its own


def test_what_is_no_number_is_left_out_for_a_picture(tmp_path: Path) -> None:
    save_root(tmp_path / "toy", over=0.03)
    estimates = [result.frame for result in results_of(tmp_path / "toy", [DIM, BRIGHT, DIM], detector="")]
    assert estimates[1] is None
    assert estimates[0] is not None
    assert estimates[2] is not None
    assert estimates[2].scores == pytest.approx(estimates[0].scores)


def test_one_answer_for_all_faces_is_refused(tmp_path: Path) -> None:
    save_root(tmp_path / "toy", over=1.0, first_alone=True)
    with pytest.raises(
        InferenceFailed,
        match=r"stage 'toy' \(toy.onnx\): expected 2 rows in 'scores', one for each input, got 1\n  the network does not treat its inputs one by one",
    ):
        results_of(tmp_path / "toy", [DIM], others=1)
