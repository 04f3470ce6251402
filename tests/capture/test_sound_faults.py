"""Sound that cannot be had, and what of a source's sound is told to whom."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.capture import SourceSettings, open_source
from edge.capture.pipelines import plan_csi, plan_file, plan_rtsp, plan_text, plan_v4l2
from edge.errors import CaptureError, ConfigError, EdgeError, MissingDependency, UnsupportedFormat
from edge.frame import Frame
from tests.capture.clip_maker import frames_of, make_clip
from tests.capture.sound_maker import RATE_HZ, heard, make_event_clip
from tests.capture.test_capture_faults import n_descriptors, n_threads
from tests.capture.test_pipelines import JETSON, PLAIN, WEBCAM
from tests.capture.test_rtsp import server

__all__ = ["server"]  # a fixture

PICTURES = "videotestsrc num-buffers=5 ! video/x-raw,width=64,height=64"
TAIL = (
    '! queue name=waiting max-size-buffers=4 max-size-bytes=0 max-size-time=0 ! videoconvert ! appsink name=frames max-buffers=1 drop=false sync=false caps="'
    'video/x-raw,format={I420,NV12},width=[2,32768,2],height=[2,32768,2];video/x-raw,format={RGB,RGBA,GRAY8}"'
)
LIVE_TAIL = TAIL.replace("max-size-buffers=4", "leaky=downstream max-size-buffers=1").replace("drop=false", "drop=true")


def test_without_sound_no_pipeline_changes() -> None:
    decoder = 'decodebin caps="video/x-raw(ANY)" expose-all-streams=false ! deinterlace fields=top'
    assert plan_file(SourceSettings("a.mp4"), PLAIN).text == f'filesrc location="a.mp4" ! {decoder} {TAIL}'
    stream = 'rtspsrc location="rtsp://cam/live" protocols=tcp latency=50 drop-on-latency=true ! capsfilter caps="application/x-rtp,media=video"'
    assert plan_rtsp(SourceSettings("rtsp://cam/live"), PLAIN).text == f'{stream} ! decodebin caps="video/x-raw(ANY)" {LIVE_TAIL}'
    assert (
        plan_text(
            SourceSettings("gst:videotestsrc"),
        ).text
        == f"videotestsrc {TAIL}"
    )
    camera = plan_v4l2(SourceSettings("camera:2"), PLAIN, device="/dev/video2", modes=WEBCAM)
    jpeg = 'v4l2src device="/dev/video2" ! capsfilter caps="image/jpeg,width=1280,height=720,framerate=30/1"'
    to_i420 = 'jpegdec ! videoconvert ! capsfilter caps="video/x-raw,format=I420" ! videoconvert'
    assert camera.text == f"{jpeg} {LIVE_TAIL.replace('videoconvert', to_i420, 1)}"


def test_where_sound_comes_from() -> None:
    ending = (
        "! audioconvert name=hearing dithering=none ! audioresample ! appsink name=samples async=false max-buffers=500 {} "
        'caps="audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate=16000"'
    )
    assert plan_file(SourceSettings("a.mp4", sound_rate_hz=16000), PLAIN).text.endswith(f"  decoder. {ending.format('drop=false sync=false')}")
    paced = plan_file(SourceSettings("a.mp4", sound_rate_hz=16000, realtime=True), PLAIN)
    assert paced.text.endswith(f"  decoder. {ending.format('drop=true sync=true ts-offset=-200000000')}")
    assert "decodebin name=decoder" in plan_file(SourceSettings("a.mp4", sound_rate_hz=16000), JETSON).text
    stream = plan_rtsp(SourceSettings("rtsp://cam/live", sound_rate_hz=16000), PLAIN).text
    assert 'server. ! capsfilter caps="application/x-rtp,media=audio" ! decodebin name=sound-decoder caps="audio/x-raw" ! audioconvert' in stream
    assert stream.startswith("rtspsrc name=server location=")
    heard_by = SourceSettings("camera:2", sound_rate_hz=16000, microphone="hw:1,0")
    camera = plan_v4l2(heard_by, PLAIN, device="/dev/video2", modes=WEBCAM)
    assert camera.text.endswith(f'  alsasrc name=microphone device="hw:1,0" {ending.format("drop=true sync=false")}')
    assert 'alsasrc name=microphone device="default" !' in plan_csi(SourceSettings("camera:csi", sound_rate_hz=16000, microphone="default"), JETSON).text
    assert "samples" not in plan_v4l2(SourceSettings("camera:2", sound_rate_hz=16000), PLAIN, device="/dev/video2", modes=WEBCAM).text
    # A user's sound that nobody wants still has to go somewhere.
    named = "gst:audiotestsrc ! queue name=sound videotestsrc"
    assert plan_text(SourceSettings(named)).text.endswith('"  sound. ! fakesink sync=false async=false')
    assert plan_text(SourceSettings(named, sound_rate_hz=16000)).text.endswith(f"  sound. {ending.format('drop=false sync=false')}")


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("audiotestsrc ! queue name=sound videotestsrc", True),
        ('audiotestsrc ! queue name="sound" max-size-time=0 videotestsrc', True),
        ("audiotestsrc ! queue name = sound videotestsrc", True),
        ("audiotestsrc ! queue silent=true name= sound  videotestsrc", True),
        ("audiotestsrc ! queue name=sound-in ! fakesink videotestsrc", False),
        ("audiotestsrc ! fakesink name=sound-x videotestsrc", False),
        ("audiotestsrc ! queue name=sounds ! fakesink videotestsrc", False),
        ("videotestsrc ! identity name=my.sound", False),
        ('videotestsrc ! textoverlay text="a name=sound in a text" ! identity name=sound-out', False),
        ("videotestsrc ! textoverlay text='a name=sound in a text' ! identity name=last", False),
    ],
)
def test_which_element_is_the_sound(text: str, heard: bool) -> None:
    """As GStreamer reads it: what we take for the element is there, and pipelines without one are left alone."""
    assert plan_text(SourceSettings(f"gst:{text}", sound_rate_hz=RATE_HZ)).sound == ("sound." if heard else "")
    for rate_hz in (None, RATE_HZ):
        uri = "gst:" + text.replace("audiotestsrc", "audiotestsrc num-buffers=90").replace("videotestsrc", "videotestsrc num-buffers=9")
        frames = frames_of(uri, sound_rate_hz=rate_hz)
        assert len(frames) == 9
        assert any(frame.sound is not None for frame in frames) == (heard and rate_hz is not None)


@pytest.mark.parametrize("text", ["queue name=sound ! videoconvert", "tee name=sound ! queue", "videoconvert name=sound ! queue"])
def test_pictures_through_an_element_of_that_name_matter_to_nobody_who_takes_no_sound(text: str) -> None:
    assert len(frames_of(f"gst:{PICTURES} ! {text}")) == 5
    with pytest.raises(ConfigError, match=r"could not link sound to (.|\n)*\n  the element named `sound` must give sound: give one of pictures another name"):
        frames_of(f"gst:{PICTURES} ! {text}", sound_rate_hz=RATE_HZ)


def test_a_decoder_of_that_name_whose_sound_nobody_takes(clip: Callable[[str], Path]) -> None:
    path = clip("face_noface.mov")
    plain = frames_of(path)
    named = frames_of(f'gst:filesrc location="{path}" ! decodebin name=sound ! videoconvert')
    assert [frame.t_media_ns for frame in named] == [frame.t_media_ns for frame in plain]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (SourceSettings("a.mp4", microphone="hw:1", sound_rate_hz=16000), ConfigError, "--microphone hw:1 goes with a camera only, not with a.mp4"),
        (SourceSettings("rtsp://x/y", microphone="default", sound_rate_hz=16000), ConfigError, "files and streams bring their own sound"),
        (SourceSettings("camera:0", microphone="hw:1"), ConfigError, "--microphone hw:1: no package of this run takes sound\n  leave it out"),
        (SourceSettings("camera:0", sound_rate_hz=16000), ConfigError, "the package takes sound, and camera:0 gives pictures alone\n  --microphone default"),
        (
            SourceSettings("camera:0", microphone="", sound_rate_hz=16000),
            ConfigError,
            "expected `default` or an ALSA device such as hw:1 as microphone, got noth",
        ),
        (SourceSettings("a.mp4", sound_rate_hz=0), ConfigError, "expected a rate of sound above 0, got 0"),
        (SourceSettings(f"gst:{PICTURES} audiotestsrc ! queue name=sound"), ConfigError, "expected the pictures at the end of gst:PIPELINE, got the sound"),
        (SourceSettings(f'gst:{PICTURES} audiotestsrc ! queue name = "sound" silent = true'), ConfigError, "expected the pictures at the end of gst:PIPE"),
        (SourceSettings(f"gst:videotestsrc name=sound {PICTURES}", sound_rate_hz=16000), ConfigError, "could not link sound to hearing"),
        (
            SourceSettings(f"gst:pulsesrc name=microphone device=attic server=nowhere ! queue name=sound {PICTURES}", sound_rate_hz=16000),
            CaptureError,
            "cannot (read|open) the microphone attic: ",
        ),
    ],
)
def test_sound_that_cannot_be_had(settings: SourceSettings, error: type[EdgeError], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(error, match=message):
        open_source(settings)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "pipeline"), [("s.wav", "wavenc"), ("s.mp4", "avenc_aac ! mp4mux"), ("s.ogg", "vorbisenc ! oggmux")])
def test_a_file_without_pictures(tmp_path: Path, name: str, pipeline: str) -> None:
    path = make_clip(tmp_path / name, f"audiotestsrc num-buffers=20 ! {pipeline}")
    started = time.monotonic()
    with pytest.raises(UnsupportedFormat, match="holds no video, only sound"):
        open_source(SourceSettings(str(path), sound_rate_hz=RATE_HZ))
    assert time.monotonic() - started < 3


def opened_without(uri: str | Path, *decoders: str, sound: bool = True) -> str:
    """What opening says on stderr in a process that has none of the decoders."""
    rate = RATE_HZ if sound else None
    code = (
        f"from edge.capture import *\nwith open_source(SourceSettings({str(uri)!r}, sound_rate_hz={rate})) as source:\n    [source.read(1) for _ in range(9)]"
    )
    ranks = {"GST_PLUGIN_FEATURE_RANK": ",".join(f"{name}:NONE" for name in decoders)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **ranks}).stderr


NO_AAC = ("avdec_aac", "avdec_aac_fixed", "faad", "fdkaacdec")
NO_H264 = ("avdec_h264", "openh264dec", "vah264dec", "nvh264dec", "nvh264sldec", "vaapih264dec", "v4l2h264dec", "v4l2slh264dec")


def test_a_decoder_of_sound_that_is_not_installed(tmp_path: Path) -> None:
    path = make_event_clip(tmp_path / "a.mp4", "avenc_aac ! aacparse", "mp4mux")
    message = opened_without(path, *NO_AAC)
    assert f"MissingDependency: the sound of {path} needs a GStreamer decoder that is not installed: MPEG-4 AAC decoder\n" in message
    assert "sudo apt-get install gstreamer1.0-libav" in message
    assert opened_without(path, *NO_AAC, sound=False) == ""
    message = opened_without(path, *NO_H264)
    assert f"MissingDependency: {path} needs a GStreamer decoder that is not installed: H.264" in message
    user = f'gst:filesrc location="{path}" ! decodebin name=sound ! videoconvert'
    assert "MissingDependency: the sound of gst:filesrc" in opened_without(user, *NO_AAC)


def test_a_stream_with_sound(server: tuple[subprocess.Popen[str], str]) -> None:
    # Times of the two settle when the server's first report of its clock comes, which a busy machine may delay, and sound that comes too late is dropped:
    # a gap each, never an overlap. Forty frames without one must come.
    with open_source(SourceSettings(server[1], sound_rate_hz=RATE_HZ)) as source:
        frames: list[Frame] = []
        n_steady, heard_until_ns = 0, -math.inf
        while n_steady < 40:
            frame = source.read(5.0)
            assert frame is not None
            frames.append(frame)
            assert len(frames) < 600, "the sound never settled"
            if frame.sound is not None:
                assert frame.sound.t_media_ns > heard_until_ns - 0.6e9 / RATE_HZ, "heard twice"  # what overlaps is cut to whole samples
                n_steady = 0 if frame.sound.t_media_ns > heard_until_ns + 3 else n_steady
                heard_until_ns = frame.sound.t_media_ns + len(frame.sound.samples) / RATE_HZ * 1e9
            n_steady += 1
    samples, start_ns = heard(frames[-40:])
    assert frames[-1].t_media_ns - (start_ns + len(samples) / RATE_HZ * 1e9) < 200e6
    tone = samples[-8000:].astype(float)
    assert np.abs(np.fft.rfft(tone)).argmax() * RATE_HZ / len(tone) == pytest.approx(440, abs=3)
    message = opened_without(server[1], "opusdec", "avdec_opus")
    assert "MissingDependency: the sound of rtsp://127.0.0.1" in message
    assert "needs a GStreamer decoder that is not installed: Opus" in message


def test_nothing_is_left_behind(clip: Callable[[str], Path]) -> None:
    def once() -> None:
        for uri in (str(clip("single_face.mp4")), "gst:audiotestsrc is-live=true ! queue name=sound videotestsrc is-live=true"):
            with open_source(SourceSettings(uri, sound_rate_hz=RATE_HZ)) as source:
                assert source.read(5.0) is not None

    for _ in range(3):
        once()
    descriptors, threads = n_descriptors(), n_threads()
    for _ in range(15):
        once()
    deadline = time.monotonic() + 20
    while n_threads() > threads and time.monotonic() < deadline:
        time.sleep(0.1)
    assert n_threads() <= threads
    assert n_descriptors() <= descriptors


def test_a_machine_without_alsa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.gst.has_element", lambda name: name != "alsasrc")
    with pytest.raises(
        MissingDependency, match=r"a microphone needs the GStreamer element 'alsasrc', which is not installed\n  sudo apt-get install gstreamer1\.0-alsa"
    ):
        open_source(SourceSettings("camera:0", microphone="default", sound_rate_hz=RATE_HZ))
