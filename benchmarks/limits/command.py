"""`python -m benchmarks limits`: what is measured, in which order, and what the exit code follows from."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Budget, Verdict, judge, load_budgets
from benchmarks.clips import Clip, open_clip
from benchmarks.environment import describe_machine, load_averages
from benchmarks.limits.camera_rate import STATED as STATED_CAMERA
from benchmarks.limits.camera_rate import measure_camera_rate
from benchmarks.limits.depth import STATED as STATED_DEPTH
from benchmarks.limits.depth import measure_depth
from benchmarks.limits.devices import Place, find_places
from benchmarks.limits.finding import DEVICES, LIMITS, PRECISIONS, Device, Finding, Limit, not_run
from benchmarks.limits.inception import STATED_BETWEEN, STATED_TIMES, measure_inception
from benchmarks.limits.large_networks import QUICK_SYSTEMS, SYSTEMS, measure_large_networks
from benchmarks.limits.large_networks import STATED as STATED_LARGE
from converters.errors import ConversionError
from edge.errors import EngineError, MissingDependency, require
from edge.package import Precision

_STATED: Mapping[Limit, str] = {"L1": STATED_CAMERA, "L2": STATED_DEPTH, "L3": STATED_TIMES[1.5], "L4": STATED_BETWEEN, "L5": STATED_LARGE}


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        camera_fps: Rates of L1.
        camera_frames: Frames of each run of L1.
        blocks: Depths of L2, ascending, the last one above 50.
        deeper: Where L2 goes on while a precision is still in real time.
        batches: Crops in one run, of L3 and L4.
        rounds: Samples of each network, of L2 to L4.
        systems: Of L5.
        stream_rounds: Frames of each camera, of L5.
        most_streams: More cameras than this L5 does not try.
    """

    camera_fps: tuple[int, ...] = (24, 25, 30)
    camera_frames: int = 1000
    blocks: tuple[int, ...] = (8, 16, 33, 50, 60)
    deeper: tuple[int, ...] = (80, 120, 160)
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 101
    systems: tuple[str, ...] = SYSTEMS
    stream_rounds: int = 100
    most_streams: int = 16


FULL = Extent()
QUICK = Extent(camera_frames=400, deeper=(), rounds=15, systems=QUICK_SYSTEMS, stream_rounds=20, most_streams=2)


