"""Head pose from the points of a face mesh."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.result import Pose


def pose_from_axes(points: NDArray[np.float64]) -> Pose | None:
    """Return the head's pose from four points that span it.

    The line from side to side is the head's x axis; the line from forehead to chin, made perpendicular to it, its y axis. No camera and no face model is
    assumed: the mesh's own depth is taken as it is (weak perspective).

    Args:
        points: float64[4, 3]: left side, right side, forehead, chin (sides as in the picture); x to the right, y down, z away from the
            camera, one unit for all.

    Returns:
        Degrees; yaw is positive when the face turns towards the right edge of the picture, pitch when it looks up, roll when it tilts clockwise. None where
        the points span nothing.
    """
    # Plain numbers: on four points numpy's calls cost ten times what they compute.
    (lx, ly, lz), (rx, ry, rz), (fx, fy, fz), (cx, cy, cz) = points.tolist()
    side = math.sqrt((rx - lx) ** 2 + (ry - ly) ** 2 + (rz - lz) ** 2)
    if not side > 0:
        return None
    xx, xy, xz = (rx - lx) / side, (ry - ly) / side, (rz - lz) / side
    along = (cx - fx) * xx + (cy - fy) * xy + (cz - fz) * xz
    yx, yy, yz = cx - fx - along * xx, cy - fy - along * xy, cz - fz - along * xz
    height = math.sqrt(yx**2 + yy**2 + yz**2)
    if not height > 0:
        return None
    # x to the right and y down make a z that points into the picture; a face looks the other way: along y cross x.
    gaze_x, gaze_y, gaze_z = (yy * xz - yz * xy) / height, (yz * xx - yx * xz) / height, (yx * xy - yy * xx) / height
    return Pose(
        yaw=math.degrees(math.atan2(gaze_x, -gaze_z)),
        pitch=math.degrees(math.asin(max(-1.0, min(1.0, -gaze_y)))),
        roll=math.degrees(math.atan2(xy, xx)),
    )
