"""Where frames come from: cameras, streams, clips, pictures."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge.capture.source import Source, SourceSettings
from edge.errors import CaptureError, ConfigError, SourceNotFound

if TYPE_CHECKING:
    from edge.capture.pipelines import Plan

__all__ = ["Source", "SourceSettings", "open_source"]

_SCHEMES = ("camera:", "rtsp://", "rtsps://", "gst:")


def open_source(settings: SourceSettings) -> Source:
    """Open what `settings.uri` names; returns when it delivers, and it runs from then on.

    Raises:
        ConfigError: Settings that contradict each other, or an address of no known kind.
        MissingDependency: GStreamer, an element or a decoder is not installed.
        SourceNotFound: No such file, camera or server.
        UnsupportedFormat: There is no video in it, or none that can be read.
        CaptureTimeout: Nothing came within `settings.timeout_s`.
        CaptureError: It cannot be opened for another reason.
    """
    _check(settings)
    if settings.uri.startswith(_SCHEMES):
        from edge.capture.gst_source import GstSource

        return GstSource(settings, _plan(settings))
    path = Path(settings.uri)
    from edge.capture.clip_file import check_file, is_picture, missing_bytes

    check_file(path)
    if is_picture(path):
        from edge.capture.picture import PictureSource

        return PictureSource(settings)
    from edge.capture.gst_source import GstSource
    from edge.capture.pipelines import plan_file
    from edge.gst import has_element

    return GstSource(settings, plan_file(settings, has_element), n_missing_bytes=missing_bytes(path))


def _check(settings: SourceSettings) -> None:
    uri = settings.uri
    if "://" in uri.split("/", 1)[0] + "//" and not uri.startswith(_SCHEMES):
        raise ConfigError(f"no source of this kind: {uri}", hint="expected a path, camera:N, rtsp://... or gst:PIPELINE")
    of_cameras = {"--camera-size": settings.size_px, "--camera-fps": settings.fps, "--camera-format": settings.pixel_format}
    given = [flag for flag, value in of_cameras.items() if value is not None]
    if given and not uri.startswith("camera:"):
        raise ConfigError(f"{', '.join(given)} can be asked of a camera only, not of {uri}", hint="leave it out, or use --camera")
    if settings.size_px is not None and min(settings.size_px) < 1:
        raise ConfigError(f"expected a camera size of at least 1x1 pixels, got {settings.size_px[0]}x{settings.size_px[1]}")
    if settings.microphone is not None and not uri.startswith("camera:"):
        raise ConfigError(
            f"--microphone {settings.microphone} goes with a camera only, not with {uri}",
            hint="leave it out: files and streams bring their own sound, and in gst:PIPELINE a branch that ends in an element named `sound` does",
        )
    if settings.microphone is not None and settings.sound_rate_hz is None:
        raise ConfigError(f"--microphone {settings.microphone}: no package of this run takes sound", hint="leave it out, or choose another --model")
    if settings.microphone is None and settings.sound_rate_hz is not None and uri.startswith("camera:"):
        raise ConfigError(f"the package takes sound, and {uri} gives pictures alone", hint="--microphone default, or an ALSA device that `arecord -l` lists")
    if settings.microphone == "":
        raise ConfigError("expected `default` or an ALSA device such as hw:1 as microphone, got nothing", hint="`arecord -l` lists them")
    for what, value in (("a camera's rate", settings.fps), ("a timeout in seconds", settings.timeout_s), ("a rate of sound", settings.sound_rate_hz)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"expected {what} above 0, got {value}")
    if settings.rotate_deg not in (0, 90, 180, 270):
        raise ConfigError(f"expected a rotation of 0, 90, 180 or 270 degrees, got {settings.rotate_deg}")


def _plan(settings: SourceSettings) -> Plan:
    from edge.capture.pipelines import plan_csi, plan_rtsp, plan_text
    from edge.gst import has_element, require_element

    if settings.microphone is not None:
        require_element("alsasrc", why="a microphone")
    if settings.uri.startswith("gst:"):
        return plan_text(settings)
    if settings.uri.startswith("rtsp"):
        require_element("rtspsrc", why="an RTSP stream")
        return plan_rtsp(settings, has_element)
    if settings.uri.startswith("camera:csi"):
        return plan_csi(settings, has_element)
    return _plan_v4l2(settings)


def _plan_v4l2(settings: SourceSettings) -> Plan:
    from edge.capture.cameras import list_cameras, probe_camera
    from edge.capture.pipelines import plan_v4l2
    from edge.gst import has_element, require_element

    name = settings.uri.removeprefix("camera:")
    device = f"/dev/video{name}" if name.isdecimal() else name
    if not device.startswith("/dev/"):
        raise ConfigError(f"expected camera:N, camera:/dev/videoN or camera:csi, got {settings.uri}")
    try:
        camera = probe_camera(device)
        problem = "it takes no pictures"
    except OSError as error:
        camera, problem = None, error.strerror or str(error)
    if camera is None:
        present = ", ".join(map(str, list_cameras())) or "none"
        raise SourceNotFound(f"no camera at {device} ({problem}); cameras of this machine: {present}", hint="plug it in, or choose another with --camera")
    if not os.access(device, os.R_OK | os.W_OK):
        raise CaptureError(f"this user may not open the camera {camera}", hint="sudo usermod -aG video $USER, then log in again")
    require_element("v4l2src", why="a camera")
    return plan_v4l2(settings, has_element, device=device, modes=camera.modes)