class LimitsReport(msgspec.Struct, frozen=True):
    """The whole report.

    Attributes:
        schema: Of this report.
        clip: What L1 and L5 show.
        machine: On what it was measured.
        load_after: Load averages at the end.
        extent: How much was measured.
        built: What was made for it, untrained.
        findings: One row for each limit, device, precision and subject, with every sample.
        verdicts: Of the budgets, and of whether the runs can be trusted.
    """

    schema: str
    clip: str
    machine: dict[str, Any]
    load_after: list[float]
    extent: Extent
    built: list[str]
    findings: list[Finding]
    verdicts: list[Verdict]

    def lines(self) -> list[str]:
        """Return it for a person."""
        made = [f"made {line}" for line in self.built]
        return made + [finding.line() for finding in self.findings] + [verdict.line() for verdict in self.verdicts]


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add `limits` to the benchmarks' commands.

    Args:
        commands: What `add_subparsers` returned.
        shared: Flags of every command.
    """
    parser = commands.add_parser(
        "limits",
        parents=[shared],
        help="what the documents say about latency, measured here",
        description="L1 real time from a camera, L2 depth of a ResNet, L3 Inception over ResNet, L4 Inception-ResNet between, L5 networks of large pictures. "
        "The networks of L2 to L5 are untrained and made once, in the cache (needs `make frameworks`); L1 runs the default package. "
        "The exit code follows from budgets and validity, not from whether a document was right.",
    )
    parser.add_argument("--only", nargs="+", choices=LIMITS, metavar="L1", help=f"only these of {', '.join(LIMITS)}")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, metavar="P", help="only these of fp32, fp16 (GPUs), int8")
    parser.add_argument("--device", choices=DEVICES, help="cpu or gpu (default: both, where a missing GPU is said and no failure)")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="one face (default: the sample clip)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the curve of L2 and the bars of L3 to L5 into DIR")
    parser.add_argument("--quick", action="store_true", help="fewer samples, three systems of L5, no ResNet deeper than 60 blocks")


def command(arguments: argparse.Namespace) -> tuple[LimitsReport, list[str], list[Verdict]]:
    """Measure what was asked for.

    Raises:
        SourceNotFound: The clip is missing.
        PackageError: The default package is missing or cannot be used.
        MissingDependency: Plots were asked for without matplotlib.
        OutputError: The plots cannot be written.
        RunFailed: edge-run failed.
    """
    if arguments.plots is not None:
        # Asked for before the run, which takes minutes.
        require("matplotlib", install="pip install matplotlib   or: make frameworks", why="drawing the plots")
    limits = [limit for limit in LIMITS if arguments.only is None or limit in arguments.only]
    precisions = [precision for precision in PRECISIONS if arguments.precision is None or precision in arguments.precision]
    extent = QUICK if arguments.quick else FULL
    report = measure_limits(limits, precisions, arguments.device, open_clip(arguments.clip), extent)
    if arguments.plots is not None:
        from benchmarks.limits.plots import draw_all

        draw_all(report.findings, arguments.plots)
    return report, report.lines(), report.verdicts


def measure_limits(limits: Sequence[Limit], precisions: Sequence[Precision], device: Device | None, clip: Clip, extent: Extent) -> LimitsReport:
    """Measure the limits, one after the other.

    Args:
        limits: Those to measure.
        precisions: Of the networks.
        device: `cpu` or `gpu`; None for both.
        clip: With one face.
        extent: How much.

    Raises:
        PackageError: The default package is missing or cannot be used.
        RunFailed: edge-run failed.
    """
    budgets, machine = load_budgets(), describe_machine()
    built: list[str] = []
    findings: list[Finding] = []
    verdicts: list[Verdict] = []
    for place in find_places([device] if device else DEVICES):
        # Who asks for a GPU by name fails without one; who asks for nothing is told.
        counts = not place.problem or device is not None
        for limit in limits:
            if limit == "L4" and "L3" in limits:
                continue  # measured with L3: the three stand side by side
            wanted: list[Limit] = [each for each in ("L3", "L4") if each in limits] if limit in ("L3", "L4") else [limit]
            found, judged = _measure(limit, wanted, place, precisions, clip, extent, budgets, built)
            findings += found
            verdicts += judged if counts else []
    return LimitsReport("edge.benchmark.limits/1", clip.path.name, machine, load_averages(), extent, built, findings, verdicts)


def _measure(
    limit: Limit,
    wanted: list[Limit],
    place: Place,
    precisions: Sequence[Precision],
    clip: Clip,
    extent: Extent,
    budgets: Mapping[str, Budget],
    built: list[str],
) -> tuple[list[Finding], list[Verdict]]:
    if limit == "L1":
        runs = [measure_camera_rate(clip, place, each, fps, extent.camera_frames, budgets) for each in precisions for fps in extent.camera_fps]
        return [run.finding for run in runs], [verdict for run in runs for verdict in run.verdicts]
    measurements: dict[Limit, Callable[[], list[Finding]]] = {
        "L2": lambda: measure_depth(place, precisions, extent.blocks, extent.deeper, extent.rounds, budgets, built),
        "L3": lambda: measure_inception(wanted, place, precisions, extent.batches, extent.rounds, budgets, built),
        "L4": lambda: measure_inception(wanted, place, precisions, extent.batches, extent.rounds, budgets, built),
        "L5": lambda: measure_large_networks(place, precisions, extent.systems, clip, extent.stream_rounds, extent.most_streams, budgets, built),
    }
    try:
        findings = measurements[limit]()
    except (MissingDependency, ConversionError, EngineError) as error:
        findings = [not_run(each, place.device, precision, "the networks", _STATED[each], str(error)) for each in wanted for precision in precisions]
    return findings, [_validity(" and ".join(wanted), place, findings, budgets)]


def _validity(what: str, place: Place, findings: Sequence[Finding], budgets: Mapping[str, Budget]) -> Verdict:
    """Whether the runs behind some rows can be trusted: of findings about documents the exit code says nothing else."""
    name, budget = f"validity.others_cpu ({what} {place.device})", budgets["validity.others_cpu"]
    measured = [finding for finding in findings if finding.machine is not None]
    if not measured:
        return judge(name, budget, None, not_run=findings[0].reason)
    shares = [finding.machine["others_cpu"] for finding in measured if finding.machine is not None]
    return judge(name, budget, max(shares), invalid=next((finding.reason for finding in measured if finding.word == "invalid"), ""))
