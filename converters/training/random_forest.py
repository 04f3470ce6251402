"""Trains `random-forest-5`: histograms of local binary patterns and a random forest, after document 002."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import skops.io
from sklearn.ensemble import RandomForestClassifier

from converters.from_sklearn.sklearn_original import SklearnOriginal
from converters.original import Array
from converters.registry import Say
from converters.systems.classical_systems import FOREST_FEATURES, FOREST_STAGE, WEIGHTS
from converters.training.card import Card, Reported, Variant
from converters.training.chosen_faces import ChosenFaces, choose_faces, crop_and_labels, most_likely
from converters.training.fer2013 import PRIVATE_TEST, PUBLIC_TEST, TRAINING, check_enough, read_fer2013
from converters.training.report import Account, variant, write_report
from edge.package import load_package

NAME = "random-forest-5"
SEED = 20131
N_TREES, N_LEAVES = 60, 500
_AT_ONCE = 2000


def train(data: Path, out: Path, say: Say) -> Card:
    """Train the forest, measure it and write `forest.skops`, `card.json` and `confusion.png`.

    Args:
        data: FER2013, as `converters.training.fer2013.read_fer2013` takes it.
        out: Folder to write to.
        say: Takes progress lines.

    Returns:
        The card.

    Raises:
        ConfigError: The data cannot be read, or holds too few faces.
        PackageNotFound: The package `blazeface`, which finds the faces, is not installed.
        EngineError: Its networks cannot be loaded.
    """
    fer2013 = read_fer2013(data)
    spec, labels = crop_and_labels(FOREST_STAGE)
    faces = choose_faces(fer2013, labels, spec, load_package("blazeface"), say=say)
    check_enough(fer2013, faces, labels, of_each=1)
    say(f"growing {N_TREES} trees")
    forest = RandomForestClassifier(N_TREES, max_leaf_nodes=N_LEAVES, class_weight="balanced", random_state=SEED)
    forest.fit(_rows(faces[TRAINING]), faces[TRAINING].truth)
    out.mkdir(parents=True, exist_ok=True)
    weights = out / WEIGHTS[NAME]
    skops.io.dump(forest, weights, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    original = SklearnOriginal.from_file(weights, FOREST_STAGE, features=FOREST_FEATURES)
    predicted = most_likely(original, faces, FOREST_STAGE)
    return write_report(_account(_fewer_trees(forest, faces, labels)), fer2013, faces, predicted, labels, weights=weights)


def _rows(faces: ChosenFaces) -> Array:
    spec, _ = crop_and_labels(FOREST_STAGE)
    inputs = faces.inputs(spec)
    return np.concatenate([FOREST_FEATURES.rows(inputs[start : start + _AT_ONCE]) for start in range(0, len(inputs), _AT_ONCE)])


def _fewer_trees(forest: RandomForestClassifier, faces: Mapping[str, ChosenFaces], labels: tuple[str, ...]) -> tuple[Variant, ...]:
    by_tree = {}
    for split in (PUBLIC_TEST, PRIVATE_TEST):
        rows = _rows(faces[split])
        by_tree[split] = np.array([tree.predict_proba(rows) for tree in forest.estimators_])
    return tuple(
        variant(f"the first {n} trees alone", faces, {split: answers[:n].sum(axis=0).argmax(axis=1) for split, answers in by_tree.items()}, labels)
        for n in (10, 30)
    )


def _account(variants: tuple[Variant, ...]) -> Account:
    across, down = FOREST_FEATURES.grid_wh
    return Account(
        name=NAME,
        seed=SEED,
        recipe=(
            "the five of FER2013's classes that the document has; faces found and cut by the runtime's own code, gray, 66x66 pixels",
            f"histograms of uniform local binary patterns in {across}x{down} cells of 8x8 pixels: {59 * across * down} counts",
            f"random forest of {N_TREES} trees with at most {N_LEAVES} leaves each, classes weighted by their rarity",
            "trained on Training; crop, grid, trees and leaves chosen on PublicTest by hand, the last two to keep the file under 3 MB; PrivateTest decided"
            " nothing",
        ),
        reported=(Reported(source="document 002, its own photographs", accuracy=0.513, macro_f1=0.438),),
        remarks=(
            "the document's figures are of a part of its own 1,380 photographs (0.5131 is 176 right of 343)",
            "the document computes texture or geometric features that it does not describe further",
        ),
        libraries=("scikit-learn", "skops", "numpy", "opencv-python-headless"),
        variants=variants,
    )
