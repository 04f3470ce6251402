"""What a camera does to a clean picture: smaller, softer, darker or brighter, and noisy. The same number gives the same picture."""

from __future__ import annotations

import random

import cv2
import numpy as np

from edge.frame import Pixels

_LEAST_SIDE_PX = 64


def through_a_camera(rgb: Pixels, number: int) -> Pixels:
    """Take a picture of a picture.

    Args:
        rgb: uint8[H, W, 3].
        number: Which of the cameras: its size, blur, gain and noise follow from it.

    Returns:
        uint8[h, w, 3], as large or smaller.
    """
    # Not NumPy's generator: its streams may change between versions, Python's `random` and `randbytes` do not.
    drawn = random.Random(number)
    smaller = drawn.choice((1.0, 1.0, 0.8, 0.6, 0.45))
    blur_px, gain, noise = drawn.uniform(0.0, 0.9), drawn.uniform(0.55, 1.3), drawn.choice((1.0, 2.0, 4.0, 7.0))
    height, width = (max(_LEAST_SIDE_PX, round(length * smaller)) for length in rgb.shape[:2])
    picture = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    if blur_px > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    # The sum of four bytes is nearly normal; the deviation of one is 73.9.
    draws = np.frombuffer(drawn.randbytes(4 * picture.size), np.uint8).reshape(4, *picture.shape).astype(np.float32).sum(axis=0)
    noisy = picture.astype(np.float32) * np.float32(gain) + (draws - 510.0) * np.float32(noise / 147.8)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)
