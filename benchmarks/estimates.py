"""The few statistics that the reports use."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000  # Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3: 1,000 or more for percentile intervals
SEED = 20250101  # any fixed number: the same samples must give the same report


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    estimate: float
    low: float
    high: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly between the two nearest samples.

    Args:
        values: At least one number.
        percent: In [0, 100].

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("expected at least one value for a percentile, got none")
    return float(np.percentile(np.asarray(values, dtype=np.float64), percent))


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return `p50`, `p95`, `p99` and `max` of the values.

    Raises:
        ValueError: There are no values.
    """
    return {"p50": percentile(values, 50), "p95": percentile(values, 95), "p99": percentile(values, 99), "max": percentile(values, 100)}


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median and its 95 % percentile-bootstrap interval; always the same for the same values.

    Args:
        values: Independent samples, such as the ratio of two rates measured in the same round.

    Raises:
        ValueError: There are fewer than two values: one sample says nothing about its own spread.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    if len(values) < 2:
        raise ValueError(f"expected at least 2 values for an interval, got {len(values)}")
    samples = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(SEED).choice(samples, size=(RESAMPLES, samples.size), replace=True)
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Interval(estimate=float(np.median(samples)), low=float(low), high=float(high))


def spread(values: Sequence[float]) -> float:
    """Return (maximum - minimum) / median.

    Raises:
        ValueError: There are no values.
    """
    return (percentile(values, 100) - percentile(values, 0)) / percentile(values, 50)


def flips_per_100(top_labels: Sequence[str | None]) -> float | None:
    """Return how often the top label changes between one frame and the next, per 100 such pairs.

    Args:
        top_labels: One label a frame; None where there is none. Only pairs with a label in both frames count.

    Returns:
        None where no two consecutive frames have a label.
    """
    pairs = [(before, after) for before, after in itertools.pairwise(top_labels) if before is not None and after is not None]
    return 100.0 * sum(before != after for before, after in pairs) / len(pairs) if pairs else None
