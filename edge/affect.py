"""Faces to numbers: the stages of an affect package, one batch for all faces of a frame.

A `Reading` is what the networks say of one face in one frame. Nothing is remembered here: tracks and smoothing live in `edge.track` and `edge.smooth`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge import crop, quality
from edge.activation import activated
from edge.clock import StageTimes
from edge.engine.engine import Engine
from edge.errors import PackageRefused
from edge.face import Face, frame_from_crop
from edge.frame import Pixels
from edge.package import Package
from edge.pose import pose_from_axes
from edge.result import Estimate, Pose
from edge.smooth import Values
from edge.stage import ActionUnits, CropInput, Emotions, Landmarks, Output, PointsInput, Presence, Scores, Stage

Tensor = NDArray[np.float32]


@dataclass(slots=True)
class Reading:
    """One face in one frame, filled stage by stage.

    Attributes:
        face: Where it is; moved to where the landmarks say.
        presence: Probability that the crop holds a face; the detector's score until a stage with a presence output has run.
        present: False once a stage found no face; later stages skip it.
        landmarks: Stage name to float64[P, 3] in frame pixels (z in the same unit).
        pose: None unless a stage tells.
        sharpness: Of the crop that the numbers are read from; None where the package sets no limit on it.
        parts: The numbers that are smoothed, in the order of the package's outputs.
    """

    face: Face
    presence: float
    present: bool = True
    landmarks: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    pose: Pose | None = None
    sharpness: float | None = None
    parts: list[Values] = field(default_factory=list)

    @property
    def values(self) -> Values:
        """float64[K]: all numbers in one row, as `AffectNetworks.estimate` takes them."""
        return np.concatenate(self.parts) if self.parts else np.empty(0)


class AffectNetworks:
    """The networks of a package of task `face-affect`.

    Args:
        package: The package.
        engines: One engine for each of its stages, in their order.

    Raises:
        PackageRefused: It has a kind of stage that this version does not run.
    """

    def __init__(self, package: Package, engines: Sequence[Engine]) -> None:
        for stage in package.manifest.stages:
            if not isinstance(stage.input, CropInput | PointsInput):
                raise PackageRefused(f"not yet: stage '{stage.name}' of package '{package.name}' takes whole frames", hint="choose another --model")
        self._stages = list(zip(package.manifest.stages, engines, strict=True))
        outputs = [output for stage in package.manifest.stages for output in stage.outputs]
        self._units = {id(output): _UnitTable(output) for output in outputs if isinstance(output, ActionUnits)}
        self._feeds: dict[str, Tensor] = {}
        self._layout: list[tuple[str, tuple[str, ...]]] = []
        for output in outputs:
            if isinstance(output, Emotions):
                self._layout.append(("emotions", output.labels))
            elif isinstance(output, Scores):
                self._layout.append(("scores", output.labels))
            elif isinstance(output, ActionUnits):
                self._layout.append(("action_units", tuple(unit.label for unit in output.units)))
        crop_stages = [stage for stage in package.manifest.stages if isinstance(stage.input, CropInput)]
        # The last crop is the one that the numbers are read from: its sharpness is what counts.
        self._judged = crop_stages[-1] if crop_stages and package.manifest.quality.min_sharpness is not None else None
        self.follows = any(isinstance(output, Landmarks) for output in outputs)

    def read(self, rgb: Pixels, faces: Sequence[Face], times: StageTimes) -> list[Reading]:
        """Run every stage on the faces of one frame.

        Args:
            rgb: uint8[H, W, 3].
            faces: Where they are, from the detector or from the last frame's readings.
            times: Gets the milliseconds of `crop`, `infer` (and `infer.STAGE` of each network) and `decode`.

        Returns:
            One reading for each face, in their order.
        """
        readings = [Reading(face=face, presence=face.score) for face in faces]
        for stage, engine in self._stages:
            chosen = [reading for reading in readings if reading.present]
            if not chosen:
                break
            with times.measure("crop"):
                feed, maps = self._feed(stage, rgb, chosen)
            with times.measure("infer"), times.measure(f"infer.{stage.name}"):
                tensors = engine.run({stage.input.tensor: feed})
            with times.measure("decode"):
                for output in stage.outputs:
                    self._decode(stage, output, tensors, chosen, maps)
        return readings

    def estimate(self, values: Values) -> Estimate:
        """Name the numbers of `Reading.values`, smoothed or not."""
        named: dict[str, Mapping[str, float]] = {}
        row = values.tolist()
        start = 0
        for role, labels in self._layout:
            named[role] = dict(zip(labels, row[start : start + len(labels)], strict=True))
            start += len(labels)
        return Estimate(**named)

    def _feed(self, stage: Stage, rgb: Pixels, readings: Sequence[Reading]) -> tuple[Tensor, list[NDArray[np.float64]]]:
        spec = stage.input
        if isinstance(spec, PointsInput):
            indices = list(spec.indices)
            return np.stack([reading.landmarks[spec.stage][indices, :2] for reading in readings]).astype(np.float32), []
        assert isinstance(spec, CropInput)
        maps = [frame_from_crop(reading.face, spec.region, spec.size_wh_px) for reading in readings]
        crops = [crop.cut(rgb, placed, spec) for placed in maps]
        if stage is self._judged:
            for reading, pixels in zip(readings, crops, strict=True):
                reading.sharpness = quality.sharpness(pixels)
        # The last batch's memory is warm, and nobody else's: engines read it during `run` only. A fresh one for each frame costs 0.2 ms in page faults.
        former = self._feeds.get(stage.name)
        feed = crop.batch(crops, spec, out=former)
        if former is None or len(former) < len(feed):
            self._feeds[stage.name] = feed
        return feed, maps

    def _decode(self, stage: Stage, output: Output, tensors: Mapping[str, Tensor], readings: Sequence[Reading], maps: Sequence[NDArray[np.float64]]) -> None:
        rows = tensors[output.tensor].reshape(len(readings), -1)
        if isinstance(output, Landmarks):
            for reading, row, placed in zip(readings, rows, maps, strict=True):
                _place(reading, stage.name, output, row, placed)
        elif isinstance(output, Presence):
            for reading, score in zip(readings, activated(rows, output.activation)[:, 0].tolist(), strict=True):
                reading.presence, reading.present = score, reading.present and score >= output.min_score
        elif isinstance(output, Emotions | Scores | ActionUnits):
            values = activated(rows, output.activation)
            if isinstance(output, ActionUnits):
                values = self._units[id(output)].intensities(values)
            for reading, part in zip(readings, values, strict=True):
                reading.parts.append(part)


class _UnitTable:
    """The package's table from named activations to action units, as one matrix."""

    def __init__(self, output: ActionUnits) -> None:
        self._means = np.zeros((len(output.labels), len(output.units)))
        for column, unit in enumerate(output.units):
            for shape in unit.shapes:
                self._means[output.labels.index(shape), column] = 1 / len(unit.shapes)
        self._log_odds = np.array([column for column, unit in enumerate(output.units) if unit.log_odds], dtype=np.intp)
        limits = np.array([(unit.rest, unit.full) for unit in output.units])
        limits[self._log_odds] = _log_odds(limits[self._log_odds])
        self._rest, self._range = limits[:, 0], limits[:, 1] - limits[:, 0]

    def intensities(self, activations: Values) -> Values:
        means = activations @ self._means
        if len(self._log_odds):
            means[:, self._log_odds] = _log_odds(means[:, self._log_odds])
        return np.asarray(np.minimum(np.maximum((means - self._rest) / self._range, 0.0), 1.0), dtype=np.float64)


