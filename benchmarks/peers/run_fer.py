"""`python -m benchmarks.peers.run_fer CLIP`: fer as it comes, Haar cascade and quantised network, one call a frame."""

from __future__ import annotations

import sys
from typing import Any

from fer.fer import FER  # type: ignore[import-not-found]

from benchmarks.peers.frame_clock import Seen, time_clip

if __name__ == "__main__":
    detector = FER()

    def analyse(picture: Any, _t_ms: int) -> Seen:
        """Return fer's answer for one frame."""
        found = detector.detect_emotions(picture)
        scores = found[0]["emotions"] if found else {}
        return Seen(faces=len(found), top=max(scores, key=scores.__getitem__) if scores else None)

    time_clip(sys.argv[1], analyse)
