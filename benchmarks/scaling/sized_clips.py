"""The same few seconds in other sizes, as H.264 files that are made on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.frame import Pixels
from edge.view.video import VideoFile

SIZES_WH_PX = {"360p": (640, 360), "540p": (960, 540), "720p": (1280, 720), "1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160)}


def resized(picture: Pixels, size_wh_px: tuple[int, int]) -> Pixels:
    """Return a picture in another size; one that is enlarged has no more detail than before.

    Args:
        picture: uint8[H, W, 3].
        size_wh_px: Width and height.

    Returns:
        uint8[height, width, 3].
    """
    shrinks = picture.shape[1] > size_wh_px[0]
    return np.asarray(cv2.resize(picture, size_wh_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8)


def write_clip(pictures: Sequence[Pixels], size_wh_px: tuple[int, int], fps: float, path: Path) -> str:
    """Write an MP4 with the encoder that `edge-run --annotate` uses.

    Args:
        pictures: uint8[H, W, 3] each, RGB.
        size_wh_px: Width, a multiple of 8, and height, even, of the clip.
        fps: Of the clip.
        path: Where to.

    Returns:
        How it was encoded, such as `H.264 by x264enc, 1.2 Mbit/s`.

    Raises:
        MissingDependency: No H.264 encoder is installed.
        OutputError: It cannot be written.
    """
    file = VideoFile(path)
    try:
        for number, picture in enumerate(pictures):
            file.push(resized(picture, size_wh_px), round(number * 1e9 / fps))
        file.finish()
        encoder = file.description.rpartition("(")[2].rstrip(")")
    finally:
        file.close()
    return f"H.264 by {encoder}, {path.stat().st_size * 8 * fps / len(pictures) / 1e6:.1f} Mbit/s"
