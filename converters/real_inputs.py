"""What the parity runs feed the networks: pictures of the sample clip, cut and normalised by the runtime's own code."""

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
from edge.frame import Pixels, Samples
from edge.package import Package
from edge.spectrogram import spectrogram
from edge.stage import ClipAudioInput, ClipInput, CropInput, EmbeddingInput, FrameInput, Landmarks, PointsInput, Spectrogram, Stage

# Values by tensor name, by stage name.
Inputs = Mapping[str, Mapping[str, Array]]

_N_FRAMES = 24
_N_CLIPS = 12
# Speech of a person at arm's length, in 16-bit samples: the sample clip's sound track is silent.
_LOUDNESS = 3000


def picture_inputs(stages: Sequence[Stage], clip: Path, detector: Package | None) -> dict[str, dict[str, Array]]:
    """Return what the stages that take pictures are fed.

    Args:
        stages: A package's.
        clip: The sample clip.
        detector: Finds the faces that crops are cut around; None where no stage takes any.

    Returns:
        float32[N, ...] by tensor name, by stage name; the sound of a spectrogram is generated, for the clip's is silence.

    Raises:
        ConversionError: The clip cannot be read, or no face is found in it.
    """
    inputs: dict[str, dict[str, Array]] = {}
    frames = read_frames(clip) if any(isinstance(stage.input, FrameInput | CropInput) for stage in stages) else []
    faces: list[tuple[Pixels, Face]] = []
    for stage in stages:
        spec = stage.input
        if isinstance(spec, FrameInput):
            inputs[stage.name] = {spec.tensor: crop.batch([crop.resize_frame(frame, spec)[0] for frame in frames], spec)}
        elif isinstance(spec, CropInput):
            assert detector is not None
            faces = faces or find_faces(frames, detector)
            inputs[stage.name] = {spec.tensor: crop.batch([_crop(frame, face, spec) for frame, face in faces], spec)}
        elif isinstance(spec, ClipInput):
            assert detector is not None
            inputs[stage.name] = {spec.tensor: _clips(spec, clip, detector)}
            if isinstance(spec, ClipAudioInput):
                inputs[stage.name][spec.audio.tensor] = _sounds(spec.audio, len(inputs[stage.name][spec.tensor]))
    return inputs


def stage_inputs(stages: Sequence[Stage], pictures: Inputs, models: Mapping[str, onnx.ModelProto]) -> dict[str, dict[str, Array]]:
    """Return what every stage is fed.

    Args:
        stages: A package's.
        pictures: See `picture_inputs`.
        models: The stages' networks by name; stages that take landmarks or embeddings get those that the earlier one gives.

    Returns:
        float32[N, ...] by tensor name, by stage name.
    """
    inputs = {name: dict(tensors) for name, tensors in pictures.items()}
    for stage in stages:
        spec = stage.input
        if isinstance(spec, EmbeddingInput):
            inputs[stage.name] = {spec.tensor: _output(models[spec.stage], spec.source, inputs[spec.stage])}
        elif isinstance(spec, PointsInput):
            earlier = next(other for other in stages if other.name == spec.stage)
            landmarks = next(output for output in earlier.outputs if isinstance(output, Landmarks))
            points = _output(models[spec.stage], landmarks.tensor, inputs[spec.stage])
            inputs[stage.name] = {spec.tensor: np.ascontiguousarray(points.reshape(len(points), -1, 3)[:, list(spec.indices), :2])}
    return inputs


