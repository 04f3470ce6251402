"""Where crops lie, and what becomes of their pixels."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge import crop
from edge.face import Face, frame_from_crop, overlap
from edge.stage import BoxRegion, CropInput, EyesRegion, FrameInput


def face(box: tuple[float, float, float, float] = (40, 30, 80, 90), eyes: tuple[tuple[float, float], tuple[float, float]] = ((50, 50), (70, 50))) -> Face:
    return Face(box_ltrb_px=box, eyes_px=np.array(eyes, np.float64), score=0.9)


def apply(matrix: NDArray[np.float64], x: float, y: float) -> tuple[float, float]:
    mapped_x, mapped_y = matrix @ [x, y, 1]
    return float(mapped_x), float(mapped_y)


def test_box_region_is_a_centred_square_of_the_long_side() -> None:
    placed = frame_from_crop(face(), BoxRegion(expand=1.5), (256, 256))
    assert apply(placed, 128, 128) == pytest.approx([60, 60])
    assert apply(placed, 0, 0) == pytest.approx([60 - 45, 60 - 45])
    assert apply(placed, 256, 256) == pytest.approx([60 + 45, 60 + 45])


@pytest.mark.parametrize("roll_deg", [-70.0, -10.0, 0.0, 25.0])
def test_eyes_region_puts_the_eyes_where_the_rule_says(roll_deg: float) -> None:
    turn = math.radians(roll_deg)
    eyes = ((100.0, 100.0), (100 + 30 * math.cos(turn), 100 + 30 * math.sin(turn)))
    placed = frame_from_crop(face(eyes=eyes), EyesRegion(eye_distance=0.4, eye_line=0.3), (80, 98))
    assert apply(placed, 40 - 16, 98 * 0.3) == pytest.approx(eyes[0])
    assert apply(placed, 40 + 16, 98 * 0.3) == pytest.approx(eyes[1])


@pytest.mark.parametrize("roll_deg", [0.0, 30.0])
def test_a_stretched_square_has_its_corners_in_the_crop_s(roll_deg: float) -> None:
    turn = math.radians(roll_deg)
    eyes = ((100.0, 100.0), (100 + 30 * math.cos(turn), 100 + 30 * math.sin(turn)))
    one = face(box=(20, 40, 100, 120), eyes=eyes)
    region = BoxRegion(expand=1.5, stretch=True)
    stretched, as_square = frame_from_crop(one, region, (80, 98)), frame_from_crop(one, region, (64, 64))
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.25)):
        assert apply(stretched, 80 * x, 98 * y) == pytest.approx(apply(as_square, 64 * x, 64 * y))
    reaching = frame_from_crop(one, BoxRegion(expand=1.5), (80, 98))
    assert np.hypot(*(np.subtract(apply(reaching, 40, 98), apply(reaching, 40, 0)))) == pytest.approx(120 * 98 / 80)


def test_without_level_eyes_the_crop_stays_upright() -> None:
    tilted = face(eyes=((50, 50), (70, 60)))
    placed = frame_from_crop(tilted, BoxRegion(level_eyes=False), (64, 64))
    assert placed[0, 1] == placed[1, 0] == 0


def test_overlap() -> None:
    assert overlap(face(), face()) == pytest.approx(1)
    assert overlap(face(box=(0, 0, 10, 10)), face(box=(10, 0, 20, 10))) == 0
    assert overlap(face(box=(0, 0, 10, 10)), face(box=(5, 0, 15, 10))) == pytest.approx(1 / 3)


def square(side_px: int, color: Literal["rgb", "gray"] = "rgb") -> CropInput:
    return CropInput(tensor="x", color=color, size_wh_px=(side_px, side_px), region=BoxRegion(), scale=1.0)


@pytest.mark.parametrize("side", [60.0, 250.0])
def test_gray_crops_are_the_gray_of_the_colour_crops(side: float) -> None:
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8), (0, 0), 4)
    tilted = face(box=(150 - side / 2, 150 - side / 2, 150 + side / 2, 150 + side / 2), eyes=((130, 140), (170, 150)))
    placed = frame_from_crop(tilted, BoxRegion(), (64, 64))
    rgb, gray = crop.cut(np.asarray(picture, np.uint8), placed, square(64)), crop.cut(np.asarray(picture, np.uint8), placed, square(64, "gray"))
    assert gray.shape == (64, 64)
    assert np.abs(crop.batch([rgb], square(64, "gray")) - crop.batch([gray], square(64, "gray"))).max() <= 2


def test_cut_finds_a_known_pattern_at_any_angle() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[95:105, 145:155, 0] = 255
    for angle in (0.0, 0.5, 2.0):
        eyes = ((150 - 20 * math.cos(angle), 100 - 20 * math.sin(angle)), (150 + 20 * math.cos(angle), 100 + 20 * math.sin(angle)))
        cutout = crop.cut(picture, frame_from_crop(face(eyes=eyes), EyesRegion(eye_distance=0.5, eye_line=0.5), (64, 64)), square(64))
        ys, xs = np.nonzero(cutout[..., 0] > 128)
        assert (xs.mean(), ys.mean()) == pytest.approx((31.5, 31.5), abs=0.6)


def test_cut_outside_the_frame_is_black() -> None:
    picture = np.full((50, 50, 3), 200, np.uint8)
    cutout = crop.cut(picture, frame_from_crop(face(box=(-40, 0, 40, 80)), BoxRegion(level_eyes=False), (80, 80)), square(80))
    assert not cutout[:, :39].any()
    assert (cutout[2:48, 42:78] == 200).all()


def test_strong_reduction_averages_and_does_not_shift() -> None:
    # A fine checkerboard aliases under a plain bilinear warp; averaged it is gray. A half bright picture shows a shift.
    board = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    cutout = crop.cut(np.dstack([board] * 3), frame_from_crop(face(box=(40, 40, 360, 360)), BoxRegion(level_eyes=False), (64, 64)), square(64))
    assert abs(int(cutout.min()) - 127) <= 3
    assert abs(int(cutout.max()) - 127) <= 3
    half = np.zeros((400, 400, 3), np.uint8)
    half[:, 200:] = 255
    cutout = crop.cut(half, frame_from_crop(face(box=(0, 0, 400, 400)), BoxRegion(level_eyes=False), (64, 64)), square(64))
    inside = cutout[1:-1, 1:-1]  # the outermost pixels blend with the black around the frame
    assert (inside[:, :30] < 5).all()
    assert (inside[:, 32:] > 250).all()


def spec(color: str = "rgb", *, scale: float = 1.0, offset: float = 0.0, equalize: bool = False) -> CropInput:
    return CropInput(tensor="x", color=color, size_wh_px=(4, 6), region=BoxRegion(), scale=scale, offset=offset, equalize=equalize)  # type: ignore[arg-type]


def test_batch_layout_colour_and_scale() -> None:
    pixels = np.zeros((6, 4, 3), np.uint8)
    pixels[...] = (10, 20, 30)
    rgb = crop.batch([pixels, pixels], spec(scale=2.0, offset=-1.0))
    assert rgb.shape == (2, 3, 6, 4)
    assert rgb.dtype == np.float32
    assert rgb[1, :, 0, 0].tolist() == [19, 39, 59]
    assert crop.batch([pixels], spec("bgr"))[0, :, 0, 0].tolist() == [30, 20, 10]
    gray = crop.batch([pixels], spec("gray"))
    assert gray.shape == (1, 1, 6, 4)
    assert gray[0, 0, 0, 0] == round(0.299 * 10 + 0.587 * 20 + 0.114 * 30)


def test_a_batch_may_use_the_memory_of_a_former_one() -> None:
    one, two = np.full((6, 4, 3), 10, np.uint8), np.full((6, 4, 3), 20, np.uint8)
    memory = crop.batch([one, one], spec())
    fewer = crop.batch([two], spec(), out=memory)
    assert np.shares_memory(fewer, memory)
    assert fewer.shape == (1, 3, 6, 4)
    assert (fewer == 20).all()
    more = crop.batch([one, two, one], spec(), out=memory)
    assert not np.shares_memory(more, memory)
    assert more[:, 0, 0, 0].tolist() == [10, 20, 10]


def test_equalize_spreads_the_histogram() -> None:
    pixels = np.repeat(np.arange(100, 124, dtype=np.uint8).reshape(6, 4, 1), 3, axis=2)
    assert crop.batch([pixels], spec("gray", equalize=True)).max() == 255
    assert crop.batch([pixels], spec("gray")).max() == 123


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (123, 457), (40, 30)])
def test_letterbox_maps_back(width: int, height: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 4 :, width // 2 :] = 255
    fitted, back = crop.resize_frame(picture, FrameInput(tensor="x", color="rgb", size_wh_px=(128, 128), resize="letterbox", scale=1.0))
    assert fitted.shape == (128, 128, 3)
    ys, xs = np.nonzero(fitted[..., 0] > 127)
    assert apply(back, float(xs.min()), float(ys.min())) == pytest.approx([width // 2, height // 4], abs=max(width, height) / 128)


def test_stretch_fills_the_input() -> None:
    fitted, back = crop.resize_frame(np.full((30, 90, 3), 7, np.uint8), FrameInput(tensor="x", color="rgb", size_wh_px=(60, 60), resize="stretch", scale=1.0))
    assert (fitted == 7).all()
    assert apply(back, 60, 60) == pytest.approx([90, 30])
