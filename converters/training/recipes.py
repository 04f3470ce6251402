"""The recipes by the name of their system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from converters.registry import Say
from converters.training import embedding_mlp, hmm, pca_mlp, random_forest
from converters.training.report import Card

RECIPES: Mapping[str, Callable[[Path, Path, Say], Card]] = {
    "embedding-mlp-7": embedding_mlp.train,
    "random-forest-5": random_forest.train,
    "hmm-5": hmm.train,
    "pca-mlp": pca_mlp.train,
}


def train(system: str, *, data: Path, out: Path, say: Say) -> list[str]:
    """Train a system on FER2013.

    Args:
        system: A key of `RECIPES`.
        data: The data set's file, see `converters.training.fer2013`.
        out: Folder that gets weights, card and the picture of the confusion matrix.
        say: Takes progress lines.

    Returns:
        What to print: the accuracy beside what the document reports, and where the files are.

    Raises:
        ConfigError: The data set cannot be read.
        DownloadError: A third-party network cannot be had.
        PackageNotFound: The face detector is not installed.
    """
    card = RECIPES[system](data, out, say)
    low, high = card.test.interval
    lines = [
        f"{system}: accuracy {card.test.accuracy:.1%} [{low:.1%}, {high:.1%}], macro F1 {card.test.macro_f1:.3f}, of {card.test.n} pictures with a face found"
    ]
    lines.append(f"  of all {card.whole_test.n}, a face not found counting as wrong: {card.whole_test.accuracy:.1%}")
    lines += [f"  {what}: {figure}" for what, figure in card.reported.items()]
    return [*lines, str(out)]
