"""Faces and whole pictures to numbers: the stages of an affect package, one batch for all faces of a frame.

A `Reading` is what the networks say of one subject in one frame. Nothing is remembered here: what clips and spectrograms need lives in `edge.ring`, tracks in
`edge.track`, smoothing in `edge.smooth`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge import crop, quality
from edge.activation import activated
from edge.clock import StageTimes
from edge.engine.engine import Engine
from edge.errors import InferenceFailed
from edge.estimate import NumberRow
from edge.face import Affine, Face, frame_from_crop
from edge.frame import Pixels
from edge.package import Package
from edge.pose import pose_from_axes
from edge.result import Estimate, Pose
from edge.ring import CropRing, Rings, SoundRing
from edge.smooth import Values
from edge.spectrogram import spectrogram
from edge.stage import (
    ClipAudioInput,
    ClipInput,
    CropInput,
    EmbeddingInput,
    FrameInput,
    Landmarks,
    Named,
    Output,
    PointsInput,
    Presence,
    Spectrogram,
    Stage,
    of_frame,
)

Tensor = NDArray[np.float32]

# The reason where a network overflowed: what it gave is no number. Smoothing must not see it, or it would stay.
_NO_NUMBER = "no number"


@dataclass(frozen=True, slots=True)
class Scene:
    """What the networks look at.

    Attributes:
        rgb: uint8[H, W, 3]: the frame, or the part of it that is looked at.
        t_media_ns: Its media time.
        sound: What was heard up to then; None where the package takes no sound.
    """

    rgb: Pixels
    t_media_ns: int
    sound: SoundRing | None = None


@dataclass(slots=True)
class Reading:
    """What the networks say of a subject in one frame, filled stage by stage.

    Attributes:
        present: False once a stage found no face; later stages skip it.
        warming_up: A clip, or the sound for it, is not long enough yet.
        lacks: What else a stage would need, in the words of `reasons`.
        parts: The numbers that are smoothed, in the order of the package's outputs; some are missing where something else is.
        tensors: What later stages take, by stage and tensor.
    """

    present: bool = True
    warming_up: bool = False
    lacks: tuple[str, ...] = ()
    parts: list[Values] = field(default_factory=list)
    tensors: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    @property
    def values(self) -> Values | None:
        """float64[K]: all numbers in one row, as `AffectNetworks` names them; None where some are missing."""
        if self.warming_up or self.lacks:
            return None
        return np.concatenate(self.parts) if self.parts else np.empty(0)


@dataclass(slots=True, kw_only=True)
class FaceReading(Reading):
    """What the networks say of a face.

    Attributes:
        face: Where it is; moved to where the landmarks say.
        presence: Probability that the crop holds a face; the detector's score until a stage with a presence output has run.
        rings: What its clips are made of; this frame's crops are put by in them.
        landmarks: Stage name to float64[P, 3] in frame pixels (z in the same unit).
        pose: None unless a stage tells.
        sharpness: Of the crop that the numbers are read from; None where the package sets no limit on it.
    """

    face: Face
    presence: float
    rings: Rings
    landmarks: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    pose: Pose | None = None
    sharpness: float | None = None


def eye_shift(first: FaceReading, second: FaceReading) -> float:
    """Return how far the eyes moved from one reading of a face to the next, in distances of the eyes; infinite where the first one has both in one place."""
    shift_px = float(np.linalg.norm(first.face.eyes_px - second.face.eyes_px, axis=1).mean())
    distance_px = first.face.eye_distance_px
    return shift_px / distance_px if distance_px else math.inf


def confirms(first: FaceReading, second: FaceReading, limits: Landmarks) -> bool:
    """Whether two readings in a row let a newcomer in: both present and sure, with the eyes in the same place.

    Args:
        first: In the crop that follows from a detector's box.
        second: In the crop that follows from the first reading.
        limits: The package's landmarks.
    """
    return first.present and second.present and first.presence >= limits.admit_presence and limits.admits(second.presence, eye_shift(first, second))


class AffectNetworks:
    """The networks of a package of task `face-affect`.

    Args:
        package: The package.
        engines: One engine for each of its stages, in their order.

    Attributes:
        landmarks: The output that tells where a face is in the next frame; None where the detector must find it in each.
        sees_faces: Some stages read faces.
        sees_frames: Some stages read whole pictures.
    """

    def __init__(self, package: Package, engines: Sequence[Engine]) -> None:
        stages = package.manifest.stages
        whole = of_frame(stages)
        networks = list(zip(stages, engines, strict=True))
        self._frame_networks = [(stage, engine) for stage, engine in networks if stage.name in whole]
        self._face_networks = [(stage, engine) for stage, engine in networks if stage.name not in whole]
        self._frame_numbers = NumberRow(_named(stage for stage, _ in self._frame_networks))
        self._face_numbers = NumberRow(_named(stage for stage, _ in self._face_networks))
        self._taken = {(stage.input.stage, stage.input.source) for stage in stages if isinstance(stage.input, EmbeddingInput)}
        self._sounds = [stage.input.audio for stage in stages if isinstance(stage.input, ClipAudioInput)]
        self._feeds: dict[str, Tensor] = {}
        crop_stages = [stage for stage in stages if isinstance(stage.input, CropInput | ClipInput)]
        # The last crop is the one that the numbers are read from: its sharpness is what counts.
        self._judged = crop_stages[-1] if crop_stages and package.manifest.quality.min_sharpness is not None else None
        # The last ones are those that a face has been moved to when all stages have run.
        self.landmarks = next((output for stage in reversed(stages) for output in stage.outputs if isinstance(output, Landmarks)), None)
        self.sees_faces, self.sees_frames = bool(self._face_networks), bool(self._frame_networks)

    @property
    def follows(self) -> bool:
        """Landmarks tell where a face is in the next frame."""
        return self.landmarks is not None

    def new_sound_ring(self) -> SoundRing | None:
        """Return an empty ring for the sound that the stages take; None where none takes any."""
        if not self._sounds:
            return None
        rate_hz = self._sounds[0].rate_hz  # one for all, says the manifest's check
        return SoundRing(rate_hz=rate_hz, keep_s=max(each.duration_s for each in self._sounds))

    def read(self, scene: Scene, places: Sequence[tuple[Face, Rings]], times: StageTimes) -> list[FaceReading]:
        """Run the stages that read faces on the faces of one frame.

        Args:
            scene: The frame.
            places: Where they are, from the detector or from the last frame's readings, and what is remembered of each.
            times: Gets the milliseconds of `crop` (and `crop.spectrogram`), `infer` (and `infer.STAGE` of each network) and `decode`.

        Returns:
            One reading for each face, in their order.
        """
        readings = [FaceReading(face=face, presence=face.score, rings=rings) for face, rings in places]
        self._run(self._face_networks, self._face_numbers, scene, readings, times)
        return readings

    def read_frame(self, scene: Scene, times: StageTimes) -> Reading:
        """Run the stages that read whole pictures; `times` as in `read`."""
        reading = Reading()
        self._run(self._frame_networks, self._frame_numbers, scene, [reading], times)
        return reading

    def estimate(self, values: Values) -> Estimate:
        """Name the numbers of a face's `Reading.values`, smoothed or not."""
        return self._face_numbers.estimate(values)

    def frame_estimate(self, values: Values) -> Estimate:
        """Name the numbers of a picture's `Reading.values`, smoothed or not."""
        return self._frame_numbers.estimate(values)

    def _run(self, networks: Sequence[tuple[Stage, Engine]], numbers: NumberRow, scene: Scene, readings: Sequence[Reading], times: StageTimes) -> None:
        for stage, engine in networks:
            chosen = [reading for reading in readings if reading.present]
            if not chosen:
                break
            with times.measure("crop"):
                fed, feeds, maps = self._feed(stage, scene, chosen, times)
            if not fed:
                continue
            with times.measure("infer"), times.measure(f"infer.{stage.name}"):
                tensors = engine.run(feeds)
            with times.measure("decode"):
                for output in stage.shown:
                    _decode(stage, output, _rows(stage, output.tensor, tensors, len(fed)), fed, maps, numbers)
                for key in self._taken:
                    if key[0] == stage.name:
                        for reading, row in zip(fed, _rows(stage, key[1], tensors, len(fed)), strict=True):
                            reading.tensors[key] = row

    def _feed(self, stage: Stage, scene: Scene, readings: Sequence[Reading], times: StageTimes) -> tuple[Sequence[Reading], dict[str, Tensor], list[Affine]]:
        """Return the readings that can be fed, the tensors for them, and where their crops lie; what the others lack is noted in them."""
        spec = stage.input
        if isinstance(spec, PointsInput):
            indices = list(spec.indices)
            points = np.stack([reading.landmarks[spec.stage][indices, :2] for reading in _faces(readings)]).astype(np.float32)
            return readings, {spec.tensor: points}, []
        if isinstance(spec, EmbeddingInput):
            key = (spec.stage, spec.source)
            fed = [reading for reading in readings if key in reading.tensors]
            return fed, {spec.tensor: np.stack([reading.tensors[key] for reading in fed])} if fed else {}, []
        if isinstance(spec, FrameInput):
            return readings, {spec.tensor: self._batch(stage.name, [crop.resize_frame(scene.rgb, spec)[0]], spec)}, []
        faces = _faces(readings)
        maps = [frame_from_crop(reading.face, spec.region, spec.size_wh_px) for reading in faces]
        crops = [crop.cut(scene.rgb, placed, spec) for placed in maps]
        if stage is self._judged:
            for reading, pixels in zip(faces, crops, strict=True):
                reading.sharpness = quality.sharpness(pixels)
        if isinstance(spec, CropInput):
            return faces, {spec.tensor: self._batch(stage.name, crops, spec)}, maps
        for reading, pixels in zip(faces, crops, strict=True):
            reading.rings.setdefault(stage.name, CropRing(spec)).add(pixels, scene.t_media_ns)
        ready = [(reading, placed) for reading, placed in zip(faces, maps, strict=True) if _clip_is_there(reading, stage.name, spec, scene)]
        if not ready:
            return [], {}, []
        in_order = [pixels for reading, _ in ready for pixels in reading.rings[stage.name].clip()]
        feeds = {spec.tensor: crop.clips_of(self._batch(stage.name, in_order, spec), spec)}
        if isinstance(spec, ClipAudioInput):
            with times.measure("crop.spectrogram"):
                feeds[spec.audio.tensor] = _sound_picture(spec.audio, scene, len(ready))
        return [reading for reading, _ in ready], feeds, [placed for _, placed in ready]

    def _batch(self, stage: str, pictures: Sequence[Pixels], spec: CropInput | FrameInput | ClipInput) -> Tensor:
        # The last batch's memory is warm, and nobody else's: engines read it during `run` only. A fresh one for each frame costs 0.2 ms in page faults.
        former = self._feeds.get(stage)
        feed = crop.batch(pictures, spec, out=former)
        if former is None or len(former) < len(feed):
            self._feeds[stage] = feed
        return feed