def read_frames(clip: Path, numbers: Sequence[int] | None = None) -> list[Pixels]:
    """Return frames of a clip.

    Args:
        clip: A video file.
        numbers: Which, ascending; None takes 24, spread evenly.

    Returns:
        uint8[H, W, 3] each, RGB.

    Raises:
        ConversionError: OpenCV cannot read them.
    """
    video = cv2.VideoCapture(str(clip))
    try:
        if numbers is None:
            count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            numbers = np.linspace(0, count - 1, _N_FRAMES).astype(int).tolist() if count >= _N_FRAMES else [*range(_N_FRAMES)]
        wanted = set(numbers)
        read = (video.read() for _ in range(max(numbers) + 1))
        frames = [np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8) for number, (there, bgr) in enumerate(read) if there and number in wanted]
    finally:
        video.release()
    if len(frames) < len(wanted):
        raise ConversionError(
            f"expected {len(wanted)} frames to compare networks on, OpenCV read {len(frames)} of {clip}", hint="python -m converters pull sample --force"
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
        ConversionError: There is none.
        EngineError: The detector's networks cannot be loaded.
    """
    found = [(frame, face) for frame, faces in zip(frames, detect(frames, detector), strict=True) for face in faces]
    if not found:
        raise ConversionError("no face found in the pictures to compare networks on", hint="python -m converters pull sample --force")
    return found + [(frame, _beside(face)) for frame, face in found]


def detect(frames: Sequence[Pixels], detector: Package) -> list[list[Face]]:
    """Return the faces of each frame, best first.

    Args:
        frames: uint8[H, W, 3] each, RGB.
        detector: A package of task `face-detection`.

    Raises:
        EngineError: The detector's networks cannot be loaded.
    """
    engines = open_engines(detector, choose("onnxruntime", "fp32", detector))
    try:
        finder = FaceDetector(detector, engines)
        return [finder.detect(frame, StageTimes(), all_views=True) for frame in frames]
    finally:
        close_engines(engines)


def _crop(frame: Pixels, face: Face, spec: CropInput | ClipInput) -> Pixels:
    return crop.cut(frame, frame_from_crop(face, spec.region, spec.size_wh_px), spec)


def _clips(spec: ClipInput, clip: Path, detector: Package) -> Array:
    """float32[2 x 12, ...]: moments of the sample clip, each with the face's own place and beside it."""
    video = cv2.VideoCapture(str(clip))
    fps, count = video.get(cv2.CAP_PROP_FPS), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    back = np.linspace(-spec.duration_s * fps, 0, spec.n_frames)
    if not count > -back[0]:
        raise ConversionError(f"expected a clip of more than {spec.duration_s} s, got {count} frames at {fps:g} a second", hint=f"see {clip}")
    moments = [np.round(end + back).astype(int).tolist() for end in np.linspace(-back[0], count - 1, _N_CLIPS)]
    numbers = sorted({number for moment in moments for number in moment})
    frames = dict(zip(numbers, read_frames(clip, numbers), strict=True))
    faces = {number: found for number, found in zip(numbers, detect([*frames.values()], detector), strict=True) if found}
    whole = [moment for moment in moments if all(number in faces for number in moment)]
    if len(whole) < 2:
        raise ConversionError(f"a face was found throughout {len(whole)} of {_N_CLIPS} moments of {spec.duration_s} s; needed are 2", hint=f"see {clip}")
    placed = [[(frames[number], max(faces[number], key=lambda face: face.side_px)) for number in moment] for moment in whole]
    placed += [[(frame, _beside(face)) for frame, face in moment] for moment in placed]
    return crop.clips_of(crop.batch([_crop(frame, face, spec) for moment in placed for frame, face in moment], spec), spec)


def voice(spec: Spectrogram, rng: np.random.Generator) -> Samples:
    """Return the sound of a voice that glides in a way of its own, over a little noise, at the level of speech.

    Args:
        spec: How much of it, and at which rate.
        rng: Decides about pitch, timbre and level.

    Returns:
        int16[round(duration_s * rate_hz)].
    """
    t_s = np.arange(round(spec.duration_s * spec.rate_hz)) / spec.rate_hz
    pitch_hz = rng.uniform(90, 300) * np.exp2(rng.uniform(-0.5, 0.5) * np.sin(2 * np.pi * rng.uniform(0.5, 3) * t_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / spec.rate_hz
    glide = sum(np.sin(harmonic * phase) * rng.uniform(0.2, 1) / harmonic for harmonic in range(1, 20))
    samples = glide * rng.uniform(0.1, 1) + rng.normal(0, 0.02, len(t_s))
    return np.clip(samples * _LOUDNESS, -32768, 32767).astype(np.int16)


def _sounds(spec: Spectrogram, n: int) -> Array:
    """float32[n, 1, H, W]: of voices, each another one."""
    rng = np.random.default_rng(0)
    return np.stack([spectrogram(voice(spec, rng), spec) for _ in range(n)])[:, np.newaxis]


def _output(model: onnx.ModelProto, tensor: str, feeds: Mapping[str, Array]) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([tensor], dict(feeds))[0], np.float32)


def _beside(face: Face) -> Face:
    shift = face.side_px / 2
    left, top, right, bottom = face.box_ltrb_px
    return Face(box_ltrb_px=(left - shift, top, right - shift, bottom), eyes_px=face.eyes_px - [shift, 0.0], score=face.score)
