"""Trains a system by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from converters.registry import Say
from converters.training.card import Card, table
from edge.errors import require


@dataclass(frozen=True)
class Recipe:
    """How a system is trained.

    Attributes:
        file: Name of its file beside this one.
        needs: Modules that it imports beside those that every system needs.
    """

    file: str
    needs: tuple[str, ...]


# Their files are imported when they are needed: each of them brings its own framework.
RECIPES: Mapping[str, Recipe] = {
    "embedding-mlp-7": Recipe("embedding_mlp", ("torch", "keras", "imblearn", "matplotlib")),
    "random-forest-5": Recipe("random_forest", ("sklearn", "skl2onnx", "skops", "matplotlib")),
    "hmm-5": Recipe("hmm", ("sklearn", "hmmlearn", "safetensors", "matplotlib")),
    "pca-mlp": Recipe("pca_mlp", ("sklearn", "skl2onnx", "skops", "matplotlib")),
}


def train(system: str, *, data: Path, out: Path, say: Say) -> list[str]:
    """Train a system on FER2013.

    Args:
        system: A key of `RECIPES`.
        data: The data set's file, see `converters.training.fer2013`.
        out: Folder that gets weights, card and the picture of the confusion matrix.
        say: Takes progress lines.

    Returns:
        What to print: a table of our figures and of those that others report, and the folder.

    Raises:
        ConfigError: The data set cannot be read, or holds too few faces.
        DownloadError: A third-party network cannot be had.
        EngineError: A network cannot be loaded.
        MissingDependency: A framework is not installed.
        PackageNotFound: The face detector is not installed.
    """
    recipe = RECIPES[system]
    for module in recipe.needs:
        require(module, install="make frameworks", why=f"training {system}")
    card: Card = import_module(f"converters.training.{recipe.file}").train(data, out, say)
    return [*table(card), str(out)]
