"""What the parity runs feed the networks: crops of the sample clip, cut and normalised by the runtime's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime

from converters.errors import ConversionError
from converters.original import Array
from edge import crop
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine import choose, close_engines, open_engines
from edge.face import Face, frame_from_crop
from edge.frame import Pixels
from edge.package import Manifest, Package
from edge.stage import CropInput, FrameInput, Landmarks, PointsInput

_N_FRAMES = 24


def read_frames(clip: Path) -> list[Pixels]:
    """Return frames spread evenly over a clip.

    Args:
        clip: A video file.

    Returns:
        24 times uint8[H, W, 3], RGB.

    Raises:
        ConversionError: OpenCV cannot read them.
    """
    video = cv2.VideoCapture(str(clip))
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(np.linspace(0, count - 1, _N_FRAMES).astype(int).tolist()) if count > 0 else set()
        read = (video.read() for _ in range(count))
        frames = [np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8) for number, (there, bgr) in enumerate(read) if there and number in wanted]
    finally:
        video.release()
    if len(frames) < _N_FRAMES:
        raise ConversionError(
            f"expected {_N_FRAMES} frames to compare networks on, OpenCV read {len(frames)} of {clip}", hint="python -m converters pull sample --force"
        )
    return frames


def find_faces(frames: Sequence[Pixels], detector: Package) -> list[tuple[Pixels, Face]]:
    """Return every face twice: where it is, and half a face beside it, so that the networks' outputs vary as they do in use.

    Args:
        frames: uint8[H, W, 3] each, RGB.
        detector: A package of task `face-detection`.

    Returns:
        The frame and the face, for each.

    Raises:
        EngineError: The detector's networks cannot be loaded.
    """
    engines = open_engines(detector, choose("onnxruntime", "fp32"))
    try:
        finder = FaceDetector(detector, engines)
        found = [(frame, face) for frame in frames for face in finder.detect(frame, StageTimes(), all_views=True)]
    finally:
        close_engines(engines)
    return found + [(frame, _beside(face)) for frame, face in found]


def stage_inputs(manifest: Manifest, frames: Sequence[Pixels], faces: Sequence[tuple[Pixels, Face]], models: Mapping[str, onnx.ModelProto]) -> dict[str, Array]:
    """Return what each stage of a package is fed.

    Args:
        manifest: The package's.
        frames: For stages that take whole pictures.
        faces: For stages that take crops.
        models: The stages' networks by name; stages that take landmarks get those of an earlier one.

    Returns:
        float32[N, ...] by the stage's name.
    """
    inputs: dict[str, Array] = {}
    for stage in manifest.stages:
        spec = stage.input
        if isinstance(spec, FrameInput):
            inputs[stage.name] = crop.batch([crop.resize_frame(frame, spec)[0] for frame in frames], spec)
        elif isinstance(spec, CropInput):
            inputs[stage.name] = crop.batch([crop.cut(frame, frame_from_crop(face, spec.region, spec.size_wh_px), spec) for frame, face in faces], spec)
        elif isinstance(spec, PointsInput):
            inputs[stage.name] = _points(spec, manifest, inputs, models)
    return inputs


def _points(spec: PointsInput, manifest: Manifest, inputs: Mapping[str, Array], models: Mapping[str, onnx.ModelProto]) -> Array:
    earlier = next(stage for stage in manifest.stages if stage.name == spec.stage)
    landmarks = next(output for output in earlier.outputs if isinstance(output, Landmarks))
    session = onnxruntime.InferenceSession(models[earlier.name].SerializeToString(), providers=["CPUExecutionProvider"])
    (points,) = session.run([landmarks.tensor], {earlier.input.tensor: inputs[earlier.name]})
    return np.ascontiguousarray(points.reshape(len(points), -1, 3)[:, list(spec.indices), :2])


def _beside(face: Face) -> Face:
    shift = face.side_px / 2
    left, top, right, bottom = face.box_ltrb_px
    return Face(box_ltrb_px=(left - shift, top, right - shift, bottom), eyes_px=face.eyes_px - [shift, 0.0], score=face.score)
