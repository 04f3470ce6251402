"""Cameras as the kernel describes them. No camera is needed: what it would say is laid out in memory."""

from __future__ import annotations

import ctypes
import os
import pty
from fractions import Fraction

import pytest

from edge.capture import cameras
from edge.capture.cameras import Camera, Mode, list_cameras, probe_camera


def test_the_structures_have_the_kernel_s_sizes_and_requests() -> None:
    # Source: linux/videodev2.h, VIDIOC_QUERYCAP, VIDIOC_ENUM_FMT, VIDIOC_ENUM_FRAMESIZES and VIDIOC_ENUM_FRAMEINTERVALS as strace shows them.
    structures = (cameras._Capability, cameras._Format, cameras._Size, cameras._Interval)
    assert [ctypes.sizeof(structure) for structure in structures] == [104, 64, 44, 52]
    assert cameras._request(0, cameras._Capability(), "read") == 0x80685600
    assert cameras._request(2, cameras._Format(), "both") == 0xC0405602
    assert cameras._request(74, cameras._Size(), "both") == 0xC02C564A
    assert cameras._request(75, cameras._Interval(), "both") == 0xC034564B


def test_every_camera_that_is_listed_can_be_probed() -> None:
    for camera in list_cameras():
        assert probe_camera(camera.path) == camera


def test_devices_that_are_no_cameras() -> None:
    with pytest.raises(FileNotFoundError):
        probe_camera("/dev/video-absent")
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        probe_camera("/dev/null")
    parent, child = pty.openpty()
    with pytest.raises(OSError, match="ioctl"):
        probe_camera(os.ttyname(child))
    os.close(parent)
    os.close(child)


def test_what_they_are_called() -> None:
    assert str(Camera("/dev/video0", "HD Webcam", ())) == "/dev/video0 (HD Webcam)"
    assert str(Mode("MJPG", (640, 480), (640, 480), rates=(Fraction(30), Fraction(15, 2)))) == "MJPG 640x480 at 30/7.5 fps"
    assert str(Mode("RG10", (640, 480), (640, 480))) == "RG10 640x480"


def test_the_nearest_of_a_range() -> None:
    ranged = Mode("NV12", (32, 32), (1280, 720), (16, 8), (Fraction(60), Fraction(5)), any_rate=True)
    assert ranged.nearest_size((1920, 1080)) == (1280, 720)
    assert ranged.nearest_size((1, 1)) == (32, 32)
    assert ranged.nearest_size((101, 101)) == (96, 104)
    assert ranged.nearest_rate(Fraction(90)) == 60
    assert ranged.nearest_rate(Fraction(1)) == 5
    assert ranged.nearest_rate(Fraction(25)) == 25
    listed = Mode("YUY2", (640, 480), (640, 480), rates=(Fraction(30), Fraction(15)))
    assert listed.nearest_rate(Fraction(20)) == 15
    assert Mode("YUY2", (640, 480), (640, 480)).nearest_rate(Fraction(20)) == 20
