"""Sources where the newest frame wins."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.capture import SourceSettings, open_source
from edge.capture.source import Source
from edge.errors import CaptureTimeout, SourceLost

LIVE = "videotestsrc is-live=true{} ! video/x-raw,format=I420,width=320,height=240,framerate=30/1"


def read_to_the_end(source: Source) -> None:
    """A source that neither ends nor fails runs into the timeout of the test."""
    while True:
        source.read(0.1)


def test_a_slow_reader_gets_the_newest_frame_and_the_number_of_the_lost() -> None:
    with open_source(SourceSettings("gst:" + LIVE.format(""))) as source:
        assert source.live
        assert source.duration_ns is None
        frames = []
        for _ in range(6):
            time.sleep(0.2)
            frame = source.read(1.0)
            assert frame is not None
            frames.append(frame)
            age_ms = (time.monotonic_ns() - frame.t_capture_ns) / 1e6
            assert -5 <= age_ms < 190, "not the newest frame"
            assert frame.t_capture_from == "buffer"
            assert frame.paced
    seqs = [frame.seq for frame in frames]
    assert [frame.dropped for frame in frames] == (np.diff([-1, *seqs]) - 1).tolist()
    # The source's own clock tells how many frames there were.
    positions = [round(frame.t_media_ns * 30 / 1e9) for frame in frames]
    assert np.diff(seqs).tolist() == np.diff(positions).tolist()
    assert sum(frame.dropped for frame in frames) >= 20
    assert frames[0].t_media_ns == 0


def test_a_fast_reader_loses_nothing() -> None:
    with open_source(SourceSettings("gst:" + LIVE.format(" num-buffers=30"))) as source:
        frames = list(source)
    assert [frame.seq for frame in frames] == list(range(30))
    assert sum(frame.dropped for frame in frames) == 0
    assert all(frame.t_capture_from == "buffer" for frame in frames)
    assert np.diff([frame.t_capture_ns for frame in frames]) == pytest.approx(1e9 / 30, abs=1e6)


def test_the_arrival_counts_where_a_buffer_time_makes_no_sense() -> None:
    with open_source(SourceSettings("gst:" + LIVE.format(" num-buffers=10") + " ! identity name=late")) as source:
        assert source.read(1.0) is not None
        source._pipeline.get_by_name("late").get_static_pad("src").set_offset(3600 * 10**9)  # type: ignore[attr-defined]
        frames = list(source)
    assert frames[-1].t_capture_from == "arrival"
    assert frames[-1].t_media_ns > frames[0].t_media_ns > 0
    assert abs(frames[-1].t_capture_ns - time.monotonic_ns()) < 10e9


def test_a_reader_gets_control_back_in_time() -> None:
    slow = "gst:videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=1/2"
    with open_source(SourceSettings(slow)) as source:
        while source.read(0.05) is None:
            pass
        started = time.monotonic()
        assert source.read(0.3) is None
        assert 0.25 < time.monotonic() - started < 1.0


def test_silence_is_an_error_after_a_while() -> None:
    # `valve` closes the tap: what a hung camera looks like.
    with open_source(SourceSettings("gst:videotestsrc is-live=true ! valve name=tap", timeout_s=0.5)) as source:
        assert source.read(1.0) is not None
        source._pipeline.get_by_name("tap").set_property("drop", True)  # type: ignore[attr-defined]
        with pytest.raises(CaptureTimeout, match=r"frames, at .* s: no frame for 0.5 s"):
            read_to_the_end(source)


def test_a_source_that_never_starts() -> None:
    with pytest.raises(CaptureTimeout, match=r"no picture within 0\.3 s"):
        open_source(SourceSettings("gst:videotestsrc is-live=true ! valve drop=true drop-mode=drop-all", timeout_s=0.3))


def test_a_live_source_has_no_end_unless_it_was_given_one() -> None:
    with open_source(SourceSettings("gst:videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=30/1 ! identity eos-after=5")) as source:
        assert source.read(1.0) is not None
        with pytest.raises(SourceLost, match="the stream ended"):
            read_to_the_end(source)


def test_a_file_at_its_own_speed(clip: Callable[[str], Path]) -> None:
    started = time.monotonic()
    with open_source(SourceSettings(str(clip("single_face.mp4")), realtime=True)) as source:
        assert source.live
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.1)
    assert 2.0 < time.monotonic() - started < 6.0
    assert 10 < len(frames) < 40
    seqs = [frame.seq for frame in frames]
    assert [frame.dropped for frame in frames] == (np.diff([-1, *seqs]) - 1).tolist()
    assert seqs == [round(frame.t_media_ns * 30 / 1e9) + seqs[0] for frame in frames]
    assert all(frame.paced and frame.t_capture_from == "buffer" for frame in frames)
    # What was shown when: capture times advance as media times do.
    assert np.diff([frame.t_capture_ns for frame in frames]) == pytest.approx(np.diff([frame.t_media_ns for frame in frames]), abs=1e6)
