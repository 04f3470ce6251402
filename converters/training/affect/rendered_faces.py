"""Rendered faces as our network learns from them and is judged on them: all fifteen units and the pose known exactly, each unit drawn on its own.

The people of one split are in no other. A person's pictures, and what the teacher says of them, are kept in the user's cache folder: a run that was stopped
goes on with the next person.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

import calibration.rendering
from calibration.rendering.geometry import FaceModel, load_face_model
from calibration.rendering.render import render
from calibration.rendering.scene import Person, Scene, draw_independent_scene, draw_person
from converters.registry import Say
from converters.training.affect.labelled_faces import POINTS, UNITS, LabelledFaces, Numbers
from converters.training.affect.teacher import Teacher
from converters.training.fer2013 import Labels
from converters.training.kept_arrays import kept, networks_sha256
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine import choose, open_engines
from edge.errors import ConfigError
from edge.face import Face
from edge.frame import Pixels
from edge.package import load_package
from edge.result import EMOTIONS

Split = Literal["train", "validation", "test"]

SIZE_PX = 160
DETECTOR = "blazeface"
# The first part of the seed of each person.
_SEEDS: Mapping[Split, int] = {"train": 1, "validation": 2, "test": 3}
# What figures are told apart by: sRGB luminance of the skin in [0, 1]; thickness of glasses in centimetres and density of a beard, 0 for none; strength of the
# lamp and of the light from all sides.
TRAITS = ("skin", "glasses", "beard", "lamp", "ambient")
# Source: ITU-R BT.709.
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_PICTURE = np.dtype([("pixels", "u1", (SIZE_PX, SIZE_PX)), ("units", "f4", (len(UNITS),)), ("pose", "f4", (3,)), ("traits", "f4", (len(TRAITS),))])
_SAY_EVERY = 100


@dataclass(frozen=True)
class RenderedPeople:
    """Pictures of the people of a split, with what was rendered.

    Attributes:
        pictures: uint8[N, 160, 160], gray.
        units: float32[N, 15]: intensities of the units that were drawn, 0 for the others.
        pose: float32[N, 3]: yaw, pitch and roll in degrees, as `edge.result.Pose`.
        person: int64[N]: whose face, from 0.
        traits: float32[N] by the names of `TRAITS`.
    """

    pictures: Pixels
    units: Numbers
    pose: Numbers
    person: Labels
    traits: Mapping[str, Numbers]


def rendered_people(geometry: Path, *, split: Split, n_people: int, per_person: int, say: Say, processes: int) -> RenderedPeople:
    """Render people of a split; arguments as those of `rendered_faces`, the teacher is not asked.

    Raises:
        ConfigError: The geometry cannot be read, or nothing is asked for.
    """
    people, _ = _read_all(partial(_person_without_points, geometry.resolve(), split, per_person), n_people, per_person, say, processes, split)
    return people


def rendered_faces(geometry: Path, *, split: Split, n_people: int, per_person: int, say: Say, processes: int) -> LabelledFaces:
    """Render people of a split, and have the teacher say where their points are: NaN where the detector or the teacher is not sure of a face.

    Args:
        geometry: ICT-FaceKit's face model, see `calibration.rendering.geometry`.
        split: Whose people.
        n_people: How many.
        per_person: Pictures of each.
        say: Takes progress lines.
        processes: How many work at once.

    Raises:
        ConfigError: The geometry cannot be read, or nothing is asked for.
        PackageNotFound: The detector or the teacher was never pulled.
        PackageError: One of them cannot be used.
        EngineError: A network cannot be loaded.
    """
    # Who lacks a package learns it at once, and not from each process.
    load_package(DETECTOR)
    Teacher().close()
    people, points = _read_all(partial(_person_with_points, geometry.resolve(), split, per_person), n_people, per_person, say, processes, split)
    n = len(points)
    say(f"renders: the teacher is sure of {int(np.isfinite(points).all((1, 2)).sum())} of {n} faces of {split}")
    return LabelledFaces(
        pictures=people.pictures,
        points=points,
        units=people.units,
        seen=np.full((n, len(EMOTIONS)), np.nan, np.float32),
        labels=np.full(n, -1, np.int64),
        pose=people.pose,
        source=f"rendered faces, {split}",
    )


def draw_scenes(split: Split, number: int, per_person: int) -> list[Scene]:
    """Draw the scenes of a split's person: the same for the same split and number."""
    rng = np.random.default_rng([_SEEDS[split], number])
    name, person = f"{split}-{number}", draw_person(rng)
    return [draw_independent_scene(rng, name=name, person=person, size_px=SIZE_PX) for _ in range(per_person)]


_OnePerson = Callable[[int], tuple[NDArray[Any], Numbers]]


