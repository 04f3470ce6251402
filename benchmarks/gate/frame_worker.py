"""One block of the gate: a clip through one checkout's `edge`, in a process of its own; prints one JSON object. `--help` lists the arguments.

It is run as a file, and imports nothing of ours but the `edge` of the checkout that it is told: base and head do the same work, whatever their own
benchmarks hold.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge import Pipeline
    from edge.capture.source import Source

# Smaller steps of the traced memory are Python's own objects, whose blocks and free lists are not the same in every process. 4 KiB: a page.
_LARGE_BYTES = 4096
_PATIENCE_S = 1800.0

Seen = list[int]


def main() -> None:
    """Run the block that the command line asks for."""
    arguments = _parser().parse_args()
    sys.path.insert(0, arguments.root)  # before the site-packages, in which an installed `edge` may lie
    import edge

    if arguments.count == "python":
        tracemalloc.start()
    settings = {"engine": arguments.engine, "precision": arguments.precision, "frames": arguments.warm_up + arguments.frames}
    if arguments.count == "instructions":
        settings["opened"] = _patient_source(arguments.clip)
    with edge.Pipeline(source=arguments.clip, **settings) as pipeline:
        if arguments.count == "python":
            numbers = _python_counts(pipeline, arguments.warm_up)
        elif arguments.count == "instructions":
            numbers = _marked(pipeline, arguments.warm_up)
        else:
            numbers = _times(pipeline, arguments.warm_up, arguments.slow)
        engine, precision = pipeline.analyzer.serving
        numbers |= {"engine": engine, "precision": precision, "engine_description": pipeline.analyzer.engine_description}
    sys.stdout.write(json.dumps({"schema": "edge.gate.block/1", "edge_file": edge.__file__, **numbers}) + "\n")


def _times(pipeline: Pipeline, warm_up: int, slow: float) -> dict[str, Any]:
    """Wall time of each frame, from the moment the result before it was taken to its own: waiting for the decoder included.

    The planted slowdown: with `slow` 1.05, each frame is followed by 5 % of its own time in which the loop is busy. (The decoder's thread goes on
    meanwhile: where the decoder is what the path waits for, less than 5 % remain of it.)
    """
    seen: list[Seen] = []
    frame_ns: list[int] = []
    usage = resource.getrusage(resource.RUSAGE_SELF)
    started_ns = time.perf_counter_ns()
    for frame in _frames(pipeline):
        now_ns = time.perf_counter_ns()
        until_ns = started_ns + round((now_ns - started_ns) * slow)
        while now_ns < until_ns:
            now_ns = time.perf_counter_ns()
        seen.append(frame)
        frame_ns.append(now_ns - started_ns)
        if len(seen) == warm_up:
            usage = resource.getrusage(resource.RUSAGE_SELF)
        started_ns = time.perf_counter_ns()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seen": seen,
        "frame_ns": frame_ns[warm_up:],
        "cpu_s": after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime,
        "minor_faults": after.ru_minflt - usage.ru_minflt,
        "major_faults": after.ru_majflt - usage.ru_majflt,
        "preemptions": after.ru_nivcsw - usage.ru_nivcsw,
    }


def _python_counts(pipeline: Pipeline, warm_up: int) -> dict[str, Any]:
    """Function calls of this thread (Python's and C's), and bytes of memory that came to be between one call or return and the next, in large pieces.

    `tracemalloc` knows of Python's objects and of NumPy's and OpenCV's arrays, not of what GStreamer and the inference library keep for themselves.
    """
    calls, new_bytes, traced = 0, 0, 0

    def count(_frame: FrameType, event: str, _called: object) -> None:
        nonlocal calls, new_bytes, traced
        if event in ("call", "c_call"):
            calls += 1
        now = tracemalloc.get_traced_memory()[0]
        if now - traced >= _LARGE_BYTES:
            new_bytes += now - traced
        traced = now

    seen: list[Seen] = []
    for frame in _frames(pipeline):
        sys.setprofile(None)
        seen.append(frame)
        traced = tracemalloc.get_traced_memory()[0]
        if len(seen) >= warm_up:
            sys.setprofile(count)
    sys.setprofile(None)
    return {"seen": seen, "calls": calls, "new_bytes": new_bytes}


def _marked(pipeline: Pipeline, warm_up: int) -> dict[str, Any]:
    """Call a function of the C library that nothing else calls where the counted frames begin, and where they end: callgrind cuts its counts there."""
    seen: list[Seen] = []
    for frame in _frames(pipeline):
        seen.append(frame)
        if len(seen) == warm_up:
            os.getloadavg()
    os.getloadavg()
    return {"seen": seen}


def _patient_source(clip: str) -> Source:
    """Open the clip with time: on callgrind's processor, fifty times as slow as the real one, a decoder's first picture may take longer than is allowed."""
    from edge.capture import open_source
    from edge.capture.source import SourceSettings

    return open_source(SourceSettings(uri=clip, timeout_s=_PATIENCE_S))


def _frames(pipeline: Pipeline) -> Iterator[Seen]:
    """What tells a frame and the work on it apart from others: media time, width, height, number of faces."""
    for frame, result in pipeline.run():
        yield [result.t_media_ns, frame.width_px, frame.height_px, len(result.faces)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="One block of the gate.")
    parser.add_argument("root", help="the checkout whose `edge` runs")
    parser.add_argument("clip")
    parser.add_argument("--warm-up", type=int, required=True, help="frames before the first that counts, at least 1")
    parser.add_argument("--frames", type=int, required=True, help="frames that count")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--slow", type=float, default=1.0, help="a planted slowdown: be busy until each frame took so many times its own time")
    parser.add_argument("--count", choices=["python", "instructions"], help="count, and measure no time")
    return parser


if __name__ == "__main__":
    main()
