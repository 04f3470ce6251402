"""The packages that `python -m converters pull` makes, by name."""

from __future__ import annotations

import msgspec

from converters.default_network import StoredRecipe, default_recipe
from converters.mediapipe_packages import BLAZEFACE, MESH_CHAIN, Recipe

DEFAULT = "default"
NAMES = ("blazeface", DEFAULT, "mesh-chain")
# `default` is our own network; otherwise the chain of MediaPipe's and fer's networks stands in for it, under its name.
OWN_NETWORK = False


def recipe(name: str) -> Recipe | StoredRecipe:
    """Return how a package is made.

    Args:
        name: One of `NAMES`.

    Raises:
        ConversionError: The checkout lacks the weights that are stored in it, or they are not those of their card.
    """
    if name == "blazeface":
        return BLAZEFACE
    if name == "mesh-chain":
        return MESH_CHAIN
    if OWN_NETWORK:
        return default_recipe()
    return Recipe(msgspec.structs.replace(MESH_CHAIN.manifest, name="default"), MESH_CHAIN.sources, MESH_CHAIN.max_relative_error)
