"""Faces in a whole picture: SSD-style networks over views of the frame, one list of faces.

A network that keeps the aspect ratio sees the whole frame at once (`letterbox`): good for large faces, but a 16:9 frame fills only half of its square.
`tiles` covers the long side with overlapping squares of the short side's length instead: small faces stay large enough to be seen. The views take turns
while faces are being followed, so that no single frame pays for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import crop
from edge.activation import activated
from edge.clock import StageTimes
from edge.engine.engine import Engine
from edge.errors import PackageError
from edge.face import Affine, Face
from edge.frame import Pixels
from edge.package import Package
from edge.stage import Boxes, FrameInput, Stage

# Neighbouring tiles share at least this part of their side; a face that is cut by both is large enough for the whole-frame view.
_TILE_OVERLAP = 0.2
# A strip that would need more tiles than this is looked at as a whole: it holds no face that is as wide as a tile.
_MAX_TILES = 8


@dataclass(frozen=True, slots=True)
class _View:
    network: int
    left_px: int
    top_px: int
    width_px: int
    height_px: int


class FaceDetector:
    """Finds faces with every network of a detection package.

    Args:
        package: A package of task `face-detection`.
        engines: One engine for each of its stages, in their order.

    Raises:
        PackageError: The package does not detect faces.
    """

    def __init__(self, package: Package, engines: Sequence[Engine]) -> None:
        if package.manifest.task != "face-detection":
            raise PackageError(f"expected a package of task 'face-detection', got '{package.manifest.task}' in {package.path}", hint="name a detection package")
        self._networks = [_Network(stage, engine) for stage, engine in zip(package.manifest.stages, engines, strict=True)]
        self._turn = 0

    def detect(self, rgb: Pixels, times: StageTimes, *, all_views: bool) -> list[Face]:
        """Find faces.

        Args:
            rgb: uint8[H, W, 3].
            times: Gets the milliseconds of the networks alone, as `detect.infer`.
            all_views: Look through every view; otherwise through the next one, in turn.

        Returns:
            Faces in pixels of `rgb`, best first, without doubles.
        """
        views = list(self._views(*rgb.shape[:2]))
        if not all_views:
            views = [views[self._turn % len(views)]]
            self._turn += 1
        faces: list[Face] = []
        for number, network in enumerate(self._networks):
            if own := [view for view in views if view.network == number]:
                faces += network.detect(rgb, own, times)
        return without_doubles(faces, max_overlap=min(network.boxes.max_overlap for network in self._networks))

    def _views(self, height: int, width: int) -> Iterable[_View]:
        for number, network in enumerate(self._networks):
            short, long = min(height, width), max(height, width)
            steps = max(1, math.ceil((long - short) / ((1 - _TILE_OVERLAP) * short)))
            if network.spec.resize != "tiles" or height == width or steps >= _MAX_TILES:
                yield _View(number, 0, 0, width, height)
                continue
            for step in range(steps + 1):
                at = round((long - short) * step / steps)
                yield _View(number, at if width > height else 0, at if height > width else 0, short, short)


class _Network:
    def __init__(self, stage: Stage, engine: Engine) -> None:
        if not isinstance(stage.input, FrameInput) or not isinstance(stage.outputs[0], Boxes):
            raise PackageError(f"stage '{stage.name}' must take a frame and give boxes", hint="correct the package's manifest")
        self.spec, self.boxes, self._engine = stage.input, stage.outputs[0], engine
        self._anchors = anchor_centers(self.boxes.anchors, self.spec.size_wh_px)

    def detect(self, rgb: Pixels, views: Sequence[_View], times: StageTimes) -> list[Face]:
        parts = [rgb[v.top_px : v.top_px + v.height_px, v.left_px : v.left_px + v.width_px] for v in views]
        pictures, maps = zip(*(crop.resize_frame(part, self.spec) for part in parts), strict=True)
        feed = crop.batch(pictures, self.spec)
        with times.measure("detect.infer"):
            outputs = self._engine.run({self.spec.tensor: feed})
        faces: list[Face] = []
        for rows, logits, view, back in zip(outputs[self.boxes.tensor], outputs[self.boxes.score_tensor], views, maps, strict=True):
            frame_from_input = back + np.array([[0.0, 0.0, view.left_px], [0.0, 0.0, view.top_px]])
            faces += self._decode(rows, activated(logits.reshape(1, -1), "sigmoid")[0], frame_from_input)
        return faces

    def _decode(self, rows: NDArray[np.float32], scores: NDArray[np.float64], frame_from_input: Affine) -> list[Face]:
        (hits,) = np.nonzero(scores >= self.boxes.min_score)
        if not len(hits):
            return []
        pairs = rows[hits].reshape(len(hits), -1, 2).astype(np.float64)
        centers = pairs[:, 0] + self._anchors[hits]
        points = pairs[:, 2:][:, list(self.boxes.eyes)] + self._anchors[hits][:, None]
        geometry = np.concatenate([(centers - pairs[:, 1] / 2)[:, None], (centers + pairs[:, 1] / 2)[:, None], points], axis=1)
        geometry = geometry @ frame_from_input[:, :2].T + frame_from_input[:, 2]
        return [
            Face(box_ltrb_px=(*lt.tolist(), *rb.tolist()), eyes_px=np.stack(eyes), score=float(score))
            for (lt, rb, *eyes), score in zip(geometry, scores[hits], strict=True)
        ]


def anchor_centers(anchors: Iterable[tuple[int, int]], size_wh_px: tuple[int, int]) -> NDArray[np.float64]:
    """Return the anchors' centres in input pixels.

    Args:
        anchors: Pairs (stride in pixels, anchors in each cell).
        size_wh_px: The input's size.

    Returns:
        float64[A, 2], x and y, in the order of the network's rows: layer, row, column, anchor.

    Source: MediaPipe's SsdAnchorsCalculator with fixed_anchor_size, offset 0.5.
    """
    layers = []
    for stride, count in anchors:
        columns, rows = size_wh_px[0] // stride, size_wh_px[1] // stride
        x, y = np.meshgrid((np.arange(columns) + 0.5) * stride, (np.arange(rows) + 0.5) * stride)
        layers.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), count, axis=0))
    return np.concatenate(layers)


def without_doubles(faces: Sequence[Face], *, max_overlap: float) -> list[Face]:
    """Keep the best of faces that overlap more than `max_overlap` (intersection over union); best first."""
    if len(faces) < 2:
        return list(faces)
    boxes = [(left, top, right - left, bottom - top) for left, top, right, bottom in (face.box_ltrb_px for face in faces)]
    kept = cv2.dnn.NMSBoxes(boxes, [face.score for face in faces], 0.0, max_overlap)
    return [faces[index] for index in np.asarray(kept).ravel()]
