"""Pixels to network input: the one place where a crop is cut and normalised. Converters, calibration and benchmarks use it too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.face import Affine
from edge.frame import Pixels
from edge.stage import ClipInput, CropInput, FrameInput, PerChannel, PictureInput

Batch = NDArray[np.float32]

# A bilinear warp reads four pixels; from this reduction on it would skip some, and fine texture would alias into the crop.
_SHRINK_FROM = 2.0


def cut(rgb: Pixels, frame_from_crop: Affine, spec: CropInput | ClipInput) -> Pixels:
    """Cut one crop. Outside the frame it is black.

    Args:
        rgb: uint8[H, W, 3].
        frame_from_crop: float64[2, 3], crop pixels to frame pixels.
        spec: Size and colour of the crop.

    Returns:
        uint8[height, width, 3], RGB, or uint8[height, width] where the network takes gray: a new array.
    """
    # Coordinates are continuous (a pixel's centre is at one half); OpenCV counts centres as whole numbers. Plain numbers, because numpy's calls cost ten times
    # what they compute here.
    (xx, xy, x0), (yx, yy, y0) = frame_from_crop.tolist()
    placed = ((xx, xy, (xx + xy - 1) / 2 + x0), (yx, yy, (yx + yy - 1) / 2 + y0))
    scale = min(math.hypot(xx, yx), math.hypot(xy, yy))
    factor = int(scale) if scale >= _SHRINK_FROM else 1
    if factor > 1 or spec.color == "gray":
        rgb, placed = _prepared(rgb, placed, spec, factor)
    return np.asarray(cv2.warpAffine(rgb, np.array(placed), spec.size_wh_px, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), dtype=np.uint8)


_Rows = tuple[tuple[float, float, float], tuple[float, float, float]]


def _prepared(rgb: Pixels, placed: _Rows, spec: CropInput | ClipInput, factor: int) -> tuple[Pixels, _Rows]:
    """Take the part of the frame under the crop, gray if need be, and average its `factor` x `factor` blocks: before the warp, for it is the dear part."""
    height, width = rgb.shape[:2]
    crop_width, crop_height = spec.size_wh_px
    (left, right), (top, bottom) = (
        _span(row, crop_width, crop_height, margin=factor, length=length) for row, length in zip(placed, (width, height), strict=True)
    )
    part = rgb[top:bottom, left:right]
    if spec.color == "gray":
        part = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    if factor > 1:
        part = averaged(part, factor)
    # Pixel centres: frame = left + (part + 0.5) * factor - 0.5.
    (xx, xy, x0), (yx, yy, y0) = placed
    return part, (
        (xx / factor, xy / factor, (x0 - left + 0.5) / factor - 0.5),
        (yx / factor, yy / factor, (y0 - top + 0.5) / factor - 0.5),
    )


def _span(row: tuple[float, float, float], crop_width: int, crop_height: int, *, margin: int, length: int) -> tuple[int, int]:
    """Which columns (or rows) of the frame a crop touches, inside the frame and at least one."""
    of_x, of_y, offset = row
    across, down = of_x * crop_width, of_y * crop_height
    first = offset + min(0.0, across) + min(0.0, down)
    last = offset + max(0.0, across) + max(0.0, down)
    start = min(max(math.floor(first) - margin, 0), length - 1)
    return start, min(max(math.ceil(last) + margin, start + 1), length)


def averaged(rgb: Pixels, factor: int) -> Pixels:
    """Average blocks of `factor` x `factor` pixels. Rows and columns that do not fill a block are left out: whole blocks are four times as fast.

    Args:
        rgb: uint8[H, W, 3], or uint8[H, W].
        factor: At least 1; no more blocks are taken than there are.

    Returns:
        uint8[max(1, H // factor), max(1, W // factor), 3], or without the last dimension.
    """
    height, width = rgb.shape[:2]
    rows, columns = max(1, height // factor), max(1, width // factor)
    whole = rgb[: min(height, rows * factor), : min(width, columns * factor)]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def batch(crops: Sequence[Pixels], spec: PictureInput, *, out: Batch | None = None) -> Batch:
    """Bring crops to what a network takes: colour, histogram, scale, channels first.

    Args:
        crops: N times uint8[H, W, 3], RGB, or uint8[H, W], gray, of the size that `spec` names.
        spec: The stage's input.
        out: Memory of a former batch, float32[at least N, ...], to be written over.

    Returns:
        float32[N, 1 or 3, H, W] = pixels * scale + offset; in `out` where that was given and is large enough.
    """
    if out is None or len(out) < len(crops):
        width, height = spec.size_wh_px
        out = np.empty((len(crops), 1 if spec.color == "gray" else 3, height, width), np.float32)
    out = out[: len(crops)]
    n_channels = out.shape[1]
    scales, offsets = _per_channel(spec.scale, n_channels), _per_channel(spec.offset, n_channels)
    for tensor, crop in zip(out, crops, strict=True):
        for channel, plane, scale in zip(tensor, _planes(crop, spec), scales, strict=True):
            np.multiply(plane, scale, out=channel)
    if any(offsets):
        out += np.array(offsets)[:, np.newaxis, np.newaxis]
    return out


def clips_of(crops: Batch, spec: ClipInput) -> Batch:
    """Arrange a batch of crops as clips.

    Args:
        crops: float32[N * spec.n_frames, C, H, W]: clip after clip, oldest first, as `batch` returns them.
        spec: The stage's input.

    Returns:
        float32[N, C, n_frames, H, W] or float32[N, n_frames * C, H, W], as `spec.frames_as` says; where the order allows it, in the same memory.
    """
    frames = crops.reshape(-1, spec.n_frames, *crops.shape[1:])
    if spec.frames_as == "depth":
        return np.ascontiguousarray(frames.transpose(0, 2, 1, 3, 4))
    return frames.reshape(len(frames), -1, *frames.shape[3:])


def _per_channel(value: PerChannel, n_channels: int) -> list[np.float32]:
    return [np.float32(each) for each in (value if isinstance(value, tuple) else (value,) * n_channels)]


def _planes(crop: Pixels, spec: PictureInput) -> list[Pixels]:
    if spec.color == "gray":
        gray = crop if crop.ndim == 2 else np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        return [np.asarray(cv2.equalizeHist(gray), dtype=np.uint8) if spec.equalize else gray]
    planes = [np.asarray(plane, dtype=np.uint8) for plane in cv2.split(crop)]
    if spec.equalize:
        planes = [np.asarray(cv2.equalizeHist(plane), dtype=np.uint8) for plane in planes]
    return planes[::-1] if spec.color == "bgr" else planes


def resize_frame(rgb: Pixels, spec: FrameInput) -> tuple[Pixels, Affine]:
    """Fit a whole picture into a network's input.

    Args:
        rgb: uint8[H, W, 3]; a view with gaps between its rows is fine.
        spec: Size and resize rule.

    Returns:
        The picture, uint8[height, width, 3], and the map from its pixels back to those of `rgb`, float64[2, 3].
    """
    height, width = rgb.shape[:2]
    to_width, to_height = spec.size_wh_px
    if spec.resize == "stretch":
        new_width, new_height = to_width, to_height
    else:
        fit = min(to_width / width, to_height / height)
        new_width, new_height = max(1, round(width * fit)), max(1, round(height * fit))
    factor = min(width // new_width, height // new_height)
    if factor >= _SHRINK_FROM:
        rgb = averaged(rgb, factor)
        height, width = rgb.shape[0] * factor, rgb.shape[1] * factor
    small = cv2.resize(rgb, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    left, top = (to_width - new_width) // 2, (to_height - new_height) // 2
    if (new_width, new_height) != (to_width, to_height):
        small = cv2.copyMakeBorder(small, top, to_height - new_height - top, left, to_width - new_width - left, cv2.BORDER_CONSTANT)
    scale_x, scale_y = width / new_width, height / new_height
    return np.asarray(small, dtype=np.uint8), np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y]])
