"""The only place that reads time: CLOCK_MONOTONIC in nanoseconds, the domain of GStreamer's buffer times too."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

monotonic_ns = time.monotonic_ns


class StageTimes:
    """Wall milliseconds of the stages of one frame; a stage that is measured twice adds up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    def measure(self, stage: str) -> AbstractContextManager[None]:
        """Add the time spent inside to `stage`."""
        self.ms.setdefault(stage, 0.0)  # a stage stands before its parts
        return _Measurement(self.ms, stage)


class _Measurement(AbstractContextManager[None]):
    # A class: `contextlib.contextmanager` costs three times as much, fourteen times a frame.
    __slots__ = ("_ms", "_stage", "_started_ns")

    def __init__(self, ms: dict[str, float], stage: str) -> None:
        self._ms, self._stage = ms, stage

    def __enter__(self) -> None:
        self._started_ns = monotonic_ns()

    def __exit__(self, *_: object) -> None:
        self._ms[self._stage] += (monotonic_ns() - self._started_ns) / 1e6
