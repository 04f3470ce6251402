from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.clips import Clip, open_clip
from benchmarks.detectors import PICTURES, check_agreement, check_yunet, measure_detectors, read_pictures
from benchmarks.networks import paired_ratio
from benchmarks.timed_process import RunFailed
from edge.errors import ConfigError


def test_a_ratio_is_formed_in_each_turn() -> None:
    # the machine is three times as slow in the second of three turns: both are
    ours_ms = [2.0, 2.0, 6.0, 6.0, 2.0, 2.0]
    theirs_ms = [1.0, 1.0, 3.0, 3.0, 1.0, 1.0]
    ratio = paired_ratio(ours_ms, theirs_ms, turns=3)
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    # one outlier of a turn's five does not speak for it
    assert paired_ratio([1.0, 1.0, 1.0, 1.0, 90.0] * 2, [1.0] * 10, turns=2).high == pytest.approx(1.0)
    with pytest.raises(ValueError, match="expected as many samples of both, a multiple of 4, got 6 and 6"):
        paired_ratio(ours_ms, theirs_ms, turns=4)
    with pytest.raises(ValueError, match="got 6 and 5"):
        paired_ratio(ours_ms, theirs_ms[:5], turns=3)


def test_pictures_are_spread_over_the_clip(clip: Callable[[str], Path], tmp_path: Path) -> None:
    whole = open_clip(clip("single_face.mp4"))
    pictures = read_pictures(whole)
    assert len(pictures) == PICTURES
    assert {(picture.shape, picture.dtype) for picture in pictures} == {((360, 640, 3), np.dtype(np.uint8))}
    with pytest.raises(RunFailed, match=r"expected a clip of at least 25 frames, got 24 from single_face.mp4"):
        read_pictures(Clip(whole.path, 24, whole.fps))
    with pytest.raises(RunFailed, match=r"expected 25 pictures, got 9: single_face.mp4 ends before the length that it states"):
        read_pictures(Clip(whole.path, 200, whole.fps))


def test_detectors_that_see_different_faces_are_not_compared() -> None:
    check_agreement({"ours": [True] * 10, "yunet": [True] * 9 + [False]})
    with pytest.raises(RunFailed, match="expected the detectors to agree on 90% of the pictures, ours and yunet agree on 80%"):
        check_agreement({"ours": [True] * 10, "yunet": [True] * 8 + [False] * 2})


def test_another_network_than_yunet_is_refused(tmp_path: Path, clip: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"--yunet: no file at .*none.onnx"):
        check_yunet(tmp_path / "none.onnx")
    pointer = tmp_path / "pointer.onnx"
    pointer.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ConfigError, match="--yunet: expected SHA-256 8f2383e4") as caught:
        measure_detectors(open_clip(clip("single_face.mp4")), pointer, load_budgets())
    assert "stand-in" in caught.value.hint


def test_without_yunet_there_is_no_number(clip: Callable[[str], Path]) -> None:
    part = measure_detectors(open_clip(clip("single_face.mp4")), None, load_budgets())
    assert part.verdicts == []
    assert set(part.numbers) == {"not_run"}
    assert part.lines == [f"detectors not run: {part.numbers['not_run']}"]
