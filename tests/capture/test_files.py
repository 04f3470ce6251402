"""Clips of every kind, decoded by GStreamer."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.capture import SourceSettings, open_source
from edge.errors import CaptureError, UnsupportedFormat
from tests.capture.clip_maker import corner_colors, frames_of, make_clip

# Pictures of GStreamer's own conversion differ: it interpolates chroma and rounds down. Colours of a wrong standard are 5 levels off on these clips and more.
MEAN_TOLERANCE = 3.0
TEST_COLOR = (200, 100, 50)


def solid(caps: str, *, n: int = 5) -> str:
    color = "0xff{:02x}{:02x}{:02x}".format(*TEST_COLOR)
    source = f"videotestsrc num-buffers={n} pattern=solid-color foreground-color={color} ! video/x-raw,format=RGB,width=320,height=240,framerate=25/1"
    return f"{source} ! videoconvert ! video/x-raw,{caps}"


def test_every_frame_of_the_sample_clip_in_order(clip: Callable[[str], Path]) -> None:
    path = clip("WolfgangLanger_Pexels.mp4")
    with open_source(SourceSettings(str(path))) as source:
        frames = list(source)
        assert source.name == path.name
        assert not source.live
        assert source.duration_ns == 19_690_000_000
        assert source.frame_rate == pytest.approx(24000 / 1001)
        assert source.description.startswith("filesrc location=")
        with pytest.raises(EOFError, match=r"WolfgangLanger_Pexels\.mp4 ended"):
            source.read(0.1)
    assert [frame.seq for frame in frames] == list(range(472))
    times_ns = np.array([frame.t_media_ns for frame in frames])
    assert times_ns[0] == 0
    assert np.diff(times_ns) == pytest.approx(1e9 * 1001 / 24000, abs=1e5)
    captured_ns = [frame.t_capture_ns for frame in frames]
    assert captured_ns == sorted(captured_ns)
    for frame in frames:
        assert (frame.t_capture_from, frame.paced, frame.dropped) == ("arrival", False, 0)
        assert frame.pixels.shape == (360, 640, 3)
        assert frame.pixels.flags.c_contiguous
        assert frame.pixels.flags.owndata
        assert not frame.pixels.flags.writeable
    assert len({frame.pixels.tobytes() for frame in frames[:50]}) == 50  # kept frames stay what they were


@pytest.mark.parametrize("name", ["WolfgangLanger_Pexels.mp4", "face_noface.mov", "no_face.mp4"])
def test_pixels_agree_with_those_of_videoconvert(clip: Callable[[str], Path], name: str) -> None:
    path = clip(name)
    reference = frames_of(f'gst:filesrc location="{path}" ! decodebin ! videoconvert ! video/x-raw,format=RGB')
    ours = frames_of(path)
    assert len(ours) == len(reference)
    for index in (0, len(ours) // 2, len(ours) - 1):
        assert np.abs(ours[index].pixels.astype(int) - reference[index].pixels).mean() < MEAN_TOLERANCE


@pytest.mark.parametrize(
    ("name", "caps", "encoder"),
    [
        ("601.mkv", "format=I420,colorimetry=bt601", "avenc_ffv1"),
        ("709.mp4", "format=I420,colorimetry=bt709", "x264enc qp-max=4 ! mp4mux"),
        ("jpeg.avi", "format=I420,colorimetry=1:4:0:0", "jpegenc quality=98 ! avimux"),
        ("444.mp4", "format=Y444,colorimetry=bt709", "x264enc qp-max=4 ! mp4mux"),
        ("10bit.mp4", "format=I420_10LE,colorimetry=bt709", "x264enc qp-max=4 ! mp4mux"),
        ("10bit.mkv", "format=I420_10LE,colorimetry=bt601", "avenc_ffv1"),
        ("422.mkv", "format=Y42B,colorimetry=bt601", "avenc_ffv1"),
        ("h265.mp4", "format=I420,colorimetry=bt709", "x265enc qp=4 ! h265parse ! mp4mux"),
        ("vp8.webm", "format=I420,colorimetry=bt601", "vp8enc min-quantizer=0 max-quantizer=4 ! webmmux"),
        ("vp9.webm", "format=I420,colorimetry=bt601", "vp9enc min-quantizer=0 max-quantizer=4 ! webmmux"),
        ("y4m.y4m", "format=I420,colorimetry=bt601", "y4menc"),
        ("rgba.mkv", "format=BGRA", "avenc_ffv1"),
    ],
)
def test_codecs_depths_and_standards_give_the_same_colour(tmp_path: Path, name: str, caps: str, encoder: str) -> None:
    mux = " ! matroskamux" if encoder == "avenc_ffv1" else ""
    frames = frames_of(make_clip(tmp_path / name, f"{solid(caps)} ! {encoder}{mux}"))
    assert len(frames) == 5
    assert frames[2].pixels.shape == (240, 320, 3)
    assert frames[2].pixels[20:-20, 20:-20].mean(axis=(0, 1)) == pytest.approx(TEST_COLOR, abs=4)


def test_gray_video(tmp_path: Path) -> None:
    source = "videotestsrc num-buffers=3 pattern=white ! video/x-raw,format=GRAY8,width=320,height=240"
    frames = frames_of(make_clip(tmp_path / "gray.mkv", f"{source} ! avenc_ffv1 ! matroskamux"))
    assert (frames[0].pixels == 235).all()  # `videotestsrc` paints white so, in caps of full range


def test_odd_sizes(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "odd.webm", "videotestsrc num-buffers=3 pattern=smpte ! video/x-raw,format=I420,width=427,height=241 ! vp8enc ! webmmux")
    frames = frames_of(path)
    assert frames[0].pixels.shape == (241, 427, 3)
    columns = frames[0].pixels[100].astype(int)
    # Of the seven bars the first is gray and the last is blue: a wrong stride would smear them over each other.
    assert np.ptp(columns[20]) < 25
    assert columns[-20, 2] > columns[-20, :2].max() + 100


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    one, two = ("videotestsrc num-buffers=10 ! video/x-raw,format=I420,width=64,height=64,framerate=" + rate for rate in ("10/1", "30/1"))
    join = "concat name=c ! capssetter caps=video/x-raw,framerate=0/1 ! vp8enc ! matroskamux name=m"
    path = make_clip(tmp_path / "vfr.mkv", f"{join} {one} ! c. {two} ! c. m.")
    gaps_ms = np.diff([frame.t_media_ns for frame in frames_of(path)]) / 1e6
    assert gaps_ms[:9] == pytest.approx(100, abs=2)
    assert gaps_ms[10:] == pytest.approx(33, abs=2)


def test_sound_is_ignored_and_late_pictures_start_at_0(tmp_path: Path) -> None:
    sound = "audiotestsrc num-buffers=100 ! opusenc ! m."
    pictures = "videotestsrc num-buffers=10 timestamp-offset=1000000000 ! video/x-raw,width=64,height=64 ! vp8enc"
    path = make_clip(tmp_path / "late.mkv", f"{sound} {pictures} ! matroskamux name=m")
    frames = frames_of(path)
    assert len(frames) == 10
    assert frames[0].t_media_ns == 0


def turned_mp4(tmp_path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """An MP4 of the four corners, whose track header asks for a turn."""
    quarters = []
    for index, color in enumerate(("ffff0000", "ff00ff00", "ff0000ff", "ffffffff")):
        place = f"sink_{index}::xpos={index % 2 * 160} sink_{index}::ypos={index // 2 * 120}"
        quarters.append(
            (place, f"videotestsrc num-buffers=3 pattern=solid-color foreground-color=0x{color} ! video/x-raw,width=160,height=120 ! c.sink_{index}")
        )
    places, sources = zip(*quarters, strict=True)
    path = make_clip(
        tmp_path / "turned.mp4", f"mp4mux name=m compositor name=c {' '.join(places)} ! video/x-raw,format=I420 ! x264enc ! m. {' '.join(sources)} m."
    )
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", content, at)[:2] == (0x10000, 0)
    a, b, c, d = (value * 0x10000 for value in matrix)
    struct.pack_into(">9i", content, at, a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("matrix", "corners"), [((1, 0, 0, 1), "RGBW"), ((0, 1, -1, 0), "BRWG"), ((-1, 0, 0, -1), "WBGR"), ((0, -1, 1, 0), "GWRB")])
def test_the_turn_that_a_telephone_wrote(tmp_path: Path, matrix: tuple[int, int, int, int], corners: str) -> None:
    path = turned_mp4(tmp_path, matrix)
    frames = frames_of(path)
    assert "".join(corner_colors(frames[0].pixels)) == corners
    assert frames[0].pixels.shape == ((320, 240, 3) if matrix[0] == 0 else (240, 320, 3))


def test_the_turn_that_was_asked_for_comes_on_top(tmp_path: Path) -> None:
    path = turned_mp4(tmp_path, (0, 1, -1, 0))
    assert "".join(corner_colors(frames_of(path, rotate_deg=270)[0].pixels)) == "RGBW"
    assert "".join(corner_colors(frames_of(path, mirror=True)[0].pixels)) == "RBGW"


@pytest.mark.parametrize("tag", ["rotate-0", "rotate-90", "rotate-180", "rotate-270", "flip-rotate-0", "flip-rotate-90", "flip-rotate-180", "flip-rotate-270"])
def test_all_tags_mean_what_videoflip_takes_them_for(tag: str) -> None:
    tagged = f"gst:videotestsrc num-buffers=1 ! video/x-raw,width=320,height=240,format=RGB ! taginject tags=image-orientation={tag}"
    (ours,), (reference,) = frames_of(tagged), frames_of(f"{tagged} ! videoflip method=automatic")
    assert np.array_equal(ours.pixels, reference.pixels)


def test_pixels_that_are_not_square_are_made_so() -> None:
    (frame,) = frames_of("gst:videotestsrc num-buffers=1 pattern=circular ! video/x-raw,width=720,height=576,pixel-aspect-ratio=16/15")
    assert frame.pixels.shape == (576, 768, 3)


def test_interlaced_video_becomes_whole_pictures(tmp_path: Path) -> None:
    source = "videotestsrc num-buffers=10 ! video/x-raw,format=I420,width=320,height=240,framerate=25/1,interlace-mode=interleaved"
    path = make_clip(tmp_path / "tv.mkv", f"{source} ! x264enc interlaced=true ! h264parse ! matroskamux")
    assert len(frames_of(path)) == 10
    with pytest.raises(UnsupportedFormat, match="its pictures are interlaced"):
        frames_of(f"gst:{source}")


def test_a_size_that_changes_on_the_way_is_followed() -> None:
    parts = [f"videotestsrc num-buffers=3 ! video/x-raw,format=I420,width={width},height=120,framerate=30/1 ! c." for width in (160, 320)]
    frames = frames_of(f"gst:{parts[0]} {parts[1]} concat name=c")
    assert [frame.pixels.shape for frame in frames] == [(120, 160, 3)] * 3 + [(120, 320, 3)] * 3
    times = [frame.t_media_ns for frame in frames]
    assert times == sorted(set(times))


def test_missing_times_follow_from_the_rate(tmp_path: Path) -> None:
    raw = tmp_path / "x.raw"
    raw.write_bytes(bytes(64 * 64 * 3 * 4))
    parse = f'gst:filesrc location="{raw}" blocksize={64 * 64 * 3} ! capsfilter caps="video/x-raw,format=RGB,width=64,height=64,framerate='
    assert [frame.t_media_ns for frame in frames_of(parse + '25/1"')] == [0, 40_000_000, 80_000_000, 120_000_000]
    with pytest.raises(UnsupportedFormat, match="neither the frames have times nor the stream a frame rate"):
        frames_of(parse + '0/1"')


@pytest.mark.parametrize("name", ["with space.mkv", 'with "quotes".mkv', "back\\slash.mkv", "exclamation ! mark.mkv", "Ümläut %d.mkv"])
def test_file_names_of_all_sorts(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / "plain.mkv", "videotestsrc num-buffers=2 ! video/x-raw,width=64,height=64 ! vp8enc ! matroskamux").rename(tmp_path / name)
    with open_source(SourceSettings(str(path))) as source:
        assert source.name == name
        assert len(list(source)) == 2


def test_reading_after_closing(clip: Callable[[str], Path]) -> None:
    source = open_source(SourceSettings(str(clip("single_face.mp4"))))
    assert source.read(5.0) is not None
    source.close()
    source.close()
    with pytest.raises(CaptureError, match=r"single_face\.mp4 is closed"):
        source.read(0.1)


def test_reading_without_patience(clip: Callable[[str], Path]) -> None:
    with open_source(SourceSettings(str(clip("single_face.mp4")))) as source:
        seqs: list[int] = []
        while len(seqs) < 72:
            frame = source.read(0.0)
            if frame is not None:
                seqs.append(frame.seq)
    assert seqs == list(range(72))
