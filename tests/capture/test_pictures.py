"""Pictures as sources of one frame."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.capture import SourceSettings, open_source
from edge.errors import CaptureError, UnsupportedFormat
from tests.capture.clip_maker import corner_colors, corner_picture, frames_of


def jpeg_with_exif(orientation: int) -> bytes:
    ok, encoded = cv2.imencode(".jpg", corner_picture(160, 120)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    app1 = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + encoded.tobytes()[2:]


# What a viewer must show, by EXIF's own table: 1 as is, 2 mirrored, 3 upside down, 4 flipped, 5 transposed, 6 turned right, 7 anti-transposed, 8 turned left.
@pytest.mark.parametrize(("orientation", "corners"), list(enumerate(["RGBW", "GRWB", "WBGR", "BWRG", "RBGW", "BRWG", "WGBR", "GWRB"], start=1)))
def test_exif_orientation(tmp_path: Path, orientation: int, corners: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg_with_exif(orientation))
    (frame,) = frames_of(path)
    assert "".join(corner_colors(frame.pixels)) == corners
    assert frame.pixels.shape == ((120, 160, 3) if orientation < 5 else (160, 120, 3))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg", ".tiff"])
def test_kinds_of_pictures(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    cv2.imwrite(str(path), corner_picture(161, 121)[:, :, ::-1])
    (frame,) = frames_of(path)
    assert frame.pixels.shape == (121, 161, 3)
    assert corner_colors(frame.pixels) == list("RGBW")
    assert not frame.pixels.flags.writeable


def test_the_kind_comes_from_the_content_not_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(jpeg_with_exif(6))
    assert corner_colors(frames_of(path)[0].pixels) == list("BRWG")


def test_transparency_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "alpha.png"
    bgra = np.dstack([corner_picture()[:, :, ::-1], np.full((32, 64), 10, np.uint8)])
    cv2.imwrite(str(path), bgra)
    assert np.array_equal(frames_of(path)[0].pixels, corner_picture())


def test_a_gray_picture_of_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.full((8, 8), 0x8000, np.uint16))
    assert (frames_of(path)[0].pixels == 128).all()


def test_a_picture_is_one_frame(clip: Callable[[str], Path]) -> None:
    with open_source(SourceSettings(str(clip("multi_face.jpg")), rotate_deg=90, mirror=True)) as source:
        frame = source.read(1.0)
        assert frame is not None
        assert (frame.seq, frame.t_media_ns, frame.paced, frame.t_capture_from) == (0, 0, False, "arrival")
        assert frame.pixels.shape == (1000, 667, 3)
        assert (source.live, source.duration_ns, source.frame_rate) == (False, None, None)
        with pytest.raises(EOFError, match=r"multi_face\.jpg is one picture"):
            source.read(1.0)
        assert list(source) == []
    source.close()
    with pytest.raises(CaptureError, match=r"multi_face\.jpg is closed"):
        source.read(1.0)


def test_damaged_pictures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = jpeg_with_exif(1)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UnsupportedFormat, match="the JPEG has no end: it was cut off"):
        open_source(SourceSettings(str(cut)))
    rubbish = tmp_path / "rubbish.png"
    rubbish.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(UnsupportedFormat, match="the picture is damaged, or of a kind that OpenCV does not read"):
        open_source(SourceSettings(str(rubbish)))
    ok, png = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    assert ok
    (tmp_path / "cut.png").write_bytes(png.tobytes()[: len(png) // 2])
    with pytest.raises(UnsupportedFormat, match="the picture is damaged"):
        open_source(SourceSettings(str(tmp_path / "cut.png")))
    assert capfd.readouterr().err == ""
