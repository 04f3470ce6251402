"""One small set, built once from the committed renders, for every test that only reads it."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from calibration.build import Order, build_set
from calibration.camera import through_a_camera
from calibration.default_sources import RENDERS
from calibration.rendering.sheets import read_renders
from calibration.set_file import CalibrationSet, read_picture
from edge.frame import Pixels

N_FACES = 170


@pytest.fixture(scope="session")
def rendered() -> list[tuple[str, Pixels]]:
    """Person and picture of the first renders, as a camera sees them."""
    faces = (face for face, _ in zip(read_renders(RENDERS), range(N_FACES), strict=False))
    return [(face.line.name, through_a_camera(face.rgb, number)) for number, face in enumerate(faces)]


@pytest.fixture(scope="session")
def people(rendered: list[tuple[str, Pixels]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of pictures for each person."""
    folder = tmp_path_factory.mktemp("sources") / "people"
    for number, (name, rgb) in enumerate(rendered):
        path = folder / name / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope="session")
def excluded(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEG copies of the first person's pictures, every other one mirrored: evaluation data that has no pixel of the source's files."""
    folder = tmp_path_factory.mktemp("excluded") / "person-0000"
    folder.mkdir()
    for number, path in enumerate(sorted((people / "person-0000").iterdir())):
        picture = read_picture(path)[:, :: (-1) ** number, ::-1]
        cv2.imwrite(str(folder / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


@pytest.fixture(scope="session")
def small_set(people: Path, excluded: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    """A set of the people's pictures, disjoint from the first person."""
    order = Order(sources=(str(people),), licences=("Apache-2.0",), exclude=(str(excluded),), origins="folder", n_calibration=110, n_held_out=30)
    return build_set(order, tmp_path_factory.mktemp("sets") / "small", say=print)
