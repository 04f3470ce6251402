"""Rendered faces for the training: whose they are, what is known of them, and that nothing is rendered twice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from converters.training.affect.labelled_faces import POINTS, UNITS
from converters.training.affect.rendered_faces import SIZE_PX, TRAITS, draw_scenes, rendered_faces, rendered_people
from edge.errors import ConfigError

GEOMETRY = "EDGE_FACE_GEOMETRY"
_NAMES = [name for name, _ in POINTS]


@pytest.fixture
def geometry() -> Path:
    path = os.environ.get(GEOMETRY, "")
    if not path:
        pytest.skip(f"the geometry is not in the repository: {GEOMETRY}=ict_facekit.npz runs this")
    return Path(path)


def test_people_are_of_one_split_and_come_again() -> None:
    people = {split: [draw_scenes(split, number, 2)[0].person for number in range(30)] for split in ("train", "validation", "test")}
    everyone = [person for some in people.values() for person in some]
    assert len(set(everyone)) == 90
    first, again = draw_scenes("test", 7, 3), draw_scenes("test", 7, 3)
    assert first == again
    assert len({scene.shot for scene in first}) == 3
    assert {scene.person for scene in first} == {first[0].person}


def test_everything_that_was_rendered_is_known(geometry: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []
    faces = rendered_faces(geometry, split="validation", n_people=2, per_person=3, say=said.append, processes=1)
    scenes = [scene for number in range(2) for scene in draw_scenes("validation", number, 3)]
    assert faces.pictures.shape == (6, SIZE_PX, SIZE_PX)
    assert faces.units.tolist() == [[np.float32(scene.action_units.get(unit, 0.0)) for unit in UNITS] for scene in scenes]
    np.testing.assert_allclose(faces.pose, [(scene.shot.yaw_deg, scene.shot.pitch_deg, scene.shot.roll_deg) for scene in scenes], rtol=1e-6)
    assert np.isnan(faces.seen).all()
    assert (faces.labels == -1).all()
    known = np.isfinite(faces.points).all((1, 2))
    assert known.sum() >= 4
    assert f"renders: the teacher is sure of {known.sum()} of 6 faces of validation" in said
    right, left, chin = (faces.points[known, _NAMES.index(name)] for name in ("right_eye_outer", "left_eye_outer", "chin"))
    assert (right[:, 0] < left[:, 0]).all()
    assert (chin[:, 1] > right[:, 1]).all()

    # What is there is not made again: the second run changes no file.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(before) == 4
    people = rendered_people(geometry, split="validation", n_people=2, per_person=3, say=said.append, processes=2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == before
    assert (people.pictures == faces.pictures).all()
    assert people.person.tolist() == [0, 0, 0, 1, 1, 1]
    assert set(people.traits) == set(TRAITS)
    np.testing.assert_allclose(people.traits["beard"], [scene.person.beard for scene in scenes], rtol=1e-6)
    assert ((people.traits["skin"] > 0) & (people.traits["skin"] < 1)).all()


def test_refusals(geometry: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected people, pictures of each and processes, got 0, 3 and 1"):
        rendered_people(geometry, split="test", n_people=0, per_person=3, say=print, processes=1)


def test_a_geometry_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.npz cannot be read as a face model"):
        rendered_people(tmp_path / "absent.npz", split="test", n_people=1, per_person=1, say=print, processes=1)
