"""FER2013 for our own network: votes in both forms of the data set, shares of them, pictures that a test holds too, and the teacher.

The real part needs FER2013 with FER+: EDGE_FER2013 names its `.npz`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.training.affect.fer2013_faces import labelled, read_fer2013_faces, read_lessons, shares
from converters.training.affect.labelled_faces import POINTS, UNITS
from converters.training.affect.same_photograph import same_photograph, same_photographs
from converters.training.affect.teacher import Lesson, Teacher, sound
from converters.training.fer2013 import PUBLIC_TEST, VOTES, Split, read_fer2013
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine import choose, close_engines, open_engines
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.package import load_package
from edge.result import EMOTIONS
from edge.stage import Landmarks
from tests.converters.test_training_data import LABEL_NUMBERS, USAGE, write_arrays, write_table

LIMITS = Landmarks(tensor="points", left_eye=(0, 1), right_eye=(2, 3), axes=(4, 5, 6, 7), admit_presence=0.8, admit_eye_shift=0.03)
VOTE_ROWS = np.random.default_rng(5).integers(0, 5, (6, 10), dtype=np.uint8)
SPLIT_OF = [("Training", "PublicTest", "PrivateTest")[number] for number in USAGE]


def write_votes(folder: Path, votes: list[list[str]], splits: list[str]) -> None:
    lines = ["Usage,Image name," + ",".join(VOTES), *(f"{split},name.png,{','.join(row)}" for split, row in zip(splits, votes, strict=True))]
    (folder / "fer2013new.csv").write_text("\n".join(lines) + "\n")


def words(votes: NDArray[np.uint8]) -> list[list[str]]:
    return [[str(count) for count in row] for row in votes.tolist()]


@pytest.mark.parametrize("form", ["arrays.npz", "fer2013.csv"])
def test_votes_come_along_with_their_pictures(tmp_path: Path, form: str) -> None:
    if form == "arrays.npz":
        path = write_arrays(tmp_path / form, ferplus_votes=VOTE_ROWS)
    else:
        path = write_table(tmp_path / form, ("emotion", "pixels", "Usage"))
        write_votes(tmp_path, words(VOTE_ROWS), SPLIT_OF)
    for number, split in enumerate(read_fer2013(path).splits.values()):
        np.testing.assert_array_equal(split.votes, VOTE_ROWS[[index for index, use in enumerate(USAGE) if use == number]])


def test_without_votes_there_are_none(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "arrays.npz")
    assert all(split.votes is None for split in read_fer2013(path).splits.values())


def test_pictures_without_a_class_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "arrays.npz", fer2013_label=np.array([-1, *LABEL_NUMBERS[1:]], np.int8), ferplus_votes=VOTE_ROWS)
    data = read_fer2013(path, with_unlabelled=True)
    assert data.n_unlabelled == 0
    assert data.splits["Training"].labels.tolist() == [-1, 3, 4]
    np.testing.assert_array_equal(data.splits["Training"].votes, VOTE_ROWS[[0, 1, 5]])


@pytest.mark.parametrize(
    ("votes", "splits", "message"),
    [
        (words(VOTE_ROWS)[:5], SPLIT_OF[:5], r"fer2013new.csv: expected 6 rows, as many as the table beside it has, got 5"),
        (words(VOTE_ROWS), SPLIT_OF[::-1], r"fer2013new.csv: row 2: expected Training, as in the table beside it, got 'PrivateTest'"),
        ([["11"] * 10, *words(VOTE_ROWS)[1:]], SPLIT_OF, r"fer2013new.csv: row 1: expected votes from 0 to 10, got 11, 11"),
        ([["-1"] * 10, *words(VOTE_ROWS)[1:]], SPLIT_OF, r"fer2013new.csv: row 1: expected votes from 0 to 10, got -1"),
        ([["1"] * 9, *words(VOTE_ROWS)[1:]], SPLIT_OF, r"fer2013new.csv: row 1: expected votes from 0 to 10, got 1, 1"),
    ],
)
def test_votes_that_do_not_fit_are_named(tmp_path: Path, votes: list[list[str]], splits: list[str], message: str) -> None:
    path = write_table(tmp_path / "fer2013.csv", ("emotion", "pixels", "Usage"))
    write_votes(tmp_path, votes, splits)
    with pytest.raises(ConfigError, match=message):
        read_fer2013(path)


def test_votes_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "fer2013.csv", ("emotion", "pixels", "Usage"))
    (tmp_path / "fer2013new.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"fer2013new.csv cannot be read as a table: .*\n  expected fer2013new.csv of FER\+"):
        read_fer2013(path)
    with pytest.raises(ConfigError, match=r"expected uint8\[6, 10\] for 'ferplus_votes', got uint8\[6, 9\]"):
        read_fer2013(write_arrays(tmp_path / "arrays.npz", ferplus_votes=VOTE_ROWS[:, :9]))


def test_shares_of_the_seven_emotions() -> None:
    votes = np.zeros((4, 10), np.uint8)
    votes[0, [VOTES.index("happiness"), VOTES.index("surprise"), VOTES.index("contempt")]] = 6, 2, 2
    votes[1, [VOTES.index("fear"), VOTES.index("unknown")]] = 5, 5
    votes[2, [VOTES.index("anger"), VOTES.index("NF")]] = 6, 4
    happy, unsure, angry, nobody = shares(votes)
    assert dict(zip(EMOTIONS, happy.tolist(), strict=True)) == {name: {"happy": 0.75, "surprised": 0.25}.get(name, 0.0) for name in EMOTIONS}
    assert np.isnan(unsure).all()
    assert angry[EMOTIONS.index("angry")] == 1
    assert np.isnan(nobody).all()


def lesson(*, presence: float = 0.99, eye_shift: float = 0.01) -> Lesson:
    units = np.linspace(0, 1, len(UNITS), dtype=np.float32)
    points, pose, box = np.ones((len(POINTS), 3), np.float32), np.array([1, 2, 3], np.float32), np.array([4, 5, 44, 45], np.float32)
    return Lesson(points, units, pose, presence, eye_shift, box, LIMITS)


def test_only_sure_lessons_and_sound_units_are_taught() -> None:
    votes = np.zeros((5, 10), np.uint8)
    split = Split("Training", np.arange(5 * 48 * 48, dtype=np.uint8).reshape(5, 48, 48), np.array([0, -1, 2, 3, 4]), "", votes)
    lessons = [lesson(), None, lesson(presence=0.79), lesson(eye_shift=0.031), lesson()]
    faces = labelled(split, lessons, np.array([True, True, True, True, False]), source="drawn")
    assert faces.labels.tolist() == [0, -1, 2, 3]
    np.testing.assert_array_equal(faces.pictures, split.pictures[:4])
    assert np.isfinite(faces.pose[:, 0]).tolist() == [True, False, False, False]
    assert np.isfinite(faces.points).all(axis=(1, 2)).tolist() == [True, False, False, False]
    assert {unit for unit, value in zip(UNITS, faces.units[0], strict=True) if np.isnan(value)} == {"AU9", "AU15", "AU17", "AU23"}
    np.testing.assert_array_equal(faces.units[0], sound(lesson().units))


def drawn_faces(seed: int) -> Pixels:
    """A dozen smooth patterns with fine detail, uint8[12, 72, 72]: as different from each other as faces at least."""
    rng = np.random.default_rng(seed)
    coarse = [cv2.GaussianBlur(rng.normal(0, 255, (72, 72)).astype(np.float32), (0, 0), 6) * 4 for _ in range(12)]
    fine = [cv2.GaussianBlur(rng.normal(0, 255, (72, 72)).astype(np.float32), (0, 0), 1.2) * 0.6 for _ in range(12)]
    return np.stack([np.clip(128 + a + b, 0, 255).astype(np.uint8) for a, b in zip(coarse, fine, strict=True)])


def cut(picture: Pixels, *, left: float = 12, top: float = 12, scale: float = 1.0) -> Pixels:
    """48 x 48 pixels of a larger picture."""
    placed = np.array([[scale, 0, left], [0, scale, top]], np.float32)
    return np.asarray(cv2.warpAffine(picture, placed, (48, 48), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), np.uint8)


ALTERED: dict[str, Callable[[Pixels], Pixels]] = {
    "same": cut,
    "beside": lambda picture: cut(picture, left=13.7, top=10.8),
    "far": lambda picture: cut(picture, left=18, top=8, scale=0.95),
    "larger": lambda picture: cut(picture, left=14, top=14, scale=0.93),
    "darker": lambda picture: (cut(picture) * 0.6).astype(np.uint8),
    "noisy": lambda picture: np.clip(cut(picture) + np.random.default_rng(1).normal(0, 4, (48, 48)), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("how", ALTERED)
def test_pictures_of_one_photograph_are_found(how: str) -> None:
    for picture in drawn_faces(7):
        assert same_photograph(ALTERED[how](picture), cut(picture))


def test_other_photographs_are_told_apart() -> None:
    pictures = [cut(picture) for picture in drawn_faces(7)]
    assert not any(same_photograph(first, second) for number, first in enumerate(pictures) for second in pictures[:number])


def test_the_same_coarse_shape_with_other_detail_is_another_photograph() -> None:
    def detail(picture: Pixels) -> NDArray[np.float32]:
        return np.asarray(picture.astype(np.float32) - cv2.GaussianBlur(picture, (0, 0), 5), np.float32)

    for shape, one, other in zip(drawn_faces(7), drawn_faces(8), drawn_faces(9), strict=True):
        coarse = cv2.GaussianBlur(shape, (0, 0), 5)
        first, second = (np.clip(coarse + 0.6 * detail(each), 0, 255).astype(np.uint8) for each in (one, other))
        assert not same_photograph(cut(first), cut(second))


def test_a_search_finds_copies_and_mirror_images_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mine, theirs = drawn_faces(7), drawn_faces(8)
    pictures = np.stack([cut(each) for each in mine])
    others = np.stack([pictures[3], pictures[5][:, ::-1], cut(mine[8], left=11, top=13.2), *(cut(each) for each in theirs)])
    said: list[str] = []
    found = same_photographs(pictures, others, say=said.append)
    assert np.flatnonzero(found).tolist() == [3, 5, 8]
    assert said == ["compared 12 of 12 pictures with 15 others"]
    np.testing.assert_array_equal(same_photographs(pictures, others, say=said.append), found)
    assert len(said) == 1  # from the cache


def test_votes_are_asked_for_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"arrays.npz has no votes of FER\+\n  put fer2013new.csv beside it"):
        read_fer2013_faces(write_arrays(tmp_path / "arrays.npz"), say=print)


def test_the_teacher_reads_a_photograph(clip: Callable[[str], Path], models: Path) -> None:
    bgr = cv2.imread(str(clip("multi_face.jpg")))
    assert bgr is not None
    rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    package = load_package("blazeface")
    engines = open_engines(package, choose("onnxruntime", "fp32", package))
    found = FaceDetector(package, engines).detect(rgb, StageTimes(), all_views=True)
    close_engines(engines)
    with Teacher() as teacher:
        read = [(face, lesson) for face in found if (lesson := teacher.read(rgb, face)) is not None and lesson.is_sure]
    assert len(read) == 5  # people in the picture; what the detector finds beyond them is no face to the teacher
    for face, lesson in read:
        points = dict(zip((name for name, _ in POINTS), lesson.points, strict=True))
        # The person's right is on the left; the mesh's eyes are where the detector's are.
        assert points["right_eye_outer"][0] < points["right_eye_inner"][0] < points["left_eye_inner"][0] < points["left_eye_outer"][0]
        assert points["forehead"][1] < points["nose_tip"][1] < points["chin"][1]
        eyes = [(points[f"{side}_eye_outer"] + points[f"{side}_eye_inner"])[:2] / 2 for side in ("right", "left")]
        assert np.linalg.norm(np.array(eyes) - face.eyes_px, axis=1).max() < 0.15 * face.eye_distance_px
        assert set(np.array(UNITS)[np.isnan(lesson.units)]) == {"AU9"}


@pytest.mark.skipif(not os.environ.get("EDGE_FER2013"), reason="EDGE_FER2013 does not name FER2013 with FER+ (.npz)")
def test_the_teacher_reads_fer2013(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_fer2013(Path(os.environ["EDGE_FER2013"]), with_unlabelled=True).splits[PUBLIC_TEST]
    assert whole.votes is not None
    part = Split(whole.name, whole.pictures[:60], whole.labels[:60], "", whole.votes[:60])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Teacher() as teacher:
        lessons = read_lessons(part, teacher, say=print)
        assert read_lessons(part, teacher, say=print)[0] is not lessons[0]
    faces = labelled(part, lessons, np.ones(60, bool), source="part")
    taught = np.isfinite(faces.pose[:, 0])
    assert taught.sum() > 45
    # FER2013's pictures are framed alike: the eyes are where they always are.
    eye_line = faces.points[taught, :4, :2].mean(axis=1)
    np.testing.assert_allclose(np.median(eye_line, axis=0), (24, 19.1), atol=1)
