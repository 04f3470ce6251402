"""Streams from a real RTSP server, and what happens when it dies, hangs or is not there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.capture import SourceSettings, open_source
from edge.errors import CaptureTimeout, SourceLost, SourceNotFound
from tests.capture.test_live import read_to_the_end


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, str(Path(__file__).with_name("rtsp_server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            pytest.skip("no RTSP server here: sudo apt-get install gir1.2-gst-rtsp-server-1.0")
        yield process, f"rtsp://me:secret@127.0.0.1:{port}/cam"
        process.kill()


def test_a_stream(server: tuple[subprocess.Popen[str], str]) -> None:
    with open_source(SourceSettings(server[1])) as source:
        assert source.live
        assert source.name == "rtsp-127.0.0.1"
        assert source.duration_ns is None
        assert "secret" not in source.description
        frames = []
        for _ in range(20):
            frame = source.read(5.0)
            assert frame is not None
            frames.append(frame)
    assert frames[0].pixels.shape == (240, 320, 3)
    assert abs(frames[-1].t_capture_ns - time.monotonic_ns()) < 2e9
    assert sum(frame.t_capture_from == "buffer" for frame in frames) > 10
    seqs = [frame.seq for frame in frames]
    assert seqs == sorted(set(seqs))
    bars = frames[-1].pixels[60].astype(int)
    assert bars[20] == pytest.approx((255, 255, 255), abs=12)
    assert bars[300] == pytest.approx((0, 0, 255), abs=12)


def test_a_server_that_dies(server: tuple[subprocess.Popen[str], str]) -> None:
    with open_source(SourceSettings(server[1])) as source:
        assert source.read(5.0) is not None
        server[0].kill()
        with pytest.raises(SourceLost, match=r"rtsp://127\.0\.0\.1:\d+/cam after \d+ frames, at .* s: the stream ended"):
            read_to_the_end(source)


def test_a_server_that_hangs(server: tuple[subprocess.Popen[str], str]) -> None:
    source = open_source(SourceSettings(server[1], timeout_s=1.0))
    assert source.read(5.0) is not None
    os.kill(server[0].pid, signal.SIGSTOP)
    with pytest.raises(CaptureTimeout, match="no frame for 1 s"):
        read_to_the_end(source)
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 1.0
    os.kill(server[0].pid, signal.SIGCONT)


def test_a_server_without_that_stream(server: tuple[subprocess.Popen[str], str]) -> None:
    with pytest.raises(SourceNotFound, match="cannot open rtsp://127") as caught:
        open_source(SourceSettings(server[1].replace("/cam", "/other")))
    assert "secret" not in str(caught.value)


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceNotFound, match=f"cannot open rtsp://127.0.0.1:{port}/cam: Could not open resource"):
        open_source(SourceSettings(f"rtsp://127.0.0.1:{port}/cam"))


def test_a_listener_that_says_nothing() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        with pytest.raises(CaptureTimeout, match=r"no picture within 0\.5 s"):
            open_source(SourceSettings(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam", timeout_s=0.5))
        assert time.monotonic() - started < 2.0
