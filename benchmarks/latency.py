"""`python -m benchmarks latency`: how long our own path takes, at its own pace and at a camera's."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Budget, Verdict, judge
from benchmarks.clips import Clip, paced_pipeline
from benchmarks.estimates import Interval, median_interval, percentiles
from benchmarks.peer_run import EDGE_RUN, RESULT_FILE, result_records
from benchmarks.timed_process import REPOSITORY, OthersCpu, RunFailed, TimedProcess, progress, run_timed

CAMERA_FPS = 30.0
# The decoders of a pipeline that already plays start late: its first pictures come as a burst, which no camera makes. This first second is not judged.
SETTLING_FRAMES = 30
MAX_PACE_ERROR = 0.02  # a clock or a machine that plays 30 frames/s slower than this measures something else
MIN_FACE_SHARE = 0.9  # a frame without a face costs less than one with
STEADY_AFTER = 30  # frames: caches, arenas and the clock of the processor have settled
EARLY_PASS, LATE_PASS = 2, 20  # Source: the memory budget in budgets.toml
START_TIMEOUT_S = 60.0
Budgets = Mapping[str, Budget]
Record = dict[str, Any]


class Part(msgspec.Struct, frozen=True):
    """One measurement of the report: its numbers, what they say of the budgets, and the same for a person."""

    name: str
    numbers: dict[str, Any]
    verdicts: list[Verdict]
    lines: list[str]


def measure_stages(clip: Clip, budgets: Budgets) -> Part:
    """Run over the clip as fast as it goes: time per stage, and what the path costs beyond decoding and networks.

    The overhead of a frame is the time from the result before it to its own, less its `read` (waiting for the decoder) and the time inside the networks
    (`detect.infer` and `infer.*`): all of our own work is in it, the writing of the records included. The first frames are left out.

    Raises:
        RunFailed: edge-run failed, or the clip is too short.
    """
    records, process = _edge_run(["--source", str(clip.path)])
    if len(records) <= STEADY_AFTER + 1:
        raise RunFailed(f"expected more than {STEADY_AFTER + 1} frames to measure stages, got {len(records)} from {clip.path.name}")
    pairs = list(zip(records[STEADY_AFTER:-1], records[STEADY_AFTER + 1 :], strict=True))
    frame_ms = [(after["t_publish_ns"] - before["t_publish_ns"]) / 1e6 for before, after in pairs]
    overhead_ms = [total - after["stage_ms"].get("read", 0.0) - network_ms(after) for total, (_, after) in zip(frame_ms, pairs, strict=True)]
    names = list(dict.fromkeys(stage for record in records for stage in record["stage_ms"]))
    stages = {name: percentiles([record["stage_ms"][name] for record in records[STEADY_AFTER:] if name in record["stage_ms"]]) for name in names}
    stages = {"frame": percentiles(frame_ms), **stages, "overhead": percentiles(overhead_ms)}
    lines = [f"{'stage':24}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}  ms"]
    lines += [f"{name:24}{ms['p50']:9.3f}{ms['p95']:9.3f}{ms['p99']:9.3f}{ms['max']:9.3f}" for name, ms in stages.items()]
    verdict = judge("latency.overhead", budgets["latency.overhead"], median_interval(overhead_ms), invalid=too_loud(process.others_cpu, budgets))
    return Part("stages", {"frames": len(records), "stage_ms": stages, "others_cpu": process.others_cpu}, [verdict], lines)


def network_ms(record: Record) -> float:
    """Return the milliseconds that one frame spent inside the networks: the stages `detect.infer` and `infer.*`."""
    return float(sum(ms for stage, ms in record["stage_ms"].items() if stage == "detect.infer" or stage.startswith("infer.")))


def measure_start(clip: Clip, budgets: Budgets, runs: int) -> Part:
    """Measure from the start of `edge-run` until its first result record can be read from its standard output.

    One run before fills the page cache; it is not counted.

    Raises:
        RunFailed: edge-run failed, or no record came.
    """
    others = OthersCpu()
    seconds = [_first_record_s(clip) for _ in range(runs + 1)][1:]
    share = others.share()
    measured: float | Interval = median_interval(seconds) if runs > 1 else seconds[0]
    verdict = judge("latency.start", budgets["latency.start"], measured, invalid=too_loud(share, budgets))
    line = f"start to first result: median {statistics.median(seconds):.2f} s of {runs} (min {min(seconds):.2f}, max {max(seconds):.2f})"
    return Part("start", {"seconds": seconds, "others_cpu": share}, [verdict], [line])


def measure_paced(clip: Clip, budgets: Budgets, frames: int) -> Part:
    """Play the clip like a camera of 30 frames/s, over and over, and look at the age of every result and at what was dropped.

    Raises:
        RunFailed: edge-run failed.
    """
    progress(f"playing {frames} frames at {CAMERA_FPS:g} frames/s: {frames / CAMERA_FPS:.0f} s")
    source = f"gst:{paced_pipeline(clip, SETTLING_FRAMES + frames, CAMERA_FPS)}"
    records, process = _edge_run(["--source", source, "--frames", str(SETTLING_FRAMES + frames)])
    return judge_paced([record for record in records if record["seq"] >= SETTLING_FRAMES][:frames], frames, process.others_cpu, budgets)


def judge_paced(records: Sequence[Record], frames: int, others_cpu: float, budgets: Budgets) -> Part:
    """Judge the records of a paced run.

    Args:
        records: Result records in order, those of the settling second left out.
        frames: How many were asked for.
        others_cpu: Share of the CPU that other processes used.
        budgets: Of which `latency.paced_*` and `validity.others_cpu` are used.
    """
    ages_ms = [record["age_ms"] for record in records if record["age_ms"] is not None]
    with_face = sum(bool(record["faces"]) for record in records)
    problems = [too_loud(others_cpu, budgets)]
    if len(records) != frames or len(ages_ms) != frames:
        problems.append(f"expected {frames} records with an age, got {len(records)} records and {len(ages_ms)} ages")
    if with_face < MIN_FACE_SHARE * len(records):
        problems.append(f"a face in only {with_face} of {len(records)} frames")
    if len(records) > 1:
        # by sequence numbers, which count dropped frames too: the pace is the source's, whether or not we keep up
        lasted_s = (records[-1]["t_capture_ns"] - records[0]["t_capture_ns"]) / 1e9
        fps = (records[-1]["seq"] - records[0]["seq"]) / lasted_s if lasted_s > 0 else float("inf")
        if abs(fps / CAMERA_FPS - 1) > MAX_PACE_ERROR:
            problems.append(f"the source ran at {fps:.2f} frames/s, not at {CAMERA_FPS:g}")
    dropped = sum(record["dropped"] for record in records)
    invalid = "; ".join(problem for problem in problems if problem)
    ages = percentiles(ages_ms) if ages_ms else None
    verdicts = [
        judge("latency.paced_drops", budgets["latency.paced_drops"], float(dropped), invalid=invalid),
        judge("latency.paced_age", budgets["latency.paced_age"], ages["p99"] if ages else None, invalid=invalid, not_run="no record has an age"),
    ]
    shown = "no age" if ages is None else f"age p50 {ages['p50']:.2f} p95 {ages['p95']:.2f} p99 {ages['p99']:.2f} max {ages['max']:.2f} ms"
    line = f"paced, {CAMERA_FPS:g} frames/s: {len(records)} frames, {with_face} with a face, {dropped} dropped, {shown}"
    numbers = {"frames": len(records), "with_face": with_face, "dropped": dropped, "age_ms": ages, "others_cpu": others_cpu}
    return Part("paced", numbers, verdicts, [line])


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


def _edge_run(arguments: Sequence[str]) -> tuple[list[Record], TimedProcess]:
    with tempfile.TemporaryDirectory(prefix="edge-latency-") as folder:
        path = Path(folder) / RESULT_FILE
        process = run_timed([*EDGE_RUN, *arguments, "--output", str(path), "--quiet"], name="edge-run", timeout_s=3600)
        return result_records(path), process


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


def too_loud(others_cpu: float, budgets: Budgets) -> str:
    """Return why a run cannot be trusted, where other processes used more of the CPU than `validity.others_cpu` allows; else an empty text."""
    limit = budgets["validity.others_cpu"]
    return "" if limit.holds(others_cpu) else f"other processes used {others_cpu:.0%} of the CPU (limit {limit.limit:.0%})"
