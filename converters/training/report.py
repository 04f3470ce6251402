"""Measures a trained network, and writes what it came to beside its weights: the card and the picture of its confusion matrix."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from converters.training.card import PICTURE, Card, Reported, Variant, write_card
from converters.training.fer2013 import N_IN_TEST, PRIVATE_TEST, PUBLIC_TEST, TRAINING, Faces, Fer2013, Labels
from converters.training.measure import Result, measure, measure_whole
from edge.package import file_sha256


@dataclass(frozen=True)
class Account:
    """What only the training of a system can tell.

    Attributes:
        name: Of the system.
        seed: Of every random number.
        recipe: Step by step.
        reported: By the document and its sources.
        remarks: What a reader must know to compare.
        libraries: Distributions whose versions count.
        variants: Other recipes.
    """

    name: str
    seed: int
    recipe: tuple[str, ...]
    reported: tuple[Reported, ...]
    remarks: tuple[str, ...]
    libraries: tuple[str, ...]
    variants: tuple[Variant, ...]


def variant(recipe: str, faces: Mapping[str, Faces], predicted: Mapping[str, Labels], labels: Sequence[str]) -> Variant:
    """Measure another recipe on PublicTest and PrivateTest."""
    validation, test = (measure(faces[split].truth, predicted[split], labels) for split in (PUBLIC_TEST, PRIVATE_TEST))
    return Variant(recipe=recipe, validation_accuracy=validation.accuracy, test_accuracy=test.accuracy, test_macro_f1=test.macro_f1)


def write_report(
    account: Account, data: Fer2013, faces: Mapping[str, Faces], predicted: Mapping[str, Labels], labels: tuple[str, ...], *, weights: Path
) -> Card:
    """Measure a system and write its card and picture beside its weights.

    Args:
        account: What its training tells.
        data: The data set.
        faces: Of each split.
        predicted: int64[N], the most likely class of every face of PublicTest and PrivateTest, by the network as it was loaded from `weights`.
        labels: K classes, in the order of the network's outputs.
        weights: The file that was written.

    Returns:
        The card.
    """
    validation, test = (measure(faces[split].truth, predicted[split], labels) for split in (PUBLIC_TEST, PRIVATE_TEST))
    folder = weights.parent
    draw_confusion(test, labels, folder / PICTURE, title=f"{account.name}: FER2013 PrivateTest, {100 * test.accuracy:.1f} % of {test.n}")
    card = Card(
        name=account.name,
        recipe=account.recipe,
        seed=account.seed,
        data={"file": data.file, "sha256": data.sha256, **{name: split.sha256 for name, split in data.splits.items()}},
        n_training=len(faces[TRAINING].truth),
        n_validation=validation.n,
        labels=labels,
        validation=validation,
        test=test,
        whole_test=measure_whole(test, faces[PRIVATE_TEST].n_pictures),
        reported=account.reported,
        remarks=(*account.remarks, *_pictures(data), _counts(faces[TRAINING], labels), _commonest(faces[PRIVATE_TEST], labels)),
        variants=account.variants,
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in account.libraries}},
        files={path.name: file_sha256(path) for path in (weights, folder / PICTURE)},
    )
    write_card(card, folder)
    return card


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


def _pictures(data: Fer2013) -> list[str]:
    return [
        f"{name} of the competition has {N_IN_TEST:,} pictures, of which {data.file} holds {len(data.splits[name].labels):,}"
        for name in (PUBLIC_TEST, PRIVATE_TEST)
        if len(data.splits[name].labels) != N_IN_TEST
    ]


def _counts(faces: Faces, labels: Sequence[str]) -> str:
    counts = np.bincount(faces.truth, minlength=len(labels)).tolist()
    return "faces trained on: " + ", ".join(f"{label} {count}" for label, count in zip(labels, counts, strict=True))


def _commonest(faces: Faces, labels: Sequence[str]) -> str:
    counts = np.bincount(faces.truth, minlength=len(labels))
    return f"always answering {labels[int(counts.argmax())]} would be right for {100 * counts.max() / counts.sum():.1f} % of the test"
