"""How good a network's answers are: accuracy with its interval, recall of each class, macro F1, confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.training.fer2013 import Labels

# The standard normal distribution's 97.5 % point: two-sided intervals of 95 %.
_Z = 1.959964


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a network came to on one set of pictures.

    Attributes:
        n: Pictures.
        accuracy: Part of them that were classified right.
        interval: 95 % interval of the accuracy.
        macro_f1: Mean over the classes of F1, the harmonic mean of precision and recall; a class that is never right counts as 0.
        recall: Part of each class that was found, by label.
        confusion: Pictures by true class (rows) and predicted class (columns), in the order of the labels.
    """

    n: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    recall: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]


class WholeTest(msgspec.Struct, frozen=True, kw_only=True):
    """The same network on every picture of the test, where a picture without a face that the detector finds counts as wrong."""

    n: int
    n_without_face: int
    accuracy: float
    interval: tuple[float, float]


def measure(truth: Labels, predicted: Labels, labels: Sequence[str]) -> Result:
    """Compare predictions with the truth.

    Args:
        truth: int64[N], indices into `labels`.
        predicted: int64[N].
        labels: K classes.

    Returns:
        Accuracy, interval, macro F1, recall and confusion matrix.

    Raises:
        ValueError: There are no pictures, or the two differ in length.
    """
    if truth.shape != predicted.shape or not truth.size:
        raise ValueError(f"expected as many predictions as true classes, and at least one: got {predicted.size} for {truth.size}")
    matrix = confusion_matrix(truth, predicted, len(labels))
    right, of_class, as_class = (values.astype(np.float64) for values in (np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)))
    # F1 = 2 right / (of the class + taken for it); both 0 means that the class occurs nowhere.
    f1 = np.divide(2 * right, of_class + as_class, out=np.zeros_like(right), where=of_class + as_class > 0)
    recall = np.divide(right, of_class, out=np.zeros_like(right), where=of_class > 0)
    n, n_right = int(matrix.sum()), int(right.sum())
    return Result(
        n=n,
        accuracy=n_right / n,
        interval=wilson_interval(n_right, n),
        macro_f1=float(f1.mean()),
        recall=dict(zip(labels, recall.tolist(), strict=True)),
        confusion=tuple(tuple(row) for row in matrix.tolist()),
    )


def measure_whole(found: Result, n_pictures: int) -> WholeTest:
    """Return the same over all pictures of the test: where no face was found, the answer is wrong."""
    n_right = round(found.accuracy * found.n)
    return WholeTest(n=n_pictures, n_without_face=n_pictures - found.n, accuracy=n_right / n_pictures, interval=wilson_interval(n_right, n_pictures))


def confusion_matrix(truth: Labels, predicted: Labels, n_classes: int) -> NDArray[np.int64]:
    """Count pictures by true class (rows) and predicted class (columns).

    Args:
        truth: int64[N] in [0, n_classes).
        predicted: int64[N], likewise.
        n_classes: K.

    Returns:
        int64[K, K].
    """
    return np.bincount(truth * n_classes + predicted, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def wilson_interval(n_right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion.

    Args:
        n_right: How often it was so.
        n: Out of how many, at least 1.

    Returns:
        Lower and upper bound, in [0, 1].

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    part, z_squared = n_right / n, _Z * _Z
    center = (part + z_squared / (2 * n)) / (1 + z_squared / n)
    half = _Z * math.sqrt(part * (1 - part) / n + z_squared / (4 * n * n)) / (1 + z_squared / n)
    return max(0.0, center - half), min(1.0, center + half)
