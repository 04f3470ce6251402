"""How often emotions are right, class by class, and how far their probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from benchmarks.accuracy.metrics import Labels, Numbers, calibration_bins, cross_entropy, expected_calibration_error
from benchmarks.accuracy.truth import Truth
from converters.training.measure import wilson_interval
from edge.errors import ConfigError
from edge.result import EMOTIONS

# What stands in the last column of a confusion matrix: no face was found, no answer given. Counted wrong.
NO_FACE = "no face"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of some pictures, with its Wilson interval of 95 %.

    Attributes:
        n: Pictures.
        value: In [0, 1]; None of none.
        interval: Bounds.
    """

    n: int
    value: float | None
    interval: tuple[float, float] | None


class OfClass(msgspec.Struct, frozen=True, kw_only=True):
    """One class.

    Attributes:
        recall: Part of its `n` pictures that were called so.
        precision: Part of the `n` pictures called so that are.
        f1: Harmonic mean of the two; 0 where the class was never right.
    """

    recall: Part
    precision: Part
    f1: float


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """A bin of the reliability diagram: pictures whose most likely class was called about as likely."""

    n: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


class EmotionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the emotions of one output came to on one set of pictures.

    Attributes:
        output: Stage and tensor that gave them, as `face/seen`.
        labels: Whose classes are the truth.
        n: Pictures.
        n_without_face: Of them, those without an answer, counted wrong.
        accuracy: Part that was right.
        interval: Its 95 % interval (Wilson).
        macro_f1: Mean of F1 over the classes.
        per_class: By the contract's names.
        confusion: Pictures by true class (rows) and answer (columns), both in the order of `per_class`; the last column holds those without a face.
        expected_calibration_error: 15 bins, over the pictures with an answer.
        mean_confidence: Mean probability of the most likely class.
        reliability: The bins that hold pictures.
        votes_cross_entropy: Of the answers against the shares of the votes, in nats; None where there are no votes.
        votes_entropy: What an answer equal to the votes would come to: the least that can be.
    """

    output: str
    labels: str
    n: int
    n_without_face: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    per_class: dict[str, OfClass]
    confusion: tuple[tuple[int, ...], ...]
    expected_calibration_error: float
    mean_confidence: float
    reliability: tuple[Bin, ...]
    votes_cross_entropy: float | None = None
    votes_entropy: float | None = None


def emotion_figures(truth: Truth, probabilities: Numbers, *, output: str, labels: str) -> EmotionFigures:
    """Compare answers with the truth.

    Args:
        truth: M pictures.
        probabilities: float64[M, 7] in the order of `edge.result.EMOTIONS`; NaN where there is no answer.
        output: Who gave them.
        labels: Whose classes are the truth, in words.

    Raises:
        ConfigError: There is no picture, or no answer at all.
    """
    answered = ~np.isnan(probabilities).any(axis=1)
    if not answered.any():
        raise ConfigError(
            f"expected answers of {output} to some of {answered.size} pictures ({labels}), got none",
            hint="does the package find faces at all? edge-run --source sample",
        )
    confusion = confusion_with_absence(truth.emotion, probabilities)
    given, emotion = probabilities[answered], truth.emotion[answered]
    per_class = dict(zip(EMOTIONS, classes_of(confusion), strict=True))
    n_right = int(np.trace(confusion))
    bins = zip(*(array.tolist() for array in calibration_bins(given, emotion)), strict=True)
    shares = None if truth.shares is None else truth.shares[answered]
    return EmotionFigures(
        output=output,
        labels=labels,
        n=answered.size,
        n_without_face=int((~answered).sum()),
        accuracy=n_right / answered.size,
        interval=wilson_interval(n_right, answered.size),
        macro_f1=float(np.mean([each.f1 for each in per_class.values()])),
        per_class=per_class,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        expected_calibration_error=expected_calibration_error(given, emotion),
        mean_confidence=float(given.max(axis=1).mean()),
        reliability=tuple(Bin(n=n, confidence=confidence, accuracy=right, interval=wilson_interval(round(right * n), n)) for n, confidence, right in bins if n),
        votes_cross_entropy=None if shares is None else cross_entropy(shares, given),
        votes_entropy=None if shares is None else cross_entropy(shares, shares),
    )


def confusion_with_absence(truth: Labels, probabilities: Numbers) -> Labels:
    """Return int64[K, K + 1]: pictures by true class and most likely class; those whose probabilities are NaN are in the last column.

    Args:
        truth: int64[N] in [0, K).
        probabilities: float64[N, K].
    """
    n_classes = probabilities.shape[1]
    answer = np.where(np.isnan(probabilities).any(axis=1), n_classes, np.nan_to_num(probabilities).argmax(axis=1))
    counts = np.bincount(truth * (n_classes + 1) + answer, minlength=n_classes * (n_classes + 1))
    return counts.reshape(n_classes, n_classes + 1)


def classes_of(confusion: Labels) -> Sequence[OfClass]:
    """Return recall, precision and F1 of each class of int64[K, K + 1], see `confusion_with_absence`."""
    right = np.diag(confusion).tolist()
    of_class, called = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()[:-1]
    return [
        OfClass(recall=part(hits, n), precision=part(hits, as_such), f1=2 * hits / (n + as_such) if n + as_such else 0.0)
        for hits, n, as_such in zip(right, of_class, called, strict=True)
    ]


def part(hits: int, n: int) -> Part:
    """Return how many of `n` it was, with an interval; nothing of none."""
    return Part(n=n, value=hits / n, interval=wilson_interval(hits, n)) if n else Part(n=0, value=None, interval=None)


def accuracy_of(truth: Labels, probabilities: Numbers) -> Part:
    """Return how often the most likely class of float64[N, K] is int64[N]; NaN is wrong."""
    return part(int(np.trace(confusion_with_absence(truth, probabilities))), truth.size)
