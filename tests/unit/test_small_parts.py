"""Pose, quality, smoothing, tracks, anchors, activations: each against numbers worked out by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.activation import activated
from edge.detect import anchor_centers, without_doubles
from edge.face import Face
from edge.package import Quality
from edge.pose import pose_from_axes
from edge.quality import reasons, sharpness
from edge.result import Pose
from edge.smooth import Ema, Unsmoothed
from edge.track import REMEMBER_NS, Tracker

SECOND_NS = 1_000_000_000


def turned(yaw_deg: float, pitch_deg: float, roll_deg: float) -> NDArray[np.float64]:
    """Side, side, forehead and chin of a head, turned: x right, y down, z away from the camera."""
    head = np.array([[-1.0, 0, 0], [1, 0, 0], [0, -1.2, 0], [0, 1.2, 0]])
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    # The face looks along -z. A turn towards +x moves -z to +x; a look up moves -z to -y; roll turns x towards y.
    around_y = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]])
    around_z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    return np.asarray(head @ (around_z @ around_y @ around_x).T, np.float64)


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 45), (0, 0, -45), (15, 10, 0)])
def test_pose(angles: tuple[float, float, float]) -> None:
    pose = pose_from_axes(turned(*angles))
    assert pose is not None
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(angles, abs=0.5)


def pose_of(points: NDArray[np.float64]) -> Pose:
    pose = pose_from_axes(points)
    assert pose is not None
    return pose


def test_points_that_span_nothing_have_no_pose() -> None:
    assert pose_from_axes(np.zeros((4, 3))) is None
    assert pose_from_axes(np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 0], [5, 0, 0]])) is None
    assert pose_from_axes(np.full((4, 3), np.nan)) is None


def test_pose_names_directions_of_the_picture() -> None:
    # Turning towards the picture's right edge brings the right side of the head away from the camera (larger z) and the left side nearer.
    right_side_away = np.array([[-0.9, 0, -0.4], [0.9, 0, 0.4], [0, -1.2, 0], [0, 1.2, 0]])
    assert pose_of(right_side_away).yaw > 20
    forehead_away = np.array([[-1.0, 0, 0], [1, 0, 0], [0, -1.1, 0.4], [0, 1.1, -0.4]])
    assert pose_of(forehead_away).pitch > 15
    assert pose_of(np.array([[-1.0, -0.5, 0], [1, 0.5, 0], [0.5, -1, 0], [-0.5, 1, 0]])).roll > 20


def test_sharpness_falls_with_blur_and_not_with_light() -> None:
    rng = np.random.default_rng(0)
    sharp = np.asarray(cv2.resize(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST), np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3), np.uint8)
    dim = (sharp * 0.3).astype(np.uint8)
    assert sharpness(blurred) < 0.2 * sharpness(sharp)
    assert sharpness(dim) == pytest.approx(sharpness(sharp), rel=0.05)
    assert sharpness(np.full((64, 64, 3), 90, np.uint8)) == 0


def test_quality_reasons() -> None:
    face = Face((0, 0, 40, 40), np.array([[10.0, 10], [25, 10]]), 0.9)
    limits = Quality(max_yaw_deg=35, max_pitch_deg=25, min_eye_distance_px=16, min_sharpness=0.1)
    assert reasons(limits, face=face, pose=Pose(-40, 30, 0), crop_sharpness=0.01) == ("yaw>35", "pitch>25", "small", "blur")
    assert reasons(limits, face=face, pose=None, crop_sharpness=None) == ("small",)
    assert reasons(Quality(), face=face, pose=Pose(90, 90, 90), crop_sharpness=0.0) == ()


def test_ema_steps_to_63_percent_in_a_time_constant() -> None:
    ema = Ema(0.5)
    ema.update(np.zeros(1), 0)
    for step in range(1, 51):
        value = ema.update(np.ones(1), step * SECOND_NS // 100)
    assert value[0] == pytest.approx(1 - math.exp(-1), abs=1e-9)


def test_ema_starts_anew_after_a_long_gap_and_keeps_its_input() -> None:
    ema = Ema(0.1)
    first = np.zeros(1)
    ema.update(first, 0)
    assert ema.update(np.ones(1), SECOND_NS)[0] == 1
    assert first[0] == 0
    assert Unsmoothed().update(np.ones(1), 5)[0] == 1


def at(x: float, y: float, side: float = 40) -> Face:
    return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), np.array([[x - side / 5, y - side / 8], [x + side / 5, y - side / 8]]), 0.9)


def tracker(max_faces: int = 8) -> Tracker:
    return Tracker(Unsmoothed, max_faces=max_faces)


def test_detections_of_followed_faces_are_explained() -> None:
    tracks = tracker()
    tracks.start(at(50, 50), 0)
    assert tracks.unexplained([at(55, 52), at(200, 50)])[0].center_px == (200, 50)
    # The same face seen by a tile: half the box, but both eyes inside.
    assert tracks.unexplained([at(50, 48, side=24)]) == []


def test_a_lost_face_keeps_its_number_nearby_and_soon() -> None:
    tracks = tracker()
    first = tracks.start(at(50, 50), 0)
    tracks.lose(first, 0)
    assert tracks.start(at(60, 55), REMEMBER_NS).number == 1
    tracks.lose(tracks.active[0], REMEMBER_NS)
    assert tracks.start(at(300, 50), REMEMBER_NS).number == 2
    tracks.lose(tracks.active[0], REMEMBER_NS)
    assert tracks.start(at(60, 55), 3 * REMEMBER_NS).number == 3


def test_each_detection_moves_one_track() -> None:
    tracks = tracker()
    tracks.start(at(50, 50), 0)
    tracks.start(at(80, 50), 0)
    moved = tracks.moved([at(78, 50), at(52, 50)])
    assert [face.center_px if face else None for face in moved] == [(52, 50), (78, 50)]
    assert tracks.moved([]) == [None, None]


def test_two_tracks_on_one_face_become_the_older() -> None:
    tracks = tracker()
    old, young = tracks.start(at(50, 50), 0), tracks.start(at(150, 50), SECOND_NS)
    tracks.update(young, at(52, 51), SECOND_NS)
    tracks.drop_doubles()
    assert tracks.active == [old]


def test_room_is_made_for_a_face_that_is_clearly_wanted_more() -> None:
    tracks = tracker(max_faces=1)
    small = tracks.start(at(20, 20, 40), 0)
    assert tracks.full
    assert not tracks.make_room(at(150, 50, 45), "largest", (200, 100), 0)
    assert not tracks.make_room(at(150, 50, 90), "longest", (200, 100), 0)
    assert tracks.make_room(at(100, 50, 20), "central", (200, 100), 0)
    assert tracks.active == []
    tracks.active.append(small)
    assert tracks.make_room(at(150, 50, 60), "largest", (200, 100), 0)


def test_a_face_taken_up_again_is_smoothed_anew() -> None:
    tracks = Tracker(lambda: Ema(10.0), max_faces=8)
    track = tracks.start(at(50, 50), 0)
    track.smoother.update(np.zeros(1), 0)
    tracks.lose(track, 0)
    again = tracks.start(at(55, 50), SECOND_NS // 2)
    assert again.number == track.number
    assert again.smoother.update(np.ones(1), SECOND_NS // 2)[0] == 1


def test_a_person_beside_a_lost_face_is_another_one() -> None:
    tracks = tracker()
    tracks.lose(tracks.start(at(50, 50), 0), 0)
    assert tracks.start(at(90, 50), SECOND_NS // 5).number == 2


def test_anchors_of_blazeface() -> None:
    # Short range: 16 x 16 cells with 2 anchors, then 8 x 8 cells with 6: the 896 rows of the network.
    centers = anchor_centers(((8, 2), (16, 6)), (128, 128))
    assert centers.shape == (896, 2)
    assert centers[0].tolist() == centers[1].tolist() == [4, 4]
    assert centers[2].tolist() == [12, 4]
    assert centers[512].tolist() == [8, 8]
    assert anchor_centers(((4, 1),), (192, 192)).shape == (2304, 2)


def test_doubles_leave_the_best() -> None:
    best = Face((0, 0, 10, 10), np.zeros((2, 2)), 0.9)
    kept = without_doubles([Face((1, 0, 11, 10), np.zeros((2, 2)), 0.6), best, Face((30, 0, 40, 10), np.zeros((2, 2)), 0.5)], max_overlap=0.3)
    assert [face.score for face in kept] == [0.9, 0.5]


def test_activations() -> None:
    rows = np.array([[0.0, 2.0], [-300.0, 300.0]], np.float32)
    assert activated(rows, "none").tolist() == rows.tolist()
    assert activated(rows, "sigmoid")[0].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2))])
    assert activated(rows, "sigmoid")[1].tolist() == pytest.approx([0, 1])
    assert activated(rows, "softmax").sum(axis=1).tolist() == pytest.approx([1, 1])
