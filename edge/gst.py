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

from edge.errors import CaptureError, ConfigError, EdgeError, MissingDependency, SourceLost, SourceNotFound, UnsupportedFormat

_TYPELIB_PACKAGES = ("gir1.2-gstreamer-1.0", "gir1.2-gst-plugins-base-1.0")
_ELEMENTS_OF_PACKAGE = {
    "libgstreamer1.0-0": ("filesrc", "queue", "capsfilter", "fakesink", "identity", "tee"),
    "gstreamer1.0-plugins-base": (
        "appsink",
        "appsrc",
        "videoconvert",
        "videoscale",
        "videorate",
        "decodebin",
        "videotestsrc",
        "textoverlay",
        "theoraenc",
        "audioconvert",
        "audioresample",
    ),
    "gstreamer1.0-alsa": ("alsasrc",),
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
    """The three namespaces, ready for use, and what GStreamer complained about when it looked through its plugins."""

    Gst: Any
    GstApp: Any
    GstVideo: Any
    complaints: tuple[str, ...]


@functools.cache
def load_gst() -> GstModules:
    """Import and initialise GStreamer, once.

    Raises:
        MissingDependency: PyGObject or a typelib is absent, or is of a version that this code cannot work with.
    """
    try:
        import gi
    except ImportError as error:
        raise MissingDependency(
            f"capture and display need the Python module 'gi' (PyGObject), which cannot be imported: {error}",
            hint="make setup   or: pip install 'PyGObject<3.51'",
        ) from error
    try:
        for namespace in ("Gst", "GstApp", "GstVideo"):
            gi.require_version(namespace, "1.0")
    except ValueError as error:
        raise MissingDependency(f"a typelib of GStreamer is not installed: {error}", hint=_apt_line(*_TYPELIB_PACKAGES)) from error
    from gi.repository import Gst, GstApp, GstVideo

    # The first start after an installation loads every plugin and prints a warning for each whose libraries are absent.
    with _stderr_kept() as kept:
        Gst.init(None)
    _check_pointers(Gst)
    return GstModules(Gst, GstApp, GstVideo, tuple(re.findall(r"Failed to load plugin .*", kept.decode(errors="replace"))))


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
    complaints = "".join(f"\n  GStreamer said: {complaint}" for complaint in load_gst().complaints)
    return MissingDependency(f"{why} needs the GStreamer element '{name}', which is not installed{complaints}", hint=hint)


def quoted(value: str) -> str:
    """Return a value as a pipeline's text wants it, whatever characters it holds."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def parse_pipeline(text: str, *, where: str, hint: str = "try it with gst-launch-1.0") -> Any:
    """Build a pipeline from its text; `hint` is for a text that is no pipeline.

    Raises:
        MissingDependency: It names an element that is not installed.
        ConfigError: It is not a pipeline: syntax, properties or links.
    """
    gst = load_gst().Gst
    from gi.repository import GLib

    try:
        return gst.parse_launch(text)
    except GLib.Error as error:
        if error.matches(gst.ParseError.quark(), gst.ParseError.NO_SUCH_ELEMENT):
            name = re.search(r'"([^"]+)"', error.message)
            raise missing_element(name.group(1) if name else error.message, why=where) from error
        raise ConfigError(f"{where}: GStreamer cannot build the pipeline: {error.message}\n  {text}", hint=hint) from error


def missing_decoder(message: Any) -> tuple[str, str] | None:
    """Return what a message of a bus says is missing: a name, such as `MPEG-4 AAC decoder`, and its kind, such as `audio`; None where it says no such thing.

    Args:
        message: Gst.Message of type ELEMENT.
    """
    structure = message.get_structure()
    if structure.get_name() != "missing-plugin" or structure.get_string("type") != "decoder":
        return None
    return structure.get_string("name"), structure.get_value("detail").get_structure(0).get_name().partition("/")[0]


def no_decoder(where: str, *names: str) -> MissingDependency:
    """Return the error for a stream that no installed decoder reads."""
    return MissingDependency(
        f"{where} needs a GStreamer decoder that is not installed: {', '.join(names)}",
        hint=_apt_line("gstreamer1.0-libav", "gstreamer1.0-plugins-bad", "gstreamer1.0-plugins-ugly"),
    )


def error_from(message: Any, *, where: str, lost: bool, of_sound: bool = False) -> EdgeError:
    """Turn an ERROR message of a bus into the error of ours that says what to do.

    Args:
        message: Gst.Message of type ERROR.
        where: What was being read, such as a path.
        lost: The source had delivered frames before.
        of_sound: It is about the sound that goes with the pictures.
    """
    gst = load_gst().Gst
    error, debug = message.parse_error()
    resource, stream, core = gst.ResourceError, gst.StreamError, gst.CoreError
    detail = " ".join((debug or "").splitlines()[1:])
    cause = f"{error.message.rstrip('.')}: {detail}" if detail else error.message

    def one_of(kind: Any, *codes: Any) -> bool:
        return any(error.matches(kind.quark(), code) for code in codes)

    if one_of(core, core.MISSING_PLUGIN) or one_of(stream, stream.CODEC_NOT_FOUND):
        return _no_decoder(debug or error.message, where, of_sound=of_sound)
    if one_of(resource, resource.NOT_AUTHORIZED):
        return CaptureError(f"not allowed to read {where}: {cause}", hint="check user name, password and permissions")
    if one_of(resource, resource.BUSY):
        return CaptureError(f"{where} is in use by another program: {cause}", hint="close that program; `fuser -v /dev/video*` shows who holds a camera")
    if lost:
        return SourceLost(f"{where} failed after it had delivered frames: {cause}", hint="check the cable, the network or the file")
    if one_of(resource, resource.NOT_FOUND, resource.OPEN_READ, resource.OPEN_READ_WRITE):
        return SourceNotFound(f"cannot open {where}: {cause}", hint="check the name or address, and that the device or server is there")
    if one_of(core, core.NEGOTIATION) or error.domain == "gst-stream-error-quark":
        return UnsupportedFormat(
            f"cannot read {where} as {'sound' if of_sound else 'video'}: {cause}",
            hint="`gst-discoverer-1.0 FILE` shows what a file holds, or that it is damaged",
        )
    return CaptureError(f"cannot read {where}: {cause}", hint="GST_DEBUG=3 says more")


def _no_decoder(debug: str, where: str, *, of_sound: bool) -> EdgeError:
    missing = re.findall(r"Missing \w+: (.+?) \((\w+)/", debug)
    # `decodebin` reports the sound of a file without pictures as a missing decoder, if that is what it was told to leave alone.
    if missing and not of_sound and all(kind == "audio" for _, kind in missing):
        return UnsupportedFormat(f"{where} holds no video, only sound ({', '.join(name for name, _ in missing)})")
    return no_decoder(where, *([name for name, kind in missing if of_sound or kind != "audio"] or [debug.splitlines()[-1]]))


class _MapInfo(ctypes.Structure):
    # Source: GstMapInfo in gst/gstmemory.h, unchanged since GStreamer 1.0.
    _fields_ = [
        ("memory", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("maxsize", ctypes.c_size_t),
        ("user_data", ctypes.c_void_p * 4),
        ("reserved", ctypes.c_void_p * 4),
    ]


@functools.cache
def _library() -> Any:
    library = ctypes.CDLL("libgstreamer-1.0.so.0")
    library.gst_buffer_map.argtypes = [ctypes.c_void_p, ctypes.POINTER(_MapInfo), ctypes.c_int]
    library.gst_buffer_unmap.argtypes = [ctypes.c_void_p, ctypes.POINTER(_MapInfo)]
    library.gst_buffer_unmap.restype = None
    return library


@contextlib.contextmanager
def mapped_bytes(buffer: Any) -> Iterator[NDArray[np.uint8]]:
    """Lend the memory of a Gst.Buffer: uint8[N], without a copy, valid inside the `with` block only.

    `Gst.Buffer.map` cannot be used: its `data` is a copy in plain PyGObject and a view only where python3-gst-1.0 is installed.

    Raises:
        CaptureError: The memory cannot be mapped, as that of a GPU.
    """
    library, info = _library(), _MapInfo()
    pointer = hash(buffer)
    if not library.gst_buffer_map(pointer, ctypes.byref(info), int(load_gst().Gst.MapFlags.READ)):
        raise CaptureError("a frame's memory cannot be read", hint="end the pipeline with an element that brings frames to system memory, such as nvvidconv")
    try:
        yield np.frombuffer((ctypes.c_uint8 * info.size).from_address(info.data), np.uint8)
    finally:
        library.gst_buffer_unmap(pointer, ctypes.byref(info))


def _check_pointers(gst: Any) -> None:
    """Check, once, that PyGObject's hash of a buffer is its address: a wrong one would crash the process later."""
    buffer = gst.Buffer.new_allocate(None, 1, None)
    if f"{hash(buffer):#x})" not in repr(buffer):
        raise MissingDependency(f"this PyGObject does not tell where a buffer lies: {buffer!r}", hint="pip install 'PyGObject<3.51'")


@contextlib.contextmanager
def _stderr_kept() -> Iterator[bytearray]:
    """Keep what native code writes to stderr, child processes included, in the array that is yielded; GST_DEBUG lets it through."""
    kept = bytearray()
    if os.environ.get("GST_DEBUG"):
        yield kept
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield kept
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            file.seek(0)
            kept += file.read()


def _apt_line(*packages: str) -> str:
    return f"sudo apt-get install {' '.join(packages)}   (in a checkout: make setup)"
