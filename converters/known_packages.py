"""The packages that `python -m converters pull` makes, by name."""

from __future__ import annotations

from converters.default_network import StoredRecipe, default_recipe
from converters.mediapipe_packages import BLAZEFACE, MESH_CHAIN, Recipe

DEFAULT = "default"
NAMES = ("blazeface", DEFAULT, "mesh-chain")


def recipe(name: str) -> Recipe | StoredRecipe:
    """Return how a package is made.

    Args:
        name: One of `NAMES`.

    Raises:
        ConversionError: The checkout lacks the weights that are stored in it, or they are not those of their card.
    """
    if name == "blazeface":
        return BLAZEFACE
    return MESH_CHAIN if name == "mesh-chain" else default_recipe()
