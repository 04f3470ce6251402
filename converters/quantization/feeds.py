"""What the stages of a package are fed by the pictures and clips of a calibration set: recorded while the runtime itself looks at them.

Detection, crops, landmarks that move the next crop, clips and embeddings are the runtime's own; nothing here cuts or scales a face. The one thing that is made
up is the sound of networks that hear: see `converters.real_inputs.voice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from calibration import CalibrationSet
from calibration.set_file import Split
from converters.errors import ConversionError
from converters.original import Array
from converters.real_inputs import Inputs, detect, read_frames, voice
from edge.affect import AffectNetworks, Reading, Scene
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine import choose, close_engines, open_engines
from edge.engine.engine import Engine
from edge.face import Face
from edge.frame import Pixels, Sound
from edge.package import Package, load_package
from edge.ring import Rings
from edge.smooth import Values
from edge.stage import ClipAudioInput, ClipInput, Named, PictureInput, input_shapes, of_frame

# Fewer say too little. Of pictures: what a calibration set holds at least, less those in which the package finds no face. Of clips: each item holds a second of
# them; a trained package needs more in any case, see `limits.LIMITS`, lower bound of the label agreement.
LEAST_PICTURES: Mapping[Split, int] = {"calibration": 80, "held-out": 20}
LEAST_CLIPS: Mapping[Split, int] = {"calibration": 4, "held-out": 2}
_MOST_PICTURES = 512
# Of a stage's inputs in memory: the quantiser holds as much again beside them.
_MOST_BYTES = 192 << 20
_MOMENTS_OF_A_CLIP = 12
# The pictures of a set show one face, large; cameras show small ones, too: detectors see the pictures alone and as mosaics of so many a side.
_MOSAIC_SIDES = (1, 2, 4)
# Media time of the first frame: sound that is older than that must not begin before 0.
_START_NS = 60_000_000_000


@dataclass(frozen=True)
class Moment:
    """What the networks look at to give one set of numbers.

    Attributes:
        frames: uint8[H, W, 3] each, RGB: one picture, or those of a clip, oldest first.
        faces: Where the face is in each; empty where nobody looks for faces.
        seed: Of its sound.
    """

    frames: tuple[Pixels, ...]
    faces: tuple[Face, ...]
    seed: int


# Made anew each time: the frames of clips are too many to be kept.
Moments = Callable[[], Iterable[Moment]]


@dataclass(frozen=True)
class Recording:
    """What a split of a calibration set comes to for a package.

    Attributes:
        feeds: float32[N, ...] by tensor name, by stage name.
        moments: Gives what they come from, again and again.
        n_moments: How many there were, with or without a face.
        n_seen: Those in which the package read a face, or a whole picture.
        n_unread: Pictures that were not looked at: beyond those that are read for one package, or that fit into memory as inputs of its networks.
    """

    feeds: Inputs
    moments: Moments
    n_moments: int
    n_seen: int
    n_unread: int


def record(package: Package, calibration: CalibrationSet, split: Split) -> Recording:
    """Let a package look at a split of a calibration set, in FP32, and record what its networks are fed.

    Args:
        package: Any.
        calibration: The set.
        split: Which part of it.

    Raises:
        ConversionError: There are too few pictures or clips in which a face is found.
        EngineError: A network cannot be loaded.
    """
    recorders = [_Recorder(engine) for engine in open_engines(package, choose("onnxruntime", "fp32", package))]
    try:
        moments, n_moments = _moments(package, recorders, calibration, split)
        for recorder in recorders:
            recorder.rows.clear()  # what was seen on the way to the places of the faces
        if package.manifest.task == "face-detection":
            finder = FaceDetector(package, recorders)
            for moment in moments():
                finder.detect(moment.frames[0], StageTimes(), all_views=True)
            n_seen = n_moments
        else:
            n_seen = sum(parts is not None for parts in read_numbers(package, recorders, moments()))
    finally:
        close_engines(recorders)
    least, what = (LEAST_CLIPS[split], "moments of clips") if _clip_input(package) else (LEAST_PICTURES[split], "pictures")
    if n_seen < least:
        raise ConversionError(
            f"{package.name}: expected at least {least} {what} of the {split} split of '{calibration.name}' that it can read, got {n_seen} of {n_moments}",
            hint="build a larger set: python -m calibration build SOURCE... -o SET   (packages that read clips need clips in it)",
        )
    feeds = {
        stage.name: {name: np.concatenate(rows) for name, rows in recorder.rows.items()}
        for stage, recorder in zip(package.manifest.stages, recorders, strict=True)
    }
    n_unread = 0 if _clip_input(package) else max(0, sum(item.split == split for item in calibration.manifest.items) - _n_pictures(package))
    return Recording(feeds, moments, n_moments, n_seen, n_unread)


def read_numbers(package: Package, engines: Sequence[Engine], moments: Iterable[Moment]) -> list[list[Values] | None]:
    """Let an affect package look at moments, as `edge-run` does.

    Args:
        package: The package.
        engines: Its networks.
        moments: See `Recording.moments`.

    Returns:
        For each moment, float64[K] of each of `named_outputs`; None where there was no face, or no number.
    """
    networks = AffectNetworks(package, engines)
    return [_read(networks, _clip_input(package), moment) for moment in moments]


def named_outputs(package: Package) -> list[Named]:
    """Return the outputs that are numbers of a result, in the order in which `read_numbers` gives them: whole pictures first."""
    whole = of_frame(package.manifest.stages)
    stages = sorted(package.manifest.stages, key=lambda stage: stage.name not in whole)
    return [output for stage in stages for output in stage.shown if isinstance(output, Named)]


def _read(networks: AffectNetworks, spec: ClipInput | None, moment: Moment) -> list[Values] | None:
    step_ns = round(spec.step_s * 1e9) if spec else 0
    times_ns = [_START_NS + step_ns * number for number in range(len(moment.frames))]
    sound = networks.new_sound_ring()
    if sound is not None and isinstance(spec, ClipAudioInput):
        samples = voice(spec.audio, np.random.default_rng(moment.seed))
        begins_ns = times_ns[-1] - round(len(samples) * 1e9 / spec.audio.rate_hz)
        sound.add(Sound(samples, spec.audio.rate_hz, begins_ns), times_ns[-1])
    rings: Rings = {}
    readings: list[Reading] = []
    for frame, face, t_ns in zip(moment.frames, moment.faces or [None] * len(moment.frames), times_ns, strict=True):
        scene = Scene(frame, t_ns, sound)
        readings = [networks.read_frame(scene, StageTimes())] if networks.sees_frames else []
        if face is not None:
            readings += networks.read(scene, [(face, rings)], StageTimes())
    if any(not reading.present or reading.values is None for reading in readings):
        return None
    return [part for reading in readings for part in reading.parts]


def _moments(package: Package, engines: Sequence[Engine], calibration: CalibrationSet, split: Split) -> tuple[Moments, int]:
    """What a package can look at, and how many there would be if a face were found in all."""
    manifest = package.manifest
    spec = _clip_input(package)
    if spec is not None:
        clips = calibration.clips(split)
        return partial(_of_clips, spec, clips, load_package(package.detector_path())), sum(len(_spans(clip, spec)) for clip in clips)
    pictures = calibration.pictures(split)[: _n_pictures(package)]
    if manifest.task == "face-detection":
        pictures = [mosaic for side in _MOSAIC_SIDES for mosaic in _mosaics(pictures, side)]
    if not manifest.detector:
        return lambda: (Moment((picture,), (), 0) for picture in pictures), len(pictures)
    networks = AffectNetworks(package, engines)
    moments = []
    for seed, (picture, faces) in enumerate(zip(pictures, detect(pictures, load_package(package.detector_path())), strict=True)):
        if not faces:
            continue
        face = max(faces, key=lambda face: face.side_px)
        if networks.follows:
            # From the second frame on the crop follows from the landmarks.
            (reading,) = networks.read(Scene(picture, 0), [(face, {})], StageTimes())
            if not reading.present:
                continue
            face = reading.face
        moments.append(Moment((picture,), (face,), seed))
    return lambda: moments, len(pictures)


def _of_clips(spec: ClipInput, clips: Sequence[Path], detector: Package) -> Iterator[Moment]:
    for clip in clips:
        for numbers in _spans(clip, spec):
            wanted = sorted(set(numbers))
            frames = dict(zip(wanted, read_frames(clip, wanted), strict=True))
            faces = dict(zip(wanted, detect([*frames.values()], detector), strict=True))
            if all(faces.values()):
                chosen = tuple(max(faces[number], key=lambda face: face.side_px) for number in numbers)
                yield Moment(tuple(frames[number] for number in numbers), chosen, seed=numbers[0])


def _spans(clip: Path, spec: ClipInput) -> list[list[int]]:
    """The frames of moments that do not overlap, spread over a clip."""
    video = cv2.VideoCapture(str(clip))
    fps, count = video.get(cv2.CAP_PROP_FPS), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    if not fps > 0 or count < 1:
        raise ConversionError(f"OpenCV cannot read {clip}", hint="python -m calibration check SET tells whether the set is whole")
    forward = np.linspace(0, spec.duration_s * fps, spec.n_frames)
    n = min(_MOMENTS_OF_A_CLIP, int((count - 1) // forward[-1]))
    return [np.round(start + forward).astype(int).tolist() for start in (np.linspace(0, count - 1 - forward[-1], n) if n > 0 else [])]


def _mosaics(pictures: Sequence[Pixels], side: int) -> list[Pixels]:
    """uint8[side * H, side * W, 3] each: pictures side by side, each in a black cell of the largest one's size. What does not fill one is left out."""
    if side == 1:
        return list(pictures)
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    mosaics: list[Pixels] = []
    for first in range(0, len(pictures) - side * side + 1, side * side):
        mosaic = np.zeros((side * height, side * width, 3), np.uint8)
        for place, picture in enumerate(pictures[first : first + side * side]):
            top, left = place // side * height, place % side * width
            mosaic[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        mosaics.append(mosaic)
    return mosaics


def _n_pictures(package: Package) -> int:
    """How many pictures fit into memory as inputs of the stage that takes the largest."""
    sizes = [input_shapes(stage.input).values() for stage in package.manifest.stages if isinstance(stage.input, PictureInput)]
    bytes_each = max(sum(4 * math.prod(size or 1 for size in shape) for shape in shapes) for shapes in sizes)
    return min(_MOST_PICTURES, _MOST_BYTES // bytes_each)


def _clip_input(package: Package) -> ClipInput | None:
    return next((stage.input for stage in package.manifest.stages if isinstance(stage.input, ClipInput)), None)


class _Recorder:
    """An engine that keeps what it is fed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.rows: dict[str, list[Array]] = {}
        self.description, self.notes = engine.description, engine.notes
        self.input_shapes, self.output_shapes = engine.input_shapes, engine.output_shapes

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        for name, values in feeds.items():
            self.rows.setdefault(name, []).append(values.copy())  # the runtime writes the next batch into the same memory
        return self._engine.run(feeds)

    def close(self) -> None:
        self._engine.close()
