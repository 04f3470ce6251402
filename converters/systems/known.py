"""The table of systems: every one that the documents describe."""

from __future__ import annotations

from collections.abc import Mapping

from converters.systems.classical_systems import SYSTEMS as CLASSICAL
from converters.systems.embedding_systems import SYSTEMS as EMBEDDING
from converters.systems.keras_systems import SYSTEMS as KERAS
from converters.systems.system import System
from converters.systems.torch_systems import SYSTEMS as TORCH
from converters.systems.torch_systems import inception_resnet_22, inceptionv4_22, resnet_22
from edge.errors import ConfigError

KNOWN: Mapping[str, System] = {system.id: system for system in (*KERAS, *TORCH, *CLASSICAL, *EMBEDDING)}


def variant(name: str, *, blocks: int | None = None, neutral_rule: bool = False) -> System:
    """Return a row of the table, or one that was varied.

    Args:
        name: Of the row.
        blocks: Residual blocks, 8 to 60; for `resnet18-22` only.
        neutral_rule: Rule E2 of document 004: the network has no output for neutral. For the networks of 22 outputs.

    Raises:
        ConfigError: The system has no such variant.
    """
    if blocks is None and not neutral_rule:
        return KNOWN[name]
    if name == "resnet18-22":
        return resnet_22(blocks=blocks or 8, neutral_rule=neutral_rule)
    if blocks is not None:
        raise ConfigError(f"--blocks is for resnet18-22, got {name}")
    if name not in _WITH_RULE:
        raise ConfigError(f"--neutral-rule is for resnet18-22 and {', '.join(_WITH_RULE)}, got {name}")
    return _WITH_RULE[name](neutral_rule=True)


_WITH_RULE = {"inceptionv4-22": inceptionv4_22, "inception-resnet-22": inception_resnet_22}
