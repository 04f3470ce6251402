"""FER2013 as our network learns from it and is judged on it: FER+ votes, the teacher's points and units, and no picture that a test holds too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.registry import Say
from converters.training.affect.labelled_faces import POINTS, UNITS, LabelledFaces, Numbers
from converters.training.affect.same_photograph import same_photographs
from converters.training.affect.teacher import Lesson, Teacher, sound
from converters.training.fer2013 import (
    CANVAS_CORNER_PX,
    CANVAS_SCALE,
    PRIVATE_TEST,
    PUBLIC_TEST,
    TRAINING,
    VOTES_FILE,
    Split,
    Votes,
    emotion_votes,
    find_faces,
    on_canvas,
    read_fer2013,
)
from converters.training.kept_arrays import kept, networks_sha256
from edge.errors import ConfigError
from edge.face import Face
from edge.frame import Pixels
from edge.package import load_package
from edge.stage import Landmarks

DETECTOR = "blazeface"

# What is read and kept at once: a run that was stopped goes on from there.
_BLOCK = 1000
_ROW = (len(POINTS) * 3, len(UNITS), 3, 1, 1, 4)


@dataclass(frozen=True)
class Fer2013Faces:
    """The data set, with all that is known of its pictures.

    Attributes:
        file: Name of the file.
        sha256: Its hash.
        splits: By name.
        n_left_out: By split: pictures that are not in it because a split that it must not know holds the same photograph.
        n_taught: By split: pictures with points, poses and units of the teacher.
    """

    file: str
    sha256: str
    splits: Mapping[str, LabelledFaces]
    n_left_out: Mapping[str, int]
    n_taught: Mapping[str, int]


def read_fer2013_faces(path: Path, *, say: Say) -> Fer2013Faces:
    """Read FER2013 with FER+, and what the teacher says of it. The teacher takes half an hour for all of it; what it said is kept in the user's cache folder.

    Args:
        path: As `converters.training.fer2013.read_fer2013` takes it, with votes.
        say: Takes progress lines.

    Raises:
        ConfigError: The file cannot be read, or has no votes.
        PackageNotFound: The detector or the teacher was never pulled.
        PackageError: One of them cannot be used.
        EngineError: A network cannot be loaded.
    """
    data = read_fer2013(path, with_unlabelled=True)
    if any(split.votes is None for split in data.splits.values()):
        raise ConfigError(f"{path} has no votes of FER+", hint=f"put {VOTES_FILE} beside it (github.com/microsoft/FERPlus), or use an .npz with them")
    public, private = data.splits[PUBLIC_TEST].pictures, data.splits[PRIVATE_TEST].pictures
    unknown_to = {TRAINING: np.concatenate([public, private]), PUBLIC_TEST: private}
    splits, n_left_out, n_taught = {}, {}, {}
    with Teacher() as teacher:
        for name, split in data.splits.items():
            lessons = read_lessons(split, teacher, say=say)
            fits = ~same_photographs(split.pictures, unknown_to[name], say=say) if name in unknown_to else np.ones(len(lessons), bool)
            splits[name] = labelled(split, lessons, fits, source=f"{path.name}, {name}")
            n_left_out[name] = int((~fits).sum())
            n_taught[name] = int(np.isfinite(splits[name].pose[:, 0]).sum())
            say(f"{name}: {len(splits[name])} pictures, {n_left_out[name]} left out as photographs of a test, {n_taught[name]} read by the teacher")
    return Fer2013Faces(data.file, data.sha256, splits, n_left_out, n_taught)


def read_lessons(split: Split, teacher: Teacher, *, say: Say) -> list[Lesson | None]:
    """Return what the teacher says of each picture, in pixels of the picture; None where the detector or the mesh finds no face.

    Args:
        split: The pictures.
        teacher: Reads them, unless it did before: then the cache folder has what it said.
        say: Takes progress lines.
    """
    detector = load_package(DETECTOR)
    faces = find_faces(split.pictures, detector, say=say)
    lessons: list[Lesson | None] = []
    for start in range(0, len(faces), _BLOCK):
        pictures, found = split.pictures[start : start + _BLOCK], faces[start : start + _BLOCK]
        depends_on = ("lessons", teacher.fingerprint, networks_sha256(detector), np.ascontiguousarray(pictures).tobytes())
        rows = kept(depends_on, partial(_read_all, pictures, found, teacher))
        lessons += [_lesson(row, teacher.limits) for row in rows]
        say(f"{split.name}: the teacher has read {len(lessons)} of {len(faces)} pictures")
    return lessons


def labelled(split: Split, lessons: Sequence[Lesson | None], fits: NDArray[np.bool_], *, source: str) -> LabelledFaces:
    """Put together what is known of the pictures of a split.

    Args:
        split: The pictures, their classes and votes.
        lessons: What the teacher says; it counts where it is sure.
        fits: bool[N]: the pictures to keep.
        source: Where they come from.
    """
    assert split.votes is not None
    n = len(lessons)
    points, units, pose = (np.full(shape, np.nan, np.float32) for shape in ((n, len(POINTS), 3), (n, len(UNITS)), (n, 3)))
    for row, lesson in enumerate(lessons):
        if lesson is not None and lesson.is_sure:
            points[row], units[row], pose[row] = lesson.points, sound(lesson.units), lesson.pose
    return LabelledFaces(
        pictures=split.pictures[fits],
        points=points[fits],
        units=units[fits],
        seen=shares(split.votes)[fits],
        labels=split.labels[fits],
        pose=pose[fits],
        source=source,
    )


def shares(votes: Votes) -> Numbers:
    """Return the share of each emotion among the votes for one of the seven: float32[N, 7], NaN where other words have half of all votes or more.

    Args:
        votes: uint8[N, 10], in the order of `VOTES`.
    """
    seven = emotion_votes(votes).astype(np.float32)
    counted = seven.sum(axis=1, keepdims=True)
    enough = counted * 2 > votes.sum(axis=1, keepdims=True, dtype=np.float32)
    return np.where(enough, seven / np.maximum(counted, 1), np.float32(np.nan)).astype(np.float32)


def _read_all(pictures: Pixels, faces: Sequence[Face | None], teacher: Teacher) -> Numbers:
    rows = np.full((len(pictures), sum(_ROW)), np.nan, np.float32)
    for row, picture, face in zip(rows, pictures, faces, strict=True):
        lesson = teacher.read(on_canvas(picture, border=cv2.BORDER_REPLICATE), face) if face is not None else None
        if lesson is None:
            continue
        points, box = lesson.points / CANVAS_SCALE, lesson.mesh_box / CANVAS_SCALE - CANVAS_CORNER_PX
        points[:, :2] -= CANVAS_CORNER_PX
        row[:] = [*points.ravel(), *lesson.units, *lesson.pose, lesson.presence, lesson.eye_shift, *box]
    return rows


def _lesson(row: Numbers, limits: Landmarks) -> Lesson | None:
    points, units, pose, presence, eye_shift, box = np.split(row, np.cumsum(_ROW)[:-1])
    if np.isnan(presence[0]):
        return None
    return Lesson(points.reshape(-1, 3), units, pose, float(presence[0]), float(eye_shift[0]), box, limits)
