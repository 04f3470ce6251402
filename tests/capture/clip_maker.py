"""Clips for tests, made on the spot by `gst-launch-1.0`."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import numpy as np

from edge.capture import SourceSettings, open_source
from edge.frame import Frame, Pixels

# Left top red, right top green, left bottom blue, right bottom white: every turn and every mirror of it looks different.
CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))


def make_clip(path: Path, pipeline: str) -> Path:
    """Run a pipeline that ends before its sink, and return the file that it made."""
    command = f"gst-launch-1.0 -q {pipeline} ! filesink location={shlex.quote(str(path))}"
    subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=60)
    return path


def frames_of(uri: str | Path, **settings: object) -> list[Frame]:
    """Read a source to its end."""
    with open_source(SourceSettings(str(uri), **settings)) as source:  # type: ignore[arg-type]
        return list(source)


def corner_picture(width: int = 64, height: int = 32) -> Pixels:
    """uint8[H, W, 3]: four coloured quarters."""
    rgb = np.empty((height, width, 3), np.uint8)
    for index, color in enumerate(CORNERS):
        top, left = (index // 2) * height // 2, (index % 2) * width // 2
        rgb[top : top + height // 2, left : left + width // 2] = color
    return rgb


def corner_colors(rgb: Pixels) -> list[str]:
    """Names of the colours at left top, right top, left bottom, right bottom."""
    h, w = rgb.shape[:2]
    names = dict(zip(CORNERS, "RGBW", strict=True))
    spots = [rgb[y, x] for y in (h // 8, h - 1 - h // 8) for x in (w // 8, w - 1 - w // 8)]
    return [names[min(CORNERS, key=lambda color: int(np.abs(np.array(color) - spot).sum()))] for spot in (s.astype(int) for s in spots)]
