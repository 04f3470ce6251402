"""`python -m benchmarks latency --open`: frames come at a camera's pace, whether or not the last result is there. How old is each result, what was dropped?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.budgets import Budget, judge
from benchmarks.clips import Clip, paced_pipeline
from benchmarks.environment import MachineWatch
from benchmarks.estimates import percentiles
from benchmarks.latency import Part
from benchmarks.loops.recorded_run import Record, recorded_run
from benchmarks.loops.scenario import judge_tail, tail
from benchmarks.timed_process import progress

RATES_FPS = (24, 25, 30, 60)  # the documents' databases, PAL, usual cameras, fast ones
# The decoders of a pipeline that already plays start late: its first pictures come as a burst, which no camera makes. This first second is not judged.
SETTLING_S = 1
AFTER_S = 0.5  # played after the last frame that is judged, so that a drop at the very end is seen
MAX_PACE_ERROR = 0.02  # a clock or a machine that plays 30 frames/s slower than this measures something else
MIN_FACE_SHARE = 0.9  # a frame without a face costs less than one with


def measure_open(clip: Clip, budgets: Mapping[str, Budget], frames: int, *, rates_fps: Sequence[int] = RATES_FPS, settings: Sequence[str] = ()) -> Part:
    """Play the clip like a camera, over and over, at each rate.

    Args:
        clip: With a face in nearly every frame.
        budgets: Of which `loops.age_RATE`, `loops.drops_RATE` and those of `validity` are used.
        frames: How many the camera takes at each rate while it is judged.
        rates_fps: Of `RATES_FPS`.
        settings: Further flags of edge-run, such as `--precision int8`.

    Raises:
        RunFailed: edge-run failed.
    """
    parts = [_measure_rate(clip, budgets, frames, fps, settings) for fps in rates_fps]
    numbers = {str(fps): part.numbers for fps, part in zip(rates_fps, parts, strict=True)}
    return Part("open", numbers, [verdict for part in parts for verdict in part.verdicts], [line for part in parts for line in part.lines])


def _measure_rate(clip: Clip, budgets: Mapping[str, Budget], frames: int, fps: int, settings: Sequence[str]) -> Part:
    duration_s = SETTLING_S + frames / fps + AFTER_S
    progress(f"playing {frames} frames at {fps} frames/s: {duration_s:.0f} s")
    source = f"gst:{paced_pipeline(clip, round((duration_s + AFTER_S) * fps), fps)}"
    watch = MachineWatch(gpu_is_warm=False)
    records, _ = recorded_run(["--source", source, "--duration", f"{duration_s:.3f}", *settings])
    machine, invalid = watch.end(budgets)
    part = judge_rate(records, frames, fps, budgets, invalid)
    return Part(part.name, {**part.numbers, "machine": machine}, part.verdicts, part.lines)


def judge_rate(records: Sequence[Record], frames: int, fps: int, budgets: Mapping[str, Budget], invalid: str = "") -> Part:
    """Judge the records of a run at a camera's pace.

    Args:
        records: Result records in order, from the run's first to one after the last frame that is judged.
        frames: How many frames of the camera are judged, those that were dropped among them.
        fps: The rate that was asked for.
        budgets: Of which `loops.age_RATE` and `loops.drops_RATE` are used.
        invalid: Why the run cannot be trusted, as far as the machine goes.
    """
    first = SETTLING_S * fps
    judged = [record for record in records if first <= record["seq"] < first + frames]
    ages_ms = [record["age_ms"] for record in judged if record["age_ms"] is not None]
    with_face = sum(bool(record["faces"]) for record in judged)
    problems = [invalid, *_problems(judged, len(ages_ms), fps)]
    played = max((record["seq"] for record in records), default=-1) + 1
    if played < first + frames:
        problems.append(f"expected a source of {first + frames} frames, got {played}")
    reason = "; ".join(problem for problem in problems if problem)
    ages = percentiles(ages_ms) if ages_ms else None
    p99 = tail(ages_ms, 99) if ages_ms else None
    # By sequence numbers: a frame that was overwritten has one, and no record.
    dropped = min(frames, max(0, played - first)) - len(judged)
    age, drops = f"loops.age_{fps}", f"loops.drops_{fps}"
    verdicts = [
        judge(drops, budgets[drops], float(dropped), invalid=reason),
        judge_tail(age, budgets[age], p99, len(ages_ms), invalid=reason, not_run="no record has an age"),
    ]
    shown = "no age" if ages is None else f"age p50 {ages['p50']:.2f} p95 {ages['p95']:.2f} p99 {p99} max {ages['max']:.2f} ms"
    line = f"open loop, {fps} frames/s: {frames} frames, {with_face} with a face, {dropped} dropped, {shown}"
    numbers = {"frames": frames, "results": len(judged), "with_face": with_face, "dropped": dropped, "age_ms": ages, "p99": p99, "ages_ms": ages_ms}
    return Part(f"open_{fps}", numbers, verdicts, [line])


def _problems(judged: Sequence[Record], ages: int, fps: int) -> list[str]:
    if len(judged) < 2:
        return [f"expected at least 2 results, got {len(judged)}"]
    problems = []
    if ages != len(judged):
        problems.append(f"expected an age of each of {len(judged)} results, got {ages}")
    with_face = sum(bool(record["faces"]) for record in judged)
    if with_face < MIN_FACE_SHARE * len(judged):
        problems.append(f"a face in only {with_face} of {len(judged)} frames")
    # By sequence numbers, which count dropped frames too: the pace is the source's, whether or not we keep up.
    lasted_s = (judged[-1]["t_capture_ns"] - judged[0]["t_capture_ns"]) / 1e9
    paced_fps = (judged[-1]["seq"] - judged[0]["seq"]) / lasted_s if lasted_s > 0 else float("inf")
    if abs(paced_fps / fps - 1) > MAX_PACE_ERROR:
        problems.append(f"the source ran at {paced_fps:.2f} frames/s, not at {fps}")
    return problems
