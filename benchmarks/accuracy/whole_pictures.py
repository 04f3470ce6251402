"""FER2013's pictures as a camera might give them: a face to be found in each, and what the teacher package says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.metrics import Numbers
from converters.registry import Say
from converters.training.affect.fer2013_faces import read_lessons
from converters.training.affect.labelled_faces import POINTS
from converters.training.affect.teacher import Teacher
from converters.training.fer2013 import Split, on_canvas
from edge.face import Face
from edge.frame import Pixels
from edge.result import ACTION_UNITS

_SAY_EVERY = 1000


@dataclass(frozen=True)
class Taught:
    """What the teacher says of N pictures, NaN where it is not sure of its face.

    Attributes:
        units: float64[N, 15], in the order of `edge.result.ACTION_UNITS`; also NaN for units that it does not give.
        pose_deg: float64[N, 3]: yaw, pitch, roll.
        points_px: float64[N, 17, 2]: `POINTS`, x and y in pixels of the picture.
    """

    units: Numbers
    pose_deg: Numbers
    points_px: Numbers

    @property
    def sure(self) -> NDArray[np.bool_]:
        """bool[N]: pictures whose face the teacher is sure of."""
        return ~np.isnan(self.pose_deg[:, 0])


def joined(parts: Sequence[Taught]) -> Taught:
    """Return what was said of several lists of pictures, as of one."""
    return Taught(*(np.concatenate([getattr(each, name) for each in parts]) for name in ("units", "pose_deg", "points_px")))


def taught(split: Split, say: Say) -> Taught:
    """Ask the teacher package what it sees in the pictures of a split; what it said once is in the user's cache folder.

    Raises:
        PackageNotFound: The teacher's package was never pulled.
    """
    with Teacher() as teacher:
        lessons = read_lessons(split, teacher, say=say)
    n = len(lessons)
    units, pose, points = np.full((n, len(ACTION_UNITS)), np.nan), np.full((n, 3), np.nan), np.full((n, len(POINTS), 2), np.nan)
    for row, lesson in enumerate(lessons):
        if lesson is not None and lesson.is_sure:
            units[row], pose[row], points[row] = lesson.units, lesson.pose, lesson.points[:, :2]
    return Taught(units, pose, points)


def with_faces(pictures: Pixels, faces: Sequence[Face | None], say: Say) -> Iterator[tuple[Callable[[], Pixels], Face | None]]:
    """Give each of uint8[N, 48, 48] as a picture in which a face can be found, with that face.

    Args:
        pictures: As FER2013 has them.
        faces: What `converters.training.fer2013.find_faces` found in them.
        say: Takes progress lines.

    Yields:
        For `Networks.faces`: a function that gives uint8[384, 384, 3], the picture continued beyond its edges by its outermost pixels, and the face.
    """
    for number, (picture, face) in enumerate(zip(pictures, faces, strict=True), 1):
        yield partial(on_canvas, picture, border=cv2.BORDER_REPLICATE), face
        if number % _SAY_EVERY == 0:
            say(f"read {number} of {len(pictures)} faces")
