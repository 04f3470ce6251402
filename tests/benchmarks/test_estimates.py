from __future__ import annotations

import pytest

from benchmarks.estimates import flips_per_100, median_interval, percentile, percentiles, spread


def test_percentiles_interpolate_between_samples() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value for a percentile, got none"):
        percentile([], 50)


def test_interval_is_the_same_every_time_and_holds_the_median() -> None:
    values = [1.0, 1.1, 0.9, 1.05, 0.95]
    interval = median_interval(values)
    assert interval == median_interval(values)
    assert min(values) <= interval.low <= interval.estimate == 1.0 <= interval.high <= max(values)


def test_interval_is_as_wide_as_the_samples_disagree() -> None:
    near, far = median_interval([1.0, 1.01, 0.99, 1.0, 1.0]), median_interval([1.0, 2.0, 0.5, 1.5, 0.7])
    assert far.high - far.low > 10 * (near.high - near.low)
    same = median_interval([2.0, 2.0, 2.0])
    assert (same.low, same.estimate, same.high) == (2.0, 2.0, 2.0)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    import numpy as np

    random = np.random.default_rng(7)
    intervals = [median_interval(list(random.normal(1.0, 0.1, size=15))) for _ in range(60)]
    covered = sum(interval.low <= 1.0 <= interval.high for interval in intervals)
    assert covered >= 50  # of 60; 57 expected, and an interval of half the width covers about 40


def test_one_sample_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 2 values for an interval, got 1"):
        median_interval([1.0])


def test_spread() -> None:
    assert spread([8.0, 10.0, 11.0]) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("labels", "flips"),
    [
        (["happy", "happy", "sad", "sad", "happy"], 50.0),
        (["happy", None, "sad"], None),
        (["happy", "sad", None, "sad", "sad"], 50.0),
        ([None, None], None),
        ([], None),
        (["happy"] * 101, 0.0),
    ],
)
def test_flips_count_only_pairs_of_labelled_frames(labels: list[str | None], flips: float | None) -> None:
    assert flips_per_100(labels) == flips
