"""The window, on a real X server without a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError, MissingDependency
from edge.view.video import Window, choose_window

ROOT = Path(__file__).resolve().parents[2]

needs_x = pytest.mark.skipif(
    shutil.which("Xvfb") is None or shutil.which("import") is None or shutil.which("xwininfo") is None,
    reason="needs Xvfb, ImageMagick and x11-utils (apt-get install xvfb imagemagick x11-utils)",
)

# Pictures for some seconds, or until the window is closed. In a process of its own: a broken display must not take the tests along.
PROGRAM = """
import sys, time
import numpy as np
from edge.view.video import Window, WindowClosed
window = Window()
print(window.description, flush=True)
pixels = np.zeros((240, 320, 3), np.uint8)
pixels[:, :160] = (250, 180, 80)
try:
    for k in range(300):
        window.push(pixels, k * 30_000_000)
        if k == 5:
            print("shown", flush=True)
        time.sleep(0.03)
    window.finish()
    print("done", flush=True)
except WindowClosed as closed:
    print("closed:", closed, flush=True)
window.close()
"""


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    reader, writer = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", "640x480x24", "-nolisten", "tcp"],
        pass_fds=[writer],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    with os.fdopen(reader) as number:
        name = f":{number.readline().strip()}"
    yield name
    server.terminate()
    server.wait(10)


def start(display: str) -> subprocess.Popen[str]:
    environment = {**{name: value for name, value in os.environ.items() if name != "WAYLAND_DISPLAY"}, "DISPLAY": display}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, errors = child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        out, errors = child.communicate()
    return child.returncode, out, errors


@needs_x
def test_our_picture_is_on_the_screen(display: str, tmp_path: Path) -> None:
    child = start(display)
    assert child.stdout is not None
    assert child.stdout.readline() == "ximagesink\n"
    assert child.stdout.readline() == "shown\n"
    shot = tmp_path / "shot.png"
    for _ in range(20):
        subprocess.run(["import", "-display", display, "-window", "root", str(shot)], check=True, capture_output=True)
        screen = cv2.imread(str(shot))
        assert screen is not None
        ours = np.abs(screen.astype(int) - (80, 180, 250)).max(axis=2) < 4  # OpenCV reads BGR
        if ours.sum() == 160 * 240:
            break
        time.sleep(0.1)
    child.kill()
    ended(child)
    assert ours.sum() == 160 * 240


@needs_x
def test_closing_the_window_ends_the_run_cleanly(display: str) -> None:
    child = start(display)
    assert child.stdout is not None
    assert child.stdout.readline() == "ximagesink\n"
    assert child.stdout.readline() == "shown\n"
    tree = subprocess.run(["xwininfo", "-display", display, "-root", "-tree"], check=True, capture_output=True, text=True).stdout
    (window,) = [line.split()[0] for line in tree.splitlines() if "320x240+0+0" in line]
    _ask_to_close(display, window)
    code, out, errors = ended(child)
    assert (code, errors) == (0, "")
    assert out == "closed: Output window was closed\n"


def _ask_to_close(display: str, window: str) -> None:
    """Send WM_DELETE_WINDOW, as a window manager does when its cross is clicked; no common tool without a window manager does it."""
    import ctypes

    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong

    class ClientMessage(ctypes.Structure):
        _fields_ = (
            ("type", ctypes.c_int),
            ("serial", ctypes.c_ulong),
            ("send_event", ctypes.c_int),
            ("display", ctypes.c_void_p),
            ("window", ctypes.c_ulong),
            ("message_type", ctypes.c_ulong),
            ("format", ctypes.c_int),
            ("data", ctypes.c_long * 5),
            ("room", ctypes.c_byte * 192),  # XEvent is as long as its longest member
        )

    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    protocols, delete = (x11.XInternAtom(connection, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    event = ClientMessage(type=33, window=int(window, 16), message_type=protocols, format=32)
    event.data[0] = delete
    x11.XSendEvent(connection, ctypes.c_ulong(int(window, 16)), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(connection)


@needs_x
def test_a_display_that_goes_away_is_an_error() -> None:
    code, out, errors = ended(start(":4711"))
    assert out == ""
    assert "edge.errors.ConfigError: the window cannot be opened: Could not initialise X output" in errors
    assert code == 1  # a Python error, and no crash of the process


def test_no_display_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="--display window: there is no display") as caught:
        choose_window({}, lambda _: True, has_path=lambda _: False)
    assert "--annotate out.mp4" in caught.value.hint


@pytest.mark.skipif(any(Path(path).exists() for path in ("/dev/dri/card0", "/dev/dri/card1", "/dev/dri/card2", "/dev/fb0")), reason="this machine has a screen")
def test_no_display_on_this_machine() -> None:
    with pytest.raises(ConfigError, match="there is no display"):
        Window({})


@pytest.mark.parametrize(
    ("environment", "elements", "paths", "sink"),
    [
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, {"waylandsink", "ximagesink"}, set(), "waylandsink"),
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, {"ximagesink"}, set(), "ximagesink"),
        ({"DISPLAY": ":0"}, {"ximagesink", "nv3dsink", "glimagesink"}, {"/dev/dri/card0"}, "ximagesink"),
        ({"DISPLAY": ":0"}, {"nv3dsink", "glimagesink"}, set(), "nv3dsink"),
        ({}, {"kmssink", "fbdevsink"}, {"/dev/dri/card1", "/dev/fb0"}, "kmssink"),
        ({}, {"kmssink", "fbdevsink"}, {"/dev/fb0"}, "fbdevsink"),
        ({"DISPLAY": ""}, {"kmssink"}, {"/dev/dri/card0"}, "kmssink"),
    ],
)
def test_the_sink_follows_what_is_there(environment: dict[str, str], elements: set[str], paths: set[str], sink: str) -> None:
    assert choose_window(environment, elements.__contains__, has_path=paths.__contains__) == sink


@pytest.mark.parametrize(("environment", "package"), [({"DISPLAY": ":0"}, "gstreamer1.0-x"), ({"WAYLAND_DISPLAY": "w"}, "gstreamer1.0-plugins-bad")])
def test_a_display_without_an_element_for_it_names_the_package(environment: dict[str, str], package: str) -> None:
    with pytest.raises(MissingDependency, match="--display window needs the GStreamer element") as caught:
        choose_window(environment, lambda _: False, has_path=lambda _: True)
    assert package in caught.value.hint
