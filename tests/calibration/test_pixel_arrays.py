"""Which pictures of a NumPy file are meant, and what is no picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.pixel_arrays import names_an_array, read_pixel_array
from calibration.set_file import pixels_sha256
from edge.errors import ConfigError, SourceNotFound

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 8, 10), np.uint8)
USAGE = np.array([0, 2, 1, 0, 2, 0])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "faces.npz"
    np.savez(path, images=GRAY, usage=USAGE, short=USAGE[:3], scores=np.zeros((6, 8, 10), np.float32))
    return path


def test_keys_and_rows(archive: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "color.npy", np.stack([GRAY] * 3, axis=3))
    np.save(tmp_path / "single.npy", GRAY[..., np.newaxis])
    assert read_pixel_array(str(archive)).rows.tolist() == [0, 1, 2, 3, 4, 5]
    chosen = read_pixel_array(f"{archive}:images:usage=0,1")
    assert chosen.rows.tolist() == [0, 2, 3, 5]
    assert chosen.name == "faces.npz:images:usage=0,1"
    pictures = [read_pixel_array(str(tmp_path / name)).picture(3) for name in ("color.npy", "single.npy")] + [chosen.picture(3)]
    assert all(picture.shape == (8, 10, 3) for picture in pictures)
    assert len({pixels_sha256(picture) for picture in pictures}) == 1


def test_what_is_an_array() -> None:
    assert names_an_array("a/faces.npz:images")
    assert names_an_array("faces.NPY")
    assert not names_an_array("faces.png")
    assert not names_an_array("folder:images")


def test_refusals(archive: Path, tmp_path: Path) -> None:
    cases = {
        f"{archive}:pictures": r"no array 'pictures' in .*: it has images, usage, short, scores",
        f"{archive}:images:subject=0": "no array 'subject'",
        f"{archive}:images:usage=7": "no row has usage=7",
        f"{archive}:images:short=0": r"one value of 'short' for each of 6 pictures, got \[3\]",
        f"{archive}:scores": r"expected pictures uint8\[N,H,W\].* got float32\[6, 8, 10\]",
        f"{archive}:usage": r"got int64\[6\]",
    }
    for text, message in cases.items():
        with pytest.raises(ConfigError, match=message):
            read_pixel_array(text)
    two = tmp_path / "two.npz"
    np.savez(two, first=GRAY, second=GRAY)
    with pytest.raises(ConfigError, match="holds 2 arrays that could be pictures, of first, second"):
        read_pixel_array(str(two))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="cannot be read as arrays"):
        read_pixel_array(str(tmp_path / "broken.npz"))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ConfigError, match="cannot be read as arrays"):
        read_pixel_array(str(tmp_path / "objects.npy"))
    with pytest.raises(SourceNotFound, match="no such file"):
        read_pixel_array(str(tmp_path / "absent.npy"))
