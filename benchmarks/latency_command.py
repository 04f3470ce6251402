"""`python -m benchmarks latency`: how long our own path takes, at its own pace, query by query, and at a camera's."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Verdict, load_budgets
from benchmarks.clips import open_clip
from benchmarks.environment import describe_machine, load_averages
from benchmarks.latency import Part, measure_memory, measure_stages, measure_start
from benchmarks.loops.closed import ClosedOrder, measure_closed
from benchmarks.loops.open import measure_open
from benchmarks.loops.scenario import QUERIES
from benchmarks.networks import measure_networks
from benchmarks.timed_process import progress
from edge.errors import ConfigError


class LatencyReport(msgspec.Struct, frozen=True):
    """Our own times, with the machine that they were taken on.

    Attributes:
        schema: Of this report.
        clip: What was analysed.
        machine: As it was before.
        load_after: Load averages at the end.
        parts: One for each measurement, with every sample.
    """

    schema: str
    clip: str
    machine: dict[str, Any]
    load_after: list[float]
    parts: list[Part]


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add `latency` to the benchmarks' commands.

    Args:
        commands: What `add_subparsers` returned.
        shared: Flags of every command.
    """
    parser = commands.add_parser(
        "latency",
        parents=[shared],
        help="our own stages, start, closed and open loop, memory, networks",
        description="Without a choice, all measurements are made: about ten minutes on two cores, four with --frames 400 --queries 128.",
    )
    parser.add_argument("--clip", type=Path, metavar="FILE", help="default: the sample clip")
    parser.add_argument("--stages", action="store_true", help="time per stage and overhead, as fast as it goes")
    parser.add_argument("--start", action="store_true", help="from the start of the process to the first result")
    parser.add_argument("--closed", action="store_true", help="one query after the other: one face and eight, whole path and networks; over batch and threads")
    parser.add_argument("--open", action="store_true", help="24, 25, 30 and 60 frames/s like a camera: ages and drops")
    parser.add_argument("--memory", action="store_true", help="resident memory after 20 passes against 2")
    parser.add_argument("--networks", action="store_true", help="each converted graph against LiteRT on one thread")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of the start (default: 5)")
    parser.add_argument("--queries", type=int, default=QUERIES, metavar="N", help=f"of each scenario of the closed loop (default: {QUERIES})")
    parser.add_argument("--frames", type=int, default=1000, metavar="N", help="of the open loop, at each rate (default: 1000)")


def command(arguments: argparse.Namespace) -> tuple[LatencyReport, list[str], list[Verdict]]:
    """Make the measurements that were asked for, or all.

    Returns:
        The report, its lines for a person, and the verdicts.

    Raises:
        ConfigError: A number of frames, queries or runs that cannot be.
        SourceNotFound: There is no such clip.
        UnsupportedFormat: The clip is none.
        PackageError: The default package is missing or cannot be used.
        RunFailed: edge-run failed, or the clip has no face.
    """
    frames, queries, runs = arguments.frames, arguments.queries, arguments.runs
    if frames < 2 or queries < 2 or runs < 1:
        raise ConfigError(f"expected --frames and --queries of at least 2 and --runs of at least 1, got {frames}, {queries} and {runs}")
    clip, budgets, machine = open_clip(arguments.clip), load_budgets(), describe_machine()
    measurements: dict[str, Callable[[], Part]] = {
        "stages": lambda: measure_stages(clip, budgets),
        "start": lambda: measure_start(clip, budgets, runs),
        "closed": lambda: measure_closed(clip, ClosedOrder(queries=queries), budgets),
        "open": lambda: measure_open(clip, budgets, frames),
        "memory": lambda: measure_memory(clip, budgets),
        "networks": lambda: measure_networks(budgets),
    }
    parts = []
    for name in [name for name in measurements if getattr(arguments, name)] or measurements:
        progress(f"latency: {name}")
        parts.append(measurements[name]())
    verdicts = [verdict for part in parts for verdict in part.verdicts]
    lines = [line for part in parts for line in part.lines] + [verdict.line() for verdict in verdicts]
    return LatencyReport("edge.benchmark.latency/1", clip.path.name, machine, load_averages(), parts), lines, verdicts
