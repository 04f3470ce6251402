"""V4L2 cameras, asked by ioctl: works without GStreamer, and while another program uses them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

# Names of GStreamer for the codes of V4L2; other formats keep their code. Source: linux/videodev2.h and GStreamer's v4l2 plugin.
_NAMES = {"YUYV": "YUY2", "YU12": "I420", "GREY": "GRAY8", "RGB3": "RGB", "JPEG": "MJPG"}
_CAPTURE_TYPES = {0x1: 1, 0x1000: 9}  # capability -> buffer type, single- and multi-planar
_DISCRETE = 1


@dataclass(frozen=True, slots=True)
class Mode:
    """What a camera offers in one pixel format: a size or a range of sizes, a list of rates or a range.

    Attributes:
        pixel_format: GStreamer's name (`YUY2`, `NV12`, `GRAY8`), `MJPG` for JPEG, or V4L2's code where GStreamer has none.
        min_px: (width, height), the smallest.
        max_px: (width, height), the largest; the same where there is one size.
        step_px: Steps between sizes.
        rates: Frames a second, falling; with `any_rate` the largest and the smallest. Empty where the driver does not tell.
        any_rate: Everything between is offered too.
    """

    pixel_format: str
    min_px: tuple[int, int]
    max_px: tuple[int, int]
    step_px: tuple[int, int] = (1, 1)
    rates: tuple[Fraction, ...] = ()
    any_rate: bool = False

    def nearest_size(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Return the offered size that is nearest to (width, height)."""
        width, height = (
            low + round((min(max(wish, low), high) - low) / step) * step
            for wish, low, high, step in zip(size_px, self.min_px, self.max_px, self.step_px, strict=True)
        )
        return width, height

    def nearest_rate(self, rate: Fraction) -> Fraction:
        """Return the offered rate that is nearest to `rate`: that itself where the driver does not tell any."""
        if not self.rates:
            return rate
        return min(max(rate, self.rates[-1]), self.rates[0]) if self.any_rate else min(self.rates, key=lambda offered: abs(offered - rate))

    def __str__(self) -> str:
        size = f"{self.max_px[0]}x{self.max_px[1]}"
        sizes = size if self.min_px == self.max_px else f"{self.min_px[0]}x{self.min_px[1]} to {size}"
        rates = ("-" if self.any_rate else "/").join(f"{float(rate):.4g}" for rate in self.rates)
        return f"{self.pixel_format} {sizes}{f' at {rates} fps' if rates else ''}"


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera.

    Attributes:
        path: Such as `/dev/video0`.
        name: What its driver calls it.
        modes: What it offers; empty where this user may not open it.
    """

    path: str
    name: str
    modes: tuple[Mode, ...]

    def __str__(self) -> str:
        return f"{self.path} ({self.name})"


def list_cameras() -> tuple[Camera, ...]:
    """Return the V4L2 cameras of this machine, by number; empty where there are none."""
    paths = sorted((path for path in Path("/dev").glob("video*") if path.name[5:].isdecimal()), key=lambda path: int(path.name[5:]))
    found = []
    for path in paths:
        with contextlib.suppress(OSError):  # unplugged meanwhile, or no video device at all
            camera = probe_camera(str(path))
            if camera is not None:
                found.append(camera)
    return tuple(found)


def probe_camera(path: str) -> Camera | None:
    """Ask a device what it is; None where it takes no pictures, like the metadata nodes of USB cameras.

    Raises:
        OSError: There is no such device, or it is no V4L2 device.
    """
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except PermissionError:
        sysfs = Path("/sys/class/video4linux", Path(path).name, "name")
        return Camera(path, sysfs.read_text().strip() if sysfs.exists() else "unknown", ())
    try:
        capability = _Capability()
        fcntl.ioctl(device, _request(0, capability, "read"), capability)
        kinds = capability.device_caps if capability.capabilities & 0x80000000 else capability.capabilities
        buffer_types = [buffer_type for bit, buffer_type in _CAPTURE_TYPES.items() if kinds & bit]
        if not buffer_types:
            return None
        return Camera(path, capability.card.decode(errors="replace"), tuple(_modes(device, buffer_types[0])))
    finally:
        os.close(device)


class _Capability(ctypes.Structure):
    _fields_ = [
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("device_caps", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    ]


class _Format(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", ctypes.c_uint32),
        ("mbus_code", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    ]


class _Size(ctypes.Structure):
    # One size: width and height. A range: smallest width, largest, step, smallest height, largest, step.
    _fields_ = [
        ("index", ctypes.c_uint32),
        ("pixel_format", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    ]


class _Interval(ctypes.Structure):
    # One interval: a fraction of a second. A range: the smallest, the largest, the step.
    _fields_ = [
        ("index", ctypes.c_uint32),
        ("pixel_format", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    ]


def _request(number: int, argument: ctypes.Structure, direction: str) -> int:
    # Source: _IOR and _IOWR of asm-generic/ioctl.h, with the letter V.
    return ({"read": 2, "both": 3}[direction] << 30) | (ctypes.sizeof(argument) << 16) | (ord("V") << 8) | number


def _enumerate(device: int, number: int, argument: ctypes.Structure) -> Iterator[None]:
    """Yield once for each entry, with `argument` filled in; the kernel ends the list with an error."""
    index = 0
    while True:
        argument.index = index
        try:
            fcntl.ioctl(device, _request(number, argument, "both"), argument)
        except OSError:
            return
        yield
        index += 1


def _modes(device: int, buffer_type: int) -> Iterator[Mode]:
    described = _Format(type=buffer_type)
    for _ in _enumerate(device, 2, described):
        code = described.pixelformat.to_bytes(4, "little").decode("latin-1")
        size = _Size(pixel_format=described.pixelformat)
        for _ in _enumerate(device, 74, size):
            numbers = tuple(size.numbers)
            low, high, step = (numbers[:2], numbers[:2], (1, 1)) if size.type == _DISCRETE else (numbers[0::3], numbers[1::3], numbers[2::3])
            rates, any_rate = _rates(device, described.pixelformat, high)
            yield Mode(_NAMES.get(code, code.strip()), (low[0], low[1]), (high[0], high[1]), (step[0] or 1, step[1] or 1), rates, any_rate)


def _rates(device: int, pixelformat: int, size_px: tuple[int, ...]) -> tuple[tuple[Fraction, ...], bool]:
    rates = []
    interval = _Interval(pixel_format=pixelformat, width=size_px[0], height=size_px[1])
    for _ in _enumerate(device, 75, interval):
        seconds = [(interval.numbers[i], interval.numbers[i + 1]) for i in (0, 2, 4)]
        if interval.type != _DISCRETE:
            (fast, fast_below), (slow, slow_below), _ = seconds
            return (Fraction(fast_below, fast or 1), Fraction(slow_below, slow or 1)), True
        rates.append(Fraction(seconds[0][1], seconds[0][0] or 1))
    return tuple(sorted(rates, reverse=True)), False
