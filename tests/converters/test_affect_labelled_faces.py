"""The one form of faces with labels: what it refuses, and that a file gives back what was put into it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.training.affect.labelled_faces import POINTS, UNITS, LabelledFaces
from edge.errors import ConfigError


def faces(n: int = 3, side_px: int = 48) -> LabelledFaces:
    rng = np.random.default_rng(3)
    seen = rng.random((n, 7)).astype(np.float32)
    units = rng.random((n, len(UNITS))).astype(np.float32)
    units[:1] = np.nan
    return LabelledFaces(
        pictures=rng.integers(0, 256, (n, side_px, side_px), dtype=np.uint8),
        points=rng.random((n, len(POINTS), 3)).astype(np.float32),
        units=units,
        seen=seen / seen.sum(axis=1, keepdims=True),
        labels=np.array([-1, 0, 6][:n], np.int64),
        pose=rng.normal(size=(n, 3)).astype(np.float32),
        source="drawn",
    )


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    before = faces()
    before.save(tmp_path / "faces.npz")
    after = LabelledFaces.load(tmp_path / "faces.npz")
    for field in fields(LabelledFaces):
        np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name))
    assert len(after) == 3


def test_no_faces_are_faces_too(tmp_path: Path) -> None:
    faces(0).save(tmp_path / "none.npz")
    assert len(LabelledFaces.load(tmp_path / "none.npz")) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pictures": np.zeros((3, 48, 40), np.uint8)}, r"drawn: expected uint8\[3, 40, 40\] for 'pictures', got uint8\[3, 48, 40\]"),
        ({"units": np.zeros((3, 14), np.float32)}, r"drawn: expected float32\[3, 15\] for 'units', got float32\[3, 14\]"),
        ({"points": np.zeros((3, 17, 3))}, r"drawn: expected float32\[3, 17, 3\] for 'points', got float64\[3, 17, 3\]"),
        ({"labels": np.array([0, 7, 0])}, r"drawn: expected labels from -1 to 6, got 0 to 7"),
        ({"units": np.full((3, 15), 1.5, np.float32)}, r"drawn: expected 'units' from 0 to 1, got 1.5 to 1.5"),
        ({"seen": np.full((3, 7), 0.5, np.float32)}, r"drawn: expected shares that sum to 1, or NaN throughout, for 'seen': got 3.5 in row 0"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(faces(), **changed)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"faces.npz cannot be read as labelled faces: .*No such file"):
        LabelledFaces.load(tmp_path / "faces.npz")
    np.savez(tmp_path / "faces.npz", pictures=np.zeros(3))
    with pytest.raises(ConfigError, match=r"faces.npz cannot be read as labelled faces: .*points"):
        LabelledFaces.load(tmp_path / "faces.npz")
    arrays: dict[str, Any] = {field.name: getattr(faces(), field.name) for field in fields(LabelledFaces)}
    np.savez(tmp_path / "faces.npz", **(arrays | {"pose": np.zeros((2, 3), np.float32)}))
    with pytest.raises(ConfigError, match=r"faces.npz: drawn: expected float32\[3, 3\] for 'pose', got float32\[2, 3\]\n  make the file again"):
        LabelledFaces.load(tmp_path / "faces.npz")
