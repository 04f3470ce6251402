"""What is known of a system before its networks are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from converters.original import Array, Original
from edge.package import Origin, Quality
from edge.stage import Stage

# Crops to give an untrained network the statistics of its layers, by stage name: float32[N, ...] as the stage's `input` asks for. A builder that needs no such
# thing ignores them.
Warmth = Mapping[str, Mapping[str, Array]]
# Makes the networks of a system by stage name, from the inputs of its first stages and a seed.
Build = Callable[[Warmth, int], dict[str, Original]]


@dataclass(frozen=True)
class System:
    """One row of the table of systems.

    Attributes:
        id: Its name, which is also its package's.
        document: Where it is described, in a few words.
        framework: What its networks are defined in.
        description: One line: input, network, output; says `reconstruction` where the description leaves the figures out.
        reported: What the document reports, with its conditions.
        stages: As in the package.
        build: Makes the networks: untrained and seeded, or from the weights that we trained, where `trained`.
        licence: Of the networks.
        trained: The builder's weights were trained by us.
        detector: Package that finds its faces; empty for whole pictures.
        origins: Third-party networks inside.
        quality: Limits past which numbers are withheld.
        cpu_only: Why no GPU engine can hold it.
        load: Makes the networks from a checkpoint of the framework, where it can; weights alone, nothing in the file runs.
        max_relative_error: Limit of the parity run, as a fraction of each output's own deviation over the inputs.
    """

    id: str
    document: str
    framework: Literal["PyTorch", "Keras", "scikit-learn", "hmmlearn", "dlib and Keras"]
    description: str
    reported: str
    stages: tuple[Stage, ...]
    build: Build
    licence: str = "Apache-2.0"
    trained: bool = False
    detector: str = "blazeface"
    origins: tuple[Origin, ...] = ()
    quality: Quality = field(default_factory=Quality)
    cpu_only: str = ""
    load: Callable[[Path], dict[str, Original]] | None = None
    max_relative_error: float = 1e-3
