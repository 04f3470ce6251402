"""Faces of a picture as the runtime sees them: its detector finds them, its analyzer says whether they are faces and what they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import cv2
import numpy as np

from calibration.lookalikes import Thumbnail, thumbnail
from calibration.set_file import Features, pixels_sha256
from edge import quality
from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.detect import FaceDetector
from edge.engine import close_engines, open_engines
from edge.errors import PackageError
from edge.face import Face
from edge.frame import Frame, Pixels
from edge.result import FaceResult, FrameResult, top_label
from edge.track import REMEMBER_NS

# A picture is so many sides of the detector's box: the crops of a package reach 1.5 sides of the mesh's, which is up to a quarter larger, turned by the roll.
_ROOM = 2.4
# Networks take crops of 224 pixels at most, a face's box is one of them: more would be kept for nothing.
_MAX_SIDE_PX = 320
# Pictures up to this size are faces already cut out, as in FER2013: enlarged before anything else, as the detector needs some 100 pixels.
_SMALL_PX = 96
_ENLARGED_PX = 192
# Less deviation of the gray values than this is a lens cap, not a face.
_BLANK = 3.0
# The face that a picture is for is found again this near to where it was, in sides of its box.
_SAME_PLACE = 0.25
# A limit that makes a face useless here, too; a turned head only has its numbers withheld, and networks see it all the same.
_USELESS = {"blur", "small"}


@dataclass(frozen=True)
class JudgedFace:
    """A face that can be used.

    Attributes:
        picture: uint8[H, W, 3], RGB: what goes into the set.
        pixels_sha256: Of it.
        features: What the runtime says of it.
        thumbnail: float32[256], of the face's box.
    """

    picture: Pixels
    pixels_sha256: str
    features: Features
    thumbnail: Thumbnail


class FaceJudge:
    """The default package and its detector, on the CPU in FP32.

    Args:
        model: Name or folder of the affect package.

    Attributes:
        networks: SHA-256 of each network by package and file.
        engine_description: What runs them.

    Raises:
        PackageError: A package is missing or cannot be used.
        EngineError: A network cannot be loaded.
        MissingDependency: ONNX Runtime is not installed.
    """

    def __init__(self, model: str = "default") -> None:
        self._analyzer = Analyzer(Config(model=model, engine="onnxruntime", precision="fp32", smooth="none"))
        detector = self._analyzer.detector_package
        if detector is None:
            raise PackageError(f"package '{model}' looks at whole pictures: it finds no faces to calibrate with", hint="python -m converters pull default")
        self._engines = open_engines(detector, self._analyzer.choice)
        self._detector = FaceDetector(detector, self._engines)
        self._t_ns = 0
        # Not the packages' own hashes, which change when another precision is added to them.
        used = [(package, stage.model) for package in (detector, self._analyzer.package) for stage in package.manifest.stages]
        self.networks = {f"{package.name}/{model}": package.manifest.files[model] for package, model in used}
        self.engine_description = self._analyzer.engine_description

    def faces(self, rgb: Pixels) -> Iterator[JudgedFace | str]:
        """Find the faces of a picture and judge each.

        Args:
            rgb: uint8[H, W, 3].

        Yields:
            A face, or why something that looked like one cannot be used: `blank`, `no face`, `not found again`, `several faces`, `blur`, `small`.
        """
        if float(cv2.meanStdDev(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))[1][0, 0]) < _BLANK:
            yield "blank"
            return
        scale = 1
        if max(rgb.shape[:2]) <= _SMALL_PX:
            scale = -(-_ENLARGED_PX // max(rgb.shape[:2]))
            rgb = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        found = self._detector.detect(rgb, StageTimes(), all_views=True)
        if not found:
            # A face that fills its picture is found when there is something around it.
            rgb = _with_border(rgb)
            found = self._detector.detect(rgb, StageTimes(), all_views=True)
        if not found:
            yield "no face"
        for face in found:
            picture, center_px = _cut_out(rgb, face)
            if not picture.size:
                yield "not found again"
                continue
            yield self._judged(picture, center_px, face.side_px / scale)

    def close(self) -> None:
        """Free the networks."""
        close_engines(self._engines)
        self._analyzer.close()

    def __enter__(self) -> FaceJudge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _judged(self, picture: Pixels, center_px: tuple[float, float], side_px: float) -> JudgedFace | str:
        if len(self._detector.detect(picture, StageTimes(), all_views=True)) > 1:
            return "several faces"
        seen = self._step(picture).faces
        # What it follows must not be looked for in the next picture.
        self._step(np.zeros((64, 64, 3), np.uint8))
        if len(seen) != 1:
            return "not found again" if not seen else "several faces"
        (face,) = seen
        left, top, right, bottom = face.box_ltrb_px
        away = max(abs((left + right) / 2 - center_px[0]), abs((top + bottom) / 2 - center_px[1]))
        if away > _SAME_PLACE * max(right - left, bottom - top):
            return "not found again"
        if useless := _USELESS.intersection(face.reasons):
            return min(useless)
        box = _inside(picture, face)
        return JudgedFace(picture, pixels_sha256(picture), _features(face, box, side_px), thumbnail(box))

    def _step(self, rgb: Pixels) -> FrameResult:
        self._t_ns += 2 * REMEMBER_NS
        frame = Frame(seq=0, source="", pixels=rgb, t_media_ns=self._t_ns, t_capture_ns=0, t_capture_from="arrival", paced=False)
        return self._analyzer.step(frame, StageTimes())


def _with_border(rgb: Pixels) -> Pixels:
    rows, columns = (length // 2 for length in rgb.shape[:2])
    return np.asarray(cv2.copyMakeBorder(rgb, rows, rows, columns, columns, cv2.BORDER_REPLICATE), np.uint8)


def _cut_out(rgb: Pixels, face: Face) -> tuple[Pixels, tuple[float, float]]:
    """Return the face with room around it as far as the picture reaches, and where its box's centre lies in that, x and y."""
    side = face.side_px * _ROOM
    x, y = face.center_px
    left, top = max(0, round(x - side / 2)), max(0, round(y - side / 2))
    part = rgb[top : max(0, round(y + side / 2)), left : max(0, round(x + side / 2))]
    # A face whose middle lies far outside leaves nothing.
    scale = min(1.0, _MAX_SIDE_PX / max(1, *part.shape[:2]))
    if scale < 1 and part.size:
        part = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(part), ((x - left) * scale, (y - top) * scale)


