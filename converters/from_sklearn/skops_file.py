"""Reads estimators from `.skops` files: nothing in such a file is executed, and types that are not known are refused by name."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.tree._tree import Tree

from converters.errors import ConversionError

_PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib", ".sav"})
# scikit-learn's own types that skops leaves to its users. They hold numbers; what a decision tree holds is checked below.
_HARMLESS = frozenset(
    {
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
    }
)


@dataclass(frozen=True)
class LoadedEstimator:
    """An estimator and the file that it came from.

    Attributes:
        estimator: As it was saved.
        sha256: Of the file.
        made_with: The version of scikit-learn that wrote it, where that is not the installed one.
    """

    estimator: BaseEstimator
    sha256: str
    made_with: str


def load_skops(path: Path) -> LoadedEstimator:
    """Load an estimator without running anything that the file holds.

    Args:
        path: A file written by `skops.io.dump`.

    Raises:
        ConversionError: The file cannot be read, is a pickle, is damaged, holds types that are not scikit-learn's own, decision trees that lead outside
            themselves, or no estimator.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConversionError(f"{path} cannot be read ({error.strerror})", hint="expected a .skops file") from error
    if path.suffix.lower() in _PICKLE_SUFFIXES or content.startswith(b"\x80"):
        raise ConversionError(
            f"{path} is a pickle: loading one runs whatever its author put in, so it is not opened",
            hint="on the machine that trained it: python -c \"import joblib, skops.io; skops.io.dump(joblib.load('model.joblib'), 'model.skops')\"",
        )
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ConversionError(f"{path} is no .skops file: expected a zip archive, got {content[:4]!r}...", hint="save the estimator with skops.io.dump")
    damaged = f"{path} is a zip archive, but not one that skops can read"
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - _HARMLESS)
    except Exception as error:
        raise ConversionError(f"{damaged}: {type(error).__name__}: {error}", hint="save the estimator again with skops.io.dump") from error
    if unknown:
        raise ConversionError(
            f"{path} holds {', '.join(unknown)}: expected nothing but scikit-learn's estimators and numbers",
            hint="code of your own cannot be converted: put it in front of the estimator, and save the estimator alone",
        )
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = skops.io.loads(content, trusted=sorted(_HARMLESS))
    except Exception as error:
        raise ConversionError(f"{damaged}: {type(error).__name__}: {error}", hint="save the estimator again with skops.io.dump") from error
    if not isinstance(estimator, BaseEstimator):
        raise ConversionError(f"{path} holds a {type(estimator).__name__}: expected an estimator of scikit-learn", hint="save the fitted pipeline itself")
    for tree in _trees(estimator):
        if problem := _outside(tree):
            raise ConversionError(f"{path} holds a decision tree that was tampered with or damaged: {problem}", hint="save the estimator again")
    versions = [warning.message.original_sklearn_version for warning in caught if isinstance(warning.message, InconsistentVersionWarning)]
    return LoadedEstimator(estimator, hashlib.sha256(content).hexdigest(), made_with=versions[0] if versions else "")


def _trees(thing: Any) -> Iterator[Tree]:
    if isinstance(thing, Tree):
        yield thing
    elif isinstance(thing, list | tuple) or (isinstance(thing, np.ndarray) and thing.dtype == object):
        for part in thing:
            yield from _trees(part)
    elif isinstance(thing, dict):
        yield from _trees(list(thing.values()))
    elif type(thing).__module__.startswith("sklearn.") and hasattr(thing, "__dict__"):
        yield from _trees(vars(thing))


def _outside(tree: Tree) -> str:
    """Where a tree leads outside itself: native code follows these numbers without looking."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    number = np.arange(tree.node_count)
    is_leaf = left == -1
    for child in (left, right):
        # Children come after their parents in every tree that scikit-learn grows, so no path can go round in circles.
        if wrong := np.flatnonzero(~is_leaf & ((child <= number) | (child >= tree.node_count))).tolist():
            return f"node {wrong[0]} of {tree.node_count} leads to node {child[wrong[0]]}"
    if wrong := np.flatnonzero(~is_leaf & ((feature < 0) | (feature >= tree.n_features))).tolist():
        return f"node {wrong[0]} looks at feature {feature[wrong[0]]} of {tree.n_features}"
    return ""
