"""The only place that reads time: CLOCK_MONOTONIC in nanoseconds, the domain of GStreamer's buffer times too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

monotonic_ns = time.monotonic_ns


class StageTimes:
    """Wall milliseconds of the stages of one frame; a stage that is measured twice adds up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to `stage`."""
        self.ms.setdefault(stage, 0.0)  # a stage stands before its parts
        started_ns = monotonic_ns()
        try:
            yield
        finally:
            self.ms[stage] += (monotonic_ns() - started_ns) / 1e6
