"""Whether a face can carry numbers at all. A reason is better than a wrong emotion."""

from __future__ import annotations

import cv2
import numpy as np

from edge.face import Face
from edge.frame import Pixels
from edge.package import Quality
from edge.result import Pose

# Sharpness is measured at one size, so that one limit fits every network.
_SHARPNESS_SIDE_PX = 64


def sharpness(crop: Pixels) -> float:
    """Return how much of a crop's contrast is fine detail.

    Args:
        crop: uint8[H, W, 3], RGB, or uint8[H, W], gray: a crop of a face.

    Returns:
        Variance of the Laplacian over the variance of the gray values at 64 x 64 pixels; dimensionless, 0 for a blank crop. Contrast and brightness
        cancel out, so that a dim face is not called blurred.

    Source: variance of the Laplacian, Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548.
    """
    if crop.shape[:2] != (_SHARPNESS_SIDE_PX, _SHARPNESS_SIDE_PX):
        crop = np.asarray(cv2.resize(crop, (_SHARPNESS_SIDE_PX, _SHARPNESS_SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    gray = crop if crop.ndim == 2 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    contrast = float(cv2.meanStdDev(gray)[1][0, 0])
    detail = float(cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))[1][0, 0])
    return detail**2 / contrast**2 if contrast > 0 else 0.0


def reasons(limits: Quality, *, face: Face, pose: Pose | None, crop_sharpness: float | None) -> tuple[str, ...]:
    """Return why a face's numbers are withheld; empty when they may be given.

    Args:
        limits: The package's.
        face: Where the face is.
        pose: Its pose, None where the package cannot tell: then no pose limit applies.
        crop_sharpness: See `sharpness`; None where the package takes no crop.
    """
    found = []
    if limits.max_yaw_deg is not None and pose is not None and abs(pose.yaw) > limits.max_yaw_deg:
        found.append(f"yaw>{limits.max_yaw_deg:g}")
    if limits.max_pitch_deg is not None and pose is not None and abs(pose.pitch) > limits.max_pitch_deg:
        found.append(f"pitch>{limits.max_pitch_deg:g}")
    if limits.min_eye_distance_px is not None and face.eye_distance_px < limits.min_eye_distance_px:
        found.append("small")
    if limits.min_sharpness is not None and crop_sharpness is not None and crop_sharpness < limits.min_sharpness:
        found.append("blur")
    return tuple(found)
