"""Faces that are drawn, not photographed: with known points, units and emotions, and enough in them to learn from."""

from __future__ import annotations

import cv2
import numpy as np

from converters.training.affect.labelled_faces import POINTS, LabelledFaces

_NAMES = [name for name, _ in POINTS]


def drawn_faces(n: int, seed: int = 0, side: int = 96) -> LabelledFaces:
    """Two dark eyes and a mouth that is light where AU12 is strong: enough to learn from."""
    rng = np.random.default_rng(seed)
    pictures = np.full((n, side, side), 120, np.uint8)
    points = np.zeros((n, len(POINTS), 3), np.float32)
    units = rng.uniform(0, 1, (n, 15)).astype(np.float32)
    for picture, point, unit in zip(pictures, points, units, strict=True):
        middle, angle = rng.uniform(0.42, 0.58, 2) * side, rng.normal(0, 0.15)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        places = {"right_eye": (-12, -8), "left_eye": (12, -8), "side": (22, 0), "forehead": (0, -26), "chin": (0, 30), "mouth": (8, 16)}
        for row, name in enumerate(_NAMES):
            x, y = next((place for key, place in places.items() if key in name), (0, 5))
            sign = -1 if name.startswith("right") and x > 0 else 1
            point[row, :2] = middle + turn @ (sign * x, y)
        cv2.ellipse(picture, tuple(int(v) for v in middle), (24, 30), float(np.degrees(angle)), 0, 360, 190, -1)
        for eye in ((-12, -8), (12, -8)):
            cv2.circle(picture, tuple(int(v) for v in middle + turn @ eye), 4, 20, -1)
        cv2.circle(picture, tuple(int(v) for v in middle + turn @ (0, 16)), 6, int(255 * unit[8]), -1)
    seen = np.eye(7, dtype=np.float32)[(units[:, 8] * 6.99).astype(int)]
    return LabelledFaces(pictures, points, units, seen, (units[:, 8] * 6.99).astype(np.int64), np.zeros((n, 3), np.float32), "drawn")
