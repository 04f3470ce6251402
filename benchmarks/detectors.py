"""Our search for faces against OpenCV's YuNet on the same pictures: one picture at a time, one thread, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.budgets import Budget
from benchmarks.clips import Clip
from benchmarks.latency import Part
from benchmarks.loops.turns import take_turns, timed_ms
from benchmarks.networks import TURNS, paired_ratio
from benchmarks.timed_process import RunFailed
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine.ort import OrtEngine
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.package import file_sha256, load_package

PACKAGE = "blazeface"
# Source: https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet, face_detection_yunet_2023mar.onnx (Git LFS object)
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_MIN_SCORE = 0.6  # both detectors answer on the same question: is there a face
NOT_RUN = "YuNet's network is in no package of PyPI or npm: get face_detection_yunet_2023mar.onnx of OpenCV Zoo and name it with --yunet FILE"
PICTURES = 25  # of the clip, equally spaced; each is looked at in one call of each turn
CALLS = TURNS * 10  # of each detector
WARM_UP_CALLS = 10
MIN_SAME = 0.9  # of the pictures, on which the detectors say alike whether there is a face: who misses it has less to do

Look = Callable[[Pixels], int]


def measure_detectors(clip: Clip, yunet: Path | None, budgets: Mapping[str, Budget]) -> Part:
    """Time whole searches, from the picture to the faces in its pixels, resizing and the joining of doubles included.

    Ours looks through all its views, as it does where it follows nobody. YuNet takes the picture as it is, as `cv2.FaceDetectorYN` does, and once more at half
    its width and height, resizing included.

    Args:
        clip: Where the pictures come from.
        yunet: OpenCV Zoo's `face_detection_yunet_2023mar.onnx`; without it YuNet is `not run`.
        budgets: Of which those of `validity` are used; no document and no goal names a limit for this ratio.

    Raises:
        ConfigError: `yunet` is another file.
        PackageError: Our detector's package is missing or cannot be used.
        RunFailed: The clip has too few frames, or the detectors do not agree on who is there.
    """
    if yunet is None:
        return Part("detectors", {"not_run": NOT_RUN}, [], [f"detectors not run: {NOT_RUN}"])
    check_yunet(yunet)
    pictures = read_pictures(clip)
    height, width = pictures[0].shape[:2]
    half = (width // 2, height // 2)
    with _one_thread_of_opencv(), _our_search() as ours:
        looks = {"ours": ours, "yunet": yunet_search(yunet, (width, height)), "yunet_half": yunet_search(yunet, half)}
        # Each gets its own order of the colours: who reads a clip chooses that when it is decoded.
        seen = {name: [np.ascontiguousarray(bgr[..., ::-1]) for bgr in pictures] if name == "ours" else pictures for name in looks}
        found = {name: [look(picture) > 0 for picture in seen[name]] for name, look in looks.items()}
        check_agreement(found)
        asks = {name: _over(seen[name], look) for name, look in looks.items()}
        turns = take_turns(asks, dict.fromkeys(asks, CALLS), TURNS, budgets, warm_ups=WARM_UP_CALLS, gpu_is_warm=False)
    ratios = {name: paired_ratio(turns.samples_ms["ours"], turns.samples_ms[name], TURNS) for name in looks if name != "ours"}
    whats = {
        "ours": f"{PACKAGE}, every view of {width}x{height}",
        "yunet": f"cv2.FaceDetectorYN {cv2.__version__}, YuNet 2023mar at {width}x{height}",
        "yunet_half": f"the same at {half[0]}x{half[1]}",
    }
    lines = [f"{'search for faces':24}{'p50':>9}  ms, one thread, ours over it"]
    for name, what in whats.items():
        ratio = f"{ratios[name].estimate:.2f} [{ratios[name].low:.2f}, {ratios[name].high:.2f}]" if name in ratios else "1"
        lines.append(f"{name:24}{statistics.median(turns.samples_ms[name]):9.3f}  {ratio}: {what}, a face in {sum(found[name])}/{len(pictures)} pictures")
    lines += [f"invalid: {turns.invalid}"] if turns.invalid else []
    numbers: dict[str, Any] = {
        "samples_ms": turns.samples_ms,
        "first_ms": turns.first_ms,
        "ratios": ratios,
        "pictures_with_face": {name: sum(hits) for name, hits in found.items()},
        "pictures": len(pictures),
        "what": whats,
        "machine": turns.machine,
        "invalid": turns.invalid,
    }
    return Part("detectors", numbers, [], lines)


def check_yunet(path: Path) -> None:
    """Check that a file is the network that this comparison is about.

    Raises:
        ConfigError: It is not there, or has another SHA-256.
    """
    if not path.is_file():
        raise ConfigError(f"--yunet: no file at {path}", hint="leave --yunet out, or get the file from OpenCV Zoo with Git LFS")
    if (found := file_sha256(path)) != YUNET_SHA256:
        raise ConfigError(f"--yunet: expected SHA-256 {YUNET_SHA256}, got {found}, in {path}", hint="a file of some hundred bytes is Git LFS's stand-in for it")


def read_pictures(clip: Clip) -> list[Pixels]:
    """Return pictures of a clip, equally spaced.

    Returns:
        `PICTURES` times uint8[H, W, 3], BGR.

    Raises:
        RunFailed: The clip has fewer frames.
    """
    if clip.frames < PICTURES:
        raise RunFailed(f"expected a clip of at least {PICTURES} frames, got {clip.frames} from {clip.path.name}")
    wanted = set(np.linspace(0, clip.frames - 1, PICTURES).astype(int).tolist())
    capture = cv2.VideoCapture(str(clip.path))
    pictures: list[Pixels] = []
    for number in range(clip.frames):
        arrived, bgr = capture.read()
        if arrived and number in wanted:
            pictures.append(np.asarray(bgr, dtype=np.uint8))
    capture.release()
    if len(pictures) != PICTURES:
        raise RunFailed(f"expected {PICTURES} pictures, got {len(pictures)}: {clip.path.name} ends before the length that it states")
    return pictures


def check_agreement(found: Mapping[str, Sequence[bool]]) -> None:
    """Check that the detectors say alike on which pictures there is a face.

    Args:
        found: By name, whether there is one on each picture; ours is called `ours`.

    Raises:
        RunFailed: They differ on too many.
    """
    for name, hits in found.items():
        same = sum(ours == theirs for ours, theirs in zip(found["ours"], hits, strict=True)) / len(hits)
        if same < MIN_SAME:
            raise RunFailed(f"expected the detectors to agree on {MIN_SAME:.0%} of the pictures, ours and {name} agree on {same:.0%}", hint="another --clip")


def yunet_search(path: Path, size_wh_px: tuple[int, int]) -> Look:
    """Return a search with YuNet at a size; it takes uint8[H, W, 3] in BGR and returns the number of faces.

    Args:
        path: The network.
        size_wh_px: Width and height at which it looks.
    """
    detector = cv2.FaceDetectorYN.create(str(path), "", size_wh_px, YUNET_MIN_SCORE)

    def look(bgr: Pixels) -> int:
        found: Any = detector.detect(bgr if bgr.shape[1::-1] == size_wh_px else cv2.resize(bgr, size_wh_px))[1]
        return 0 if found is None else len(found)  # None, not an empty array, where there is no face

    return look


@contextmanager
def _our_search() -> Iterator[Look]:
    package = load_package(PACKAGE)
    engines = [OrtEngine(package.model_path(stage), cuda=False, threads=1) for stage in package.manifest.stages]
    try:
        detector = FaceDetector(package, engines)
        yield lambda rgb: len(detector.detect(rgb, StageTimes(), all_views=True))
    finally:
        for engine in engines:
            engine.close()


@contextmanager
def _one_thread_of_opencv() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _over(pictures: Sequence[Pixels], look: Look) -> Callable[[], float]:
    upcoming = cycle(pictures)

    def ask() -> float:
        picture = next(upcoming)
        return timed_ms(lambda: look(picture))

    return ask