def _read_all(one_person: _OnePerson, n_people: int, per_person: int, say: Say, processes: int, split: Split) -> tuple[RenderedPeople, Numbers]:
    if min(n_people, per_person, processes) < 1:
        raise ConfigError(f"expected people, pictures of each and processes, got {n_people}, {per_person} and {processes}", hint="ask for one at least of each")
    pictures = np.empty((n_people, per_person), _PICTURE)
    points = np.empty((n_people, per_person, len(POINTS), 3), np.float32)
    for number, (rows, row_points) in enumerate(_in_processes(one_person, n_people, processes)):
        pictures[number], points[number] = rows, row_points
        if (number + 1) % _SAY_EVERY == 0 or number + 1 == n_people:
            say(f"renders: {number + 1} of {n_people} people of {split}")
    rows = pictures.ravel()
    traits = {name: np.ascontiguousarray(rows["traits"][:, column]) for column, name in enumerate(TRAITS)}
    pixels, units, pose = (np.ascontiguousarray(rows[name]) for name in ("pixels", "units", "pose"))
    return RenderedPeople(pixels, units, pose, np.repeat(np.arange(n_people), per_person), traits), points.reshape(-1, len(POINTS), 3)


def _in_processes(one_person: _OnePerson, n_people: int, processes: int) -> Iterator[tuple[NDArray[Any], Numbers]]:
    # Not forked: the parent's threads hold locks that nobody would free.
    with ProcessPoolExecutor(min(processes, n_people), multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        try:
            yield from pool.map(one_person, range(n_people))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _person_without_points(geometry: Path, split: Split, per_person: int, number: int) -> tuple[NDArray[Any], Numbers]:
    model = _model(geometry)
    depends_on = ("rendered person", _renderer_sha256(), model.sha256, split, str(number), str(per_person))
    return kept(depends_on, partial(_rendered, model, draw_scenes(split, number, per_person))), np.full((per_person, len(POINTS), 3), np.nan, np.float32)


def _person_with_points(geometry: Path, split: Split, per_person: int, number: int) -> tuple[NDArray[Any], Numbers]:
    rows, _ = _person_without_points(geometry, split, per_person, number)
    lookers = _lookers()
    depends_on = ("points of renders", *lookers.fingerprint, rows["pixels"].tobytes())
    return rows, kept(depends_on, lambda: np.stack([lookers.points(gray) for gray in rows["pixels"]]))


def _rendered(model: FaceModel, scenes: list[Scene]) -> NDArray[Any]:
    rows = np.empty(len(scenes), _PICTURE)
    for row, scene in zip(rows, scenes, strict=True):
        shot = scene.shot
        row["pixels"] = cv2.cvtColor(render(model, scene, SIZE_PX), cv2.COLOR_RGB2GRAY)
        row["units"] = [scene.action_units.get(unit, 0.0) for unit in UNITS]
        row["pose"] = shot.yaw_deg, shot.pitch_deg, shot.roll_deg
        row["traits"] = np.array([*_looks(scene.person), np.mean(shot.lamp), np.mean(shot.ambient)])
    return rows


def _looks(person: Person) -> tuple[float, float, float]:
    return float(_LUMINANCE @ person.skin), person.glasses, person.beard


# Of each process: opened once, and closed with it.
@lru_cache(maxsize=1)
def _model(geometry: Path) -> FaceModel:
    return load_face_model(geometry)


@lru_cache(maxsize=1)
def _lookers() -> _Lookers:
    return _Lookers()


@lru_cache(maxsize=1)
def _renderer_sha256() -> str:
    """Whatever changes in the renderer may change its pictures."""
    (folder,) = calibration.rendering.__path__
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(folder).glob("*.py")))).hexdigest()


class _Lookers:
    """The detector and the teacher."""

    def __init__(self) -> None:
        package = load_package(DETECTOR)
        self._detector = FaceDetector(package, open_engines(package, choose("onnxruntime", "fp32", package)))
        self._teacher = Teacher()
        self.fingerprint = (networks_sha256(package), self._teacher.fingerprint)

    def points(self, gray: Pixels) -> Numbers:
        """`POINTS` of the face in a render, float32[17, 3]; NaN where one of them is not sure."""
        rgb = np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), np.uint8)
        face = self._face(rgb)
        lesson = self._teacher.read(rgb, face) if face is not None else None
        return lesson.points if lesson is not None and lesson.is_sure else np.full((len(POINTS), 3), np.nan, np.float32)

    def _face(self, rgb: Pixels) -> Face | None:
        """The best one that the picture's middle lies in: what is behind may look like a face too."""
        middle = SIZE_PX / 2
        for face in self._detector.detect(rgb, StageTimes(), all_views=True):
            left, top, right, bottom = face.box_ltrb_px
            if left < middle < right and top < middle < bottom:
                return face
        return None
