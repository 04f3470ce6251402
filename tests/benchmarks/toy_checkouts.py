"""Checkouts whose `edge` is a few lines: enough for the gate's worker, without networks."""

from __future__ import annotations

from pathlib import Path

_EDGE = """
import time
from dataclasses import dataclass
from types import SimpleNamespace

BUSY_NS, WIDTH, FACES, PRECISION, COPIES, LAST = {busy_ns}, {width}, {faces}, {precision!r}, {copies}, {last}


class Pipeline:
    def __init__(self, source, precision, engine, frames):
        self.frames = min(frames, LAST)
        self.analyzer = SimpleNamespace(serving=(engine, PRECISION), engine_description="toy")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self):
        for number in range(self.frames):
            until_ns = time.perf_counter_ns() + BUSY_NS
            while time.perf_counter_ns() < until_ns:
                pass
            copies = [bytes(100_000) for _ in range(COPIES)]
            yield SimpleNamespace(width_px=WIDTH, height_px=4), SimpleNamespace(t_media_ns=number * 10, faces=[0] * FACES)
"""


def toy_checkout(root: Path, *, busy_ms: float = 1.0, width: int = 8, faces: int = 1, precision: str = "fp32", copies: int = 1, last: int = 10_000) -> Path:
    """Write a checkout whose pipeline is busy `busy_ms` on each of at most `last` frames, and makes `copies` of 100,000 bytes."""
    (root / "edge").mkdir(parents=True)
    text = _EDGE.format(busy_ns=round(busy_ms * 1e6), width=width, faces=faces, precision=precision, copies=copies, last=last)
    (root / "edge" / "__init__.py").write_text(text)
    return root
