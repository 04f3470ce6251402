"""What `edge-run` takes as a whole: each stage of its path, its start, its memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from benchmarks.budgets import Budget, Verdict, judge
from benchmarks.clips import Clip
from benchmarks.environment import MachineWatch
from benchmarks.estimates import Interval, median_interval, percentiles
from benchmarks.loops.recorded_run import Record, recorded_run
from benchmarks.peer_run import EDGE_RUN
from benchmarks.timed_process import REPOSITORY, RunFailed, progress, run_timed

STEADY_AFTER = 30  # frames: caches, arenas and the clock of the processor have settled
EARLY_PASS, LATE_PASS = 2, 20  # Source: the memory budget in budgets.toml
START_TIMEOUT_S = 60.0
Budgets = Mapping[str, Budget]


class Part(msgspec.Struct, frozen=True):
    """One measurement of the report: its numbers, what they say of the budgets, and the same for a person."""

    name: str
    numbers: dict[str, Any]
    verdicts: list[Verdict]
    lines: list[str]


def measure_stages(clip: Clip, budgets: Budgets) -> Part:
    """Run over the clip as fast as it goes: time per stage, and what the path costs beyond decoding and networks.

    The overhead of a frame is the time from the result before it to its own, less its `read` (waiting for the decoder) and the time inside the networks
    (`detect.infer` and `infer.*`): all of our own work is in it, the writing of the records included. The first frames are left out. The interval is of
    this run's frames; another start of the process may differ by more (`benchmarks/gate/blocks.py` says why).

    Raises:
        RunFailed: edge-run failed, or the clip is too short.
    """
    watch = MachineWatch(gpu_is_warm=False)
    records, _ = recorded_run(["--source", str(clip.path)])
    machine, invalid = watch.end(budgets)
    if len(records) <= STEADY_AFTER + 1:
        raise RunFailed(f"expected more than {STEADY_AFTER + 1} frames to measure stages, got {len(records)} from {clip.path.name}")
    pairs = list(zip(records[STEADY_AFTER:-1], records[STEADY_AFTER + 1 :], strict=True))
    frame_ms = [(after["t_publish_ns"] - before["t_publish_ns"]) / 1e6 for before, after in pairs]
    overhead_ms = [total - after["stage_ms"].get("read", 0.0) - network_ms(after) for total, (_, after) in zip(frame_ms, pairs, strict=True)]
    names = list(dict.fromkeys(stage for record in records for stage in record["stage_ms"]))
    samples_ms = {name: [record["stage_ms"][name] for _, record in pairs if name in record["stage_ms"]] for name in names}
    samples_ms = {"frame": frame_ms, **{name: taken_ms for name, taken_ms in samples_ms.items() if taken_ms}, "overhead": overhead_ms}
    stages = {name: percentiles(taken_ms) for name, taken_ms in samples_ms.items()}
    lines = [f"{'stage':24}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}  ms"]
    lines += [f"{name:24}{ms['p50']:9.3f}{ms['p95']:9.3f}{ms['p99']:9.3f}{ms['max']:9.3f}" for name, ms in stages.items()]
    verdict = judge("latency.overhead", budgets["latency.overhead"], median_interval(overhead_ms), invalid=invalid)
    return Part("stages", {"frames": len(records), "stage_ms": stages, "samples_ms": samples_ms, "machine": machine}, [verdict], lines)


def network_ms(record: Record) -> float:
    """Return the milliseconds that one frame spent inside the networks: the stages `detect.infer` and `infer.*`."""
    return float(sum(ms for stage, ms in record["stage_ms"].items() if stage == "detect.infer" or stage.startswith("infer.")))


def measure_start(clip: Clip, budgets: Budgets, runs: int) -> Part:
    """Measure from the start of `edge-run` until its first result record can be read from its standard output.

    One run before fills the page cache; it is not counted.

    Raises:
        RunFailed: edge-run failed, or no record came.
    """
    watch = MachineWatch(gpu_is_warm=False)
    seconds = [_first_record_s(clip) for _ in range(runs + 1)][1:]
    machine, invalid = watch.end(budgets)
    measured: float | Interval = median_interval(seconds) if runs > 1 else seconds[0]
    verdict = judge("latency.start", budgets["latency.start"], measured, invalid=invalid)
    line = f"start to first result: median {statistics.median(seconds):.2f} s of {runs} (min {min(seconds):.2f}, max {max(seconds):.2f})"
    return Part("start", {"seconds": seconds, "machine": machine}, [verdict], [line])


def measure_memory(clip: Clip, budgets: Budgets) -> Part:
    """Run over the clip many times in one process and compare its resident memory.

    Raises:
        RunFailed: The process failed or said something else.
    """
    progress(f"{LATE_PASS} passes over {clip.frames} frames in one process")
    command = [sys.executable, "-m", "benchmarks.clip_passes", str(clip.path), str(LATE_PASS)]
    process = run_timed(command, name="clip_passes", timeout_s=3600)
    try:
        rss_mb = msgspec.json.decode(process.stdout.strip().splitlines()[-1], type=list[float])
    except (IndexError, msgspec.MsgspecError) as error:
        raise RunFailed(f"expected one list of megabytes from clip_passes, got {process.stdout[-120:]!r}") from error
    if len(rss_mb) != LATE_PASS:
        raise RunFailed(f"expected {LATE_PASS} numbers from clip_passes, got {len(rss_mb)}")
    early, late = rss_mb[EARLY_PASS - 1], rss_mb[LATE_PASS - 1]
    verdict = judge("latency.memory", budgets["latency.memory"], late / early)
    return Part("memory", {"rss_mb": rss_mb}, [verdict], [f"resident memory: {early:.1f} MB after {EARLY_PASS} passes, {late:.1f} MB after {LATE_PASS}"])


def _first_record_s(clip: Clip) -> float:
    command = [*EDGE_RUN, "--source", str(clip.path), "--frames", "1", "--output", "-", "--quiet"]
    spawned_ns = time.monotonic_ns()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as said,
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdout is not None
        first_ns = next((time.monotonic_ns() for line in process.stdout if json.loads(line)["schema"] == "edge.result/1"), None)
        process.stdout.read()
        exit_code = process.wait(START_TIMEOUT_S)
        said.seek(0)
        if exit_code != 0 or first_ns is None:
            raise RunFailed(f"edge-run: expected a record and exit code 0, got {exit_code}\n  {said.read().strip()[-600:]}", exit_code=exit_code)
    return (first_ns - spawned_ns) / 1e9
