"""Video and picture files: encoded for real, and read back by another decoder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError, MissingDependency, OutputError
from edge.frame import Frame, Pixels
from edge.gst import has_element, load_gst, parse_pipeline
from edge.view.draw import Hud
from edge.view.video import PictureFile, VideoFile, choose_encoder, open_annotation
from edge.view.viewer import Viewer
from tests.output.example_results import a_face, a_result

ROOT = Path(__file__).resolve().parents[2]


def plain(value: int, *, width_px: int = 320, height_px: int = 240) -> Pixels:
    return np.full((height_px, width_px, 3), value, np.uint8)


def read_back(path: Path) -> tuple[list[Pixels], list[float]]:
    video = cv2.VideoCapture(str(path))
    frames, times_ms = [], []
    while True:
        there, picture = video.read()
        if not there:
            break
        frames.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
        times_ms.append(video.get(cv2.CAP_PROP_POS_MSEC))
    video.release()
    return frames, times_ms


def read_with_gstreamer(path: Path, *, size_wh_px: tuple[int, int]) -> Pixels:
    pipeline = parse_pipeline(
        f"filesrc location={path} ! qtdemux ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=RGB ! appsink name=end", where="test"
    )
    gst = load_gst().Gst
    pipeline.set_state(gst.State.PLAYING)
    buffer = pipeline.get_by_name("end").try_pull_sample(5_000_000_000).get_buffer()
    data = buffer.extract_dup(0, buffer.get_size())
    pipeline.set_state(gst.State.NULL)
    return np.frombuffer(data, np.uint8).reshape(size_wh_px[1], size_wh_px[0], 3)


def write(path: Path, pictures: list[tuple[Pixels, int]]) -> None:
    video = VideoFile(path)
    for pixels, t_media_ns in pictures:
        video.push(pixels, t_media_ns)
    video.finish()
    video.close()
    video.close()


@pytest.mark.parametrize("n", [1, 2, 40])
def test_every_frame_comes_back(tmp_path: Path, n: int) -> None:
    path = tmp_path / "out.mp4"
    write(path, [(plain(6 * k), k * 40_000_000) for k in range(n)])
    frames, _ = read_back(path)
    assert [round(float(frame.mean())) for frame in frames] == pytest.approx([6 * k for k in range(n)], abs=2)
    assert frames[0].shape == (240, 320, 3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_a_variable_frame_rate_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    times_ns = [0, 33_000_000, 100_000_000, 101_000_000, 600_000_000, 2_000_000_000]
    write(path, [(plain(40 * k), t) for k, t in enumerate(times_ns)])
    _, times_ms = read_back(path)
    assert times_ms == pytest.approx([t / 1e6 for t in times_ns], abs=0.5)


def test_a_time_that_stands_still_is_moved_on(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, [(plain(0), 0), (plain(100), 0), (plain(200), 40_000_000)])
    frames, _ = read_back(path)
    assert len(frames) == 3


def test_colors_come_back(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    pixels = plain(0)
    colors = [(246, 183, 82), (86, 190, 180), (17, 19, 23), (255, 0, 0)]
    for index, color in enumerate(colors):
        pixels[:, index * 80 : (index + 1) * 80] = color
    write(path, [(pixels, k * 40_000_000) for k in range(5)])
    frames, _ = read_back(path)
    # OpenCV takes every file for BT.601. GStreamer believes what the file says of its colours, and rounds more: BT.709 would be wrong by more than 20.
    for decoded, tolerance in ((frames[2], 4), (read_with_gstreamer(path, size_wh_px=(320, 240)), 8)):
        for index, color in enumerate(colors):
            assert np.abs(decoded[100:140, index * 80 + 20 : index * 80 + 60].mean(axis=(0, 1)) - color).max() < tolerance


def test_the_index_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, [(plain(k), k * 40_000_000) for k in range(10)])
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_pictures_of_another_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, [(plain(50), 0), (plain(150, width_px=640, height_px=480), 40_000_000)])
    frames, _ = read_back(path)
    assert [frame.shape for frame in frames] == [(240, 320, 3)] * 2
    assert frames[1].mean() == pytest.approx(150, abs=2)


def test_a_full_disk_is_an_error_and_no_hanging(tmp_path: Path) -> None:
    # A limit on the size of files stands for the disk; noise cannot be compressed.
    program = f"""
