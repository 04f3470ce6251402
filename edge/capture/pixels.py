"""Raw video memory to upright RGB."""

from __future__ import annotations

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


class RgbConverter:
    """Converts pictures of one layout to RGB, in one pass where OpenCV knows their colours.

    Its scratch memory is kept: fresh pages cost more than all of the arithmetic.
    """

    def __init__(self, layout: RawLayout) -> None:
        h, w = layout.height_px, layout.width_px
        self._layout = layout
        self._known = layout.luma_weights == _BT601 and not layout.full_range
        self._in_order = layout.strides[:3] == (w, w // 2, w // 2) and layout.offsets[:3] == (0, h * w, h * w * 5 // 4)
        if layout.pixel_format in ("I420", "NV12") and not (self._known and (self._in_order or layout.pixel_format == "NV12")):
            self._i420 = np.empty((h * 3 // 2, w), np.uint8)
            self._squeezed = np.empty((h, w), np.uint8)
            self._more, self._less = np.empty((2, h // 2, w // 2), np.uint8)
            self._more_twice, self._less_twice = np.empty((2, h // 2, w // 2, 2), np.uint8)
            self._matrix = _to_bt601(layout.luma_weights, full_range=layout.full_range)

    def __call__(self, memory: NDArray[np.uint8]) -> Pixels:
        """Convert a picture.

        Args:
            memory: uint8[N], a whole frame; not modified.

        Returns:
            uint8[H, W, 3], RGB, C-contiguous: a new array.
        """
        layout = self._layout
        rgb = np.empty((layout.height_px, layout.width_px, 3), np.uint8)
        if layout.pixel_format == "RGB":
            np.copyto(rgb, self._plane(memory, 0, 3))
        elif layout.pixel_format == "RGBA":
            cv2.cvtColor(self._plane(memory, 0, 4), cv2.COLOR_RGBA2RGB, dst=rgb)
        elif layout.pixel_format == "GRAY8":
            gray = self._plane(memory, 0)
            cv2.cvtColor(gray if layout.full_range else cv2.LUT(gray, _SPREAD), cv2.COLOR_GRAY2RGB, dst=rgb)
        elif self._known and layout.pixel_format == "NV12":
            cv2.cvtColorTwoPlane(self._plane(memory, 0), self._plane(memory, 1, 2), cv2.COLOR_YUV2RGB_NV12, dst=rgb)
        elif self._known and self._in_order:
            packed = memory[: rgb.size // 2].reshape(-1, layout.width_px)
            cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420, dst=rgb)
        else:
            self._fill_i420(memory)
            cv2.cvtColor(self._i420, cv2.COLOR_YUV2RGB_I420, dst=rgb)
        return rgb

    def _plane(self, memory: NDArray[np.uint8], index: int, channels: int = 1) -> NDArray[np.uint8]:
        layout = self._layout
        half = 2 if index else 1
        shape = (layout.height_px // half, layout.width_px // half, channels)
        view: NDArray[np.uint8] = np.ndarray(shape, np.uint8, buffer=memory, offset=layout.offsets[index], strides=(layout.strides[index], channels, 1))
        return view[:, :, 0] if channels == 1 else view

    def _fill_i420(self, memory: NDArray[np.uint8]) -> None:
        """Bring the picture into `_i420`, without padding, as BT.601 with limited range."""
        h, w = self._layout.height_px, self._layout.width_px
        y = self._plane(memory, 0)
        u, v = cv2.split(self._plane(memory, 1, 2)) if self._layout.pixel_format == "NV12" else (self._plane(memory, 1), self._plane(memory, 2))
        y_out = self._i420[:h]
        u_out, v_out = self._i420[h:].reshape(2, h // 2, w // 2)
        if self._known:
            y_out[:], u_out[:], v_out[:] = y, u, v
            return
        (_, y_u, y_v), (_, u_u, u_v), (_, v_u, v_v) = self._matrix
        squeezed = cv2.LUT(y, _SQUEEZE, dst=self._squeezed) if self._layout.full_range else y
        if max(abs(y_u), abs(y_v)) < 1e-6:
            y_out[:] = squeezed
        else:
            # What chroma adds to luma, one number for each 2x2 pixels, split by its sign because these are unsigned bytes; `merge` doubles it sideways.
            for sign, once, twice in ((1, self._more, self._more_twice), (-1, self._less, self._less_twice)):
                cv2.addWeighted(u, sign * y_u, v, sign * y_v, -128 * sign * (y_u + y_v), dst=once)
                cv2.merge((once, once), dst=twice)
            more, less = self._more_twice.reshape(h // 2, w), self._less_twice.reshape(h // 2, w)
            for parity in (0, 1):
                rows = y_out[parity::2]
                cv2.add(squeezed[parity::2], more, dst=rows)
                cv2.subtract(rows, less, dst=rows)
        cv2.addWeighted(u, u_u, v, u_v, 128 * (1 - u_u - u_v), dst=u_out)
        cv2.addWeighted(u, v_u, v, v_v, 128 * (1 - v_u - v_v), dst=v_out)


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
