"""Which triangle each pixel shows: a depth buffer in NumPy, for meshes whose triangles are small in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Visible:
    """What a picture's pixels show; only those that show something are listed.

    Attributes:
        rows: int[P].
        columns: int[P].
        triangle: int[P], index of the nearest triangle.
        weights: float32[P, 3], of its corners.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    triangle: NDArray[np.int64]
    weights: Array

    def interpolated(self, values: Array, triangles: NDArray[np.int32]) -> Array:
        """Return values of the mesh's points at the pixels: float32[P] or float32[P, K]."""
        corners = values[triangles[self.triangle]]
        return np.asarray(np.einsum("pc,pc...->p...", self.weights, corners), np.float32)


def rasterize(points: Array, triangles: NDArray[np.int32], size_px: int) -> Visible:
    """Find the nearest triangle at every pixel's centre.

    Args:
        points: float32[V, 3]: x to the right and y down in pixels, z towards the viewer.
        triangles: int32[T, 3]; those that are clockwise in the picture are seen from behind and left out.
        size_px: Side of the picture.
    """
    corners = points[triangles]
    first, second, third = corners[:, 0, :2], corners[:, 1, :2], corners[:, 2, :2]
    area = _cross(second - first, third - first)
    low = np.ceil(corners[:, :, :2].min(axis=1) - 0.5).astype(np.int64)
    high = np.floor(corners[:, :, :2].max(axis=1) - 0.5).astype(np.int64)
    low, high = np.maximum(low, 0), np.minimum(high, size_px - 1)
    spans = (high - low + 1).max(axis=1)
    # A mesh that is wound counterclockwise around its outside turns clockwise where y points down.
    drawn = (area < -1e-6) & (high >= low).all(axis=1)
    # Never empty, so that a picture that shows nothing is no special case.
    pixels: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    owners: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    shares: list[Array] = [np.empty((0, 3), np.float32)]
    depths: list[Array] = [np.empty(0, np.float32)]
    reach = 2
    while drawn.any():
        now = np.flatnonzero(drawn & (spans <= reach))
        drawn[now] = False
        step = np.arange(min(reach, size_px))
        x, y = (axis.ravel() for axis in np.meshgrid(step, step))
        across, down = low[now, 0, None] + x, low[now, 1, None] + y
        center = np.stack([across + 0.5, down + 0.5], axis=-1).astype(np.float32)
        weight = [
            _cross(second[now, None] - center, third[now, None] - center) / area[now, None],
            _cross(third[now, None] - center, first[now, None] - center) / area[now, None],
        ]
        weight.append(1 - weight[0] - weight[1])
        hit = (weight[0] >= 0) & (weight[1] >= 0) & (weight[2] >= 0) & (across <= high[now, 0, None]) & (down <= high[now, 1, None])
        which, _ = np.nonzero(hit)
        share = np.stack([each[hit] for each in weight], axis=1)
        pixels.append((down * size_px + across)[hit])
        owners.append(now[which])
        shares.append(share)
        depths.append((share * corners[now[which], :, 2]).sum(axis=1))
        reach *= 2
    pixel, owner, share, depth = np.concatenate(pixels), np.concatenate(owners), np.concatenate(shares), np.concatenate(depths)
    order = np.lexsort((depth, pixel))
    nearest = order[np.append(pixel[order][1:] != pixel[order][:-1], True)] if len(order) else order
    return Visible(pixel[nearest] // size_px, pixel[nearest] % size_px, owner[nearest], share[nearest].astype(np.float32))


def _cross(first: Array, second: Array) -> Array:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0], np.float32)
