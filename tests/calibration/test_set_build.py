"""Sets from pictures, clips and arrays: what is taken, what is refused, and that nothing is lost or half made."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.build import Order, build_set
from calibration.errors import TooFewFaces
from calibration.exclusion import read_exclusion, shared_with
from calibration.judge import FaceJudge, JudgedFace
from calibration.report import check_pictures, lines
from calibration.set_file import MANIFEST, CalibrationSet, pixels_sha256, read_picture
from edge.capture import SourceSettings, open_source
from edge.errors import CaptureError, ConfigError, SourceNotFound
from edge.frame import Pixels

# The first test that wants the small set builds it; on a machine with other work that takes its time.
pytestmark = pytest.mark.timeout(400)


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_set_holds_what_its_manifest_says(small_set: CalibrationSet) -> None:
    manifest = small_set.manifest
    assert len(small_set.pictures("calibration")) == 110
    assert len(small_set.pictures("held-out")) >= 25
    assert small_set.clips("calibration") == []
    assert small_set.sha256 == hashlib.sha256((small_set.path / MANIFEST).read_bytes()).hexdigest()
    assert set(files_of(small_set.path)) == {MANIFEST, *(item.file for item in manifest.items)}
    assert {item.licence for item in manifest.items} == {"Apache-2.0"}
    origins = {split: {item.origin for item in manifest.items if item.split == split} for split in ("calibration", "held-out")}
    assert not origins["calibration"] & origins["held-out"]
    assert {origin.split("/")[0] for split in origins.values() for origin in split} == {"people"}
    check_pictures(small_set)
    assert "warning: 110 pictures for calibration; NVIDIA asks for at least 500" in "\n".join(lines(small_set))


def test_what_is_excluded_is_not_in_it(small_set: CalibrationSet, people: Path) -> None:
    assert small_set.manifest.refused["excluded"] == 4
    assert not any(item.origin.endswith("person-0000") for item in small_set.manifest.items)
    assert list(small_set.manifest.excluded) == ["person-0000"]
    assert shared_with(small_set, read_exclusion([str(people / "person-0000")], say=print)) == []
    # The check can fail, for a source's picture as for one of the set's own.
    source = next(item.source for item in small_set.manifest.items)
    (picture,) = people.rglob(source)
    assert len(shared_with(small_set, read_exclusion([str(picture)], say=print))) == 1
    own = small_set.path / small_set.manifest.items[-1].file
    assert shared_with(small_set, read_exclusion([str(own)], say=print)) == [small_set.manifest.items[-1].file]


def test_copies_of_what_is_excluded_are_known_again(excluded: Path, people: Path, small_set: CalibrationSet, tmp_path: Path) -> None:
    exclusion = read_exclusion([str(excluded)], say=print)
    for path in (people / "person-0000").iterdir():
        assert pixels_sha256(read_picture(path)) not in exclusion.hashes
        assert exclusion.shows(read_picture(path))
        assert exclusion.shows(read_picture(path)[:, ::-1])
    assert not any(exclusion.shows(picture) for picture in small_set.pictures("held-out"))
    # What shows nothing is like all others of its kind.
    for name, gray in (("black", 0), ("white", 255)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((90, 90, 3), gray, np.uint8))
    plain = read_exclusion([str(tmp_path)], say=print)
    assert len(plain.hashes) == 2
    assert not plain.shows(np.full((80, 80, 3), 7, np.uint8))
    # The check looks at what the set holds, as far as that goes.
    own = small_set.manifest.items[-1].file
    cv2.imwrite(str(tmp_path / "copy.jpg"), read_picture(small_set.path / own)[:, ::-1, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert shared_with(small_set, read_exclusion([str(tmp_path / "copy.jpg")], say=print)) == [own]


@pytest.fixture
def one_frame(clip: Callable[[str], Path], tmp_path: Path) -> Path:
    """A picture of one frame of a clip, mirrored."""
    with open_source(SourceSettings(str(clip("single_face.mp4")))) as frames:
        frame = next(frame for frame in frames if frame.seq == 7)
    cv2.imwrite(str(tmp_path / "frame.jpg"), cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR)[:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return tmp_path / "frame.jpg"


def test_one_excluded_frame_keeps_a_clip_and_all_of_its_origin_out(clip: Callable[[str], Path], one_frame: Path, tmp_path: Path) -> None:
    exclusion = read_exclusion([str(one_frame)], say=print)
    assert exclusion.is_in_clip(clip("single_face.mp4"))
    assert not exclusion.is_in_clip(clip("WolfgangLanger_Pexels.mp4"))
    said: list[str] = []
    order = Order(sources=(str(clip("single_face.mp4")),), exclude=(str(one_frame),), n_calibration=1, n_held_out=1)
    with pytest.raises(TooFewFaces, match=r"found 0 in (\d+) that were looked at; refused: \1 excluded"):
        build_set(order, tmp_path / "set", say=said.append)
    assert "single_face.mp4 has a frame that is excluded: nothing of 'single_face.mp4' is taken" in said


def test_the_same_sources_make_the_same_bytes_and_replace_a_set(
    small_set: CalibrationSet, people: Path, excluded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two renames would lose the set of a process that is killed between them.
    monkeypatch.setattr("calibration.build.try_out", lambda _: None)
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("a set that is there swaps its place with the new one"))
    there = shutil.copytree(small_set.path, tmp_path / "small")
    (there / MANIFEST).write_text("an earlier one")
    os.rename(next((there / "pictures").iterdir()), there / "pictures" / "earlier.png")
    order = Order(sources=(str(people),), licences=("Apache-2.0",), exclude=(str(excluded),), origins="folder", n_calibration=110, n_held_out=30)
    again = build_set(order, there, say=print)
    assert files_of(there) == files_of(small_set.path)
    assert again.sha256 == small_set.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_the_runtime_finds_one_face_in_every_picture(small_set: CalibrationSet) -> None:
    with FaceJudge() as judge:
        for picture in small_set.pictures("held-out"):
            found = list(judge.faces(picture))
            assert len(found) == 1
            assert isinstance(found[0], JudgedFace)


def test_too_few_is_an_error_with_counts_and_leaves_what_was_there(rendered: list[tuple[str, Pixels]], small_set: CalibrationSet, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for number, (_, rgb) in enumerate(rendered[:3]):
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "again.bmp"), cv2.cvtColor(rendered[0][1], cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "blank.png"), np.full((200, 200, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "stripes.png"), np.tile(np.array([[[0], [200]]], np.uint8), (200, 100, 3)))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "notes.txt").write_text("no picture, and none that was meant to be")
    there = shutil.copytree(small_set.path, tmp_path / "there")
    before = files_of(there)
    said: list[str] = []
    with pytest.raises(TooFewFaces, match=r"at least 100 pictures for calibration, found \d+ in 7 .* refused: 1 blank, 1 duplicate, .*1 no face, 1 unreadable"):
        build_set(Order(sources=(str(folder),)), there, say=said.append)
    assert files_of(there) == before
    assert "few: not read: 1 .txt" in said
    assert any(line.startswith("broken.jpg cannot be read: ") for line in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "there"]


@pytest.mark.parametrize("first", ["whole", "cut"])
def test_a_picture_and_what_was_cut_from_it_are_one(first: str, clip: Callable[[str], Path], models: Path, tmp_path: Path) -> None:
    whole = cv2.cvtColor(cv2.imread(str(clip("single_face.jpg"))), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    with FaceJudge(str(models / "default")) as judge:
        (face,) = judge.faces(np.asarray(whole, np.uint8))
    assert isinstance(face, JudgedFace)
    folder = tmp_path / "both"
    folder.mkdir()
    for name, rgb in (("whole", whole), ("cut", face.picture)):
        cv2.imwrite(str(folder / f"{'a' if name == first else 'b'}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)[:, :: 1 if name == "whole" else -1])
    with pytest.raises(TooFewFaces, match="found 1 in 2 that were looked at; refused: 1 duplicate"):
        build_set(Order(sources=(str(folder),)), tmp_path / "set", say=print)


def test_a_folder_that_is_no_set_is_not_replaced(people: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, held in (("mine", "thesis.tex"), ("halved", "pictures")):
        (tmp_path / name / held).mkdir(parents=True)
    for name, message in (("file", "is a file"), ("mine", "holds thesis.tex, which is no part of a calibration set"), ("halved", "holds no calibration set")):
        with pytest.raises(ConfigError, match=message):
            build_set(Order(sources=(str(people),)), tmp_path / name, say=print)


def test_clips_are_kept_whole_and_apart(clip: Callable[[str], Path], people: Path, one_frame: Path, tmp_path: Path) -> None:
    source = tmp_path / "clips"
    source.mkdir()
    shutil.copy(clip("single_face.mp4"), source / "a.mp4")
    arrays = tmp_path / "faces.npy"
    small = [cv2.resize(cv2.cvtColor(read_picture(path), cv2.COLOR_RGB2GRAY), (160, 160)) for path in sorted(people.rglob("*.png"))]
    np.save(arrays, np.stack(small))
    order = Order(sources=(str(source), str(arrays)), licences=("mine", ""), n_calibration=100, n_held_out=25)
    made = build_set(order, tmp_path / "set", say=print)
    (kept,) = made.manifest.clips
    assert (kept.source, kept.licence, kept.split) == ("a.mp4", "mine", "calibration")
    assert made.clips("calibration")[0].read_bytes() == (source / "a.mp4").read_bytes()
    assert made.clips("held-out") == []
    from_arrays = [item for item in made.manifest.items if not item.licence]
    assert f"{len(from_arrays)} pictures: licence not stated" in "\n".join(lines(made))
    assert from_arrays[0].source.startswith("faces.npy row ")
    assert any(item.source.startswith("a.mp4 frame ") for item in made.manifest.items)
    assert shared_with(made, read_exclusion([str(one_frame)], say=print)) == [kept.file]
    # Gray stays gray, and a row of the array is known again by its pixels.
    row = int(from_arrays[0].source.split()[-1])
    assert from_arrays[0].source_sha256 == pixels_sha256(np.repeat(np.load(arrays)[row][:, :, np.newaxis], 3, axis=2))
    stored = cv2.imread(str(made.path / from_arrays[0].file), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    assert stored.ndim == 2


def test_refusals(people: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.mp4").write_bytes(b"")
    cases: list[tuple[Order, type[Exception], str]] = [
        (Order(sources=()), ConfigError, "at least one source"),
        (Order(sources=("a", "a")), ConfigError, "each named once"),
        (Order(sources=("a", "b", "c"), licences=("x", "y")), ConfigError, "one licence for all 3 sources or one for each, got 2"),
        (Order(sources=("default",), licences=("x",)), ConfigError, "the default set's licences are known"),
        (Order(sources=(str(tmp_path / "absent"),)), SourceNotFound, "no such file or folder"),
        (Order(sources=(str(tmp_path / "empty"),)), SourceNotFound, "no pictures .* in the folder"),
        (Order(sources=(str(people),), exclude=(str(tmp_path / "absent"),)), SourceNotFound, "no such file or folder"),
        (Order(sources=(str(people),), exclude=(str(tmp_path / "cut.mp4"),)), CaptureError, "the file is empty"),
    ]
    for order, error, message in cases:
        with pytest.raises(error, match=message):
            build_set(order, tmp_path / "set", say=print)
    assert not (tmp_path / "set").exists()
