"""`python -m benchmarks peers`: the whole path against whole programs, single stages against single stages, and what is published of the rest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Verdict, load_budgets
from benchmarks.clips import open_clip
from benchmarks.detectors import check_yunet, measure_detectors
from benchmarks.networks import measure_networks
from benchmarks.peer_rounds import PeersReport, compare
from benchmarks.peer_run import known_peers
from benchmarks.published_figures import load_published
from benchmarks.timed_process import progress
from edge.errors import ConfigError


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add `peers` to the benchmarks' commands.

    Args:
        commands: What `add_subparsers` returned.
        shared: Flags of every command.
    """
    parser = commands.add_parser(
        "peers",
        parents=[shared],
        help="ourselves and others: whole programs on the same clip, single stages on the same pictures",
        description="Same clip, same machine, in turns. Without --clip-only or --stages-only both are done: about a quarter of an hour on two cores (a turn of "
        "face-api takes a minute), three minutes with --peer fer --peer mediapipe --rounds 3. The peers' environments are made once: 2 GB in the user's cache.",
    )
    parser.add_argument("--clip", type=Path, metavar="FILE", help="default: the sample clip")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each program (default: 5)")
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in known_peers()[1:]], help="only this program; may be repeated")
    parser.add_argument("--yunet", type=Path, metavar="FILE", help="OpenCV Zoo's face_detection_yunet_2023mar.onnx: our detector against it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--clip-only", action="store_true", help="whole programs on the clip")
    which.add_argument("--stages-only", action="store_true", help="networks against LiteRT, the detector against YuNet")


def command(arguments: argparse.Namespace) -> tuple[PeersReport, list[str], list[Verdict]]:
    """Compare what was asked for, or everything.

    Returns:
        The report, its lines for a person, and the verdicts of programs and stages.

    Raises:
        ConfigError: Too few rounds, or `--yunet` names something else.
        SourceNotFound: There is no such clip.
        UnsupportedFormat: The clip is none.
        PackageError: A package is missing or cannot be used.
        RunFailed: `edge-run` failed, or a stage and its peer do not do the same.
    """
    if arguments.rounds < 2:
        raise ConfigError(f"--rounds: expected at least 2 (one round has no spread), got {arguments.rounds}")
    if arguments.yunet is not None:
        check_yunet(arguments.yunet)
    clip, budgets = open_clip(arguments.clip), load_budgets()
    ours, *rivals = known_peers()
    chosen = [] if arguments.stages_only else [ours, *(peer for peer in rivals if arguments.peer is None or peer.name in arguments.peer)]
    report = compare(chosen, clip.path, arguments.rounds)
    stages = []
    if not arguments.clip_only:
        progress("single stages: networks")
        stages.append(measure_networks(budgets))
        progress("single stages: detectors")
        stages.append(measure_detectors(clip, arguments.yunet, budgets))
    verdicts = [*report.verdicts, *(verdict for part in stages for verdict in part.verdicts)]
    report = msgspec.structs.replace(report, stages=stages, published=load_published(), verdicts=verdicts)
    return report, report.lines(), report.verdicts
