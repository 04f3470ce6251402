"""The table of systems: every one that the documents describe."""

from __future__ import annotations

from collections.abc import Mapping

from converters.systems.classical_systems import SYSTEMS as CLASSICAL
from converters.systems.embedding_systems import SYSTEMS as EMBEDDING
from converters.systems.keras_systems import SYSTEMS as KERAS
from converters.systems.system import System
from converters.systems.torch_systems import SYSTEMS as TORCH
from converters.systems.torch_systems import variant_called

KNOWN: Mapping[str, System] = {system.id: system for system in (*KERAS, *TORCH, *CLASSICAL, *EMBEDDING)}


def named(name: str) -> System | None:
    """Return the row of this id, or the variant of one, see `torch_systems.variant_called`; None where there is no such system.

    Raises:
        ConfigError: A depth that is not offered.
    """
    return KNOWN.get(name) or variant_called(name)
