"""The faces of FER2013 that show some of its seven emotions, cut for one stage; and what a stage's original says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.original import Array, Original
from converters.registry import Say
from converters.training.fer2013 import LABELS, TRAINING, Fer2013, Labels, Split, cut_faces, find_faces
from edge import crop
from edge.frame import Pixels
from edge.package import Package
from edge.stage import CropInput, Emotions, Stage


@dataclass(frozen=True)
class ChosenFaces:
    """Crops of one split.

    Attributes:
        crops: uint8[N, height, width, 3], or uint8[N, height, width] where the network takes gray.
        truth: int64[N], indices into the labels that were asked for.
        n_pictures: Pictures with these labels, those included in which no face is found.
    """

    crops: Pixels
    truth: Labels
    n_pictures: int

    def inputs(self, spec: CropInput) -> Array:
        """Return what the network takes: float32[N, 1 or 3, height, width]."""
        return crop.batch(list(self.crops), spec)

    def rows(self, spec: CropInput) -> Array:
        """Return the same, float32[N, channels * height * width]."""
        return self.inputs(spec).reshape(len(self.truth), -1)


def crop_and_labels(stage: Stage) -> tuple[CropInput, tuple[str, ...]]:
    """Return what a stage takes and what it tells apart."""
    (output,) = stage.outputs
    assert isinstance(stage.input, CropInput)
    assert isinstance(output, Emotions)
    return stage.input, output.labels


def most_likely(original: Original, faces: Mapping[str, ChosenFaces], stage: Stage) -> dict[str, Labels]:
    """Run a network in its own framework and return the most likely class of each face, int64[N], by split; the training's faces are left out."""
    spec, _ = crop_and_labels(stage)
    answers = {split: original.run({spec.tensor: chosen.inputs(spec)}) for split, chosen in faces.items() if split != TRAINING}
    return {split: np.asarray(answer[stage.outputs[0].tensor].argmax(axis=1), np.int64) for split, answer in answers.items()}


def choose_faces(data: Fer2013, labels: Sequence[str], spec: CropInput, detector: Package, *, say: Say) -> dict[str, ChosenFaces]:
    """Find and cut the faces that show one of these emotions.

    Args:
        data: The data set.
        labels: Emotions, in the order in which the network gives them.
        spec: The crop that the network's stage takes.
        detector: A package of task `face-detection`.
        say: Takes progress lines.

    Returns:
        By the name of the split.

    Raises:
        EngineError: The detector's networks cannot be loaded.
    """
    return {name: _chosen(split, labels, spec, detector, say) for name, split in data.splits.items()}


def _chosen(split: Split, labels: Sequence[str], spec: CropInput, detector: Package, say: Say) -> ChosenFaces:
    faces = find_faces(split.pictures, detector, say=say)
    numbers = np.array([labels.index(label) if label in labels else -1 for label in LABELS])
    truth = numbers[split.labels]
    wanted = np.flatnonzero(truth >= 0)
    crops, found = cut_faces(split.pictures[wanted], [faces[number] for number in wanted], spec)
    say(f"{split.name}: a face in {len(found)} of {len(wanted)} pictures of {', '.join(labels)}")
    return ChosenFaces(crops, truth[wanted][found], len(wanted))