def _named(stages: Iterable[Stage]) -> list[Named]:
    return [output for stage in stages for output in stage.shown if isinstance(output, Named)]


def _faces(readings: Sequence[Reading]) -> list[FaceReading]:
    faces = [reading for reading in readings if isinstance(reading, FaceReading)]
    assert len(faces) == len(readings)  # stages that read faces get no others
    return faces


def _clip_is_there(reading: FaceReading, stage: str, spec: ClipInput, scene: Scene) -> bool:
    """Whether clip and sound are there; what is missing is noted in the reading."""
    ring = reading.rings[stage]
    lacks = [f"fps<{1 / ring.max_space_s:.3g}"] if ring.state == "too_slow" else []
    warming_up = ring.state == "warming_up"
    if isinstance(spec, ClipAudioInput):
        assert scene.sound is not None
        if not scene.sound.reaches(scene.t_media_ns):
            lacks.append("sound late" if scene.sound.is_late(scene.t_media_ns) else "no sound")
        elif scene.sound.window(scene.t_media_ns, spec.audio.duration_s) is None:
            warming_up = True
    reading.warming_up |= warming_up
    reading.lacks += tuple(reason for reason in lacks if reason not in reading.lacks)
    return not (warming_up or lacks)


def _sound_picture(spec: Spectrogram, scene: Scene, n: int) -> Tensor:
    """float32[n, 1, H, W]: the same sound for every face."""
    assert scene.sound is not None
    samples = scene.sound.window(scene.t_media_ns, spec.duration_s)
    assert samples is not None
    return np.repeat(spectrogram(samples, spec)[np.newaxis, np.newaxis], n, axis=0)