def _inside(picture: Pixels, face: FaceResult) -> Pixels:
    height, width = picture.shape[:2]
    left, top, right, bottom = face.box_ltrb_px
    rows = slice(max(0, min(int(top), height - 2)), min(height, max(int(bottom), 2)))
    columns = slice(max(0, min(int(left), width - 2)), min(width, max(int(right), 2)))
    return picture[rows, columns]


def _features(face: FaceResult, box: Pixels, side_px: float) -> Features:
    gray = cv2.cvtColor(box, cv2.COLOR_RGB2GRAY)
    middle = gray.shape[1] // 2
    estimate = None if face.reasons else face.raw
    units = {} if estimate is None or estimate.action_units is None else estimate.action_units
    pose = face.pose
    assert pose is not None  # the default package has landmarks
    return Features(
        yaw_deg=round(pose.yaw, 1),
        pitch_deg=round(pose.pitch, 1),
        roll_deg=round(pose.roll, 1),
        side_px=round(side_px, 1),
        brightness=round(float(gray.mean()), 1),
        contrast=round(float(gray.std()), 1),
        side_light=round(float(gray[:, middle:].mean() - gray[:, :middle].mean()), 1),
        sharpness=round(quality.sharpness(box), 3),
        emotion="" if estimate is None or estimate.emotions is None else top_label(estimate.emotions),
        action_units={name: round(value, 2) for name, value in units.items() if value >= 0.01},
        reasons=face.reasons,
    )
