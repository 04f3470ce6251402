"""Smoothing of a track's numbers over media time."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# After a gap of this many time constants less than 1 % of the old value would be left: the filter starts anew instead of blending two moments.
_FORGET_AFTER = 5.0


class Smoother(Protocol):
    """A filter of one track."""

    def update(self, values: Values, t_media_ns: int) -> Values:
        """Take in the values of a moment, float64[K], and return the smoothed ones."""
        ...


class Unsmoothed:
    """Returns what it gets."""

    def update(self, values: Values, t_media_ns: int) -> Values:  # noqa: ARG002 - the protocol's
        """Return `values`."""
        return values


class Ema:
    """Exponential moving average with a time constant in seconds of media time, so that it is the same filter at 10, 24 and 60 frames a second.

    Args:
        time_constant_s: Time after which a step has come to 63 %; > 0.

    Source: first-order low-pass, weight of the newest value 1 - exp(-dt / tau).
    """

    def __init__(self, time_constant_s: float) -> None:
        self._tau_ns = time_constant_s * 1e9
        self._values: Values | None = None
        self._t_ns = 0

    def update(self, values: Values, t_media_ns: int) -> Values:
        """Take in the values of a moment, float64[K]; the first ones, and those after a long gap, are returned as they are."""
        elapsed_ns = t_media_ns - self._t_ns
        if self._values is None or elapsed_ns > _FORGET_AFTER * self._tau_ns:
            self._values = values
        else:
            self._values = self._values + (1 - math.exp(-max(0, elapsed_ns) / self._tau_ns)) * (values - self._values)
        self._t_ns = t_media_ns
        return self._values
