"""Head pose from the points of a face mesh."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.result import Pose


def pose_from_axes(points: NDArray[np.float64]) -> Pose:
    """Return the head's pose from four points that span it.

    The line from side to side is the head's x axis; the line from forehead to chin, made perpendicular to it, its y axis. No camera and no face model is
    assumed: the mesh's own depth is taken as it is (weak perspective).

    Args:
        points: float64[4, 3]: left side, right side, forehead, chin (sides as in the picture); x to the right, y down, z away from the
            camera, one unit for all.

    Returns:
        Degrees; yaw is positive when the face turns towards the right edge of the picture, pitch when it looks up, roll when it tilts clockwise.
    """
    left, right, forehead, chin = points
    x_axis = (right - left) / np.linalg.norm(right - left)
    down = chin - forehead
    down = down - (down @ x_axis) * x_axis
    y_axis = down / np.linalg.norm(down)
    # x to the right and y down make a z that points into the picture; a face looks the other way.
    gaze_x, gaze_y, gaze_z = (-np.cross(x_axis, y_axis)).tolist()
    return Pose(
        yaw=math.degrees(math.atan2(gaze_x, -gaze_z)),
        pitch=math.degrees(math.asin(max(-1.0, min(1.0, -gaze_y)))),
        roll=math.degrees(math.atan2(x_axis[1], x_axis[0])),
    )
