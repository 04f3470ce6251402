"""Reads a clip frame by frame for a peer and writes down when each result was there.

It measures nothing itself: every duration is computed by `benchmarks.peer_run`, by one rule for every peer, from these CLOCK_MONOTONIC times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2


@dataclass(frozen=True)
class Seen:
    """What a peer said of one frame.

    Attributes:
        faces: Number of faces it found.
        top: Label of the largest emotion score of the first face; None without a face, and for peers without emotions.
    """

    faces: int
    top: str | None


def time_clip(clip: str, analyse: Callable[[Any, int], Seen]) -> None:
    """Read `clip` with OpenCV, pass each frame to `analyse` and print one JSON object of schema `edge.peer/1`.

    Args:
        clip: Path.
        analyse: Takes uint8[H, W, 3] in BGR and the position in the clip in milliseconds, strictly increasing.

    Raises:
        OSError: The clip cannot be opened.
    """
    done_ns: list[int] = []
    faces: list[int] = []
    top: list[str | None] = []
    open_ns = time.monotonic_ns()
    capture = cv2.VideoCapture(clip)
    if not capture.isOpened():
        raise OSError(f"OpenCV cannot open {clip}")
    frame_ms = 1000.0 / (capture.get(cv2.CAP_PROP_FPS) or 30.0)
    while True:
        arrived, picture = capture.read()
        if not arrived:
            break
        seen = analyse(picture, round(len(done_ns) * frame_ms))
        done_ns.append(time.monotonic_ns())
        faces.append(seen.faces)
        top.append(seen.top)
    capture.release()
    sys.stdout.write(json.dumps({"schema": "edge.peer/1", "t_open_ns": open_ns, "t_done_ns": done_ns, "faces": faces, "top": top}) + "\n")