def _log_odds(probability: Values) -> Values:
    # float32 sigmoids reach 0 exactly; the limit is far below any activation that a table names.
    bounded = np.minimum(np.maximum(probability, 1e-12), 1 - 1e-12)
    return np.asarray(np.log(bounded / (1 - bounded)), dtype=np.float64)


def _place(reading: Reading, stage: str, output: Landmarks, row: Tensor, frame_from_crop: NDArray[np.float64]) -> None:
    """Bring landmarks to frame pixels and move the face to where they are."""
    (xx, xy, x0), (yx, yy, y0) = frame_from_crop.tolist()
    frame_from_crop_3d = np.array([[xx, xy, 0.0], [yx, yy, 0.0], [0.0, 0.0, math.hypot(xx, yx)]])
    points = row.reshape(-1, 3) @ frame_from_crop_3d.T + (x0, y0, 0.0)
    (left, top, near), (right, bottom, far) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    pose = pose_from_axes(points[list(output.axes)])
    if pose is None or not math.isfinite(left + top + near + right + bottom + far):
        reading.present = False  # a network that gives no shape has found no face
        return
    reading.landmarks[stage] = points
    reading.pose = pose
    corners = points[[*output.left_eye, *output.right_eye], :2]
    reading.face = Face(box_ltrb_px=(left, top, right, bottom), eyes_px=(corners[::2] + corners[1::2]) / 2, score=reading.face.score)
