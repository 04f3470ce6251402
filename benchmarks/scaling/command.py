"""`python -m benchmarks scaling`: what is measured, in which order, and what the exit code follows from."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from benchmarks.budgets import Budget, Verdict, judge, load_budgets
from benchmarks.clips import Clip, open_clip
from benchmarks.environment import describe_machine, load_averages
from benchmarks.scaling import faces, frame_sizes, streams
from benchmarks.scaling.finding import FaceScaling, Ran, ScalingReport
from benchmarks.scaling.floor import measure_floor
from benchmarks.scaling.lines import face_lines, floor_lines, model_lines, size_lines, stream_lines
from benchmarks.scaling.model_sizes import measure_model_sizes
from benchmarks.scaling.sized_clips import SIZES_WH_PX
from edge.errors import EdgeError

Curve = Literal["faces", "streams", "frame_size", "model_size", "floor"]
CURVES: Mapping[Curve, str] = {
    "faces": "cost against faces in the picture, 0 to 32",
    "streams": "cost against streams, 1 to 16 processes of edge-run at 25 frames/s",
    "frame_size": "cost against frame size, 360p to 2160p, decoding apart",
    "model_size": "cost against networks: operations and bytes against latency, CPU",
    "floor": "where the time of a frame goes, and the least that this machine could need",
}
_Measured = TypeVar("_Measured")


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        face_counts: Faces in a picture.
        face_rounds: Samples of each.
        stream_counts: Streams at once.
        window_s: How long each number of them is measured.
        sizes: Of frames.
        size_rounds: Samples of each.
        model_rounds: Samples of each network.
        floor_rounds: Samples of the path and of the peaks.
        quick: Of the networks, the installed ones and one ResNet.
    """

    face_counts: tuple[int, ...] = faces.COUNTS
    face_rounds: int = 31
    stream_counts: tuple[int, ...] = streams.COUNTS
    window_s: float = streams.WINDOW_S
    sizes: tuple[str, ...] = tuple(SIZES_WH_PX)
    size_rounds: int = 15
    model_rounds: int = 31
    floor_rounds: int = 51
    quick: bool = False


