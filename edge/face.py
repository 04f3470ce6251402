"""A face in a frame, and where its crops lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.stage import BoxRegion, EyesRegion

Points = NDArray[np.float64]
Affine = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Face:
    """Where a face is.

    Attributes:
        box_ltrb_px: Left, top, right, bottom in frame pixels; may reach outside the frame.
        eyes_px: float64[2, 2]: x, y of the two eye centres; the one on the left of an upright picture first.
        score: Confidence in [0, 1].
    """

    box_ltrb_px: tuple[float, float, float, float]
    eyes_px: Points
    score: float

    @property
    def center_px(self) -> tuple[float, float]:
        """Centre of the box: x, y."""
        left, top, right, bottom = self.box_ltrb_px
        return (left + right) / 2, (top + bottom) / 2

    @property
    def side_px(self) -> float:
        """Long side of the box."""
        left, top, right, bottom = self.box_ltrb_px
        return max(right - left, bottom - top)

    @property
    def eye_distance_px(self) -> float:
        """Distance of the eye centres."""
        (left_x, left_y), (right_x, right_y) = self.eyes_px.tolist()
        return math.hypot(right_x - left_x, right_y - left_y)


def frame_from_crop(face: Face, region: BoxRegion | EyesRegion, size_wh_px: tuple[int, int]) -> Affine:
    """Return the map from crop pixels to frame pixels.

    Args:
        face: Where the face is.
        region: The package's rule.
        size_wh_px: Width and height of the crop.

    Returns:
        float64[2, 3]: rotation and one scale, so that angles in the crop are angles in the frame, unless the rule stretches. Coordinates are continuous: the
        first pixel reaches from 0 to 1.
    """
    width, height = size_wh_px
    (left_x, left_y), (right_x, right_y) = face.eyes_px.tolist()
    angle = math.atan2(right_y - left_y, right_x - left_x) if region.level_eyes else 0.0
    if isinstance(region, BoxRegion):
        center_x, center_y = face.center_px
        side_px = face.side_px * region.expand
        scale_x, scale_y = (side_px / width, side_px / height) if region.stretch else (side_px / min(width, height),) * 2
        anchor_x, anchor_y = width / 2, height / 2
    else:
        center_x, center_y = (left_x + right_x) / 2, (left_y + right_y) / 2
        scale_x = scale_y = face.eye_distance_px / (region.eye_distance * width)
        anchor_x, anchor_y = width / 2, height * region.eye_line
    xx, yx = scale_x * math.cos(angle), scale_x * math.sin(angle)
    xy, yy = -scale_y * math.sin(angle), scale_y * math.cos(angle)
    return np.array([[xx, xy, center_x - xx * anchor_x - xy * anchor_y], [yx, yy, center_y - yx * anchor_x - yy * anchor_y]])


def overlap(first: Face, second: Face) -> float:
    """Return the intersection over union of two boxes, in [0, 1]."""
    a, b = first.box_ltrb_px, second.box_ltrb_px
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
