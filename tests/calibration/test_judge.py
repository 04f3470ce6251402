"""What the runtime finds in single pictures, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.default_sources import RENDERS
from calibration.judge import FaceJudge, JudgedFace
from calibration.lookalikes import thumbnail
from calibration.rendering.sheets import read_renders
from edge.errors import PackageNotFound
from edge.frame import Pixels


@pytest.fixture(scope="module")
def judge(models: Path) -> FaceJudge:
    return FaceJudge(str(models / "default"))


@pytest.fixture(scope="module")
def clean() -> list[Pixels]:
    return [face.rgb for face, _ in zip(read_renders(RENDERS), range(12), strict=False)]


def found(judge: FaceJudge, rgb: Pixels) -> list[JudgedFace]:
    return [face for face in judge.faces(rgb) if isinstance(face, JudgedFace)]


def test_a_face_is_cut_out_with_room_and_described(judge: FaceJudge, clean: list[Pixels]) -> None:
    large = np.asarray(cv2.copyMakeBorder(clean[1], 300, 300, 300, 300, cv2.BORDER_CONSTANT, value=(90, 90, 90)), np.uint8)
    (face,) = found(judge, large)
    assert 1.5 * face.features.side_px < face.picture.shape[0] < 3 * face.features.side_px
    assert face.features.brightness > 0
    assert face.features.emotion
    assert (thumbnail(clean[1]) ** 2).mean() > 100


def test_what_is_no_picture_of_a_face(judge: FaceJudge) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)
    assert list(judge.faces(np.full((80, 80, 3), 128, np.uint8))) == ["blank"]
    assert list(judge.faces(noise)) == ["no face"]
    # Odd sizes are no special case.
    for height, width in ((1, 40), (40, 1), (1, 1), (3, 2000)):
        assert list(judge.faces(noise.repeat(10, axis=1)[:height, :width])) in (["no face"], ["blank"])


def test_small_pictures_that_a_face_fills_are_found(judge: FaceJudge, clean: list[Pixels]) -> None:
    n_found = 0
    for rgb in clean:
        for face in found(judge, rgb):
            height, width = rgb.shape[:2]
            tight = rgb[height // 5 : -height // 5, width // 5 : -width // 5]
            small = np.asarray(cv2.resize(tight, (48, 48), interpolation=cv2.INTER_AREA), np.uint8)
            again = found(judge, small)
            n_found += len(again)
            # Sizes are those of the source, not of what it was enlarged to.
            assert all(each.features.side_px < 60 < face.picture.shape[0] for each in again)
    assert n_found >= len(clean) // 2


def test_a_face_is_judged_alike_whatever_came_before(judge: FaceJudge, clean: list[Pixels]) -> None:
    first = [found(judge, rgb)[0].features for rgb in clean[:4]]
    assert first == [found(judge, rgb)[0].features for rgb in clean[3::-1]][::-1]


def test_neighbours_make_a_picture_useless_and_distant_ones_do_not(judge: FaceJudge, clean: list[Pixels]) -> None:
    near = np.hstack([clean[0][:, 45:115], clean[4][:, 45:115]])
    assert list(judge.faces(near)) == ["several faces", "several faces"]
    apart = np.hstack([clean[0], np.full((160, 160, 3), 100, np.uint8), clean[4]])
    assert len(found(judge, apart)) == 2


def test_without_the_default_package_nothing_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path))
    with pytest.raises(PackageNotFound, match="no model package at"):
        FaceJudge()