FULL = Extent()
QUICK = Extent(
    face_counts=faces.QUICK_COUNTS,
    face_rounds=9,
    stream_counts=(1, 2),
    window_s=streams.QUICK_WINDOW_S,
    sizes=frame_sizes.QUICK_SIZES,
    size_rounds=5,
    model_rounds=9,
    floor_rounds=15,
    quick=True,
)


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add `scaling` to the benchmarks' commands.

    Args:
        commands: What `add_subparsers` returned.
        shared: Flags of every command.
    """
    parser = commands.add_parser(
        "scaling",
        parents=[shared],
        help="what more faces, streams, pixels and network cost, and how far the path is above the machine's floor",
        description="Without a choice, all five are measured. Faces are rendered ones of the repository, side by side; streams are processes of edge-run, each "
        "before a clip that plays like a camera; frame sizes are the clip, enlarged and encoded on the fly; networks are the installed ones and untrained ones "
        "(`make frameworks`). The floor holds each stage's bytes and operations against copies and matrix products of this machine (roofline).",
    )
    for name, what in CURVES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=what)
    parser.add_argument("--clip", type=Path, metavar="FILE", help="one face: of streams, frame sizes and floor (default: the sample clip)")
    parser.add_argument("--quick", action="store_true", help="fewer points and samples: under two minutes on two idle cores")


def command(arguments: argparse.Namespace) -> tuple[ScalingReport, list[str], list[Verdict]]:
    """Measure what was asked for.

    Raises:
        SourceNotFound: The clip is missing.
        UnsupportedFormat: The clip is none.
        PackageError: The default package is missing or cannot be used.
    """
    asked: list[Curve] = [name for name in CURVES if getattr(arguments, name)]
    return measure_scaling(asked or [*CURVES], open_clip(arguments.clip), QUICK if arguments.quick else FULL)


def measure_scaling(curves: Sequence[Curve], clip: Clip, extent: Extent) -> tuple[ScalingReport, list[str], list[Verdict]]:
    """Measure curves, one after the other; one that cannot be measured is told, and the others go on.

    Args:
        curves: Which.
        clip: With one face.
        extent: How much.

    Returns:
        The report, its lines for a person, and the verdicts.
    """
    budgets, machine = load_budgets(), describe_machine()
    built: list[str] = []
    not_run: dict[Curve, str] = {}

    def measured(curve: Curve, measure: Callable[[], _Measured]) -> _Measured | None:
        if curve not in curves:
            return None
        try:
            return measure()
        except EdgeError as error:
            not_run[curve] = " ".join(str(error).split())
            return None

    of_faces = measured("faces", lambda: faces.measure_faces(extent.face_counts, extent.face_rounds, budgets))
    of_streams = measured("streams", lambda: streams.measure_streams(clip, extent.stream_counts, extent.window_s, budgets))
    of_sizes = measured("frame_size", lambda: frame_sizes.measure_frame_sizes(clip, extent.sizes, extent.size_rounds, budgets))
    of_models = measured("model_size", lambda: measure_model_sizes(extent.model_rounds, budgets, built, quick=extent.quick))
    floor = measured("floor", lambda: measure_floor(clip, extent.floor_rounds, budgets))
    runs = {
        "faces": [of_faces.ran] if of_faces else [],
        "streams": [point.ran for point in of_streams.points] if of_streams else [],
        "frame_size": [point.ran for point in of_sizes.points] if of_sizes else [],
        "model_size": of_models.runs if of_models else [],
        "floor": [floor.peaks_ran, floor.ran] if floor else [],
    }
    verdicts = [_validity(curve, runs[curve], not_run.get(curve, ""), budgets) for curve in curves]
    if "faces" in curves:
        verdicts.append(judge_faces(of_faces, not_run.get("faces", ""), budgets))
    told = [f"{curve.replace('_', ' ')}: not run: {reason}" for curve, reason in not_run.items()]
    report = ScalingReport(
        schema="edge.benchmark.scaling/1",
        clip=clip.path.name,
        quick=extent.quick,
        machine=machine,
        load_after=load_averages(),
        faces=of_faces,
        streams=of_streams,
        frame_sizes=of_sizes,
        model_sizes=of_models,
        floor=floor,
        built=built,
        not_run=told,
        verdicts=verdicts,
    )
    return report, lines_of(report), verdicts


def lines_of(report: ScalingReport) -> list[str]:
    """Return the report for a person."""
    lines = [f"made {line}" for line in report.built]
    lines += face_lines(report.faces) if report.faces else []
    lines += stream_lines(report.streams) if report.streams else []
    lines += size_lines(report.frame_sizes) if report.frame_sizes else []
    lines += model_lines(report.model_sizes) if report.model_sizes else []
    lines += floor_lines(report.floor) if report.floor else []
    return lines + report.not_run + [verdict.line() for verdict in report.verdicts]


def judge_faces(measured: FaceScaling | None, not_run: str, budgets: Mapping[str, Budget]) -> Verdict:
    """Say whether as many faces as the runtime follows by itself stay in real time.

    Args:
        measured: The curve; None without one.
        not_run: Why there is none.
        budgets: Of which `scaling.faces` is used.
    """
    name = "scaling.faces"
    if measured is None or measured.lost_at is None:
        return judge(name, budgets[name], None, not_run=not_run or "the cost does not surely rise with the faces")
    return judge(name, budgets[name], measured.lost_at, invalid=measured.ran.invalid)


def _validity(curve: Curve, runs: Sequence[Ran], not_run: str, budgets: Mapping[str, Budget]) -> Verdict:
    """Whether the runs behind a curve can be trusted."""
    name, budget = f"validity.others_cpu ({curve.replace('_', ' ')})", budgets["validity.others_cpu"]
    if not runs:
        return judge(name, budget, None, not_run=not_run)
    return judge(name, budget, max(ran.machine["others_cpu"] for ran in runs), invalid=next((ran.invalid for ran in runs if ran.invalid), ""))
