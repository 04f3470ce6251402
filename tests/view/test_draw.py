"""Drawing: bars and boxes stand where the numbers say, absent values are no zeros, and the picture itself stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.errors import SpecMismatch
from edge.frame import Pixels
from edge.result import ACTION_UNITS, EMOTIONS, Estimate
from edge.view.draw import Hud, draw, panel_layout
from edge.view.lettering import fit_text, text_tile, text_width_px
from tests.output.example_results import UNITS, a_face, a_picture_estimate, a_picture_result, a_result, an_estimate

HUD = Hud(fps=25.0, au_quantity="intensity", low_confidence=frozenset({"AU6"}))
GREY = 90


def grey(width_px: int = 640, height_px: int = 360) -> Pixels:
    return np.full((height_px, width_px, 3), GREY, np.uint8)


def filled_share(canvas: Pixels, bar: tuple[int, int, int, int], *, empty: Pixels) -> float:
    left, top, right, bottom = bar
    changed = (canvas[top:bottom, left:right] != empty[top:bottom, left:right]).any(axis=2)
    assert (changed == changed[0]).all(), "a bar is as long in each of its rows"
    return float(changed[0].mean())


@pytest.mark.parametrize("size_wh_px", [(320, 240), (640, 360), (480, 640), (1280, 720), (1920, 1080), (641, 359)])
def test_bars_are_as_long_as_their_values(size_wh_px: tuple[int, int]) -> None:
    layout = panel_layout(*size_wh_px)
    canvas = draw(grey(*size_wh_px), a_result(a_face()), HUD)
    empty = draw(grey(*size_wh_px), a_result(), HUD)
    for index, name in enumerate(EMOTIONS):
        bar = layout.label_bar(index)
        assert filled_share(canvas, bar, empty=empty) == pytest.approx(an_estimate().emotions[name], abs=0.6 / (bar[2] - bar[0]))  # type: ignore[index]
    for index, name in enumerate(ACTION_UNITS):
        bar = layout.unit_bar(index)
        assert filled_share(canvas, bar, empty=empty) == pytest.approx(UNITS.get(name, 0.0), abs=0.6 / (bar[2] - bar[0]))


@pytest.mark.parametrize("size_wh_px", [(320, 240), (640, 360), (480, 640), (1920, 1080), (641, 359), (160, 120)])
def test_the_panel_fits_and_the_picture_beside_it_is_untouched(size_wh_px: tuple[int, int]) -> None:
    width, height = size_wh_px
    canvas = draw(grey(width, height), a_result(), HUD)
    layout = panel_layout(width, height)
    assert canvas.shape == (layout.size_wh_px[1], layout.size_wh_px[0], 3)
    assert canvas.shape[1] % 8 == 0
    assert canvas.shape[0] % 2 == 0
    top = (canvas.shape[0] - height) // 2
    assert (canvas[top : top + height, :width] == GREY).all()
    bars = [layout.label_bar(index) for index in range(7)] + [layout.unit_bar(index) for index in range(15)]
    for left, bar_top, right, bottom in bars:
        assert width < left < right < canvas.shape[1]
        assert 0 < bar_top < bottom < canvas.shape[0]
        assert right - left >= 16
    assert len({bar[:2] for bar in bars}) == 22


def test_an_absent_value_is_a_dash_and_not_a_zero() -> None:
    canvas = draw(grey(), a_result(a_face(estimate=Estimate(emotions=an_estimate().emotions, action_units={"AU1": 0.0}))), HUD)
    layout = panel_layout(640, 360)
    zero, absent = (_value_pixels(canvas, layout.unit_bar(index)) for index in (0, 1))
    ink = [int((pixels.max(axis=2) > 60).any(axis=1).sum()) for pixels in (zero, absent)]
    assert ink[0] >= 8  # rows of "0.00"
    assert 1 <= ink[1] <= 3  # rows of a dash
    poor = draw(grey(), a_result(a_face(status="low_quality", reasons=("blur",))), HUD)
    for bar in (layout.label_bar(0), layout.label_bar(6), layout.unit_bar(0)):
        assert 1 <= (_value_pixels(poor, bar).max(axis=2) > 60).any(axis=1).sum() <= 3


def _value_pixels(canvas: Pixels, bar: tuple[int, int, int, int]) -> Pixels:
    return canvas[bar[1] - 3 : bar[3] + 3, bar[2] + 2 : bar[2] + panel_layout(640, 360).value_px]


def test_labels_that_cannot_be_vouched_for_are_dim() -> None:
    estimate = Estimate(emotions=an_estimate().emotions, action_units={"AU5": 1.0, "AU6": 1.0})
    canvas = draw(grey(), a_result(a_face(estimate=estimate)), HUD)
    layout = panel_layout(640, 360)
    sure, unsure = (canvas[layout.unit_bar(index)[1] + 1, layout.unit_bar(index)[0] + 2].astype(int) for index in (3, 4))
    assert (ACTION_UNITS[3], ACTION_UNITS[4]) == ("AU5", "AU6")
    assert sure.sum() > 1.5 * unsure.sum()


def test_boxes_are_where_the_faces_are() -> None:
    canvas = draw(grey(), a_result(replace(a_face(), box_ltrb_px=(100.0, 80.0, 220.0, 260.0))), HUD)
    box = np.array([246, 183, 82])
    for x, y in ((100, 200), (220, 200), (150, 260), (150, 80)):
        assert np.abs(canvas[y, x].astype(int) - box).max() < 30, (x, y)
    assert (canvas[100:240, 120:200] == GREY).all()


def test_a_poor_face_is_grey_and_says_why() -> None:
    good = draw(grey(), a_result(a_face()), HUD)
    poor = draw(grey(), a_result(a_face(status="low_quality", reasons=("blur", "yaw>35"))), HUD)
    other = draw(grey(), a_result(a_face(status="low_quality", reasons=("small",))), HUD)
    assert good[100, 10].max() > poor[100, 10].max() + 80
    heading = np.s_[: panel_layout(640, 360).label_bar(0)[1] - 4, 640:]
    assert (poor[heading] != other[heading]).any()
    layout = panel_layout(640, 360)
    empty = draw(grey(), a_result(), HUD)
    assert all(filled_share(poor, layout.label_bar(index), empty=empty) == 0 for index in range(7))


def test_labels_of_the_package_take_the_place_of_emotions_also_where_they_are_long() -> None:
    hud = Hud(labels=("calm", "anything but calm", "a label that would fill the panel and the picture too"))
    layout = panel_layout(640, 360, hud.labels)
    canvas = draw(grey(), a_result(a_face(estimate=Estimate(scores={"calm": 0.25, "anything but calm": 0.75}))), hud)
    empty = draw(grey(), a_result(), hud)
    for index, value in enumerate((0.25, 0.75, 0.0)):
        left, _, right, _ = layout.label_bar(index)
        assert right - left >= 30
        assert filled_share(canvas, layout.label_bar(index), empty=empty) == pytest.approx(value, abs=0.02)
    # No action units, no rows for them: the panel is bare from there to its foot.
    rows = slice(layout.unit_bar(0)[1] - 4, layout.unit_bar(7)[3])
    assert (empty[rows, 640:] == empty[rows.start, 640]).all()


@pytest.mark.parametrize("size_wh_px", [(160, 120), (640, 360), (1920, 1080)])
def test_a_warning_stands_in_the_panel_and_covers_nothing(size_wh_px: tuple[int, int]) -> None:
    plain, warned = (draw(grey(*size_wh_px), a_result(a_face()), replace(HUD, warning=warning)) for warning in ("", "untrained: means nothing"))
    changed = np.argwhere((plain != warned).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    layout = panel_layout(*size_wh_px)
    assert layout.left_px < left < right < layout.size_wh_px[0]
    assert 0 < top < bottom < layout.label_bar(0)[1]
    assert (plain[top:bottom, left:right] == plain[top, left]).all()


def test_the_panel_is_the_pictures_where_no_faces_are_looked_for() -> None:
    hud = Hud(labels=tuple(a_picture_estimate().scores or ()))
    layout = panel_layout(640, 360, hud.labels)
    canvas = draw(grey(), a_picture_result(sadness=0.75), hud)
    empty = draw(grey(), a_result(), hud)
    assert filled_share(canvas, layout.label_bar(0), empty=empty) == pytest.approx(0.75, abs=0.02)
    assert filled_share(canvas, layout.label_bar(1), empty=empty) == pytest.approx(0.25, abs=0.02)
    assert (canvas[: layout.size_wh_px[1], :640] == GREY).all()


def test_beside_faces_the_pictures_own_word_stands_in_its_corner() -> None:
    layout = panel_layout(640, 360)
    alone, both = (draw(grey(), a_result(a_face(), frame=frame), HUD) for frame in (None, a_picture_estimate()))
    assert (alone[:, 640:] == both[:, 640:]).all()  # the panel is the face's
    assert (both[0, 0] < 30).all()
    assert (alone[0, 0] == GREY).all()
    assert (both[3 * layout.cap_px :, :640] == alone[3 * layout.cap_px :, :640]).all()
    sad, not_sad = (draw(grey(), a_result(frame=a_picture_estimate(sadness)), HUD) for sadness in (0.8, 0.2))
    assert (sad[:40, :200] != not_sad[:40, :200]).any()
    units_only = draw(grey(), a_result(frame=Estimate(action_units={"AU1": 0.5})), HUD)
    assert (units_only[:, :640] == GREY).all()


def test_faces_reaching_outside_and_many_faces_are_drawn() -> None:
    boxes = [(-50.0, -40.0, 60.0, 60.0), (600.0, 300.0, 700.0, 420.0), (100.0, 5.0, 200.0, 100.0), (-90.0, -90.0, -10.0, -10.0)]
    faces = [replace(a_face(track=n, primary=n == 2), box_ltrb_px=box) for n, box in enumerate(boxes)]
    canvas = draw(grey(), a_result(*faces), HUD)
    assert (canvas[:, :640] != GREY).any()
    alone = draw(grey(), a_result(faces[2]), HUD)
    bars = np.s_[panel_layout(640, 360).label_bar(0)[1] : panel_layout(640, 360).unit_bar(7)[3], 640:]
    assert (canvas[bars] == alone[bars]).all()  # the panel is the primary face's alone


def test_the_primary_face_is_drawn_on_top() -> None:
    primary, other = a_face(track=1), a_face(track=2, primary=False)
    for faces in ((primary, other), (other, primary)):
        canvas = draw(grey(), a_result(*faces), HUD)
        assert np.abs(canvas[70, 10].astype(int) - (246, 183, 82)).max() < 30


def test_the_frame_is_not_modified_and_odd_inputs_are_refused() -> None:
    pixels = grey()
    pixels.flags.writeable = False
    draw(pixels, a_result(a_face()), HUD)
    assert (pixels == GREY).all()
    with pytest.raises(SpecMismatch, match=r"drawing expected uint8\[H, W, 3\], got float32\[4, 4, 3\]"):
        draw(np.zeros((4, 4, 3), np.float32), a_result(), HUD)
    with pytest.raises(SpecMismatch, match=r"got uint8\[4, 4\]"):
        draw(np.zeros((4, 4), np.uint8), a_result(), HUD)


def test_text_keeps_its_height_and_is_cut_to_its_room() -> None:
    for cap_px in (7, 10, 20):
        tile = text_tile("HEX", cap_px, (255, 255, 255), (0, 0, 0))
        rows = np.nonzero(tile.max(axis=(1, 2)) > 128)[0]
        assert rows[-1] - rows[0] + 1 == pytest.approx(cap_px, abs=1 + 0.15 * cap_px)
        deep = text_tile("gyp", cap_px, (255, 255, 255), (0, 0, 0))
        assert deep[-1].max() < 128  # tails are not cut off
    assert fit_text("disgusted", 10, 1000) == "disgusted"
    assert text_width_px(fit_text("disgusted", 10, 60), 10) <= 60
    assert fit_text("disgusted", 10, 60).endswith("..")
