"""Programs of a few lines that speak `edge.peer/1`, in the interpreter of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peer_run import Peer
from edge.errors import MissingDependency

_PROGRAM = """
import json, sys, time
done, frame_ms, frames, log = [], float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for _ in range(frames):
    time.sleep(frame_ms / 1000)
    done.append(time.monotonic_ns())
open(log, "a").write(sys.argv[4] + " ")
print("a library says hello")
print(json.dumps({"schema": "edge.peer/1", "t_open_ns": done[0], "t_done_ns": done, "faces": [1] * frames, "top": ["happy", "sad"] * (frames // 2)}))
"""


def toy_peer(name: str, log: Path, *, frame_ms: float, frames: int = 20) -> Peer:
    """Return a peer that sleeps `frame_ms` for each frame and appends its name to `log`."""
    return program_peer(name, _PROGRAM, str(frame_ms), str(frames), str(log), name)


def program_peer(name: str, program: str, *arguments: str) -> Peer:
    """Return a peer that runs a program given as text."""
    return Peer(name, "toy", lambda: None, lambda _clip, _folder: [sys.executable, "-c", program, *arguments], "edge.peer")


def absent_peer(name: str) -> Peer:
    """Return a peer whose environment cannot be had."""

    def prepare() -> None:
        raise MissingDependency(f"{name} has no wheel for this machine", hint="another machine")

    return Peer(name, "toy", prepare, lambda _clip, _folder: ["/no/such/program"], "edge.peer")
