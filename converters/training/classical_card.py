"""Measures a classical system as it was written to disk, and writes what it came to: the card and the picture of its confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.original import Original
from converters.training.chosen_faces import ChosenFaces
from converters.training.fer2013 import PRIVATE_TEST, PUBLIC_TEST, TRAINING, Fer2013, Labels
from converters.training.report import PICTURE, Card, Result, Variant, data_of, draw_confusion, hashes_of, measure, measure_whole, versions_of, write_card
from edge.stage import CropInput, Emotions, Stage

SEED = 20131


@dataclass(frozen=True)
class Account:
    """What only the training of a system can tell.

    Attributes:
        name: Of the system.
        recipe: Step by step.
        reported: By the document.
        remarks: What a reader must know to compare.
        libraries: Distributions whose versions count.
        variants: Other recipes.
    """

    name: str
    recipe: tuple[str, ...]
    reported: Mapping[str, float]
    remarks: tuple[str, ...]
    libraries: tuple[str, ...]
    variants: tuple[Variant, ...]


def crop_and_labels(stage: Stage) -> tuple[CropInput, tuple[str, ...]]:
    """Return what a stage takes and what it tells apart."""
    (output,) = stage.outputs
    assert isinstance(stage.input, CropInput)
    assert isinstance(output, Emotions)
    return stage.input, output.labels


def most_likely(original: Original, faces: ChosenFaces, stage: Stage) -> Labels:
    """Run a network in its own framework and return the most likely class of each face, int64[N]."""
    spec, _ = crop_and_labels(stage)
    return np.asarray(original.run({spec.tensor: faces.inputs(spec)})[stage.outputs[0].tensor].argmax(axis=1), np.int64)


def variant(recipe: str, faces: Mapping[str, ChosenFaces], predicted: Mapping[str, Labels], labels: Sequence[str]) -> Variant:
    """Measure another recipe on PublicTest and PrivateTest."""
    validation, test = (measure(faces[split].truth, predicted[split], labels) for split in (PUBLIC_TEST, PRIVATE_TEST))
    return Variant(recipe=recipe, validation_accuracy=validation.accuracy, test_accuracy=test.accuracy, test_macro_f1=test.macro_f1)


def write_account(account: Account, original: Original, stage: Stage, data: Fer2013, faces: Mapping[str, ChosenFaces], *, weights: Path) -> Card:
    """Measure a system and write its card and picture beside its weights.

    Args:
        account: What its training tells.
        original: The system, loaded from `weights`.
        stage: Its stage.
        data: The data set.
        faces: Of each split.
        weights: The file that was written.

    Returns:
        The card.
    """
    _, labels = crop_and_labels(stage)
    results: dict[str, Result] = {}
    for split in (PUBLIC_TEST, PRIVATE_TEST):
        results[split] = measure(faces[split].truth, most_likely(original, faces[split], stage), labels)
    test = results[PRIVATE_TEST]
    folder = weights.parent
    title = f"{account.name} on PrivateTest of FER2013: {100 * test.accuracy:.1f} % of {test.n}"
    draw_confusion(test, labels, folder / PICTURE, title=title)
    card = Card(
        name=account.name,
        recipe=account.recipe,
        seed=SEED,
        data=data_of(data),
        n_training=len(faces[TRAINING].truth),
        n_validation=results[PUBLIC_TEST].n,
        labels=labels,
        validation=results[PUBLIC_TEST],
        test=test,
        whole_test=measure_whole(test, faces[PRIVATE_TEST].n_pictures),
        reported=dict(account.reported),
        remarks=(*account.remarks, _counts(faces[TRAINING], labels), _commonest(faces[PRIVATE_TEST], labels)),
        versions=versions_of(*account.libraries),
        files=hashes_of(folder, (weights.name, PICTURE)),
        variants=account.variants,
    )
    write_card(card, folder)
    return card


def _counts(faces: ChosenFaces, labels: Sequence[str]) -> str:
    counts = np.bincount(faces.truth, minlength=len(labels)).tolist()
    return "faces trained on: " + ", ".join(f"{label} {count}" for label, count in zip(labels, counts, strict=True))


def _commonest(faces: ChosenFaces, labels: Sequence[str]) -> str:
    counts = np.bincount(faces.truth, minlength=len(labels))
    return f"always answering {labels[int(counts.argmax())]} would be right for {100 * counts.max() / counts.sum():.1f} % of the test"
