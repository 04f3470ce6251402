"""Cost against the size of the picture: decoding, conversion and our path, each apart."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.budgets import Budget
from benchmarks.clips import Clip
from benchmarks.limits.turns import in_turns
from benchmarks.loops.faces import decoded
from benchmarks.scaling.finding import Ran, SizePoint, SizeScaling, sampled
from benchmarks.scaling.followed_path import FPS, FollowedPath, analyzers, few_faces
from benchmarks.scaling.sized_clips import SIZES_WH_PX, resized, write_clip
from benchmarks.timed_process import RunFailed, progress
from edge.capture import SourceSettings, open_source
from edge.capture.pixels import RawLayout, RgbConverter
from edge.config import Config
from edge.frame import Pixels

QUICK_SIZES = ("360p", "720p", "1080p")
_N_DECODED = 50
_N_AHEAD = 10  # more than the decoder works ahead while the first frame is waited for
_N_PATH = 10  # pictures of the path: those of 2160p have 25 MB each


class ReadPass:
    """Reads a clip through the runtime's capture and does nothing else; a call is a pass.

    Args:
        path: The clip, of more than ten frames.

    Attributes:
        wall_ms: For each call, the mean of a frame.
        cpu_ms: For each call, the mean of a frame over all threads.
    """

    def __init__(self, path: Path) -> None:
        self._settings = SourceSettings(uri=str(path))
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []

    def __call__(self) -> None:
        """Read it.

        Raises:
            RunFailed: It has too few frames.
        """
        with open_source(self._settings) as source:
            frames = iter(source)
            ahead = sum(1 for _ in itertools.islice(frames, _N_AHEAD))
            started_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
            counted = sum(1 for _ in frames)
            wall_ns, used_ns = time.perf_counter_ns() - started_ns, time.process_time_ns() - cpu_ns
        if not counted:
            raise RunFailed(f"expected more than {_N_AHEAD} frames, got {ahead} from {self._settings.uri}", hint="give a longer clip")
        self.wall_ms.append(wall_ns / counted / 1e6)
        self.cpu_ms.append(used_ns / counted / 1e6)


def measure_frame_sizes(clip: Clip, names: Sequence[str], rounds: int, budgets: Mapping[str, Budget]) -> SizeScaling:
    """Read and analyse the same content in each size; decoding, conversion and path take turns.

    Args:
        clip: With one face.
        names: Keys of `SIZES_WH_PX`.
        rounds: Samples of each.
        budgets: Of which those of `validity` are used.

    Raises:
        MissingDependency: No H.264 encoder or decoder is installed.
        PackageError: The default package cannot be used.
        RunFailed: The clip is too short.
    """
    pictures = decoded(clip, _N_DECODED)
    return SizeScaling([_measure(pictures, name, rounds, budgets) for name in names])


def _measure(pictures: Sequence[Pixels], name: str, rounds: int, budgets: Mapping[str, Budget]) -> SizePoint:
    size_wh_px = SIZES_WH_PX[name]
    progress(f"frame size: {name}, {rounds} passes of {len(pictures)} frames")
    with tempfile.TemporaryDirectory(prefix="edge-sizes-") as folder, analyzers(Config()) as new:
        path = Path(folder) / f"{name}.mp4"
        coding = write_clip(pictures, size_wh_px, FPS, path)
        reading, analyzer = ReadPass(path), new()
        following = FollowedPath(analyzer, [resized(each, size_wh_px) for each in pictures[:_N_PATH]])
        following.settle()
        convert, memory = conversion(size_wh_px)
        turns = in_turns({"read": reading, "convert": lambda: convert(memory), "path": following}, rounds, following.device, budgets)
        engine, (_, precision) = analyzer.engine_description, analyzer.serving
    last = following.last(rounds)
    return SizePoint(
        name=name,
        wh_px=size_wh_px,
        coding=coding,
        read=sampled(reading.wall_ms[-rounds:]),
        read_cpu=sampled(reading.cpu_ms[-rounds:]),
        convert=sampled(turns.samples_ms["convert"]),
        path=last.whole,
        stages=last.stages,
        found=last.found,
        ran=Ran(engine, precision, turns.machine, "; ".join(filter(None, [turns.invalid, few_faces(last.found)]))),
    )


def conversion(size_wh_px: tuple[int, int]) -> tuple[RgbConverter, Pixels]:
    """Return the converter of packed I420 of BT.601, which decoders give for such clips, and random memory for it.

    Args:
        size_wh_px: Width and height, even.

    Returns:
        The runtime's converter, and uint8[width * height * 3 / 2].
    """
    width, height = size_wh_px
    layout = RawLayout("I420", width, height, (width, width // 2, width // 2), (0, width * height, width * height * 5 // 4))
    return RgbConverter(layout), np.random.default_rng(0).integers(16, 236, width * height * 3 // 2, np.uint8)