def _rows(stage: Stage, tensor: str, tensors: Mapping[str, Tensor], n: int) -> Tensor:
    """float32[n, K]: a row for each subject."""
    values = tensors[tensor]
    if len(values) != n:
        raise InferenceFailed(
            f"stage '{stage.name}' ({stage.model}): expected {n} rows in '{tensor}', one for each input, got {len(values)}",
            hint="the network does not treat its inputs one by one: convert it with a free first dimension",
        )
    return values.reshape(n, -1)


def _decode(stage: Stage, output: Output, rows: Tensor, readings: Sequence[Reading], maps: Sequence[Affine], numbers: NumberRow) -> None:
    if isinstance(output, Landmarks):
        for face, row, placed in zip(_faces(readings), rows, maps, strict=True):
            _place(face, stage.name, output, row, placed)
    elif isinstance(output, Presence):
        for face, score in zip(_faces(readings), activated(rows, output.activation)[:, 0].tolist(), strict=True):
            face.presence, face.present = score, face.present and score >= output.min_score
    elif isinstance(output, Named):
        parts = numbers.part(output, rows)
        all_finite = math.isfinite(parts.sum())
        for reading, part in zip(readings, parts, strict=True):
            if all_finite or np.isfinite(part).all():
                reading.parts.append(part)
            elif _NO_NUMBER not in reading.lacks:
                reading.lacks += (_NO_NUMBER,)


def _place(reading: FaceReading, stage: str, output: Landmarks, row: Tensor, frame_from_crop: Affine) -> None:
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
