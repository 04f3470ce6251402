"""Which pictures are the same picture: encoded again, scaled or mirrored, and so with other pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Pixels

THUMBNAIL_PX = 16
# Pictures whose thumbnails differ by less than this, in gray values, are one picture. Source: two photographs against their JPEG copies of quality 30 to 95 and
# copies of half to a third the size: 0.1 to 1.9; the nearest of 3,000 pictures of FER2013 that are no copies of each other: 3.9.
NEARLY_THE_SAME = 2.0

Thumbnail = NDArray[np.float32]


def thumbnail(rgb: Pixels) -> Thumbnail:
    """Return a picture's gray values at 16 x 16 pixels, less their mean, float32[256]: near for pictures that look the same.

    Args:
        rgb: uint8[H, W, 3].
    """
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - small.mean(), np.float32).ravel()


def looks_like_one_of(one: Thumbnail, others: Thumbnail) -> bool:
    """Return whether a picture or its mirror image looks the same as another.

    Args:
        one: float32[256].
        others: float32[N, 256].
    """
    if not len(others):
        return False
    mirrored = one.reshape(THUMBNAIL_PX, THUMBNAIL_PX)[:, ::-1].ravel()
    return any(float(((others - each) ** 2).mean(axis=1).min()) < NEARLY_THE_SAME**2 for each in (one, mirrored))
