"""Raw video memory to upright RGB."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.capture.source import Rotation
from edge.frame import Pixels

RawFormat = Literal["I420", "NV12", "RGB", "RGBA", "GRAY8"]

# Source: ITU-R BT.601, weights of red and blue in luma. OpenCV's YUV conversions know these, with limited range, and no others.
_BT601 = (0.299, 0.114)


@dataclass(frozen=True, slots=True)
class RawLayout:
    """How a picture lies in memory, and what its numbers mean.

    Attributes:
        pixel_format: I420 (planes Y, U, V), NV12 (Y, then UV pairs), RGB, RGBA (alpha is ignored) or GRAY8. The YUV formats have an even width and height.
        width_px: Columns.
        height_px: Rows.
        strides: Bytes from row to row, by plane.
        offsets: Bytes from the start of the memory, by plane.
        luma_weights: Weights of red and blue in Y: (0.299, 0.114) for BT.601, (0.2126, 0.0722) for BT.709.
        full_range: Values from 0 to 255, as in JPEG, not 16 to 235.
    """

    pixel_format: RawFormat
    width_px: int
    height_px: int
    strides: tuple[int, ...]
    offsets: tuple[int, ...]
    luma_weights: tuple[float, float] = _BT601
    full_range: bool = False


def rgb_from_raw(memory: NDArray[np.uint8], layout: RawLayout) -> Pixels:
    """Convert a picture to RGB, in one pass where OpenCV knows its colours.

    Args:
        memory: uint8[N], a whole frame; not modified.
        layout: How it lies there.

    Returns:
        uint8[H, W, 3], RGB, C-contiguous: a new array.
    """
    h, w = layout.height_px, layout.width_px
    rgb = np.empty((h, w, 3), np.uint8)
    if layout.pixel_format == "RGB":
        np.copyto(rgb, _plane(memory, layout, 0, h, w, 3))
    elif layout.pixel_format == "RGBA":
        cv2.cvtColor(_plane(memory, layout, 0, h, w, 4), cv2.COLOR_RGBA2RGB, dst=rgb)
    elif layout.pixel_format == "GRAY8":
        gray = _plane(memory, layout, 0, h, w)
        # Limited range spreads over all 256 levels; `convertScaleAbs` would turn blacker than black into gray.
        cv2.cvtColor(gray if layout.full_range else cv2.LUT(gray, _SPREAD), cv2.COLOR_GRAY2RGB, dst=rgb)
    elif layout.pixel_format == "NV12" and _opencv_knows(layout):
        cv2.cvtColorTwoPlane(_plane(memory, layout, 0, h, w), _plane(memory, layout, 1, h // 2, w // 2, 2), cv2.COLOR_YUV2RGB_NV12, dst=rgb)
    else:
        cv2.cvtColor(_i420_bt601(memory, layout), cv2.COLOR_YUV2RGB_I420, dst=rgb)
    return rgb


def upright(rgb: Pixels, *, rotate_deg: Rotation, mirror: bool) -> Pixels:
    """Turn a picture clockwise, then flip it left and right where `mirror`.

    Args:
        rgb: uint8[H, W, 3]; not modified.
        rotate_deg: Clockwise.
        mirror: Flip after the turn.

    Returns:
        uint8[H, W, 3] or uint8[W, H, 3], C-contiguous; `rgb` itself where there is nothing to do.
    """
    if rotate_deg:
        rgb = np.asarray(cv2.rotate(rgb, _TURNS[rotate_deg]), np.uint8)
    return np.asarray(cv2.flip(rgb, 1), np.uint8) if mirror else rgb


def combined_turn(first: tuple[Rotation, bool], then: tuple[Rotation, bool]) -> tuple[Rotation, bool]:
    """Return the one (rotate_deg, mirror) that does the work of two: a mirror between two turns reverses the second."""
    (a, mirror_a), (b, mirror_b) = first, then
    quarter = ((a - b if mirror_a else a + b) // 90) % 4
    return _QUARTERS[quarter], mirror_a != mirror_b


_QUARTERS: tuple[Rotation, ...] = (0, 90, 180, 270)
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_SPREAD = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
_SQUEEZE = np.rint(16 + np.arange(256) * 219 / 255).astype(np.uint8)


def _opencv_knows(layout: RawLayout) -> bool:
    return layout.luma_weights == _BT601 and not layout.full_range


def _plane(memory: NDArray[np.uint8], layout: RawLayout, index: int, height: int, width: int, channels: int = 1) -> NDArray[np.uint8]:
    shape, strides = ((height, width), (layout.strides[index], 1)) if channels == 1 else ((height, width, channels), (layout.strides[index], channels, 1))
    return np.ndarray(shape, np.uint8, buffer=memory, offset=layout.offsets[index], strides=strides)


def _i420_bt601(memory: NDArray[np.uint8], layout: RawLayout) -> NDArray[np.uint8]:
    """The picture as I420 without padding, in BT.601 with limited range: uint8[H * 3 / 2, W]."""
    h, w = layout.height_px, layout.width_px
    known = _opencv_knows(layout)
    if known and layout.strides[:3] == (w, w // 2, w // 2) and layout.offsets[:3] == (0, h * w, h * w * 5 // 4):
        return memory[: h * w * 3 // 2].reshape(h * 3 // 2, w)
    y = _plane(memory, layout, 0, h, w)
    if layout.pixel_format == "NV12":
        u, v = cv2.split(_plane(memory, layout, 1, h // 2, w // 2, 2))
    else:
        u, v = (_plane(memory, layout, index, h // 2, w // 2) for index in (1, 2))
    packed = np.empty((h * 3 // 2, w), np.uint8)
    y_out = packed[:h]
    u_out, v_out = packed[h:].reshape(2, h // 2, w // 2)
    if known:
        y_out[:], u_out[:], v_out[:] = y, u, v
        return packed
    to_y, to_u, to_v = _to_bt601(layout.luma_weights, full_range=layout.full_range)
    squeezed = cv2.LUT(y, _SQUEEZE) if layout.full_range else y
    if max(abs(to_y[1]), abs(to_y[2])) < 1e-6:
        y_out[:] = squeezed
    else:
        # What chroma adds to luma, one number for each 2x2 pixels, split by its sign because these are unsigned bytes; `merge` doubles it sideways.
        bias = -128 * (to_y[1] + to_y[2])
        more, less = (cv2.addWeighted(u, sign * to_y[1], v, sign * to_y[2], sign * bias) for sign in (1, -1))
        more, less = (cv2.merge((half, half)).reshape(h // 2, w) for half in (more, less))
        for parity in (0, 1):
            y_out[parity::2] = cv2.subtract(cv2.add(squeezed[parity::2], more), less)
    for out, (_, of_u, of_v) in ((u_out, to_u), (v_out, to_v)):
        out[:] = cv2.addWeighted(u, of_u, v, of_v, 128 * (1 - of_u - of_v))
    return packed


@functools.cache
def _to_bt601(luma_weights: tuple[float, float], *, full_range: bool) -> NDArray[np.float64]:
    """The matrix float64[3, 3] from (Y, U - 128, V - 128) of a standard to those of BT.601 with limited range.

    Done on YUV and not on RGB because every real colour lands inside the limits there: RGB of the wrong standard would have been cut off at 0 and 255.

    Source: ITU-R BT.601-7 section 2.5, BT.709-6 section 3: Y = Kr R + Kg G + Kb B, Cb = (B - Y) / 2 (1 - Kb), Cr = (R - Y) / 2 (1 - Kr).
    """

    def ypbpr_from_rgb(kr: float, kb: float) -> NDArray[np.float64]:
        luma = np.array([kr, 1 - kr - kb, kb])
        return np.stack([luma, (np.array([0, 0, 1]) - luma) / (2 * (1 - kb)), (np.array([1, 0, 0]) - luma) / (2 * (1 - kr))])

    levels = np.array([255.0, 255.0, 255.0] if full_range else [219.0, 224.0, 224.0])
    matrix: NDArray[np.float64] = ypbpr_from_rgb(*_BT601) @ np.linalg.inv(ypbpr_from_rgb(*luma_weights))
    return np.diag([219.0, 224.0, 224.0]) @ matrix @ np.diag(1 / levels)
