"""Texts of pipelines, for machines that are not here: Jetsons, cameras."""

from __future__ import annotations

from fractions import Fraction

import pytest

from edge.capture import SourceSettings
from edge.capture.cameras import Mode
from edge.capture.pipelines import choose_mode, fraction_of, plan_csi, plan_file, plan_rtsp, plan_text, plan_v4l2
from edge.capture.source import masked
from edge.errors import CaptureError, ConfigError, MissingDependency
from edge.gst import quoted

JETSON = {"nvarguscamerasrc", "nvvidconv", "nvv4l2decoder"}.__contains__
DESKTOP = {"nvh264dec", "nvv4l2decoder"}.__contains__  # nvv4l2decoder without nvvidconv: DeepStream
PLAIN = set[str]().__contains__


def mode(pixel_format: str, width: int, height: int, *rates: int | str) -> Mode:
    return Mode(pixel_format, (width, height), (width, height), rates=tuple(Fraction(rate) for rate in rates))


# A usual USB 2 camera: raw is slow where it is large.
WEBCAM = (
    mode("YUY2", 640, 480, 30, 15),
    mode("YUY2", 1280, 720, 10),
    mode("MJPG", 640, 480, 30),
    mode("MJPG", 1280, 720, 30, "30000/1001", 15),
    mode("MJPG", 1920, 1080, 30),
    mode("H264", 1920, 1080, 30),
)


def test_a_file_on_a_plain_machine() -> None:
    plan = plan_file(SourceSettings("clips/a b.mp4", rotate_deg=90, mirror=True), PLAIN)
    assert plan.text.startswith(
        'filesrc location="clips/a b.mp4" ! decodebin caps="video/x-raw(ANY)" expose-all-streams=false ! deinterlace fields=top ! queue'
    )
    assert "drop=false sync=false" in plan.text
    assert "leaky" not in plan.text
    assert (plan.name, plan.rotate_deg, plan.mirror) == ("a b.mp4", 90, True)


def test_a_file_played_at_its_own_speed_drops_and_keeps_time() -> None:
    text = plan_file(SourceSettings("a.mp4", realtime=True), PLAIN).text
    assert "drop=true sync=true" in text


def test_a_file_on_a_jetson_takes_rgba_from_its_converter() -> None:
    text = plan_file(SourceSettings("a.mp4"), JETSON).text
    assert 'nvvidconv ! capsfilter caps="video/x-raw,format=RGBA" ! queue' in text
    assert "deinterlace" not in text


def test_rtsp_shows_no_password() -> None:
    plan = plan_rtsp(SourceSettings("rtsp://me:secret@cam.local:8554/live?x=1"), PLAIN)
    assert plan.where == "rtsp://cam.local:8554/live"
    assert plan.name == "rtsp-cam.local"
    assert masked(plan.text).count("secret") == 0
    assert 'location="rtsp://me:secret@cam.local:8554/live?x=1" protocols=tcp' in plan.text
    assert "leaky=downstream" in plan.text
    assert "nvvidconv" in plan_rtsp(SourceSettings("rtsp://cam/live"), JETSON).text


def test_passwords_are_masked_in_pipelines_too() -> None:
    text = 'rtspsrc location=rtsp://me:secret@cam/live user-id=me user-pw="secret" ! decodebin'
    assert masked(text) == "rtspsrc location=rtsp://***@cam/live user-id=me user-pw=*** ! decodebin"
    assert "secret" not in plan_text(SourceSettings(f"gst:{text}")).where
    assert masked("clips/a@b.mp4") == "clips/a@b.mp4"


def test_rtsp_without_a_host() -> None:
    with pytest.raises(ConfigError, match=r"expected rtsp://HOST\[:PORT\]/PATH, got rtsp:///live"):
        plan_rtsp(SourceSettings("rtsp:///live"), PLAIN)


@pytest.mark.parametrize("text", ["gst:", "gst: ", "gst:videotestsrc ! appsink", "gst:videotestsrc ! appsink name=x"])
def test_a_pipeline_with_a_sink_of_its_own(text: str) -> None:
    with pytest.raises(ConfigError, match="expected gst:PIPELINE up to raw video, without a sink"):
        plan_text(SourceSettings(text))


def test_csi_turns_in_hardware() -> None:
    settings = SourceSettings("camera:csi1", size_px=(1280, 720), fps=30, rotate_deg=90, mirror=True)
    plan = plan_csi(settings, JETSON)
    assert plan.head == (
        'nvarguscamerasrc sensor-id=1 ! capsfilter caps="video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1" '
        '! nvvidconv flip-method=7 ! capsfilter caps="video/x-raw,format=RGBA"'
    )
    assert (plan.name, plan.rotate_deg, plan.mirror) == ("csi-1", 0, False)
    assert 'sensor-id=0 ! capsfilter caps="video/x-raw(memory:NVMM)" !' in plan_csi(SourceSettings("camera:csi"), JETSON).head


def test_csi_elsewhere_and_csi_misspelt() -> None:
    with pytest.raises(MissingDependency, match="camera:csi needs the GStreamer element 'nvarguscamerasrc'"):
        plan_csi(SourceSettings("camera:csi"), DESKTOP)
    with pytest.raises(ConfigError, match=r"expected camera:csi or camera:csi0, camera:csi1, \.\.\.; got camera:csix"):
        plan_csi(SourceSettings("camera:csix"), JETSON)
    with pytest.raises(ConfigError, match="a CSI camera has no pixel formats to choose from, got NV12"):
        plan_csi(SourceSettings("camera:csi", pixel_format="NV12"), JETSON)