import resource, signal
import numpy as np
from pathlib import Path
from edge.errors import OutputError
from edge.view.video import VideoFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
video = VideoFile(Path({str(tmp_path / "out.mp4")!r}))
noise = np.random.default_rng(0).integers(0, 256, (8, 480, 640, 3), np.uint8)
try:
    for k in range(500):
        video.push(noise[k % 8], k * 40_000_000)
    video.finish()
except OutputError as error:
    print("REFUSED", error)
video.close()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "REFUSED the video" in done.stdout
    assert "failed: " in done.stdout


def test_the_last_frame_becomes_a_picture(tmp_path: Path) -> None:
    for name, tolerance in (("out.png", 0), ("out.JPG", 3)):
        picture = PictureFile(tmp_path / name)
        picture.push(plain(10), 0)
        picture.push(np.dstack([plain(200)[..., 0], plain(100)[..., 0], plain(50)[..., 0]]), 1)
        picture.finish()
        picture.close()
        read = cv2.imread(str(tmp_path / name))
        assert read is not None
        assert np.abs(read.astype(int) - (50, 100, 200)).max() <= tolerance  # OpenCV reads BGR


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.symlink_to("/dev/full")
    picture = PictureFile(path)
    picture.push(plain(10), 0)
    with pytest.raises(OutputError, match=r"the picture could not be written to .*: No space left on device"):
        picture.finish()


@pytest.mark.parametrize("name", ["out.avi", "out", "out.mp3"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"--annotate expects a name that ends in one of \.mp4, \.png, \.jpg, \.jpeg; got"):
        open_annotation(str(tmp_path / name))


@pytest.mark.parametrize("ending", ["mp4", "png"])
def test_destinations_are_checked_at_once(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in.{ending}"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="--annotate names the file that is being read"):
        open_annotation(str(path), input_path=path)
    with pytest.raises(ConfigError, match=r"--annotate: the folder .* does not exist"):
        open_annotation(str(tmp_path / "absent" / f"out.{ending}"))
    assert path.read_text() == "precious"


def test_the_first_encoder_that_is_there_is_chosen() -> None:
    assert choose_encoder(lambda _: True) == "x264enc"
    assert choose_encoder(lambda name: name == "nvv4l2h264enc") == "nvv4l2h264enc"
    with pytest.raises(MissingDependency, match=r"no H\.264 encoder is installed: none of x264enc, openh264enc, nvv4l2h264enc") as caught:
        choose_encoder(lambda _: False)
    assert "gstreamer1.0-plugins-ugly" in caught.value.hint


def test_the_second_encoder_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_element("openh264enc"):
        pytest.skip("GStreamer has no openh264enc here")
    monkeypatch.setattr("edge.view.video.choose_encoder", lambda _: "openh264enc")
    path = tmp_path / "out.mp4"
    write(path, [(plain(6 * k), k * 40_000_000) for k in range(20)])
    frames, _ = read_back(path)
    assert [round(float(frame.mean())) for frame in frames] == pytest.approx([6 * k for k in range(20)], abs=4)


def test_names_with_spaces_quotes_and_marks(tmp_path: Path) -> None:
    path = tmp_path / 'a "b" ! c\\ä.mp4'
    write(path, [(plain(k), k * 40_000_000) for k in range(3)])
    assert len(read_back(path)[0]) == 3


def test_a_real_clip_annotated(tmp_path: Path, clip: Callable[[str], Path]) -> None:
    source = cv2.VideoCapture(str(clip("WolfgangLanger_Pexels.mp4")))
    path = tmp_path / "out.mp4"
    viewer = Viewer([VideoFile(path)], hud=Hud(au_quantity="intensity"))
    originals = []
    for seq in range(60):
        _, picture = source.read()
        pixels = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        originals.append(pixels)
        frame = Frame(seq, "clip", pixels, t_media_ns=seq * 40_000_000, t_capture_ns=0, t_capture_from="arrival", paced=False)
        assert viewer.show(frame, a_result(a_face(), seq=seq))
    viewer.close()
    source.release()
    frames, times_ms = read_back(path)
    assert len(frames) == 60  # every frame of a file, in order
    assert times_ms == pytest.approx([40.0 * seq for seq in range(60)], abs=0.5)
    differences = [np.abs(frame[:, 200:640].astype(int) - original[:, 200:640]).mean() for frame, original in zip(frames, originals, strict=True)]
    assert max(differences) < 6
    assert np.abs(frames[30][:, 200:640].astype(int) - originals[59][:, 200:640]).mean() > 2 * differences[30]  # another frame would be found out
