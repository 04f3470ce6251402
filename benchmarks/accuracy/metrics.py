"""The numbers that say how right answers are: pure functions of arrays. Accuracy, F1 and Wilson's interval are `converters.training.measure`'s."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimates import SEED, Interval

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]

# Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3: 1,000 or more for percentile intervals.
RESAMPLES = 1000
# Source: Guo et al. 2017, arXiv:1706.04599, who measure calibration in 15 bins of equal width.
CALIBRATION_BINS = 15


def calibration_bins(probabilities: Numbers, truth: Labels) -> tuple[NDArray[np.int64], Numbers, Numbers]:
    """Return how often the most likely class is right, by how likely it was called.

    Args:
        probabilities: float64[N, K], rows in [0, 1].
        truth: int64[N], indices into the K classes.

    Returns:
        For each of `CALIBRATION_BINS` bins of equal width over [0, 1], the last one closed: int64, its pictures; float64, their mean confidence; float64, the
        part of them that is right. NaN where a bin has no picture.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    n = np.bincount(place, minlength=CALIBRATION_BINS)
    sums = (np.bincount(place, weights=each, minlength=CALIBRATION_BINS) for each in (confidence, right.astype(np.float64)))
    mean, part = (np.divide(each, n, out=np.full(CALIBRATION_BINS, np.nan), where=n > 0) for each in sums)
    return n, mean, part


def expected_calibration_error(probabilities: Numbers, truth: Labels) -> float:
    """Return the mean over pictures of the distance between a bin's confidence and its accuracy, in [0, 1]; arguments as in `calibration_bins`.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    n, confidence, accuracy = calibration_bins(probabilities, truth)
    filled = n > 0
    return float((n[filled] * np.abs(confidence - accuracy)[filled]).sum() / n.sum())


def cross_entropy(shares: Numbers, probabilities: Numbers) -> float:
    """Return the mean over pictures of - sum share log(probability), in nats.

    Args:
        shares: float64[N, K], of the votes; rows sum to 1.
        probabilities: float64[N, K]; what is below 1e-7 counts as that.
    """
    return float(-(shares * np.log(np.maximum(probabilities, 1e-7))).sum(axis=1).mean())


def drawn_weights(of: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw the samples of a bootstrap over groups: whole people, say, with all of their pictures. The same groups give the same samples.

    Args:
        of: int64[N], the group of each observation; `numpy.arange(N)` where each stands for itself.

    Returns:
        float32[RESAMPLES, N]: how often each observation is in each sample.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 6 and 8.
    """
    return _drawn(np.unique(of, return_inverse=True)[1].astype(np.int64).tobytes())


@functools.lru_cache(maxsize=2)  # one unit after the other is measured on the same pictures
def _drawn(groups: bytes) -> NDArray[np.float32]:
    of, rng = np.frombuffer(groups, np.int64), np.random.default_rng(SEED)
    n_groups = int(of.max()) + 1
    drawn = [np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[of] for _ in range(RESAMPLES)]
    weights = np.stack(drawn).astype(np.float32)
    weights.setflags(write=False)
    return weights


def auc(present: NDArray[np.bool_], scores: Numbers, of: NDArray[np.int64] | None = None) -> Interval:
    """Return the area under the ROC curve: how often a score where something is present lies above one where it is not. Ties count half.

    Args:
        present: bool[N], with both values.
        scores: float64[N].
        of: As in `drawn_weights`; None: each observation for itself.

    Returns:
        The area in [0, 1], with its 95 % percentile-bootstrap interval.

    Raises:
        ValueError: All are present, or none.
    """
    if present.all() or not present.any():
        raise ValueError(f"expected both present and absent for an area under the curve, got {int(present.sum())} present of {present.size}")
    return interval_of(auc_samples(present, scores, np.arange(present.size) if of is None else of))


def pearson(first: Numbers, second: Numbers, of: NDArray[np.int64] | None = None) -> Interval:
    """Return the correlation of two rows of numbers, with its 95 % percentile-bootstrap interval.

    Args:
        first: float64[N].
        second: float64[N].
        of: As in `drawn_weights`; None: each observation for itself.

    Returns:
        In [-1, 1]; NaN where one of the two does not vary.
    """
    return interval_of(_pearson(first, second, _whole_and_drawn(np.arange(first.size) if of is None else of)))


def spearman(first: Numbers, second: Numbers, of: NDArray[np.int64] | None = None) -> Interval:
    """Return the correlation of the ranks of two rows of numbers, ties at their mean rank; arguments as in `pearson`.

    The samples of the interval keep the ranks of the whole: ranking each anew changes the third digit.
    """
    return pearson(ranks(first), ranks(second), of)


def ranks(values: Numbers) -> Numbers:
    """Return float64[N]: the rank of each of float64[N] from 1, ties at their mean rank."""
    _, place, n = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(n)
    return np.asarray((last - (n - 1) / 2)[place], np.float64)


def auc_samples(present: NDArray[np.bool_], scores: Numbers, of: NDArray[np.int64]) -> Numbers:
    """Return float64[1 + RESAMPLES]: the area of `auc`, then that of every sample of its interval; NaN for a sample that has only one of the two."""
    return _auc(present, scores, _whole_and_drawn(of))


def interval_of(samples: Numbers) -> Interval:
    """Return a figure with its 95 % percentile-bootstrap interval.

    Args:
        samples: float64[1 + RESAMPLES]: the figure itself, then that of every sample; NaN where a sample has none.
    """
    if np.isnan(samples[0]) or np.isnan(samples[1:]).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.nanpercentile(samples[1:], [2.5, 97.5])
    return Interval(float(samples[0]), float(low), float(high))


def _whole_and_drawn(of: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.concatenate([np.ones((1, of.size), np.float32), drawn_weights(of)])


def _auc(present: NDArray[np.bool_], scores: Numbers, weights: NDArray[np.float32]) -> Numbers:
    """float64[B], one for each row of float32[B, N]. Equal scores are one step of the curve."""
    order = np.argsort(scores, kind="stable")
    first_of_step = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    yes, no = (np.add.reduceat(weights[:, order] * chosen[order], first_of_step, axis=1, dtype=np.float64) for chosen in (present, ~present))
    below = np.cumsum(no, axis=1) - no / 2
    pairs = yes.sum(axis=1) * no.sum(axis=1)
    return _ratio((yes * below).sum(axis=1), pairs, least=0.0)


def _pearson(first: Numbers, second: Numbers, weights: NDArray[np.float32]) -> Numbers:
    """float64[B], one for each row of float32[B, N]."""
    # Centred first, so that squares of large numbers do not cancel.
    x, y = first - first.mean(), second - second.mean()
    total = weights.sum(axis=1, dtype=np.float64)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (weights @ each / total for each in (x, y, x * x, y * y, x * y))
    spread = np.sqrt(np.maximum(mean_xx - mean_x**2, 0) * np.maximum(mean_yy - mean_y**2, 0))
    return _ratio(mean_xy - mean_x * mean_y, spread, least=1e-12)


def _ratio(above: Numbers, below: Numbers, *, least: float) -> Numbers:
    """NaN where there is nothing to divide by."""
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > least), np.float64)