def test_a_camera_drops_before_it_decodes() -> None:
    plan = plan_v4l2(SourceSettings("camera:0"), PLAIN, device="/dev/video0", modes=WEBCAM)
    assert plan.text.startswith(
        'v4l2src device="/dev/video0" ! capsfilter caps="image/jpeg,width=1280,height=720,framerate=30/1" '
        "! queue name=waiting leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 "
        '! jpegdec ! videoconvert ! capsfilter caps="video/x-raw,format=I420"'
    )
    assert plan.name == "camera-0"
    assert plan.endless


def test_jpeg_is_decoded_by_a_jetson_only() -> None:
    jetson, desktop = (plan_v4l2(SourceSettings("camera:0"), has, device="/dev/video0", modes=WEBCAM).per_picture for has in (JETSON, DESKTOP))
    assert jetson == 'nvv4l2decoder mjpeg=1 ! nvvidconv ! capsfilter caps="video/x-raw,format=RGBA"'
    assert desktop.startswith("jpegdec ! ")


def test_raw_formats_of_a_camera() -> None:
    plan = plan_v4l2(SourceSettings("camera:/dev/video2", pixel_format="yuyv", size_px=(640, 480)), PLAIN, device="/dev/video2", modes=WEBCAM)
    assert 'caps="video/x-raw,format=YUY2,width=640,height=480,framerate=30/1"' in plan.head
    assert plan.per_picture == 'videoconvert ! capsfilter caps="video/x-raw,format=I420"'
    gray = plan_v4l2(SourceSettings("camera:2"), PLAIN, device="/dev/video2", modes=[mode("GRAY8", 640, 400, 60)])
    assert gray.per_picture == ""


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({}, "MJPG 1280x720 30"),
        ({"fps": 15}, "MJPG 1280x720 15"),
        ({"fps": 29.97}, "MJPG 1280x720 30000/1001"),
        ({"size_px": (640, 480)}, "YUY2 640x480 30"),
        ({"pixel_format": "YUY2"}, "YUY2 640x480 30"),
        ({"pixel_format": "YUY2", "size_px": (1280, 720)}, "YUY2 1280x720 10"),
        ({"size_px": (1920, 1080)}, "MJPG 1920x1080 30"),
    ],
)
def test_the_mode_that_fits_best(asked: dict[str, object], chosen: str) -> None:
    found, size, rate = choose_mode(SourceSettings("camera:0", **asked), WEBCAM, where="x")  # type: ignore[arg-type]
    assert f"{found.pixel_format} {size[0]}x{size[1]} {rate}" == chosen


def test_a_range_of_sizes_and_rates() -> None:
    ranged = Mode("NV12", (16, 16), (1920, 1080), (2, 2), (Fraction(60), Fraction(1)), any_rate=True)
    found = choose_mode(SourceSettings("camera:0", size_px=(800, 600), fps=25), [ranged], where="x")
    assert found == (ranged, (800, 600), Fraction(25))
    assert str(ranged) == "NV12 16x16 to 1920x1080 at 60-1 fps"
    with pytest.raises(CaptureError, match="x does not offer 801x600"):
        choose_mode(SourceSettings("camera:0", size_px=(801, 600)), [ranged], where="x")


def test_what_a_camera_lacks_is_answered_with_what_it_has() -> None:
    asked = SourceSettings("camera:0", size_px=(1280, 720), fps=30, pixel_format="YUYV")
    offers = r"/dev/video0 does not offer YUY2 1280x720 at 30 fps; it offers: YUY2 640x480 at 30/15 fps; YUY2 1280x720 at 10 fps\n"
    with pytest.raises(CaptureError, match=offers):
        choose_mode(asked, WEBCAM, where="/dev/video0")
    with pytest.raises(CaptureError, match=r"does not offer NV12; it offers: MJPG; YUY2\n"):
        choose_mode(SourceSettings("camera:0", pixel_format="NV12"), WEBCAM, where="x")
    with pytest.raises(CaptureError, match=r"; MJPG 15x8 at 30 fps; and 4 more\n"):
        choose_mode(SourceSettings("camera:0", fps=99), [mode("MJPG", width, 8, 30) for width in range(20)], where="x")
    with pytest.raises(CaptureError, match=r"does not offer pictures that can be read; it offers: RG10 1920x1080(.|\n)*use camera:csi0"):
        choose_mode(SourceSettings("camera:0"), [mode("RG10", 1920, 1080)], where="x")
    with pytest.raises(CaptureError, match="it offers: nothing"):
        choose_mode(SourceSettings("camera:0"), [], where="x")


@pytest.mark.parametrize(("fps", "fraction"), [(30, "30"), (29.97, "30000/1001"), (23.976, "24000/1001"), (12.5, "25/2"), (7.5, "15/2"), (0.5, "1/2")])
def test_fractions(fps: float, fraction: str) -> None:
    assert fraction_of(fps) == Fraction(fraction)


def test_quoting() -> None:
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'
