"""Faces with all that is known of them: the one form in which photographs and renders reach the training."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.training.fer2013 import LABELS, Labels
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.result import ACTION_UNITS, EMOTIONS

Numbers = NDArray[np.float32]

UNITS = ACTION_UNITS

# The points that the network gives, in its order, and their indices in MediaPipe's mesh. "Right" is the person's: on the left of an unmirrored picture.
POINTS = (
    ("right_eye_outer", 33),
    ("right_eye_inner", 133),
    ("left_eye_inner", 362),
    ("left_eye_outer", 263),
    ("right_side", 234),
    ("left_side", 454),
    ("forehead", 10),
    ("chin", 152),
    ("nose_tip", 1),
    ("mouth_right", 61),
    ("mouth_left", 291),
    ("upper_lip", 13),
    ("lower_lip", 14),
    ("right_brow_inner", 55),
    ("right_brow_outer", 70),
    ("left_brow_inner", 285),
    ("left_brow_outer", 300),
)

_HINT = "make the file again: it is written by LabelledFaces.save"


@dataclass(frozen=True)
class LabelledFaces:
    """Pictures of one face each, row by row with their labels; NaN (-1 for `labels`) where something is not known.

    Attributes:
        pictures: uint8[N, S, S], gray.
        points: float32[N, 17, 3]: `POINTS` in picture pixels (the first reaches from 0 to 1); z in the same unit, away from the camera.
        units: float32[N, 15]: intensities of `UNITS`, 0 none, 1 maximum.
        seen: float32[N, 7]: shares of the people who saw each of `edge.result.EMOTIONS`; rows sum to 1.
        labels: int64[N], indices into `converters.training.fer2013.LABELS`.
        pose: float32[N, 3]: yaw, pitch and roll in degrees, as `edge.result.Pose`.
        source: Where they come from.

    Raises:
        ConfigError: An array has another dtype, shape or range.
    """

    pictures: Pixels
    points: Numbers
    units: Numbers
    seen: Numbers
    labels: Labels
    pose: Numbers
    source: str

    def __post_init__(self) -> None:
        n, side = len(self.pictures), self.pictures.shape[-1]
        wanted = {
            "pictures": ("uint8", (n, side, side)),
            "points": ("float32", (n, len(POINTS), 3)),
            "units": ("float32", (n, len(UNITS))),
            "seen": ("float32", (n, len(EMOTIONS))),
            "labels": ("int64", (n,)),
            "pose": ("float32", (n, 3)),
        }
        for name, (dtype, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise ConfigError(f"{self.source}: expected {dtype}{list(shape)} for '{name}', got {array.dtype}{list(array.shape)}")
        if n and not -1 <= self.labels.min() <= self.labels.max() < len(LABELS):
            raise ConfigError(f"{self.source}: expected labels from -1 to {len(LABELS) - 1}, got {self.labels.min()} to {self.labels.max()}")
        if ((self.units < 0) | (self.units > 1)).any():
            raise ConfigError(f"{self.source}: expected 'units' from 0 to 1, got {np.nanmin(self.units):.3g} to {np.nanmax(self.units):.3g}")
        sums = np.where(np.isnan(self.seen).all(axis=1), 1.0, self.seen.sum(axis=1))
        if wrong := np.flatnonzero(~(np.abs(sums - 1) < 1e-3)).tolist():
            raise ConfigError(f"{self.source}: expected shares that sum to 1, or NaN throughout, for 'seen': got {sums[wrong[0]]:.3g} in row {wrong[0]}")

    def __len__(self) -> int:
        return len(self.pictures)

    def chosen(self, rows: NDArray[np.bool_]) -> LabelledFaces:
        """Return some of the faces: bool[N], true for those."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "source"}
        return LabelledFaces(**arrays, source=self.source)

    def save(self, path: Path) -> None:
        """Write everything to an `.npz`."""
        with path.open("wb") as file:
            arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> LabelledFaces:
        """Read what `save` wrote.

        Raises:
            ConfigError: There is no such file, or it holds something else.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays: dict[str, Any] = {field.name: stored[field.name] for field in fields(cls)}
            return cls(**(arrays | {"source": str(arrays["source"])}))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}", hint=_HINT) from error
        except (OSError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{path} cannot be read as labelled faces: {error}", hint=_HINT) from error
