"""A source and an analyzer, joined: frames in, results out.

with Pipeline(source="clip.mp4") as pipeline:
    for result in pipeline:
        print(result.faces)
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from edge.analyzer import Analyzer
from edge.capture import open_source
from edge.capture.source import Source, SourceSettings
from edge.clock import StageTimes
from edge.config import Config, check_faces_wanted, load_config
from edge.engine import LOG, Say
from edge.errors import CaptureError, ConfigError, InferenceFailed, SourceNotFound
from edge.frame import Frame
from edge.package import models_dir
from edge.result import FrameResult

_OF_THE_COMMAND = {"output", "csv_style", "raw", "display", "annotate", "summary"}

SAMPLE_CLIP = "WolfgangLanger_Pexels.mp4"
# How long a read may keep the loop from noticing that it should stop.
_READ_S = 0.2


class Pipeline:
    """The runtime, for use from Python. Opened on construction, closed by `close()` or at the end of a `with`.

    Args:
        config: Settings.
        opened: An already opened source, instead of the one that the settings name; it is closed with the pipeline.
        say: Takes lines for the user, from any thread, while TensorRT's plans are built; the log `edge` of Python's `logging` where it is left out.
        settings: Fields of `edge.Config`; they win over `config`. Those that say where results go are the command's: here results come to you.

    Raises:
        ConfigError: Settings that cannot be used.
        EdgeError: Whatever else cannot be opened; see `edge.errors`.
    """

    def __init__(self, config: Config | None = None, *, opened: Source | None = None, say: Say = LOG.info, **settings: Any) -> None:
        if ignored := sorted(_OF_THE_COMMAND & settings.keys()):
            raise ConfigError(f"{', '.join(ignored)}: a Pipeline writes and shows nothing", hint="take the results from the loop, or run edge-run")
        self.config = load_config(None, (msgspec.structs.asdict(config) if config is not None else {}) | settings)
        self._stop = threading.Event()
        self.analyzer = Analyzer(self.config, say=say)
        try:
            if self.analyzer.detector_package is None:
                check_faces_wanted(self.config, self.analyzer.package.name)
            self.source: Source = opened if opened is not None else open_source(source_settings(self.config, sound_rate_hz=self.analyzer.sound_rate_hz))
            try:
                if self.config.engine == "tensorrt" and not self.source.live:
                    # Who asks for it by name and can wait does not want half of a clip on another engine.
                    self.analyzer.wait_until_opened()
            except BaseException:
                self.source.close()
                raise
        except BaseException:
            self.analyzer.close()
            raise

    def __iter__(self) -> Iterator[FrameResult]:
        """Results until the source ends, a limit is reached or `stop()` is called."""
        for _, result in self.run():
            yield result

    def run(self) -> Iterator[tuple[Frame, FrameResult]]:
        """Frames with their results, for those who want to look at the pixels too.

        Raises:
            CaptureError: The source failed, or stayed silent for too long.
            InferenceFailed: A network failed.
        """
        n_frames = 0
        while not self._stop.is_set():
            times = StageTimes()
            with times.measure("read"):
                frame = self._next_frame()
            if frame is None or self._past_end(frame, n_frames):
                return
            n_frames += 1
            try:
                result = self.analyzer.step(frame, times)
            except InferenceFailed:
                if self._stop.is_set():
                    return  # closed by another thread in the middle of a frame
                raise
            yield frame, result
            if n_frames == self.config.frames:
                return

    def stop(self) -> None:
        """End the run after the frame in hand; may be called from a signal handler or another thread."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and close source and networks."""
        self.stop()
        self.source.close()
        # What GStreamer's wrappers hold refers to itself; a process that opens one pipeline after another would keep several until Python's collector comes by.
        gc.collect()
        self.analyzer.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _past_end(self, frame: Frame, n_frames: int) -> bool:
        limit = self.config.duration
        return limit is not None and n_frames > 0 and frame.t_media_ns >= limit * 1e9

    def _next_frame(self) -> Frame | None:
        """Wait for a frame; None at the end, and when asked to stop."""
        while not self._stop.is_set():
            try:
                frame = self.source.read(_READ_S)
            except EOFError:
                return None
            except CaptureError:
                if self._stop.is_set():
                    return None  # closed, or asked to stop, while waiting: not a failure
                raise
            if frame is not None:
                return frame
        return None


def source_settings(config: Config, *, sound_rate_hz: int | None = None) -> SourceSettings:
    """Return what the capture module needs of the settings.

    Args:
        config: Settings of the run.
        sound_rate_hz: Rate of the sound that the packages of the run take; None where they take none.

    Raises:
        ConfigError: No source is named.
        SourceNotFound: `sample` was asked for and has not been pulled.
    """
    uri = config.source
    if not uri:
        raise ConfigError("no source: expected --camera N or --source FILE", hint="edge-run --source sample shows the sample clip")
    if uri == "sample":
        path = models_dir().parent / "clips" / SAMPLE_CLIP
        if not path.exists():
            raise SourceNotFound(f"the sample clip is not at {path}", hint="python -m converters pull sample   (make setup does it)")
        uri = str(path)
    return SourceSettings(
        uri=uri,
        size_px=config.camera_size,
        fps=config.camera_fps,
        pixel_format=config.camera_format,
        rotate_deg=config.rotate,
        mirror=config.mirror,
        realtime=config.realtime,
        sound_rate_hz=sound_rate_hz,
        microphone=config.microphone,
    )
