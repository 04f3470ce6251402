"""Cost against streams: a process of edge-run for each, all at once, each before a source that plays like a camera."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.budgets import Budget
from benchmarks.clips import Clip, paced_pipeline
from benchmarks.environment import MachineWatch
from benchmarks.estimates import percentile
from benchmarks.loops.open import MIN_FACE_SHARE
from benchmarks.peer_run import result_records
from benchmarks.scaling.edge_runs import edge_run, wait_for_results
from benchmarks.scaling.finding import Ran, Stream, StreamPoint, StreamScaling
from benchmarks.timed_process import progress

COUNTS = (1, 2, 4, 8, 16)
FPS = 25.0
WINDOW_S, QUICK_WINDOW_S = 20.0, 8.0
SETTLING_S = 1.0  # after the last of them has its first result
AFTER_S = 0.5  # played after the window, so that its last frames can still be answered
_START_S, _START_EACH_S = 40.0, 2.0  # for all to have a first result: a machine that is slower at that keeps up with no stream


def measure_streams(clip: Clip, counts: Sequence[int], window_s: float, budgets: Mapping[str, Budget]) -> StreamScaling:
    """Run ever more processes of edge-run with its defaults; after the first number that loses more than half of its frames no larger one is tried.

    Each decodes the clip by itself, which is in all figures. Sources play as long for one stream as for the most: each pass over the clip takes a decoder, and
    its memory.

    Args:
        clip: With one face.
        counts: Numbers of streams, ascending.
        window_s: How long is measured.
        budgets: Of which those of `validity` are used.

    Raises:
        RunFailed: A process failed, or did not start or stop in time.
    """
    played_s = _start_s(max(counts)) + SETTLING_S + window_s + AFTER_S
    source = f"gst:{paced_pipeline(clip, round(played_s * FPS), FPS)}"
    points: list[StreamPoint] = []
    not_run = ""
    for place, n in enumerate(counts):
        progress(f"streams: {n} at {FPS:g} frames/s for {window_s:g} s")
        points.append(_measure(source, n, window_s, budgets))
        due = sum(stream.due for stream in points[-1].streams)
        if 2 * points[-1].lost > due and counts[place + 1 :]:
            not_run = f"{', '.join(map(str, counts[place + 1 :]))} not tried: {n} lost {points[-1].lost} of {due} frames"
            break
    return stream_scaling(points, window_s, not_run)


def stream_scaling(points: Sequence[StreamPoint], window_s: float, not_run: str) -> StreamScaling:
    """Say how many streams lose nothing.

    Args:
        points: By number, ascending.
        window_s: How long was measured.
        not_run: Why there are no more.
    """
    losing = [point.n for point in points if point.lost]
    most = max((point.n for point in points if not losing or point.n < losing[0]), default=0)
    return StreamScaling(FPS, window_s, [*points], most, losing[0] if losing else None, not_run)


def judge_stream(records: Sequence[Mapping[str, Any]], start_ns: int, window_s: float, *, pss_mb: float, cpu_share: float) -> Stream:
    """Count what became of the frames that a stream was due to give.

    Args:
        records: Result records of the whole run, in order.
        start_ns: CLOCK_MONOTONIC, where the window begins.
        window_s: Its length.
        pss_mb: As of `Stream`.
        cpu_share: As of `Stream`.
    """
    due = round(window_s * FPS)
    end_ns = start_ns + round(window_s * 1e9)
    is_inside = [start_ns <= record["t_capture_ns"] < end_ns for record in records]
    results = [record for record, inside in zip(records, is_inside, strict=True) if inside]
    lost = max(0, due - len(results))
    # By sequence numbers: a frame that was overwritten has one, and no record.
    gaps = sum(after["seq"] - before["seq"] - 1 for (before, after), inside in zip(pairwise(records), pairwise(is_inside), strict=True) if any(inside))
    ages_ms = [record["age_ms"] for record in results if record["age_ms"] is not None]
    return Stream(
        due=due,
        results=len(results),
        dropped=min(lost, gaps),
        late=lost - min(lost, gaps),
        with_face=sum(bool(record["faces"]) for record in results),
        ages_ms=ages_ms,
        p50_ms=percentile(ages_ms, 50) if ages_ms else None,
        p99_ms=percentile(ages_ms, 99) if ages_ms else None,
        pss_mb=pss_mb,
        cpu_share=cpu_share,
    )


def _measure(source: str, n: int, window_s: float, budgets: Mapping[str, Budget]) -> StreamPoint:
    watch = MachineWatch(gpu_is_warm=False)
    with tempfile.TemporaryDirectory(prefix="edge-streams-") as folder, contextlib.ExitStack() as stack:
        running = [stack.enter_context(edge_run(source, Path(folder) / str(number))) for number in range(n)]
        wait_for_results(running, _start_s(n))
        time.sleep(SETTLING_S)
        start_ns, cpu_before = time.monotonic_ns(), [each.cpu_s() for each in running]
        time.sleep(window_s)
        used = [(after - before) / window_s for after, before in zip((each.cpu_s() for each in running), cpu_before, strict=True)]
        pss_mb = [each.pss_mb() for each in running]
        time.sleep(AFTER_S)
        for each in running:
            each.stop()
        for each in running:
            each.wait()
        records = [result_records(each.results) for each in running]
    machine, invalid = watch.end(budgets)
    streams = [judge_stream(lines, start_ns, window_s, pss_mb=mb, cpu_share=share) for lines, mb, share in zip(records, pss_mb, used, strict=True)]
    return stream_point(streams, Ran("edge-run with its defaults", None, machine, invalid))


def stream_point(streams: Sequence[Stream], ran: Ran) -> StreamPoint:
    """Join the streams that ran at once; without faces they had less to do, and the run is invalid."""
    with_face, results = sum(stream.with_face for stream in streams), sum(stream.results for stream in streams)
    few = f"a face in only {with_face} of {results} frames" if with_face < MIN_FACE_SHARE * results else ""
    ages_ms = [age for stream in streams for age in stream.ages_ms]
    return StreamPoint(
        n=len(streams),
        lost=sum(stream.dropped + stream.late for stream in streams),
        age_p99_ms=percentile(ages_ms, 99) if ages_ms else None,
        pss_mb=sum(stream.pss_mb for stream in streams),
        streams=[*streams],
        ran=Ran(ran.engine, ran.precision, ran.machine, "; ".join(filter(None, [ran.invalid, few]))),
    )


def _start_s(n: int) -> float:
    return _START_S + _START_EACH_S * n
