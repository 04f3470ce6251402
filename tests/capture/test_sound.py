"""Sound that comes with the frames: in their time, each sample once."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.capture import SourceSettings, open_source, pipelines, sound
from edge.errors import CaptureTimeout
from edge.frame import Frame
from tests.capture.clip_maker import frames_of
from tests.capture.sound_maker import RATE_HZ, heard, lag_ms, make_event_clip, torn_apart

LIVE = "audiotestsrc is-live=true{} ! queue name=sound videotestsrc is-live=true{} ! video/x-raw,width=64,height=64,framerate=30/1"
AAC, MP3, PCM = "avenc_aac ! aacparse", "lamemp3enc ! mpegaudioparse", "audio/x-raw,format=S16LE"
RAW_PICTURES = "identity"


def sound_frames(uri: str | Path, **settings: object) -> list[Frame]:
    return frames_of(uri, sound_rate_hz=RATE_HZ, **settings)


def end_ns(frame: Frame) -> float:
    assert frame.sound is not None
    return frame.sound.t_media_ns + len(frame.sound.samples) * 1e9 / frame.sound.rate_hz


# What GStreamer's muxers do not write into these files, nobody can take off: the delay of the encoders of AAC (1024 samples) and MP3 (1105, with the
# decoder's), less than one of their buffers. The others are right to a sample.
@pytest.mark.parametrize(
    ("name", "encoder", "mux", "delay_ms"),
    [
        ("a.mp4", AAC, "mp4mux", 1024 / 48),
        ("m.mp4", MP3, "mp4mux", 1105 / 48),
        ("a.mkv", AAC, "matroskamux", 1024 / 48),
        ("m.mkv", MP3, "matroskamux", 1105 / 48),
        ("o.mkv", "opusenc", "matroskamux", 0),
        ("v.mkv", "vorbisenc", "matroskamux", 0),
        ("p.mkv", PCM, "matroskamux", 0),
        ("p.mov", PCM, "qtmux", 0),
        ("p.avi", PCM, "avimux", 0),
        ("m.avi", MP3, "avimux", 1105 / 48),
        ("a.ts", AAC, "mpegtsmux", 1024 / 48),
    ],
)
def test_sound_and_pictures_tell_of_the_same_event(tmp_path: Path, name: str, encoder: str, mux: str, delay_ms: float) -> None:
    frames = sound_frames(make_event_clip(tmp_path / name, encoder, mux))
    assert len(frames) == 50
    assert lag_ms(frames) == pytest.approx(delay_ms, abs=0.5)
    samples, start_ns = heard(frames)
    # Nothing is lost, nothing comes twice, and none comes before its time.
    assert start_ns == 0
    assert len(samples) == frames[-1].t_media_ns * RATE_HZ / 1e9
    assert frames[0].sound is None
    for one, two in itertools.pairwise(frames):
        assert two.sound is not None
        assert two.sound.t_media_ns == pytest.approx(one.t_media_ns, abs=1e9 / RATE_HZ)
        assert end_ns(two) == pytest.approx(two.t_media_ns, abs=1e9 / RATE_HZ)
        assert two.sound.samples.dtype == np.int16
        assert not two.sound.samples.flags.writeable


@pytest.mark.parametrize(("name", "encoder", "mux", "delay_ms"), [("a.mp4", AAC, "mp4mux", 1024 / 48), ("p.mov", PCM, "qtmux", 0)])
def test_a_beginning_that_the_file_cuts_off(tmp_path: Path, name: str, encoder: str, mux: str, delay_ms: float) -> None:
    path = make_event_clip(tmp_path / name, encoder, mux)
    content = bytearray(path.read_bytes())
    at = content.index(b"elst", content.rindex(b"trak", 0, content.index(b"soun"))) + 8
    n, _, start, _ = struct.unpack_from(">IIiI", content, at)
    assert (n, start) == (1, 0)
    struct.pack_into(">i", content, at + 8, 1024)
    path.write_bytes(content)
    frames = sound_frames(path)
    assert lag_ms(frames) == pytest.approx(delay_ms - 1024 / 48, abs=0.5)
    assert heard(frames)[1] == 0


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_rates_and_channels(tmp_path: Path, rate_hz: int, channels: int) -> None:
    frames = sound_frames(make_event_clip(tmp_path / "r.mkv", PCM, "matroskamux", rate_hz=rate_hz, channels=channels))
    assert lag_ms(frames) == pytest.approx(0, abs=0.5)
    samples, _ = heard(frames)
    loudest = np.abs(samples[RATE_HZ : RATE_HZ * 6 // 5].astype(int)).max()
    assert loudest == pytest.approx(0.5 * 32767, rel=0.1), "two channels are averaged, and not added"


@pytest.mark.parametrize(("name", "encoder", "mux"), [("x.mkv", "opusenc", "matroskamux"), ("x.mov", PCM, "qtmux"), ("x.mp4", AAC, "mp4mux")])
def test_sound_that_starts_or_ends_elsewhere(tmp_path: Path, name: str, encoder: str, mux: str) -> None:
    def clip_of(**when: object) -> tuple[list[Frame], float, float]:
        frames = sound_frames(make_event_clip(tmp_path / name, encoder, mux, **when))  # type: ignore[arg-type]
        samples, start_ns = heard(frames)
        return frames, start_ns / 1e9, start_ns / 1e9 + len(samples) / RATE_HZ

    frames, start, end = clip_of(sound_s=(0.7, 2.0))
    assert (start, end) == pytest.approx((0.7, 1.96), abs=0.03)
    assert abs(lag_ms(frames)) < 30
    assert [frame.seq for frame in frames if frame.sound is None] == list(range(18))

    frames, start, end = clip_of(sound_s=(0.0, 1.5), seconds=4.0)
    assert (start, end) == pytest.approx((0.0, 1.5), abs=0.03)
    assert len(frames) == 100

    frames, start, end = clip_of(sound_s=(0.0, 6.0))
    assert (start, end) == pytest.approx((0.0, 1.96), abs=0.03)

    frames, start, end = clip_of(pictures_from_s=0.6)
    assert frames[0].t_media_ns == 0
    assert (start, end) == pytest.approx((-0.6, 1.36), abs=0.03)
    assert abs(lag_ms(frames)) < 30


def test_an_edit_list_that_delays_the_sound(clip: Callable[[str], Path]) -> None:
    # By its edit list the sound of this file begins after 37325/15360 s.
    frames = sound_frames(clip("face_noface.mov"))
    _, start_ns = heard(frames)
    assert start_ns / 1e9 == pytest.approx(37325 / 15360, abs=1e-4)


def test_sound_and_pictures_in_two_heaps(tmp_path: Path) -> None:
    whole = make_event_clip(tmp_path / "whole.mkv", "opusenc", "matroskamux", seconds=30.0, sound_s=(0.0, 30.0))
    expected, _ = heard(sound_frames(whole))
    for first in (1, 2):
        samples, start_ns = heard(sound_frames(torn_apart(whole, tmp_path / "torn.mkv", first=first)))
        assert start_ns == 0
        assert np.array_equal(samples, expected)


def test_more_sound_before_the_pictures_than_all_queues_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pipelines.TAILS["every"], "samples", "max-buffers=50 drop=false sync=false")
    whole = make_event_clip(tmp_path / "whole.mkv", PCM, "matroskamux", seconds=90.0, sound_s=(0.0, 90.0), channels=4)
    torn = torn_apart(whole, tmp_path / "torn.mkv", first=1)
    frames = sound_frames(torn)
    samples, start_ns = heard(frames)
    assert (len(frames), start_ns) == (2250, 0)
    assert len(samples) == frames[-1].t_media_ns * RATE_HZ // 1_000_000_000
    # The pictures come only because somebody takes the sound in.
    monkeypatch.setattr(sound.SoundBranch, "make_room", lambda _: None)
    with pytest.raises(CaptureTimeout, match=r"torn\.mkv: no (frame|picture)"):
        sound_frames(torn, timeout_s=1.0)


def test_sound_far_behind_its_pictures_holds_them_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "_PATIENCE_NS", 500_000_000)
    path = make_event_clip(tmp_path / "far.mkv", "opusenc", "matroskamux", seconds=190.0, sound_s=(180.0, 190.0), pictures=RAW_PICTURES)
    started = time.monotonic()
    frames = sound_frames(path)
    assert len(frames) == 4750
    assert time.monotonic() - started < 15, "each picture waited in vain"
    samples, start_ns = heard(frames)
    assert start_ns / 1e9 == pytest.approx(180, abs=0.03)
    assert len(samples) / RATE_HZ == pytest.approx(9.96, abs=0.03)


def test_silence_stays_silence(tmp_path: Path) -> None:
    samples, _ = heard(sound_frames(make_event_clip(tmp_path / "f.mkv", "audio/x-raw,format=F32LE", "matroskamux", rate_hz=RATE_HZ)))
    assert not samples[: RATE_HZ * 9 // 10].any()
    assert samples.any()


@pytest.mark.parametrize("uri", ["no_face.mp4", "multi_face.jpg"])
def test_nobody_asked_or_nothing_to_hear(clip: Callable[[str], Path], uri: str) -> None:
    assert all(frame.sound is None for frame in frames_of(clip(uri)))


def test_a_clip_without_sound(tmp_path: Path) -> None:
    frames = sound_frames("gst:videotestsrc num-buffers=5 ! video/x-raw,width=64,height=64")
    assert [frame.sound for frame in frames] == [None] * 5


def test_a_picture_is_silent(clip: Callable[[str], Path]) -> None:
    assert sound_frames(clip("multi_face.jpg"))[0].sound is None


def test_a_clip_at_its_own_speed_loses_pictures_but_no_sound(tmp_path: Path) -> None:
    path = make_event_clip(tmp_path / "v.mkv", "vorbisenc", "matroskamux", seconds=3.0, sound_s=(0.0, 3.0))
    with open_source(SourceSettings(str(path), realtime=True, sound_rate_hz=RATE_HZ)) as source:
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.2)
    assert sum(frame.dropped for frame in frames) > 20
    samples, start_ns = heard(frames)
    assert start_ns == 0
    assert len(samples) / RATE_HZ == pytest.approx(frames[-1].t_media_ns / 1e9, abs=0.03)


def test_a_live_source_gives_what_is_there() -> None:
    with open_source(SourceSettings("gst:" + LIVE.format("", ""), sound_rate_hz=RATE_HZ)) as source:
        assert source.live
        frames = []
        for _ in range(6):
            time.sleep(0.2)
            frame = source.read(1.0)
            assert frame is not None
            frames.append(frame)
    assert sum(frame.dropped for frame in frames) >= 20
    samples, start_ns = heard(frames)
    assert start_ns < 0, "sound from before the first picture that was read"
    for frame in frames:
        assert 0 <= frame.t_media_ns - end_ns(frame) + 1e9 / RATE_HZ < 60e6, "sound far behind its picture"
    tone = samples[-8000:].astype(float)
    assert np.abs(np.fft.rfft(tone)).argmax() * RATE_HZ / len(tone) == pytest.approx(440, abs=3)


def test_sound_that_nobody_takes_is_let_go() -> None:
    small = " samplesperbuffer=80 ! audio/x-raw,rate=16000"  # 5 ms
    with open_source(SourceSettings("gst:" + LIVE.format(small, ""), sound_rate_hz=RATE_HZ)) as source:
        before = [source.read(1.0) for _ in range(10)]
        time.sleep(4.0)
        after = [source.read(1.0) for _ in range(3)]
    heard_before = [frame for frame in before if frame is not None and frame.sound is not None]
    heard_after = [frame for frame in after if frame is not None and frame.sound is not None]
    # A rest from before the gap may come first; then what was kept, which is not all of the four seconds.
    pieces = [heard_before[-1], *heard_after]
    gaps_s = [(two.sound.t_media_ns - end_ns(one)) / 1e9 for one, two in itertools.pairwise(pieces) if two.sound is not None]
    assert len([gap for gap in gaps_s if gap > 1]) == 1
    assert sum(len(frame.sound.samples) for frame in heard_after if frame.sound is not None) < 3.5 * RATE_HZ


def test_a_users_pipeline_that_makes_sound_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "_ROOM_NS", 2_000_000_000)
    slow = "videotestsrc num-buffers=4 ! video/x-raw,width=64,height=64,framerate=10/1 ! identity sleep-time=400000"
    with open_source(SourceSettings(f"gst:audiotestsrc ! queue name=sound {slow}", sound_rate_hz=RATE_HZ)) as source:
        frames = list(source)
        branch = source._sound  # type: ignore[attr-defined]
        assert sum(len(piece.samples) for piece in branch._here) <= 2 * RATE_HZ + 1024
    samples, start_ns = heard(frames)
    assert (start_ns, len(samples)) == (0, 0.3 * RATE_HZ)


@pytest.mark.parametrize("rest", ["deinterlace", "videoconvert"])
def test_a_decodebin_of_the_user(tmp_path: Path, rest: str) -> None:
    path = make_event_clip(tmp_path / "p.mkv", PCM, "matroskamux")
    uri = f'gst:filesrc location="{path}" ! decodebin name=sound ! {rest}'
    assert lag_ms(sound_frames(uri)) == pytest.approx(0, abs=0.5)
    assert len(frames_of(uri)) == 50


def test_times_that_jump() -> None:
    """Small jumps are jitter and are counted over, large ones make a gap; where time goes back, nothing is heard twice."""
    steps = LIVE.replace("! queue", "! audio/x-raw,rate=16000 ! identity name=steps ! queue").format("", "")
    ends: dict[int, float] = {}
    with open_source(SourceSettings(f"gst:{steps}", sound_rate_hz=RATE_HZ)) as source:
        pad = source._pipeline.get_by_name("steps").get_static_pad("src")  # type: ignore[attr-defined]
        jumps_ms = []
        for offset_ms in (0, 20, -300):
            pad.set_offset(offset_ms * 1_000_000)
            for _ in range(20):
                frame = source.read(1.0)
                assert frame is not None
                if frame.sound is not None:
                    if ends:
                        jumps_ms.append((frame.sound.t_media_ns - ends[0]) / 1e6)
                    ends[0] = end_ns(frame)
        pad.set_offset(100_000_000)
        for _ in range(20):
            frame = source.read(1.0)
            assert frame is not None
            if frame.sound is not None:
                jumps_ms.append((frame.sound.t_media_ns - ends[0]) / 1e6)
                ends[0] = end_ns(frame)
    gaps_ms = [jump for jump in jumps_ms if abs(jump) > 0.001]
    assert len(gaps_ms) == 1
    assert gaps_ms[0] == pytest.approx(400, abs=41)
