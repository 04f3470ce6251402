"""What a trained network came to: accuracy with its interval, recall of each class, macro F1, and the confusion matrix as numbers and as a picture."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from converters.training.fer2013 import Fer2013
from edge.package import file_sha256

Matrix = NDArray[np.int64]
Labels = NDArray[np.int64]

CARD = "card.json"
PICTURE = "confusion.png"

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


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Another recipe that was tried beside the shipped one: for information."""

    recipe: str
    validation_accuracy: float
    test_accuracy: float
    test_macro_f1: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`card.json`: how a network was trained and what it came to.

    Attributes:
        name: Of the system.
        recipe: What was done, step by step.
        seed: Of every random number.
        data: Name and SHA-256 of the data set's file, and SHA-256 of each split's pictures and labels.
        n_training: Pictures that it was trained on, before any balancing.
        n_validation: Pictures that decided about the schedule or the choice of parameters.
        labels: Classes, in the order of the network's outputs.
        validation: On the pictures that decided.
        test: On pictures that nothing was chosen by; those in which a face was found.
        whole_test: On all of them.
        reported: What the document, or its source, reports.
        remarks: What a reader must know to compare.
        variants: Other recipes.
        versions: Of the libraries.
        files: SHA-256 of the weights and of the picture of the confusion matrix.
    """

    name: str
    recipe: tuple[str, ...]
    seed: int
    data: dict[str, str]
    n_training: int
    n_validation: int
    labels: tuple[str, ...]
    validation: Result
    test: Result
    whole_test: WholeTest
    reported: dict[str, float]
    remarks: tuple[str, ...]
    versions: dict[str, str]
    files: dict[str, str]
    variants: tuple[Variant, ...] = ()


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


def confusion_matrix(truth: Labels, predicted: Labels, n_classes: int) -> Matrix:
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


def draw_confusion(result: Result, labels: Sequence[str], path: Path, *, title: str) -> None:
    """Draw a confusion matrix: each row's parts as percentages, with the number of pictures beside its label.

    Args:
        result: What to draw.
        labels: K classes.
        path: PNG file to be written.
        title: Above the matrix.
    """
    counts = np.array(result.confusion, np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    parts = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side_inch = 1.6 + 0.62 * len(labels)
    figure = Figure(figsize=(side_inch + 0.6, side_inch), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), [f"{label} ({int(total)})" for label, total in zip(labels, totals.ravel(), strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (pictures)")
    axes.set_title(title, fontsize=10)
    for (row, column), part in np.ndenumerate(parts):
        axes.text(column, row, f"{100 * part:.0f}", ha="center", va="center", color="white" if part > 0.5 else "black")
    figure.supxlabel("per cent of each true class", fontsize=8, color="gray")
    # No version in the file: the same numbers give the same picture.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def write_card(card: Card, folder: Path) -> None:
    """Write `card.json`."""
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")


def read_card(folder: Path) -> Card:
    """Read `card.json`."""
    return msgspec.json.decode((folder / CARD).read_bytes(), type=Card)


def data_of(data: Fer2013) -> dict[str, str]:
    """Return what a card says of the data set: the file's name and hash, and the hash of each split."""
    return {"file": data.file, "sha256": data.sha256, **{name: split.sha256 for name, split in data.splits.items()}}


def versions_of(*distributions: str) -> dict[str, str]:
    """Return the version of Python and of these installed distributions."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in distributions}}


def hashes_of(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of files of a folder by name."""
    return {name: file_sha256(folder / name) for name in names}
