"""The one door to GStreamer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError, MissingDependency
from edge.gst import _check_pointers, has_element, load_gst, mapped_bytes, missing_element, parse_pipeline, require_element


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment})


def test_elements() -> None:
    assert has_element("videotestsrc")
    assert not has_element("no-such-element")
    require_element("queue", "appsink", why="a test")
    with pytest.raises(
        MissingDependency, match="a camera needs the GStreamer element 'nvarguscamerasrc', which is not installed\n  sudo apt-get install nvidia"
    ):
        require_element("queue", "nvarguscamerasrc", why="a camera")
    assert "apt-cache search gstreamer1.0" in missing_element("no-such-element", why="x").hint


def test_pipelines_that_do_not_parse() -> None:
    with pytest.raises(ConfigError, match=r"the test: GStreamer cannot build the pipeline: syntax error\n  videotestsrc !! x"):
        parse_pipeline("videotestsrc !! x", where="the test")
    with pytest.raises(MissingDependency, match="the test needs the GStreamer element 'x264dec'"):
        parse_pipeline("x264dec", where="the test")


def test_lent_memory_is_that_of_the_buffer() -> None:
    gst = load_gst().Gst
    content = bytes(range(200))
    buffer = gst.Buffer.new_wrapped(content)
    with mapped_bytes(buffer) as first, mapped_bytes(buffer) as second:
        assert first.tobytes() == content
        assert first.ctypes.data == second.ctypes.data, "a copy"
        assert first.dtype == np.uint8
    assert buffer.get_size() == 200


def test_an_address_that_is_none_is_refused() -> None:
    class Buffer:
        @staticmethod
        def new_allocate(*_: object) -> Buffer:
            return Buffer()

    class Namespace:
        pass

    Namespace.Buffer = Buffer  # type: ignore[attr-defined]
    with pytest.raises(MissingDependency, match="this PyGObject does not tell where a buffer lies"):
        _check_pointers(Namespace)


def test_without_pygobject() -> None:
    result = python("import sys; sys.modules['gi'] = None\nfrom edge.gst import load_gst\nload_gst()")
    assert "capture and display need the Python module 'gi' (PyGObject)" in result.stderr


def test_without_typelibs(tmp_path: Path) -> None:
    code = "import gi\ngi.require_version = lambda name, version: (_ for _ in ()).throw(ValueError(f'Namespace {name} not available'))\n"
    result = python(code + "from edge.gst import load_gst\nload_gst()")
    assert "a typelib of GStreamer is not installed: Namespace Gst not available" in result.stderr
    assert "sudo apt-get install gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0" in result.stderr


def test_a_decoder_that_is_not_installed(clip: Callable[[str], Path]) -> None:
    code = f"from edge.capture import *\nopen_source(SourceSettings({str(clip('face_noface.mov'))!r}))"
    ranks = ",".join(
        f"{name}:NONE" for name in ("avdec_h265", "libde265dec", "vah265dec", "nvh265dec", "nvh265sldec", "vaapih265dec", "v4l2h265dec", "v4l2slh265dec")
    )
    result = python(code, GST_PLUGIN_FEATURE_RANK=ranks)
    assert "needs a GStreamer decoder that is not installed: H.265" in result.stderr
    assert "sudo apt-get install gstreamer1.0-libav" in result.stderr
    assert "MissingDependency" in result.stderr


def test_a_broken_plugin_is_kept_off_the_terminal_but_not_forgotten(tmp_path: Path) -> None:
    (tmp_path / "libgstbroken.so").write_bytes(b"\x7fELF" + bytes(100))
    code = "from edge.gst import has_element, missing_element\nhas_element('queue')\nprint(missing_element('broken', why='x'))"
    environment = {"GST_PLUGIN_PATH": str(tmp_path), "GST_REGISTRY": str(tmp_path / "registry.bin")}
    kept = python(code, **environment)
    assert kept.stderr == ""
    assert "GStreamer said: Failed to load plugin" in kept.stdout
    (tmp_path / "registry.bin").unlink()
    assert "Failed to load plugin" in python(code, GST_DEBUG="1", **environment).stderr
