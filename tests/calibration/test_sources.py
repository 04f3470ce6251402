"""What a folder holds, who its pictures are of, and what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.__main__ import main
from calibration.build import Order, build_set
from calibration.exclusion import read_exclusion
from calibration.sources import OriginRule, Seen, open_sources
from edge.errors import ConfigError, PackageNotFound, SourceNotFound, UnsupportedFormat

NOISE = np.random.default_rng(0).integers(0, 256, (4, 40, 40), np.uint8)


def seen(folder: Path, origins: OriginRule = "file") -> list[Seen]:
    return list(open_sources(str(folder), licence="", origins=origins).look(100))


@pytest.mark.parametrize(("origins", "n"), [("file", 8), ("folder", 2)])
def test_rows_of_arrays_are_told_apart_and_kept_together(origins: OriginRule, n: int, tmp_path: Path) -> None:
    for person in ("anna", "bob"):
        (tmp_path / "people" / person).mkdir(parents=True)
        np.save(tmp_path / "people" / person / "faces.npy", NOISE)
    found = seen(tmp_path / "people", origins)
    names = [f"people/{person}/faces.npy row {row}" for person in ("anna", "bob") for row in range(4)]
    assert [each.source for each in found] == names
    assert list(dict.fromkeys(each.origin for each in found)) == (names if origins == "file" else ["people/anna", "people/bob"])
    assert len({each.origin for each in found}) == n


def test_an_array_of_its_own_has_rows_of_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", NOISE)
    assert [each.origin for each in seen(tmp_path / "faces.npy", "folder")] == [f"faces.npy row {row}" for row in range(4)]


def test_links_to_nothing_cannot_be_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "there.png"), NOISE[0])
    for name in ("dead.jpg", "dead.mp4"):
        (tmp_path / name).symlink_to(tmp_path / "absent")
    unreadable = [each for each in seen(tmp_path) if each.rgb is None]
    assert [each.source for each in unreadable] == ["dead.jpg", "dead.mp4"]
    assert all("no such file" in each.problem for each in unreadable)
    with pytest.raises(SourceNotFound, match=r"no such file: .*dead.jpg"):
        read_exclusion([str(tmp_path)], say=print)


def test_tiffs_are_read_as_they_are_or_not_at_all(tmp_path: Path) -> None:
    pictures: dict[str, NDArray[Any]] = {"a8": NOISE[0], "b16": NOISE[0].astype(np.uint16) * 257, "c32": NOISE[0].astype(np.float32) / 255}
    for name, picture in pictures.items():
        cv2.imwrite(str(tmp_path / f"{name}.tiff"), picture)
    eight, sixteen, real = seen(tmp_path)
    assert eight.rgb is not None
    assert sixteen.rgb is not None
    assert np.array_equal(eight.rgb[:, :, 0], NOISE[0])
    assert np.abs(sixteen.rgb[:, :, 0].astype(int) - NOISE[0]).max() <= 1
    assert real.rgb is None
    assert real.problem.startswith("expected whole numbers of 8 or 16 bits, got float32")
    with pytest.raises(UnsupportedFormat, match="got float32"):
        read_exclusion([str(tmp_path / "c32.tiff")], say=print)


def test_a_wrong_array_and_a_wrong_place_are_said_before_anything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without networks nothing can be looked at.
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "absent"))
    source = tmp_path / "source"
    source.mkdir()
    for number, picture in enumerate(NOISE):
        cv2.imwrite(str(source / f"{number}.png"), picture)
    with pytest.raises(PackageNotFound):
        build_set(Order(sources=(str(source),)), tmp_path / "set", say=print)
    with pytest.raises(OSError, match="/proc"):
        build_set(Order(sources=(str(source),)), Path("/proc/set"), say=print)
    np.save(source / "wrong.npy", NOISE.astype(np.float32))
    with pytest.raises(ConfigError, match=r"wrong.npy: expected pictures uint8.* got float32\[4, 40, 40\]"):
        build_set(Order(sources=(str(source),)), tmp_path / "set", say=print)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["build", str(source), "-o", "."]) == 2
    assert "here is the folder that you are in: it cannot be replaced" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
