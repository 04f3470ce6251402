"""Small, clean text without a font file: OpenCV's stroke letters, drawn large and shrunk, so that they stay legible at seven pixels."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Pixels

Color = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP_HEIGHT_PX = 21.0  # of a capital at scale 1; measured with cv2.getTextSize
_ENLARGED = 4  # drawn this much larger, then averaged down: the strokes get even grey edges
_STROKE = 0.135  # width of a stroke over the height of a capital
_ABSENT = "–"


@lru_cache(maxsize=4096)
def text_tile(text: str, cap_px: int, color: Color, background: Color) -> Pixels:
    """Return a picture of a word on a plain ground, ready to be pasted; the same one each time it is asked for.

    Args:
        text: ASCII, or the dash that stands for an absent value.
        cap_px: Height of a capital letter in pixels.
        color: RGB.
        background: RGB.

    Returns:
        uint8[H, W, 3], RGB, read-only. Capitals stand on row `cap_px` and below them is room for the tails of letters.
    """
    share = (_mask(text, cap_px).astype(np.float32) / 255.0)[:, :, None]
    tile = np.asarray(background, np.float32) * (1 - share) + np.asarray(color, np.float32) * share
    pixels: Pixels = np.rint(tile).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def text_width_px(text: str, cap_px: int) -> int:
    """Return the width of a word in pixels."""
    return int(_mask(text, cap_px).shape[1])


def fit_text(text: str, cap_px: int, width_px: int) -> str:
    """Return the text, cut off with two dots where it is wider than `width_px` pixels."""
    if text_width_px(text, cap_px) <= width_px:
        return text
    while text and text_width_px(text + "..", cap_px) > width_px:
        text = text[:-1]
    return text + ".."


def paste(canvas: Pixels, tile: Pixels, x: int, y: int) -> None:
    """Put a tile on the canvas; what reaches outside is cut off.

    Args:
        canvas: uint8[H, W, 3]; changed in place.
        tile: uint8[h, w, 3].
        x: Left edge of the tile in canvas pixels.
        y: Top edge.
    """
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + tile.shape[1], canvas.shape[1]), min(y + tile.shape[0], canvas.shape[0])
    if left < right and top < bottom:
        canvas[top:bottom, left:right] = tile[top - y : bottom - y, left - x : right - x]


@lru_cache(maxsize=4096)
def _mask(text: str, cap_px: int) -> NDArray[np.uint8]:
    cap = cap_px * _ENLARGED
    thickness = max(1, round(cap * _STROKE))
    scale = cap / _CAP_HEIGHT_PX
    if text == _ABSENT:
        (width, _), _ = cv2.getTextSize("0", _FONT, scale, thickness)
    else:
        (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    width += thickness  # half a stroke at either end
    width += -width % _ENLARGED
    tail = cap // 2
    tail += -tail % _ENLARGED
    large = np.zeros((cap + 2 * _ENLARGED + tail, max(width, _ENLARGED)), np.uint8)
    baseline = cap + _ENLARGED
    if text == _ABSENT:
        middle = baseline - cap // 2
        cv2.line(large, (thickness, middle), (width - thickness, middle), 255, thickness, cv2.LINE_AA)
    else:
        cv2.putText(large, text, (thickness // 2, baseline), _FONT, scale, 255, thickness, cv2.LINE_AA)
    small = cv2.resize(large, (large.shape[1] // _ENLARGED, large.shape[0] // _ENLARGED), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
