"""The first line of a record file: when, with what and from what the rest was made."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from edge.package import Package
from edge.stage import ActionUnits, Output, Role, Scores, frame_labels, of_frame

HEADER_SCHEMA = "edge.header/1"

# The same library comes in several distributions; the first one that is installed counts.
_DISTRIBUTIONS = {
    "edge": ("facial-affect-edge",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a reader of the records must know.

    Attributes:
        t_wall: Wall time of the start, RFC 3339, UTC; the only wall time in a file.
        versions: Name to version of what made the records; what is not installed is absent.
        package: Name of the model package.
        package_sha256: Its identity.
        trained: False for networks that were never trained: their numbers mean nothing.
        au_quantity: Whether action units are presences (probabilities) or intensities (0 none, 1 maximum); None where the package has none.
        low_confidence: Labels that the package cannot vouch for.
        score_labels: Labels of the package's own for faces, beyond the contract's emotions.
        frame_labels: What it says of whole pictures: labels by role, `emotions`, `action_units` or `scores`; empty where it looks at faces only.
        source: Name of the source.
        settings: The settings of the run, as they were used.
    """

    t_wall: str
    versions: Mapping[str, str]
    package: str
    package_sha256: str
    trained: bool
    au_quantity: Literal["presence", "intensity"] | None
    low_confidence: tuple[str, ...]
    score_labels: tuple[str, ...]
    source: str
    settings: Mapping[str, Any]
    frame_labels: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the contract's JSON object."""
        return {
            "schema": HEADER_SCHEMA,
            "t_wall": self.t_wall,
            "versions": dict(self.versions),
            "package": {
                "name": self.package,
                "sha256": self.package_sha256,
                "trained": self.trained,
                "au_quantity": self.au_quantity,
                "low_confidence": list(self.low_confidence),
                "score_labels": list(self.score_labels),
                "frame_labels": {role: list(labels) for role, labels in self.frame_labels.items()},
            },
            "source": self.source,
            "settings": dict(self.settings),
        }


def make_header(package: Package, *, source: str, settings: Mapping[str, Any], gstreamer: str | None) -> Header:
    """Collect the facts of a run that starts now.

    Args:
        package: The model package.
        source: Name of the source.
        settings: The settings as they are used; JSON types only.
        gstreamer: Version of GStreamer, which no Python distribution tells; None where it is not used.
    """
    stages = package.manifest.stages
    outputs: list[Output] = [output for stage in stages for output in stage.outputs]
    of_faces = [output for stage in stages if stage.name not in of_frame(stages) for output in stage.outputs]
    quantities = [output.quantity for output in outputs if isinstance(output, ActionUnits)]
    return Header(
        t_wall=datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        versions=installed_versions() | ({"gstreamer": gstreamer} if gstreamer else {}),
        package=package.name,
        package_sha256=package.sha256,
        trained=package.manifest.trained,
        au_quantity=quantities[0] if quantities else None,
        low_confidence=package.manifest.low_confidence,
        score_labels=tuple(label for output in of_faces if isinstance(output, Scores) for label in output.labels),
        source=source,
        settings=settings,
        frame_labels=frame_labels(stages),
    )


def installed_versions() -> dict[str, str]:
    """Return the version of Python and of each library that is installed, without importing any."""
    versions = {"python": platform.python_version()}
    for name, distributions in _DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                versions[name] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
            break
    return versions
