"""How many frames a second, lately."""

from __future__ import annotations

from collections import deque

_WINDOW_NS = 2_000_000_000  # long enough to be read, short enough to follow


class RecentRate:
    """Frames per second over the last two seconds."""

    def __init__(self) -> None:
        self._times_ns: deque[int] = deque()

    def add(self, t_ns: int) -> None:
        """Count a frame.

        Args:
            t_ns: When, on a clock that does not go back.
        """
        self._times_ns.append(t_ns)
        while t_ns - self._times_ns[0] > _WINDOW_NS:
            self._times_ns.popleft()

    @property
    def fps(self) -> float | None:
        """Frames per second; None before the second frame."""
        times_ns = self._times_ns
        return None if len(times_ns) < 2 or times_ns[-1] == times_ns[0] else (len(times_ns) - 1) * 1e9 / (times_ns[-1] - times_ns[0])
