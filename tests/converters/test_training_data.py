"""FER2013 as its users have it: both tables of the competition, and an archive of arrays. The pictures here are drawn; real ones are not ours to keep."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.training.fer2013 import LABELS, SPLITS, cut_faces, find_faces, on_canvas, read_fer2013
from converters.training.kept_arrays import kept
from edge.errors import ConfigError
from edge.face import Face
from edge.frame import Pixels
from edge.package import load_package
from edge.stage import BoxRegion, CropInput, EyesRegion

PICTURES = np.random.default_rng(7).integers(0, 256, (6, 48, 48), dtype=np.uint8)
LABEL_NUMBERS = [0, 3, 6, 2, 1, 4]
USAGE = [0, 0, 1, 2, 2, 0]


def write_table(path: Path, columns: tuple[str, ...], *, separator: str = ",", rows: list[dict[str, Any]] | None = None) -> Path:
    full = [
        {"emotion": label, "pixels": " ".join(map(str, picture.ravel())), "Usage": SPLITS[use]}
        for picture, label, use in zip(PICTURES, LABEL_NUMBERS, USAGE, strict=True)
    ]
    lines = [separator.join(columns), *(separator.join(str(row[name.strip()]) for name in columns) for row in (rows or full))]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_arrays(path: Path, **changed: Any) -> Path:
    arrays = {"images": PICTURES, "fer2013_label": np.array(LABEL_NUMBERS, np.int8), "usage": np.array(USAGE, np.uint8)}
    np.savez(path, **(arrays | changed))
    return path


@pytest.fixture(params=["fer2013.csv", "icml_face_data.csv", "arrays.npz"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    if path.suffix == ".npz":
        return write_arrays(path)
    if path.stem == "fer2013":
        return write_table(path, ("emotion", "pixels", "Usage"))
    return write_table(path, ("emotion", "Usage", "pixels"), separator=", ")


def test_every_form_of_the_data_set_holds_the_same(file: Path, tmp_path: Path) -> None:
    data = read_fer2013(file)
    assert list(data.splits) == list(SPLITS)
    assert data.file == file.name
    for number, split in enumerate(data.splits.values()):
        chosen = [index for index, use in enumerate(USAGE) if use == number]
        np.testing.assert_array_equal(split.pictures, PICTURES[chosen])
        assert split.labels.tolist() == [LABEL_NUMBERS[index] for index in chosen]
    reference = read_fer2013(write_arrays(tmp_path / "reference.npz"))
    assert [split.sha256 for split in data.splits.values()] == [split.sha256 for split in reference.splits.values()]
    swapped = read_fer2013(write_arrays(tmp_path / "swapped.npz", fer2013_label=np.array([3, 0, 6, 2, 1, 4], np.int8)))
    assert swapped.splits["Training"].sha256 != data.splits["Training"].sha256
    assert swapped.splits["PublicTest"].sha256 == data.splits["PublicTest"].sha256


def test_pictures_without_a_class_are_left_out_and_counted(tmp_path: Path) -> None:
    data = read_fer2013(write_arrays(tmp_path / "arrays.npz", fer2013_label=np.array([0, -1, 6, 2, 1, 4], np.int8)))
    assert data.n_unlabelled == 1
    assert data.splits["Training"].labels.tolist() == [0, 4]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file at .*nothing.csv\n  expected fer2013.csv or icml_face_data.csv"):
        read_fer2013(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": PICTURES[:, :40]}, r"expected uint8\[6, 48, 48\] for 'images', got uint8\[6, 40, 48\]"),
        ({"images": PICTURES.astype(np.float32)}, r"expected uint8\[6, 48, 48\] for 'images', got float32\[6, 48, 48\]"),
        ({"usage": np.zeros(5, np.uint8)}, r"expected int\[6\] for 'usage', got uint8\[5\]"),
        ({"usage": np.zeros(6, np.uint8)}, r"holds no picture of the split PublicTest"),
        ({"fer2013_label": np.array([0, 3, 6, 2, 1, 7])}, r"expected classes 0 to 6, or -1 for unknown, got 0 to 7"),
        ({"fer2013_label": np.array([0, 3, 6, 2, 1, -2])}, r"expected classes 0 to 6, or -1 for unknown, got -2 to 6"),
        ({"usage": np.array([0, 0, 1, 2, 2, 3], np.uint8)}, r"expected a usage of 0, 1 or 2 \(Training, PublicTest, PrivateTest\), got 0 to 3"),
        ({"fer2013_label": np.array([{}] * 6)}, r"cannot be read as FER2013: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_fer2013(write_arrays(tmp_path / "arrays.npz", **changed))


def test_an_archive_without_the_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", pictures=PICTURES)
    with pytest.raises(ConfigError, match=r"other.npz cannot be read as FER2013: .*images"):
        read_fer2013(tmp_path / "other.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:500])
    with pytest.raises(ConfigError, match=r"half.npz cannot be read as FER2013: "):
        read_fer2013(tmp_path / "half.npz")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"emotion": "7"}, r"table.csv:2: expected an emotion from 0 to 6, got '7'"),
        ({"emotion": ""}, r"table.csv:2: expected an emotion from 0 to 6, got ''"),
        ({"Usage": "Test"}, r"table.csv:2: expected a Usage of Training, PublicTest, PrivateTest, got 'Test'"),
        ({"pixels": "1 2 3"}, r"table.csv:2: expected 2304 pixels, got 3"),
        ({"pixels": "256 " * 2304}, r"table.csv:2: expected pixels from 0 to 255: "),
        ({"pixels": "-1 " * 2304}, r"table.csv:2: expected pixels from 0 to 255: "),
        ({"pixels": "a " * 2304}, r"table.csv:2: expected pixels from 0 to 255: "),
    ],
)
def test_rows_that_do_not_fit_are_named_with_their_line(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    row = {"emotion": "0", "pixels": "0 " * 2304, "Usage": "Training"}
    with pytest.raises(ConfigError, match=message):
        read_fer2013(write_table(tmp_path / "table.csv", tuple(row), rows=[row | changed]))


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"expected the columns emotion, pixels, Usage, got a, b"):
        read_fer2013(path)
    path.write_text("")
    with pytest.raises(ConfigError, match=r"expected the columns emotion, pixels, Usage, got none"):
        read_fer2013(path)
    path.write_text("emotion,pixels,Usage\n")
    with pytest.raises(ConfigError, match=r"table.csv has no rows"):
        read_fer2013(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"table.csv cannot be read as a table: "):
        read_fer2013(path)
    path.write_text("emotion,pixels,Usage\n" + "1" * (csv.field_size_limit() + 1))
    with pytest.raises(ConfigError, match=r"table.csv cannot be read as a table: field larger than field limit"):
        read_fer2013(path)


@pytest.fixture
def pictures(clip: Callable[[str], Path]) -> Pixels:
    """Two pictures in FER2013's manner, of a face that fills them, and one of noise."""
    gray = cv2.imread(str(clip("single_face.jpg")), cv2.IMREAD_GRAYSCALE)
    assert gray is not None
    detector = load_package("blazeface")
    side = 48
    canvas = np.asarray(cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    face = find_faces(np.stack([canvas]), detector, say=print)[0]
    assert face is not None
    scale = gray.shape[1] / (side * 4), gray.shape[0] / (side * 4)
    left, top, right, bottom = ((value - 96) * scale[index % 2] for index, value in enumerate(face.box_ltrb_px))
    close = np.asarray(cv2.resize(gray[int(top) : int(bottom), int(left) : int(right)], (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    return np.stack([close, np.ascontiguousarray(close[:, ::-1]), PICTURES[0]])


def test_faces_are_found_and_cut_like_the_runtime_cuts_them(models: Path, pictures: Pixels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    detector = load_package(models / "blazeface")
    faces = find_faces(pictures, detector, say=print)
    assert faces[0] is not None
    assert faces[1] is not None
    assert faces[2] is None
    spec = CropInput(tensor="x", color="gray", size_wh_px=(64, 48), region=EyesRegion(eye_distance=0.35, eye_line=0.4), scale=1.0)
    crops, found = cut_faces(pictures, faces, spec)
    assert crops.shape == (2, 48, 64)
    assert found.tolist() == [0, 1]
    rgb, _ = cut_faces(pictures, faces, CropInput(tensor="x", color="rgb", size_wh_px=(64, 64), region=BoxRegion(), scale=1.0))
    assert rgb.shape == (2, 64, 64, 3)
    assert (rgb[..., 0] == rgb[..., 2]).all()


def test_a_crop_has_the_eyes_where_its_rule_wants_them() -> None:
    picture = np.zeros((48, 48), np.uint8)
    picture[19:22, [14, 15, 16, 32, 33, 34]] = 255
    # The canvas is four times as large, with a border of 96 pixels.
    eyes = 96 + 4 * np.array([[15.5, 20.5], [33.5, 20.5]])
    face = Face(box_ltrb_px=(96, 96, 288, 288), eyes_px=eyes, score=1.0)
    spec = CropInput(tensor="x", color="gray", size_wh_px=(100, 80), region=EyesRegion(eye_distance=0.4, eye_line=0.25), scale=1.0)
    crops, _ = cut_faces(picture[np.newaxis], [face], spec)
    for x, half in ((30, crops[0, :, :50]), (70, crops[0, :, 50:])):
        rows, columns = np.nonzero(half > 128)
        assert abs(rows.mean() + 0.5 - 20) < 0.5
        assert abs(columns.mean() + 0.5 - x % 50) < 0.5


def test_faces_that_were_found_are_kept(models: Path, pictures: Pixels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    detector = load_package(models / "blazeface")
    first = find_faces(pictures, detector, say=print)
    (stored,) = (tmp_path / "edge" / "training").iterdir()
    rows = np.load(stored)
    rows[0, :4] += 1000
    np.save(stored, rows)
    second = find_faces(pictures, detector, say=print)
    assert first[0] is not None
    assert second[0] is not None
    assert second[0].box_ltrb_px[0] == first[0].box_ltrb_px[0] + 1000  # what was stored, and not a second search
    find_faces(pictures[:2], detector, say=print)
    assert len(list((tmp_path / "edge" / "training").iterdir())) == 2


def test_kept_arrays_depend_on_every_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[int] = []

    def compute() -> Any:
        made.append(1)
        return np.arange(3)

    for parts in (("a", "b"), ("a", "b"), ("ab", ""), ("a", b"c"), ("b", "a")):
        np.testing.assert_array_equal(kept(parts, compute), np.arange(3))
    assert len(made) == 4


def test_a_picture_lies_in_the_middle_of_its_canvas() -> None:
    canvas = on_canvas(np.full((48, 48), 200, np.uint8), border=cv2.BORDER_CONSTANT)
    assert canvas.shape == (384, 384, 3)
    assert (canvas[96:288, 96:288] == 200).all()
    assert canvas.sum() == 200 * 3 * 192 * 192
    assert len(LABELS) == 7
