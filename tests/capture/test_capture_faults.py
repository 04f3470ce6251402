"""Sources that cannot be opened, that end in the middle, and what is left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.capture import SourceSettings, open_source
from edge.errors import CaptureError, ConfigError, EdgeError, MissingDependency, SourceLost, SourceNotFound, UnsupportedFormat
from tests.capture.clip_maker import frames_of, make_clip
from tests.capture.test_live import read_to_the_end


def clip_without_end(tmp_path: Path, name: str, mux: str) -> Path:
    source = "videotestsrc num-buffers=90 pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=30/1"
    whole = make_clip(tmp_path / f"whole-{name}", f"{source} ! {mux}")
    assert len(frames_of(whole)) == 90
    cut = tmp_path / name
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    return cut


def rubbish(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(100_000))


FILES: list[tuple[str, Callable[[Path], object], type[EdgeError], str]] = [
    ("absent.mp4", str, SourceNotFound, "no such file: "),
    ("folder", lambda path: path.mkdir(), CaptureError, "expected a clip or picture, got a directory: "),
    ("empty.mp4", lambda path: path.touch(), UnsupportedFormat, "the file is empty: "),
    ("rubbish.mp4", rubbish, UnsupportedFormat, "Could not determine type of stream"),
    ("text.mp4", lambda path: path.write_text("some words\n" * 500), UnsupportedFormat, "This appears to be a text file"),
    (
        "sound.ogg",
        lambda path: make_clip(path, "audiotestsrc num-buffers=20 ! vorbisenc ! oggmux"),
        UnsupportedFormat,
        r"no video, only sound \(Vorbis\)",
    ),
    ("sound.wav", lambda path: make_clip(path, "audiotestsrc num-buffers=20 ! wavenc"), UnsupportedFormat, "holds no video, only sound"),
]


@pytest.mark.parametrize(("name", "make", "error", "message"), FILES, ids=[row[0] for row in FILES])
def test_files_that_are_no_clips(
    tmp_path: Path, name: str, make: Callable[[Path], object], error: type[EdgeError], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / name)
    with pytest.raises(error, match=message) as caught:
        open_source(SourceSettings(str(tmp_path / name)))
    assert name in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_file_that_this_user_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(CaptureError, match="this user may not read"):
        open_source(SourceSettings(str(path)))


def test_an_mp4_without_its_index(tmp_path: Path, clip: Callable[[str], Path]) -> None:
    content = clip("WolfgangLanger_Pexels.mp4").read_bytes()
    path = tmp_path / "clip.mp4"
    path.write_bytes(content.replace(b"moov", b"free", 1))
    with pytest.raises(UnsupportedFormat, match=r"the clip has no index \(moov\) and cannot be played: "):
        open_source(SourceSettings(str(path)))
    late_index = clip("noface_face.mov").read_bytes()
    path.write_bytes(late_index[: len(late_index) // 2])
    with pytest.raises(UnsupportedFormat, match=r"cannot be played: \d+ bytes were cut off: "):
        open_source(SourceSettings(str(path)))


@pytest.mark.parametrize(
    ("name", "mux"),
    [("cut.mp4", "x264enc ! mp4mux faststart=true"), ("cut.mkv", "vp8enc ! matroskamux"), ("cut.avi", "jpegenc ! avimux")],
)
def test_what_is_left_of_a_cut_file_comes_before_the_error(tmp_path: Path, name: str, mux: str) -> None:
    source = open_source(SourceSettings(str(clip_without_end(tmp_path, name, mux))))
    with pytest.raises(SourceLost, match=r"after \d+ frames, at \d\.\d+ s: the rest was cut off \(\d+ bytes are missing\)") as caught:
        read_to_the_end(source)
    n_frames = int(str(caught.value).partition(" frames")[0].rpartition(" ")[2])
    assert 30 < n_frames < 90
    source.close()


def test_a_live_matroska_without_a_length_is_whole(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "live.mkv", "videotestsrc num-buffers=9 ! video/x-raw,width=64,height=64 ! vp8enc ! matroskamux streamable=true")
    assert len(frames_of(path)) == 9


def test_an_error_in_the_middle_comes_after_the_frames_before_it() -> None:
    source_text = "gst:videotestsrc num-buffers=20 ! video/x-raw,format=RGB,width=64,height=64,framerate=30/1 ! identity error-after=11"
    with open_source(SourceSettings(source_text)) as source:
        with pytest.raises(SourceLost, match=r"after 10 frames, at 0\.300 s failed after it had delivered frames: Failed after iterations as requested"):
            read_to_the_end(source)
        with pytest.raises(SourceLost, match="failed after it had delivered frames"):
            source.read(0.1)


def test_frames_on_their_way_are_waited_for() -> None:
    slow = "identity error-after=11 sleep-time=20000 ! queue ! identity sleep-time=60000"
    seqs: list[int] = []
    with open_source(SourceSettings(f"gst:videotestsrc num-buffers=20 ! video/x-raw,format=RGB,width=64,height=64,framerate=30/1 ! {slow}")) as source:
        while len(seqs) < 10:
            frame = source.read(0.0)
            if frame is not None:
                seqs.append(frame.seq)
        with pytest.raises(SourceLost, match="after 10 frames"):
            read_to_the_end(source)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (SourceSettings("gst:videotestsrc !! x"), ConfigError, "GStreamer cannot build the pipeline: syntax error"),
        (SourceSettings("gst:videotestsrc colour=red"), ConfigError, 'no property "colour" in element "videotestsrc"'),
        (SourceSettings("gst:videotestsrc ! fakesink"), ConfigError, r"could not link fakesink\d+ to waiting"),
        (SourceSettings("gst:videotestsrc ! jpegenc"), ConfigError, "could not link waiting to videoconvert"),
        (SourceSettings("gst:no-such-source"), MissingDependency, "needs the GStreamer element 'no-such-source', which is not installed"),
        (SourceSettings("gst:filesrc location=/absent ! decodebin"), SourceNotFound, 'Resource not found: No such file "/absent"'),
        (SourceSettings("gst:videotestsrc num-buffers=0"), UnsupportedFormat, "ended before its first picture"),
        (SourceSettings("http://host/clip.mp4"), ConfigError, "no source of this kind: http://host/clip.mp4"),
        (SourceSettings("camera:zero"), ConfigError, "expected camera:N, camera:/dev/videoN or camera:csi, got camera:zero"),
        (SourceSettings("camera:77"), SourceNotFound, r"no camera at /dev/video77 \(No such file or directory\); cameras of this machine: "),
        (SourceSettings("camera:/dev/null"), SourceNotFound, r"no camera at /dev/null \(Inappropriate ioctl for device\)"),
        (SourceSettings("a.mp4", size_px=(1, 1), fps=3), ConfigError, "--camera-size, --camera-fps can be asked of a camera only, not of a.mp4"),
        (SourceSettings("camera:0", size_px=(0, 480)), ConfigError, "expected a camera size of at least 1x1 pixels, got 0x480"),
        (SourceSettings("camera:0", fps=0), ConfigError, "expected a camera's rate above 0, got 0"),
        (SourceSettings("a.mp4", timeout_s=float("nan")), ConfigError, "expected a timeout in seconds above 0, got nan"),
        (SourceSettings("a.mp4", rotate_deg=45), ConfigError, "expected a rotation of 0, 90, 180 or 270 degrees, got 45"),  # type: ignore[arg-type]
    ],
)
def test_settings_and_pipelines_that_cannot_work(settings: SourceSettings, error: type[EdgeError], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(error, match=message):
        open_source(settings)
    assert capfd.readouterr().err == ""


def n_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def n_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_nothing_is_left_behind(clip: Callable[[str], Path], tmp_path: Path) -> None:
    path = str(clip("single_face.mp4"))
    bad = tmp_path / "text.mp4"
    bad.write_text("some words\n" * 500)

    def once() -> None:
        with open_source(SourceSettings(path)) as source:
            assert source.read(5.0) is not None
        with open_source(SourceSettings("gst:videotestsrc is-live=true")) as source:
            assert source.read(5.0) is not None
        with pytest.raises(UnsupportedFormat):
            open_source(SourceSettings(str(bad)))

    for _ in range(3):
        once()
    descriptors, threads = n_descriptors(), n_threads()
    for _ in range(30):
        once()
    # GStreamer's pool lets idle threads go after a while.
    deadline = time.monotonic() + 20
    while n_threads() > threads and time.monotonic() < deadline:
        time.sleep(0.1)
    assert n_threads() <= threads
    assert n_descriptors() <= descriptors
    assert threading.active_count() < 5


def test_a_forgotten_source_stops_by_itself(clip: Callable[[str], Path], capfd: pytest.CaptureFixture[str]) -> None:
    source = open_source(SourceSettings(str(clip("WolfgangLanger_Pexels.mp4"))))
    pipeline = source._pipeline  # type: ignore[attr-defined]
    del source
    assert pipeline.get_state(0)[1].value_nick == "null"
    assert capfd.readouterr().err == ""
