"""Where drawn pictures go: a window, a video file or a picture file. Each takes `push(pixels, t_media_ns)`, `finish()` and `close()`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import cv2

from edge.errors import ConfigError, OutputError
from edge.frame import Pixels
from edge.gst import has_element, missing_element, quoted
from edge.output.destination import check_destination
from edge.view.stream import PictureStream, WindowClosed

__all__ = ["PictureFile", "Sink", "VideoFile", "Window", "WindowClosed", "choose_encoder", "choose_window"]

_VIDEO_SUFFIXES = (".mp4",)
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")

# Software first: it is the same everywhere, and the Orin Nano registers the hardware encoder's element without having the hardware.
_ENCODERS = {
    "x264enc": "videoconvert ! x264enc speed-preset=superfast pass=qual quantizer=21 bframes=0 key-int-max=60 threads=1",
    "openh264enc": "videoconvert ! openh264enc bitrate=4000000 complexity=low gop-size=60",
    "nvv4l2h264enc": "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc bitrate=4000000 iframeinterval=60",
}
_X11_SINKS = ("ximagesink", "nv3dsink", "glimagesink")
_SINK_TAILS = {"nv3dsink": "nvvidconv ! video/x-raw(memory:NVMM),format=RGBA ! nv3dsink"}


class Sink(Protocol):
    """A place for drawn pictures."""

    description: str

    def push(self, pixels: Pixels, t_media_ns: int) -> None:
        """Show or store a picture.

        Args:
            pixels: uint8[H, W, 3], RGB.
            t_media_ns: When it is shown.

        Raises:
            WindowClosed: The user closed the window.
            OutputError: It failed.
        """
        ...

    def finish(self) -> None:
        """Complete what was pushed.

        Raises:
            OutputError: It failed.
        """
        ...

    def close(self) -> None:
        """Free everything. Closing twice is allowed."""
        ...


class VideoFile(PictureStream):
    """An MP4 with H.264; each picture is shown at its media time, so a variable frame rate stays one.

    Args:
        path: Of the file; an existing one is overwritten.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The file cannot be made.
        MissingDependency: No H.264 encoder is installed.
    """

    def __init__(self, path: Path, *, input_path: Path | None = None) -> None:
        check_destination(path, option="--annotate", input_path=input_path)
        encoder = choose_encoder(has_element)
        # `faststart` puts the index first, for which the frames wait in a file of their own: beside the result, for /tmp may be memory.
        part = path.with_name(f".{path.name}.part")
        mux = f"h264parse ! mp4mux faststart=true faststart-file={quoted(str(part))} ! filesink location={quoted(str(path))}"
        self.description = f"{path} ({encoder})"
        super().__init__(f"{_ENCODERS[encoder]} ! {mux}", pixel_format="I420", what=f"the video {path}")


class Window(PictureStream):
    """A window, or the whole screen where no desktop runs.

    Args:
        environment: Environment variables, which name the display.

    Raises:
        ConfigError: There is no display, or it cannot be opened.
        MissingDependency: GStreamer has no element for it.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        sink = choose_window(environment, has_element, has_path=os.path.exists)
        tail = _SINK_TAILS.get(sink, f"videoconvert ! videoscale ! {sink}")
        self.description = sink
        super().__init__(f"{tail} sync=false", pixel_format="RGB", what="the window")


class PictureFile:
    """A PNG or JPEG of the last picture.

    Args:
        path: Of the file; an existing one is overwritten.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The file cannot be made.
    """

    def __init__(self, path: Path, *, input_path: Path | None = None) -> None:
        check_destination(path, option="--annotate", input_path=input_path)
        self._path = path
        self._pixels: Pixels | None = None
        self.description = f"{path} (the last frame)"

    def push(self, pixels: Pixels, t_media_ns: int) -> None:  # noqa: ARG002 - a picture has no time
        """Keep the picture.

        Args:
            pixels: uint8[H, W, 3], RGB.
            t_media_ns: Not used.
        """
        self._pixels = pixels

    def finish(self) -> None:
        """Write the last picture; without one there is no file.

        Raises:
            OutputError: It could not be written.
        """
        if self._pixels is None:
            return
        _, encoded = cv2.imencode(self._path.suffix.lower(), cv2.cvtColor(self._pixels, cv2.COLOR_RGB2BGR))
        try:
            self._path.write_bytes(encoded.tobytes())
        except OSError as error:
            raise OutputError(f"the picture could not be written to {self._path}: {error.strerror}", hint="make room, or choose another place") from error

    def close(self) -> None:
        """Forget the picture. Closing twice is allowed."""
        self._pixels = None


def open_annotation(dest: str, *, input_path: Path | None = None) -> VideoFile | PictureFile:
    """Open the file of `--annotate`.

    Args:
        dest: `*.mp4` for a video, `*.png` or `*.jpg` for the last frame.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The name's ending is not known, or the file cannot be made.
        MissingDependency: No H.264 encoder is installed.
    """
    path = Path(dest)
    if path.suffix.lower() in _VIDEO_SUFFIXES:
        return VideoFile(path, input_path=input_path)
    if path.suffix.lower() in _PICTURE_SUFFIXES:
        return PictureFile(path, input_path=input_path)
    known = ", ".join((*_VIDEO_SUFFIXES, *_PICTURE_SUFFIXES))
    raise ConfigError(f"--annotate expects a name that ends in one of {known}; got '{dest}'", hint="--annotate out.mp4")


def choose_encoder(has: Callable[[str], bool]) -> str:
    """Return the name of the H.264 encoder to use.

    Args:
        has: Whether GStreamer has an element of that name.

    Raises:
        MissingDependency: There is none.
    """
    for name in _ENCODERS:
        if has(name):
            return name
    raise missing_element(next(iter(_ENCODERS)), why=f"--annotate (no H.264 encoder is installed: none of {', '.join(_ENCODERS)})")


def choose_window(environment: Mapping[str, str], has: Callable[[str], bool], *, has_path: Callable[[str], bool]) -> str:
    """Return the name of the sink that shows pictures here. Never `autovideosink`: without a display it brings the process down.

    Args:
        environment: Environment variables.
        has: Whether GStreamer has an element of that name.
        has_path: Whether a path exists.

    Raises:
        ConfigError: There is no display.
        MissingDependency: There is one, but no element for it.
    """
    candidates: tuple[str, ...] = ()
    if environment.get("WAYLAND_DISPLAY"):
        candidates += ("waylandsink",)
    if environment.get("DISPLAY"):
        candidates += _X11_SINKS
    if not candidates and any(has_path(f"/dev/dri/card{number}") for number in range(3)):
        candidates = ("kmssink",)
    if not candidates and has_path("/dev/fb0"):
        candidates = ("fbdevsink",)
    if not candidates:
        raise ConfigError(
            "--display window: there is no display (neither WAYLAND_DISPLAY nor DISPLAY is set, and there is no /dev/dri/card* or /dev/fb0)",
            hint="--annotate out.mp4 writes a video instead; over ssh, DISPLAY=:0 edge-run ... shows it on the machine's own screen",
        )
    for name in candidates:
        if has(name):
            return name
    raise missing_element(candidates[0], why="--display window")
