"""What is known of a system before its networks are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from converters.original import Array, Original
from edge.package import Manifest, Origin, Quality
from edge.stage import Stage

# What we trained, and its cards, by the name of the system.
TRAINED = Path(__file__).resolve().parents[1] / "trained"

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
        load: Makes the networks from a user's weights: a checkpoint of the framework, or the folder that training wrote; nothing in them runs.
        licence: Of the networks.
        trained: The builder's weights were trained by us.
        detector: Package that finds its faces; empty for whole pictures.
        origins: Third-party networks inside.
        quality: Limits past which numbers are withheld.
        cpu_only: Why no GPU engine can hold it.
        max_relative_error: Limit of the parity run, as a fraction of each output's own deviation over the inputs.
    """

    id: str
    document: str
    framework: Literal["PyTorch", "Keras", "scikit-learn", "hmmlearn", "dlib and Keras"]
    description: str
    reported: str
    stages: tuple[Stage, ...]
    build: Build
    load: Callable[[Path], dict[str, Original]]
    licence: str = "Apache-2.0"
    trained: bool = False
    detector: str = "blazeface"
    origins: tuple[Origin, ...] = ()
    quality: Quality = field(default_factory=Quality)
    cpu_only: str = ""
    max_relative_error: float = 1e-3

    def manifest(self) -> Manifest:
        """Return the manifest of its package, without the hashes of its files."""
        return Manifest(
            schema="edge.package/1",
            name=self.id,
            task="face-affect",
            description=self.description,
            trained=self.trained,
            licence=self.licence,
            stages=self.stages,
            files={},
            origins=self.origins,
            detector=self.detector,
            quality=self.quality,
            cpu_only=self.cpu_only,
        )


def from_trained(name: str, load: Callable[[Path], dict[str, Original]]) -> Build:
    """Return the builder of a system that we trained: its own weights need neither warmth nor seed."""

    def build(_warmth: Warmth, _seed: int) -> dict[str, Original]:
        return load(TRAINED / name)

    return build
