"""GStreamer: the one place that imports `gi`, knows which Debian package holds an element, and turns GStreamer's errors into ours."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import CaptureError, EdgeError, MissingDependency, SourceLost, SourceNotFound, UnsupportedFormat

_PACKAGE_OF_TYPELIB = {"Gst": "gir1.2-gstreamer-1.0", "GstApp": "gir1.2-gst-plugins-base-1.0", "GstVideo": "gir1.2-gst-plugins-base-1.0"}
_ELEMENTS_OF_PACKAGE = {
    "libgstreamer1.0-0": ("filesrc", "queue", "capsfilter", "fakesink", "identity", "tee"),
    "gstreamer1.0-plugins-base": ("appsink", "appsrc", "videoconvert", "videoscale", "videorate", "decodebin", "videotestsrc", "textoverlay", "theoraenc"),
    "gstreamer1.0-plugins-good": ("v4l2src", "rtspsrc", "jpegdec", "jpegenc", "deinterlace", "videoflip", "qtmux", "mp4mux", "matroskamux", "vp8enc", "pngenc"),
    "gstreamer1.0-plugins-bad": ("h264parse", "h265parse", "openh264enc", "kmssink", "fbdevsink", "waylandsink"),
    "gstreamer1.0-plugins-ugly": ("x264enc",),
    "gstreamer1.0-libav": ("avdec_h264", "avdec_h265"),
    "gstreamer1.0-x": ("ximagesink", "xvimagesink"),
    "gstreamer1.0-gl": ("glimagesink",),
    "nvidia-l4t-gstreamer": ("nvvidconv", "nvv4l2decoder", "nvv4l2h264enc", "nv3dsink", "nvdrmvideosink"),
    "nvidia-l4t-camera": ("nvarguscamerasrc",),
}


class GstModules(NamedTuple):
    """The three namespaces, ready for use."""

    Gst: Any
    GstApp: Any
    GstVideo: Any


@functools.cache
def load_gst() -> GstModules:
    """Import and initialise GStreamer, once.

    Raises:
        MissingDependency: PyGObject or a typelib is absent, or GStreamer does not start.
    """
    try:
        import gi
    except ImportError as error:
        raise MissingDependency(
            f"capture and display need the Python module 'gi' (PyGObject), which cannot be imported: {error}", hint="make setup   or: pip install 'PyGObject<3.51'"
        ) from error
    for namespace, package in _PACKAGE_OF_TYPELIB.items():
        try:
            gi.require_version(namespace, "1.0")
        except ValueError as error:
            raise MissingDependency(f"GStreamer's typelib {namespace}-1.0 is not installed: {error}", hint=_apt_line(package)) from error
    from gi.repository import Gst, GstApp, GstVideo

    with _native_stderr() as written:
        started, _ = Gst.init_check(None)
    if not started:
        raise MissingDependency(f"GStreamer does not start: {written() or 'no reason given'}", hint=_apt_line("gstreamer1.0-plugins-base"))
    _check_pointers(Gst)
    return GstModules(Gst, GstApp, GstVideo)


def has_element(name: str) -> bool:
    """Tell whether GStreamer has an element of this name.

    Raises:
        MissingDependency: GStreamer itself is absent.
    """
    return load_gst().Gst.ElementFactory.find(name) is not None


def require_element(*names: str, why: str) -> None:
    """Check that elements exist.

    Args:
        names: Names of elements, such as `v4l2src`.
        why: What needs them, in a few words.

    Raises:
        MissingDependency: One is absent; the hint names the Debian package that holds it.
    """
    for name in names:
        if not has_element(name):
            raise missing_element(name, why=why)


def missing_element(name: str, *, why: str) -> MissingDependency:
    """Return the error for an element that does not exist, with the Debian package that would bring it."""
    package = next((package for package, elements in _ELEMENTS_OF_PACKAGE.items() if name in elements), None)
    hint = _apt_line(package) if package else f"find the package that holds it: apt-cache search gstreamer1.0   then check: gst-inspect-1.0 {name}"
    return MissingDependency(f"{why} needs the GStreamer element '{name}', which is not installed", hint=hint)


def parse_pipeline(text: str, *, where: str) -> Any:
    """Build a pipeline from its text.

    Raises:
        MissingDependency: It names an element that is not installed.
        CaptureError: It is not a pipeline: syntax, properties or links.
    """
    gst = load_gst().Gst
    from gi.repository import GLib

    try:
        return gst.parse_launch(text)
    except GLib.Error as error:
        if error.matches(gst.ParseError.quark(), gst.ParseError.NO_SUCH_ELEMENT):
            name = re.search(r'"([^"]+)"', error.message)
            raise missing_element(name.group(1) if name else error.message, why=where) from error
        raise CaptureError(
            f"{where}: GStreamer cannot build the pipeline: {error.message}\n  {text}", hint="try it with gst-launch-1.0; it must end in raw video, without a sink"
        ) from error


def error_from(message: Any, *, where: str, lost: bool) -> EdgeError:
    """Turn an ERROR message of a bus into the error of ours that says what to do.

    Args:
        message: Gst.Message of type ERROR.
        where: What was being read, such as a path.
        lost: The source had delivered frames before.
    """
    gst = load_gst().Gst
    error, debug = message.parse_error()
    cause = _cause(error.message, debug or "")
    resource, stream, core = gst.ResourceError, gst.StreamError, gst.CoreError
    if error.matches(core.quark(), core.MISSING_PLUGIN) or error.matches(stream.quark(), stream.CODEC_NOT_FOUND):
        return _missing_decoder(debug or error.message, where)
    if error.matches(resource.quark(), resource.NOT_AUTHORIZED):
        return CaptureError(f"not allowed to read {where}: {cause}", hint="check user name, password and permissions")
    if error.matches(resource.quark(), resource.BUSY):
        return CaptureError(f"{where} is in use by another program: {cause}", hint="close it; fuser -v /dev/video* shows who holds a camera")
    if lost:
        return SourceLost(f"{where} failed after it had delivered frames: {cause}")
    if any(error.matches(resource.quark(), code) for code in (resource.NOT_FOUND, resource.OPEN_READ, resource.OPEN_READ_WRITE)):
        return SourceNotFound(f"cannot open {where}: {cause}", hint="check the name or address, and that the device or server is there")
    if error.domain == gst.error_get_domain(stream) if hasattr(gst, "error_get_domain") else error.domain == "gst-stream-error-quark":
        return UnsupportedFormat(f"cannot read {where} as video: {cause}", hint="gst-discoverer-1.0 shows what the file holds, or whether it is damaged")
    if error.matches(core.quark(), core.NEGOTIATION):
        return UnsupportedFormat(f"{where} does not give raw video that can be converted: {cause}")
    return CaptureError(f"cannot read {where}: {cause}")
