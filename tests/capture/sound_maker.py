"""Clips whose sound and pictures change at one known time, and how far apart the two are when they come back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame
from edge.gst import load_gst, parse_pipeline

RATE_HZ = 16_000
FPS = 25
EVENT_S = 1.0
# 0.2 s that sound like themselves at one time only: a sweep from 300 to 3000 Hz.
_SWEEP_S = 0.2


def sweep(rate_hz: int) -> NDArray[np.float64]:
    """float64[n], the sound of the event, between -0.5 and 0.5."""
    t = np.arange(round(_SWEEP_S * rate_hz)) / rate_hz
    return np.asarray(0.5 * np.sin(2 * np.pi * (300 * t + 2700 / (2 * _SWEEP_S) * t * t)))


def make_event_clip(
    path: Path,
    encoder: str,
    mux: str,
    *,
    pictures: str = "x264enc speed-preset=ultrafast key-int-max=25",
    rate_hz: int = 48_000,
    channels: int = 2,
    seconds: float = 2.0,
    sound_s: tuple[float, float] = (0.0, 2.0),
    pictures_from_s: float = 0.0,
) -> Path:
    """Make a clip that is black and silent, until at `EVENT_S` the picture turns white and a sweep is heard; `sound_s` is when its sound begins and ends."""
    raw_sound, raw_pictures = path.with_suffix(".s16"), path.with_suffix(".gray")
    begin, end = sound_s
    samples = np.zeros(round((end - begin) * rate_hz))
    event = sweep(rate_hz)
    at = round((EVENT_S - begin) * rate_hz)
    if 0 <= at < len(samples):
        samples[at : at + len(event)] = event[: len(samples) - at]
    raw_sound.write_bytes(np.repeat((samples * 32767).astype("<i2"), channels).tobytes())
    white = np.arange(round(pictures_from_s * FPS), round(seconds * FPS)) >= EVENT_S * FPS
    raw_pictures.write_bytes(np.repeat((white * 255).astype(np.uint8), 64 * 64).tobytes())
    unbounded = "queue max-size-time=0 max-size-bytes=0 max-size-buffers=0"
    sound = (
        f'filesrc location="{raw_sound}" blocksize=8192 ! rawaudioparse pcm-format=s16le sample-rate={rate_hz} num-channels={channels} '
        f"! identity name=sound ! audioconvert ! audioresample ! {encoder} ! {unbounded} ! m."
    )
    picture = (
        f'filesrc location="{raw_pictures}" blocksize=4096 ! rawvideoparse format=gray8 width=64 height=64 framerate={FPS}/1 '
        f"! identity name=pictures ! videoconvert ! {pictures} ! {unbounded} ! m."
    )
    gst = load_gst().Gst
    pipeline = parse_pipeline(f'{sound} {picture} {mux} name=m ! filesink location="{path}"', where="a clip for a test")
    for name, from_s in (("sound", begin), ("pictures", pictures_from_s)):
        pipeline.get_by_name(name).get_static_pad("src").set_offset(round(from_s * 1e9))
    pipeline.set_state(gst.State.PLAYING)
    message = pipeline.get_bus().timed_pop_filtered(60 * gst.SECOND, gst.MessageType.EOS | gst.MessageType.ERROR)
    pipeline.set_state(gst.State.NULL)
    assert message is not None, "no end in sight"
    assert message.type == gst.MessageType.EOS, message.parse_error()
    return path


def heard(frames: list[Frame]) -> tuple[NDArray[np.int16], int]:
    """All sound of the frames, int16[n], and the media time of its first sample; fails where it is not of one piece."""
    pieces = [frame.sound for frame in frames if frame.sound is not None]
    for one, two in itertools.pairwise(pieces):
        assert abs(one.t_media_ns + len(one.samples) * 1e9 / one.rate_hz - two.t_media_ns) < 3, "not where the one before it ended"
    return np.concatenate([piece.samples for piece in pieces]), pieces[0].t_media_ns


def lag_ms(frames: list[Frame]) -> float:
    """How long after the picture turned white the sweep is heard, in milliseconds."""
    (samples, start_ns), rate_hz = heard(frames), next(frame.sound.rate_hz for frame in frames if frame.sound is not None)
    at = int(np.argmax(np.correlate(samples.astype(float), sweep(rate_hz), "valid")))
    white_ns = next(frame.t_media_ns for frame in frames if frame.pixels.mean() > 128)
    return start_ns / 1e6 + at * 1e3 / rate_hz - white_ns / 1e6


def torn_apart(source: Path, target: Path, *, first: int) -> Path:
    """Copy a Matroska clip so that all blocks of one track, numbered from 1, come before all blocks of the others: the worst that a muxer can do."""
    content = source.read_bytes()
    _, _, header_end = _element(content, 0)
    _, at, _ = _element(content, header_end)
    before, halves = b"", {True: b"", False: b""}
    while at < len(content):
        kind, body, end = _element(content, at)
        if kind in (_INFO, _TRACKS):
            before += content[at:end]
        elif kind == _CLUSTER:
            for wanted in (True, False):
                kept = b""
                while body < end:
                    inner, inner_body, inner_end = _element(content, body)
                    block = content[inner_body:inner_end] if inner == _BLOCK else content[_element(content, inner_body)[1] : inner_end]
                    if inner == _TIME or (inner in (_BLOCK, _GROUP) and (block[0] & 0x7F == first) is wanted):
                        kept += content[body:inner_end]
                    body = inner_end
                body = _element(content, at)[1]
                halves[wanted] += bytes.fromhex(_CLUSTER) + (0x01 << 56 | len(kept)).to_bytes(8, "big") + kept
        at = end
    target.write_bytes(content[:header_end] + bytes.fromhex("18538067") + b"\x01" + b"\xff" * 7 + before + halves[True] + halves[False])
    return target


# Source: RFC 9559, the identifiers of Matroska's elements.
_INFO, _TRACKS, _CLUSTER, _TIME, _BLOCK, _GROUP = "1549a966", "1654ae6b", "1f43b675", "e7", "a3", "a0"


def _element(content: bytes, at: int) -> tuple[str, int, int]:
    """Identifier of the element that lies there, where its body begins, and where it ends."""
    n_id = 9 - content[at].bit_length()
    n_size = 9 - content[at + n_id].bit_length()
    body = at + n_id + n_size
    size = int.from_bytes(content[at + n_id : body], "big") & ((1 << 7 * n_size) - 1)
    return content[at : at + n_id].hex(), body, len(content) if size == (1 << 7 * n_size) - 1 else body + size
