"""The Python API: settings that are checked, ends that are clean."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import Config, Pipeline
from edge.capture import open_source
from edge.capture.source import SourceSettings
from edge.config import load_config
from edge.engine.trt import start
from edge.engine.trt.plan_file import one_builder
from edge.errors import CaptureError, ConfigError, EngineError
from tests.toy import make_affect
from tests.unit.toy_gpu import ToyGpu


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return make_affect(tmp_path / "toy-affect")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "spot.png"
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[30:42, 22:34] = 255
    cv2.imwrite(str(path), pixels)
    return path


def test_paths_and_keywords(package: Path, picture: Path) -> None:
    with Pipeline(source=picture, model=package) as pipeline:
        (result,) = list(pipeline)
    assert len(result.faces) == 1


def test_keywords_win_over_a_config_and_both_are_checked(package: Path, picture: Path) -> None:
    config = Config(source=str(picture), model=str(package), max_faces=2)
    with Pipeline(config, max_faces=3) as pipeline:
        assert pipeline.config.max_faces == 3
    with pytest.raises(ConfigError, match="max-faces: expected at least 1"):
        Pipeline(Config(source=str(picture), model=str(package), max_faces=0))
    with pytest.raises(ConfigError, match="unknown field `colour`"):
        Pipeline(source=picture, colour="red")
    with pytest.raises(ConfigError, match="no source"):
        Pipeline(model=package)


def test_what_only_the_command_does_is_refused() -> None:
    with pytest.raises(ConfigError, match="annotate, output: a Pipeline writes and shows nothing"):
        Pipeline(source="sample", output=("a.jsonl",), annotate="b.mp4")


@pytest.mark.parametrize("name", ["time_constant", "min_face", "duration", "camera_fps"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_numbers(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match="expected a finite number"):
        load_config(None, {"source": "sample", name: value})


def on_the_toy_gpu(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """TensorRT for RTX is real, and so are its builds, which fail for want of a GPU."""
    monkeypatch.setattr(start, "find_device", ToyGpu)
    monkeypatch.setenv("EDGE_STATE", str(folder))


def test_a_plan_that_cannot_be_had_closes_the_source(package: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_the_toy_gpu(monkeypatch, tmp_path / "state")
    source = open_source(SourceSettings(str(picture)))
    with pytest.raises(EngineError, match="toy-affect/brightness: TensorRT cannot take over: "):
        Pipeline(source=picture, model=package, engine="tensorrt", opened=source)
    with pytest.raises(CaptureError, match="is closed"):
        source.read(0.1)


def test_auto_goes_on_without_the_plan_and_says_why(package: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_the_toy_gpu(monkeypatch, tmp_path / "state")
    with Pipeline(source=picture, model=package) as pipeline:
        pipeline.analyzer._for_affect[0].wait_until_opened()  # type: ignore[attr-defined]
        (result,) = list(pipeline)
    assert len(result.faces) == 1
    assert any(note.startswith("TensorRT fp32 is not used for toy-affect/brightness: ") for note in pipeline.analyzer.notes)


def test_interrupted_while_it_waits_for_a_plan_it_closes_the_source(package: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_the_toy_gpu(monkeypatch, tmp_path / "state")
    source = open_source(SourceSettings(str(picture)))

    def press_ctrl_c() -> None:
        # While it is being opened, GStreamer's or ONNX Runtime's code may run, which drops what a signal raises: only when it waits.
        main = threading.main_thread().ident or 0
        while "wait_until_opened" not in [frame.name for frame in traceback.extract_stack(sys._current_frames()[main])]:
            time.sleep(0.05)
        time.sleep(0.5)
        signal.pthread_kill(main, signal.SIGINT)

    interrupt = threading.Thread(target=press_ctrl_c, daemon=True)
    # What a shell starts in the background ignores the signal, unless it asks for it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with one_builder(tmp_path / "state/plans", say=print):  # so that it waits
            interrupt.start()
            with pytest.raises(KeyboardInterrupt):
                Pipeline(source=picture, model=package, engine="tensorrt", opened=source)
        interrupt.join()
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(CaptureError, match="is closed"):
        source.read(0.1)


@pytest.mark.parametrize("end", ["stop", "close"])
def test_another_thread_may_end_the_run(package: Path, end: str) -> None:
    pipeline = Pipeline(source="gst:videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=30/1", model=package)
    thread = threading.Timer(0.5, getattr(pipeline, end))
    thread.start()
    started = time.monotonic()
    assert len(list(pipeline)) > 0
    assert time.monotonic() - started < 5
    thread.join()
    pipeline.close()


def test_a_microphone_for_a_package_that_does_not_hear(package: Path) -> None:
    with pytest.raises(ConfigError, match=r"--microphone hw:1: no package of this run takes sound\n  leave it out, or choose another --model"):
        Pipeline(source="camera:0", microphone="hw:1", model=package)
    with pytest.raises(ConfigError, match=r"--microphone default goes with a camera only, not with gst:videotestsrc"):
        Pipeline(source="gst:videotestsrc", microphone="default", model=package)
