"""`python -m benchmarks.peers.run_facemesh CLIP`: MediaPipe's FaceMesh, the interface before the Face Landmarker, for video, one face, with its defaults."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import mediapipe  # type: ignore[import-not-found]

from benchmarks.peers.frame_clock import Seen, time_clip

if __name__ == "__main__":
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1) as mesh:

        def analyse(picture: Any, _t_ms: int) -> Seen:
            """Return FaceMesh's answer for one frame."""
            found = mesh.process(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).multi_face_landmarks
            return Seen(faces=len(found or ()), top=None)

        time_clip(sys.argv[1], analyse)
