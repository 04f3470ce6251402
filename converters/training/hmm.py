"""Trains `hmm-5`: one hidden Markov model for each class on principal components, after document 002, and measures a single chain of all pictures beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hmmlearn.hmm import GaussianHMM
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from converters.from_sklearn.hmm_original import HmmOriginal, HmmParameters
from converters.registry import Say
from converters.systems.classical_systems import HMM_STAGE, WEIGHTS
from converters.training.card import Card, Reported, Variant
from converters.training.chosen_faces import ChosenFaces, choose_faces, crop_and_labels, most_likely
from converters.training.fer2013 import PRIVATE_TEST, PUBLIC_TEST, TRAINING, Labels, check_enough, read_fer2013
from converters.training.report import Account, variant, write_report
from edge.package import load_package

NAME = "hmm-5"
SEED = 20131
N_STATES = 10
# How many principal components are tried, most likely best first; the others are told as variants.
N_COMPONENTS = (60, 40, 20)
_N_ITERATIONS = 20
_RARE = 1e-6

Rows = NDArray[np.float64]


def train(data: Path, out: Path, say: Say) -> Card:
    """Train the models, measure them and write `hmm.safetensors`, `card.json` and `confusion.png`.

    It takes minutes: hmmlearn walks through sequences one by one, and every picture is one.

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
    spec, labels = crop_and_labels(HMM_STAGE)
    faces = choose_faces(fer2013, labels, spec, load_package("blazeface"), say=say)
    check_enough(fer2013, faces, labels, of_each=N_STATES, in_all=max(N_COMPONENTS))
    pixels = {split: chosen.rows(spec) for split, chosen in faces.items()}
    pca = PCA(max(N_COMPONENTS), whiten=True, random_state=SEED).fit(pixels[TRAINING])
    rows = {split: pca.transform(each).astype(np.float64) for split, each in pixels.items()}
    fitted, variants = {}, {}
    for n in N_COMPONENTS:
        say(f"{len(labels)} models of {N_STATES} states on {n} components")
        fitted[n] = _fitted(pca, rows[TRAINING][:, :n], faces[TRAINING].truth, len(labels))
        predicted = most_likely(HmmOriginal(fitted[n], HMM_STAGE, sha256=""), faces, HMM_STAGE)
        variants[n] = variant(f"{n} components", faces, predicted, labels)
    best = max(N_COMPONENTS, key=lambda n: variants[n].validation_accuracy)
    say("what document 002 may have done: one chain over all pictures")
    chain = _one_chain({split: each[:, :best] for split, each in rows.items()}, faces, labels)
    out.mkdir(parents=True, exist_ok=True)
    weights = out / WEIGHTS[NAME]
    fitted[best].write(weights)
    predicted = most_likely(HmmOriginal.from_file(weights, HMM_STAGE), faces, HMM_STAGE)
    account = _account(best, (*(variants[n] for n in N_COMPONENTS if n != best), chain))
    return write_report(account, fer2013, faces, predicted, labels, weights=weights)


def _fitted(pca: Any, rows: Rows, truth: Labels, n_classes: int) -> HmmParameters:
    n = rows.shape[1]
    models = [_class_model(rows[truth == number]) for number in range(n_classes)]
    starts = np.array([np.maximum(model.startprob_, _RARE) for model in models])
    counts = np.bincount(truth, minlength=n_classes)
    return HmmParameters(
        center=pca.mean_.astype(np.float32),
        components=(pca.components_[:n] / np.sqrt(pca.explained_variance_[:n, np.newaxis])).astype(np.float32),
        start=(starts / starts.sum(axis=1, keepdims=True)).astype(np.float32),
        means=np.array([model.means_ for model in models], np.float32),
        # hmmlearn gives diagonal covariances back as matrices.
        variances=np.array([[np.diag(state) for state in model.covars_] for model in models], np.float32),
        prior=(counts / counts.sum()).astype(np.float32),
    )


def _class_model(rows: Rows) -> Any:
    """Every picture is a sequence of one, so that nothing is learned about transitions: they stay out of it."""
    model = GaussianHMM(N_STATES, params="smc", init_params="smc", n_iter=_N_ITERATIONS, random_state=SEED, min_covar=1e-2, means_weight=1.0)
    model.transmat_ = np.full((N_STATES, N_STATES), 1 / N_STATES)
    return model.fit(rows, [1] * len(rows))


def _one_chain(rows: Mapping[str, Rows], faces: Mapping[str, ChosenFaces], labels: tuple[str, ...]) -> Variant:
    model = GaussianHMM(N_STATES, n_iter=_N_ITERATIONS, random_state=SEED, min_covar=1e-2, means_weight=1.0).fit(rows[TRAINING])
    table = np.zeros((N_STATES, len(labels)), np.int64)
    np.add.at(table, (model.predict(rows[TRAINING]), faces[TRAINING].truth), 1)
    class_of_state = table.argmax(axis=1)
    recipe = (
        f"what document 002 may have done (it does not say): one model of {N_STATES} states, all training pictures as one chain, each state taken for its"
        " commonest class"
    )
    return variant(recipe, faces, {split: class_of_state[model.predict(rows[split])] for split in (PUBLIC_TEST, PRIVATE_TEST)}, labels)


def _account(n_components: int, variants: tuple[Variant, ...]) -> Account:
    tried = ", ".join(map(str, sorted(N_COMPONENTS)))
    return Account(
        name=NAME,
        seed=SEED,
        recipe=(
            "the five of FER2013's classes that the document has; faces found and cut by the runtime's own code, gray, histogram equalised, 32x32 pixels",
            f"{n_components} whitened principal components (of {tried}, the number that is best on PublicTest)",
            f"one Gaussian hidden Markov model of {N_STATES} states with diagonal covariances for each class; a picture is a sequence of one",
            "the class is the most likely one given the picture: likelihood times the class's share of the training pictures",
            "trained on Training; number of components chosen on PublicTest, crop by hand; PrivateTest decided nothing",
        ),
        reported=(Reported(source="document 002, its own photographs", accuracy=0.224, macro_f1=0.078),),
        remarks=(
            "the document's figures are of a part of its own 1,380 photographs (0.2245 is 77 right of 343)",
            "for single pictures such a model is a mixture of normal distributions: without sequences there are no transitions to learn",
        ),
        libraries=("hmmlearn", "scikit-learn", "safetensors", "numpy", "opencv-python-headless"),
        variants=variants,
    )
