"""The clip that the benchmarks run over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge.errors import SourceNotFound, UnsupportedFormat
from edge.package import models_dir

SAMPLE_CLIP = "WolfgangLanger_Pexels.mp4"  # 472 frames of one face, 640x360


@dataclass(frozen=True)
class Clip:
    """A clip and its nominal length and rate."""

    path: Path
    frames: int
    fps: float


def open_clip(path: Path | None) -> Clip:
    """Return a clip; None stands for the sample.

    Raises:
        SourceNotFound: There is no such file.
        UnsupportedFormat: It is not a clip with a known length and rate.
    """
    where = (path or models_dir().parent / "clips" / SAMPLE_CLIP).resolve()
    if not where.is_file():
        raise SourceNotFound(f"no clip at {where}", hint="python -m converters pull sample   or --clip FILE")
    capture = cv2.VideoCapture(str(where))
    frames, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    if frames < 2 or not fps > 0:
        raise UnsupportedFormat(f"expected a clip of at least 2 frames and a known rate, got {frames} frames at {fps:g} frames/s, in {where}")
    return Clip(path=where, frames=frames, fps=fps)


def paced_pipeline(clip: Clip, frames: int, fps: float) -> str:
    """Return a GStreamer pipeline that plays the clip over and over like a camera: `frames` pictures or more, one every 1/fps seconds, decoded beforehand.

    Where the clip's own rate is lower, `videorate` sends some pictures twice; `identity sync=true` lets each go when its time has come, as a camera would.
    """
    passes = math.ceil((frames + 1) / (clip.frames * fps / clip.fps))
    location = str(clip.path).replace("\\", "\\\\").replace('"', '\\"')
    # videoconvert changes nothing here, but it is a fixed partner of `loop`, known before the decoders start. Linked straight to decodebin, some runs end
    # after the first pass: the pads of `loop` then come into being in the order in which the decoders wake up.
    branches = " ".join([f'filesrc location="{location}" ! decodebin ! videoconvert ! loop.'] * passes)
    return f"{branches} concat name=loop ! videorate ! video/x-raw,framerate={round(fps * 1000)}/1000 ! queue max-size-buffers=8 ! identity sync=true"
