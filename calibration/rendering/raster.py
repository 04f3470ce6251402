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
        pixel: int[P], its row times the picture's side plus its column.
        triangle: int[P], index of the nearest triangle.
        weights: float32[P, 3], of its corners.
        depth: float32[P], the z of what it shows.
    """

    pixel: NDArray[np.integer[Any]]
    triangle: NDArray[np.integer[Any]]
    weights: Array
    depth: Array

    def interpolated(self, values: Array, triangles: NDArray[np.int32]) -> Array:
        """Return values of the mesh's points at the pixels: float32[P] or float32[P, K]."""
        corners = np.take(triangles, self.triangle, axis=0)
        shares = self.weights.reshape(len(corners), 3, *(1 for _ in values.shape[1:]))
        # Corner by corner: NumPy is slow over an axis of three.
        first, second, third = (shares[:, corner] * np.take(values, corners[:, corner], axis=0) for corner in range(3))
        return np.asarray(first + second + third, np.float32)


def rasterize(points: Array, triangles: NDArray[np.int32], size_px: int) -> Visible:
    """Find the nearest triangle at every pixel's centre.

    Args:
        points: float32[V, 3]: x to the right and y down in pixels, z towards the viewer.
        triangles: int32[T, 3]; those that are clockwise in the picture are seen from behind and left out.
        size_px: Side of the picture.
    """
    # An array for each axis and each corner: NumPy is fast along long axes alone.
    x, y, z = np.ascontiguousarray(points.T, np.float32)
    area = _areas(x, y, triangles)
    # A mesh that is wound counterclockwise around its outside turns clockwise where y points down.
    front = np.flatnonzero(area < -1e-6)
    area, corners = area[front], np.ascontiguousarray(triangles[front].T)
    xs, ys, zs = x[corners], y[corners], z[corners]
    left, right = _span(xs, size_px)
    top, bottom = _span(ys, size_px)
    spans = np.where((right >= left) & (bottom >= top), np.maximum(right - left, bottom - top) + 1, 0)
    # Never empty, so that a picture that shows nothing is no special case.
    pixels: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    owners: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    shares: list[Array] = [np.empty((3, 0), np.float32)]
    done, reach = 0, 1
    while done < spans.max(initial=0):
        now = np.flatnonzero((spans > done) & (spans <= reach))
        step = np.arange(min(reach, size_px), dtype=np.int32)
        # Axes: triangle, row, column.
        columns, rows = (left[now, None] + step)[:, None, :], (top[now, None] + step)[:, :, None]
        # Integers of 32 bits and floats of 32 bits make floats of 64 bits.
        x_center, y_center = (along.astype(np.float32) + np.float32(0.5) for along in (columns, rows))
        away_x = [xs[corner, now, None, None] - x_center for corner in range(3)]
        away_y = [ys[corner, now, None, None] - y_center for corner in range(3)]
        first, second = ((away_x[a] * away_y[b] - away_y[a] * away_x[b]) / area[now, None, None] for a, b in ((1, 2), (2, 0)))
        third = 1 - first - second
        hit = (first >= 0) & (second >= 0) & (third >= 0) & (columns <= right[now, None, None]) & (rows <= bottom[now, None, None])
        which = np.flatnonzero(hit)
        owners.append(np.asarray(now[which // len(step) ** 2], np.int64))
        pixels.append(np.asarray((rows * size_px + columns).ravel()[which], np.int32))
        shares.append(np.stack([each.ravel()[which] for each in (first, second, third)]))
        done, reach = reach, reach + max(1, reach // 2)
    pixel, owner, share = np.concatenate(pixels), np.concatenate(owners), np.concatenate(shares, axis=1)
    depth = share[0] * zs[0, owner] + share[1] * zs[1, owner] + share[2] * zs[2, owner]
    nearest = _nearest(pixel, depth, size_px)
    return Visible(pixel[nearest], front[owner[nearest]], np.ascontiguousarray(share[:, nearest].T), depth[nearest])


def _areas(x: Array, y: Array, triangles: NDArray[np.int32]) -> Array:
    """Twice the area of each triangle, negative where it turns clockwise on a picture."""
    a, b, c = np.ascontiguousarray(triangles.T)
    x_a, y_a = x[a], y[a]
    return np.asarray((x[b] - x_a) * (y[c] - y_a) - (y[b] - y_a) * (x[c] - x_a), np.float32)


def _span(corners: Array, size_px: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and last pixel whose centre may lie in each triangle, along one axis."""
    low = np.ceil(np.minimum(np.minimum(corners[0], corners[1]), corners[2]) - np.float32(0.5))
    high = np.floor(np.maximum(np.maximum(corners[0], corners[1]), corners[2]) - np.float32(0.5))
    # Cut before they are made integers: a point beside the camera lies anywhere.
    return np.clip(low, 0, size_px).astype(np.int32), np.clip(high, -1, size_px - 1).astype(np.int32)


def _nearest(pixel: NDArray[np.int32], depth: Array, size_px: int) -> NDArray[np.int64]:
    """Indices of the nearest of each pixel's triangles, in the order of the pixels."""
    buffer = np.full(size_px * size_px, -np.inf, depth.dtype)
    np.maximum.at(buffer, pixel, depth)
    front = np.flatnonzero(depth == buffer[pixel])
    chosen = np.full(size_px * size_px, -1)
    # Of equals the last one stays.
    chosen[pixel[front]] = front
    return chosen[chosen >= 0]
