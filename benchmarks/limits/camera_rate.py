"""L1: `edge-run` on a clip that plays like a camera, in each precision, at the rates of the documents' databases and of usual cameras."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from benchmarks.budgets import Budget, Verdict
from benchmarks.clips import Clip
from benchmarks.estimates import Interval
from benchmarks.latency import Part
from benchmarks.limits.devices import Place
from benchmarks.limits.finding import Finding, Point, Ran, found, not_run
from benchmarks.loops.open import measure_open
from benchmarks.peer_run import EDGE_RUN
from benchmarks.timed_process import progress, run_timed
from edge.package import Precision, load_package

STATED = "the system follows a camera in real time (document 004; its databases have 24 frames/s, PAL has 25)"
_PLAN_TIMEOUT_S = 3600.0  # on a small board TensorRT builds its plans for long


class CameraRate(msgspec.Struct, frozen=True):
    """One paced run: the row of the report, and what it says of the budgets of its rate."""

    finding: Finding
    verdicts: list[Verdict]


def measure_camera_rate(clip: Clip, place: Place, precision: Precision, fps: int, frames: int, budgets: Mapping[str, Budget]) -> CameraRate:
    """Play the clip like a camera before `edge-run` with the default package, and look at drops and at the age of every result.

    Args:
        clip: With one face.
        place: What runs the networks.
        precision: Of the default package's networks.
        fps: The camera's rate; there are budgets for 24, 25, 30 and 60.
        frames: How many are judged, after a settling second.
        budgets: As of `measure_open`.

    Raises:
        RunFailed: edge-run failed.
        PackageError: The default package cannot be used.
    """
    lacks = place.lacks(precision, whole_path=True)
    if not lacks and precision not in load_package("default").offers:
        lacks = f"the installed default package offers no {precision}: python -m converters pull default --force"
    if lacks:
        return CameraRate(not_run("L1", place.device, precision, _subject(fps), STATED, lacks), [])
    settings = ["--engine", place.engine, "--precision", precision]
    if place.engine == "tensorrt":
        progress("L1: TensorRT builds its plans")
        run_timed([*EDGE_RUN, "--source", str(clip.path), *settings, "--frames", "2", "--quiet"], name="edge-run", timeout_s=_PLAN_TIMEOUT_S)
    progress(f"L1 {place.device} {precision}")
    part = measure_open(clip, budgets, frames, rates_fps=[fps], settings=settings)
    return judge_camera_rate(part, place, precision, fps)


def judge_camera_rate(part: Part, place: Place, precision: Precision, fps: int) -> CameraRate:
    """Turn an open-loop run into the row of the limit.

    Args:
        part: What `measure_open` returned for one rate.
        place: What ran the networks.
        precision: Of the networks.
        fps: The rate.
    """
    drops, age = part.verdicts
    verdicts = [msgspec.structs.replace(verdict, name=f"{verdict.name} ({place.device} {precision})") for verdict in (drops, age)]
    numbers = part.numbers[str(fps)]
    p99, ages_ms = numbers["p99"], numbers["ages_ms"]
    if p99 is None:
        return CameraRate(not_run("L1", place.device, precision, _subject(fps), STATED, drops.reason or age.reason), verdicts)
    # Too few samples leave the upper end open; no age is above the largest that was seen.
    estimate = Interval(p99.ms, p99.low, max(ages_ms) if p99.high is None else p99.high)
    invalid = drops.reason if drops.word == "invalid" else ""
    ran = Ran(place.device, precision, f"edge-run --engine {place.engine}, default package", numbers["machine"], invalid)
    finding = found(
        "L1",
        ran,
        _subject(fps),
        STATED,
        figure=f"p99 of the age {p99} ms of a period of {1e3 / fps:.1f} ms, {numbers['dropped']} of {numbers['frames']} frames dropped",
        value=p99.ms,
        interval=(p99.low, p99.high),
        # A frame that was dropped settles it, whatever the ages are.
        sides=[False] if drops.word == "fail" else {"pass": [True], "fail": [False]}.get(age.word, [True, False]),
        points=[Point(f"{fps} frames/s", fps, "p99", estimate, [*ages_ms], None)],
    )
    return CameraRate(finding, verdicts)


def _subject(fps: int) -> str:
    return f"camera of {fps} frames/s, one face"
