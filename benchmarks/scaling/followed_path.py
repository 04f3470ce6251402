"""The path from a decoded picture to its result, timed turn by turn: a frame with a look for newcomers costs more than one without, and views differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.limits.finding import Device
from benchmarks.loops.closed import SETTLE_S
from benchmarks.loops.faces import frames_of
from benchmarks.loops.open import MIN_FACE_SHARE
from benchmarks.scaling.finding import Sampled, sampled
from benchmarks.scaling.views import count_views
from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.frame import Pixels

FPS = 25.0
PERIOD_MS = 1e3 / FPS
# Source: edge/analyzer.py searches a view of the picture every 200 ms of media time while faces are being followed.
FRAMES_A_LOOK = 5
STAGES: Mapping[str, tuple[str, ...]] = {"detect": ("detect",), "crop": ("crop",), "infer": ("infer",), "post": ("decode", "smooth")}


class FollowedPath:
    """Pictures that are played for ever to an analyzer of their own; a call is a turn: as many frames as it takes for a look at each view of the picture.

    Args:
        analyzer: Fresh; its package finds faces.
        pictures: uint8[H, W, 3] each, RGB, played forwards and backwards; at least two.

    Attributes:
        frames_a_turn: Frames of a call.
        turns: For each call, the mean milliseconds of a frame: `whole`, and each stage that the analyzer names.
        slowest_ms: For each call, its slowest frame.
        found: For each call, the mean number of faces with a result.
        side_px: For each call, the mean long side of those faces; 0 without any.
    """

    def __init__(self, analyzer: Analyzer, pictures: Sequence[Pixels]) -> None:
        self._analyzer, self._frames = analyzer, frames_of(pictures, FPS)
        assert analyzer.detector_package is not None
        self.frames_a_turn = FRAMES_A_LOOK * sum(count_views(analyzer.detector_package, pictures[0]))
        self.turns: list[dict[str, float]] = []
        self.slowest_ms: list[float] = []
        self.found: list[float] = []
        self.side_px: list[float] = []

    def __call__(self) -> None:
        """Let it analyse the frames of the next turn."""
        frames_ms: list[float] = []
        stages_ms: dict[str, float] = {}
        sides_px: list[float] = []
        for _ in range(self.frames_a_turn):
            frame, times = next(self._frames), StageTimes()
            started_ns = time.perf_counter_ns()
            faces = self._analyzer.step(frame, times).faces
            frames_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
            for stage, ms in times.ms.items():
                stages_ms[stage] = stages_ms.get(stage, 0.0) + ms
            sides_px += [max(face.box_ltrb_px[2] - face.box_ltrb_px[0], face.box_ltrb_px[3] - face.box_ltrb_px[1]) for face in faces]
        self.turns.append({"whole": sum(frames_ms) / self.frames_a_turn} | {stage: ms / self.frames_a_turn for stage, ms in stages_ms.items()})
        self.slowest_ms.append(max(frames_ms))
        self.found.append(len(sides_px) / self.frames_a_turn)
        self.side_px.append(sum(sides_px) / len(sides_px) if sides_px else 0.0)

    def settle(self) -> None:
        """Run until TensorRT's plans have taken over, where they are to; who serves in the end is in the report."""
        deadline_s = time.monotonic() + SETTLE_S
        while self._analyzer.choice.engine == "tensorrt" and self._analyzer.serving[0] != "tensorrt" and time.monotonic() < deadline_s:
            self()

    @property
    def device(self) -> Device:
        """What runs the networks."""
        return "gpu" if self._analyzer.choice.cuda or self._analyzer.choice.engine == "tensorrt" else "cpu"

    def last(self, rounds: int) -> LastTurns:
        """Return what the last calls came to: those of a warm-up come before."""
        return LastTurns(self.turns[-rounds:], max(self.slowest_ms[-rounds:]), sum(self.found[-rounds:]) / rounds, sum(self.side_px[-rounds:]) / rounds)


class LastTurns:
    """Calls of a path that count.

    Args:
        turns: Mean milliseconds of a frame, by `whole` and stage.
        slowest_ms: The slowest of all their frames.
        found: Faces with a result, mean over the frames.
        side_px: Long side of a face, mean.
    """

    def __init__(self, turns: Sequence[Mapping[str, float]], slowest_ms: float, found: float, side_px: float) -> None:
        self.slowest_ms, self.found, self.side_px = slowest_ms, found, side_px
        self._turns = turns

    def samples_ms(self, *stages: str) -> list[float]:
        """Return one sample for each call: the mean of a frame, summed over the stages; a stage that did not run took nothing."""
        return [sum(turn.get(stage, 0.0) for stage in stages) for turn in self._turns]

    @property
    def whole(self) -> Sampled:
        """A frame."""
        return sampled(self.samples_ms("whole"))

    @property
    def stages(self) -> dict[str, Sampled]:
        """A frame by stage, as of `FacePoint.stages`."""
        parts = {name: self.samples_ms(*names) for name, names in STAGES.items()}
        other = [whole - sum(of_stages) for whole, *of_stages in zip(self.samples_ms("whole"), *parts.values(), strict=True)]
        return {name: sampled(samples) for name, samples in (parts | {"other": other}).items()}


def few_faces(found: float) -> str:
    """Return why a run that should have followed one face cannot be trusted; empty where it can.

    Args:
        found: Faces with a result, mean over the frames.
    """
    return "" if found >= MIN_FACE_SHARE else f"a face in only {found:.0%} of the frames"


@contextmanager
def analyzers(config: Config) -> Iterator[Callable[[], Analyzer]]:
    """Yield a function that makes analyzers, ready to run; they are closed at the end.

    Raises:
        PackageError: The package cannot be used.
        EngineError: A network cannot be loaded.
    """
    opened: list[Analyzer] = []

    def new() -> Analyzer:
        opened.append(Analyzer(config))
        opened[-1].wait_until_opened()
        return opened[-1]

    try:
        yield new
    finally:
        for analyzer in opened:
            analyzer.close()
