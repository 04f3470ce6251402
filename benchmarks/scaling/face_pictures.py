"""Pictures with any number of faces up to 32, all of one size: rendered faces of the repository, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from calibration.default_sources import RENDERS
from calibration.rendering.sheets import read_renders
from edge.frame import Pixels

PICTURE_WH_PX = (1280, 720)
COLUMNS, ROWS = 8, 4
MOST_FACES = COLUMNS * ROWS
# Faces that look at the camera, which the detector finds at this size and the networks let in.
_MOST_YAW_DEG, _MOST_PITCH_DEG, _MOST_ROLL_DEG = 12.0, 10.0, 8.0
_GRAY = 118  # of the backdrop: no face is found in it
_SHIFTS_PX = (0, 1, 2, 3)  # to the right, from picture to picture: as little as a hand-held camera moves


def read_faces(n: int) -> list[Pixels]:
    """Return rendered faces of different people who look at the camera.

    Args:
        n: How many, at most 32.

    Returns:
        uint8[S, S, 3] each, RGB, all of one size.

    Raises:
        ValueError: More are asked for than there is room for.
        CalibrationError: The renders are missing or were changed.
    """
    if n > MOST_FACES:
        raise ValueError(f"expected at most {MOST_FACES} faces in a picture, got {n}")
    chosen: dict[str, Pixels] = {}
    for face in read_renders(RENDERS):
        shot = face.line.shot
        if abs(shot.yaw_deg) <= _MOST_YAW_DEG and abs(shot.pitch_deg) <= _MOST_PITCH_DEG and abs(shot.roll_deg) <= _MOST_ROLL_DEG:
            chosen.setdefault(face.line.name, face.rgb)
        if len(chosen) >= max(n, 1):
            break
    return [*chosen.values()][:n]


def pictures_of(faces: Sequence[Pixels]) -> list[Pixels]:
    """Return pictures that show all the faces, each a little further to the right than the one before.

    Args:
        faces: uint8[S, S, 3] each, S at most 160.

    Returns:
        uint8[720, 1280, 3] each, RGB.
    """
    width, height = PICTURE_WH_PX
    pictures: list[Pixels] = []
    for shift in _SHIFTS_PX:
        picture = np.full((height, width, 3), _GRAY, np.uint8)
        for face, (left, top) in zip(faces, _places(), strict=False):
            side = min(len(face), width - left - shift)
            picture[top : top + len(face), left + shift : left + shift + side] = face[:, :side]
        pictures.append(picture)
    return pictures


def _places() -> list[tuple[int, int]]:
    """Left and top of each cell; the first ones lie far from each other."""
    width, height = PICTURE_WH_PX
    cell = width // COLUMNS
    top = (height - ROWS * cell) // 2
    cells = [(column * cell, top + row * cell) for row, column in itertools.product(range(ROWS), range(COLUMNS))]
    # 11 has no divisor in common with 32: every cell once.
    return [cells[11 * place % len(cells)] for place in range(len(cells))]
