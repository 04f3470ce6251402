"""Everybody on the same clip, in turns, and how many times as fast we are."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Budget, Verdict, judge, load_budgets
from benchmarks.environment import describe_machine, load_averages
from benchmarks.estimates import Interval, median_interval, percentile, percentiles, spread
from benchmarks.latency import Part
from benchmarks.peer_run import TURN_S, Peer, PeerRun, rate_of_turn, take_turn
from benchmarks.published_figures import PublishedFigure
from benchmarks.timed_process import RunFailed, progress
from edge.errors import MissingDependency

OURS = "edge"
Runs = dict[str, list[PeerRun]]


class PeersReport(msgspec.Struct, frozen=True):
    """The whole comparison, every sample included.

    Attributes:
        clip: Name and size of the clip.
        machine: Where it ran; its `load` is from before the run.
        load_after: Load averages after it.
        what: What was run, by peer.
        runs: Every pass, by peer, in the order of the rounds.
        ratios: Our rate over the peer's in its turn, one number a round.
        times_as_fast: The median of these, with its 95 % interval.
        not_run: Why a peer has no numbers.
        invalid: Why numbers of the clip cannot be trusted, over all peers; empty where all can.
        verdicts: One for each budget; invalid where ours or that peer's own runs are.
        stages: Single stages against their peers.
        published: What others say of peers that do not run here.
    """

    schema: str
    clip: dict[str, Any]
    machine: dict[str, Any]
    load_after: list[float]
    what: dict[str, str]
    runs: dict[str, list[PeerRun]]
    ratios: dict[str, list[float]]
    times_as_fast: dict[str, Interval]
    not_run: dict[str, str]
    invalid: list[str]
    verdicts: list[Verdict]
    stages: list[Part] = []
    published: list[PublishedFigure] = []

    def lines(self) -> list[str]:
        """Return the report for a person."""
        table = [_peer_line(name, self.what[name], runs) for name, runs in self.runs.items()]
        table += [f"{name:13} not run: {' '.join(reason.split())}" for name, reason in self.not_run.items()]
        ours = [f"{OURS} over {name}: {times.estimate:.2f} [{times.low:.2f}, {times.high:.2f}] times its rate" for name, times in self.times_as_fast.items()]
        stages = [line for part in self.stages for line in part.lines]
        reasons = [f"invalid: {reason}" for reason in self.invalid]
        return [*table, *ours, *reasons, *stages, *(figure.line() for figure in self.published), *(verdict.line() for verdict in self.verdicts)]


def compare(peers: Sequence[Peer], clip: Path, rounds: int, turn_s: float = TURN_S) -> PeersReport:
    """Let every peer take `rounds` turns over the clip, interleaved, the order rotated by one in each round.

    Args:
        peers: The first one is ours; none at all gives a report without passes.
        clip: An existing file.
        rounds: At least 2.
        turn_s: See `take_turn`.

    Raises:
        RunFailed: Our own run failed; a failing rival is only reported as `not run`.
    """
    machine = describe_machine()
    able, not_run = _prepared(peers)
    runs: Runs = defaultdict(list)
    for number in range(rounds):
        for place in range(len(able)):
            peer = able[(number + place) % len(able)]
            if peer.name in not_run:
                continue
            try:
                turn = take_turn(peer, clip, number, turn_s)
            except RunFailed as error:
                if peer.name == OURS:
                    raise
                not_run[peer.name] = str(error)
                continue
            runs[peer.name] += turn
            times = f"{rate_of_turn(turn):7.1f} frames/s in {len(turn)} passes, first result after {turn[0].first_result_s:.2f} s"
            progress(f"round {number + 1}/{rounds}  {peer.name:13}{times}, others used at most {max(run.others_cpu for run in turn):.1%} of the CPU")
    complete = {name: done for name, done in runs.items() if name not in not_run}
    budgets = load_budgets()
    invalid = why_invalid(complete, budgets)
    rivals = [name for name in complete if name != OURS]
    rates = {name: turn_rates(done) for name, done in complete.items()}
    ratios = {name: [ours / theirs for ours, theirs in zip(rates[OURS], rates[name], strict=True)] for name in rivals}
    times_as_fast = {name: median_interval(ratio) for name, ratio in ratios.items()}
    return PeersReport(
        schema="edge.benchmark.peers/1",
        clip={"name": clip.name, "bytes": clip.stat().st_size},
        machine=machine,
        load_after=load_averages(),
        what={peer.name: peer.what for peer in peers},
        runs=complete,
        ratios=ratios,
        times_as_fast=times_as_fast,
        not_run=not_run,
        invalid=invalid,
        verdicts=_verdicts([peer.name for peer in peers if peer.name != OURS], complete, times_as_fast, not_run, budgets),
    )


def turn_rates(runs: Sequence[PeerRun]) -> list[float]:
    """Return the frames per second of each turn, in the order of the rounds."""
    return [rate_of_turn(list(turn)) for _, turn in itertools.groupby(runs, key=lambda run: run.round)]


def why_invalid(runs: Mapping[str, Sequence[PeerRun]], budgets: Mapping[str, Budget]) -> list[str]:
    """Return the reasons why the runs cannot be compared; none where they can.

    Args:
        runs: Every pass, by peer.
        budgets: Of which `validity.others_cpu` and `validity.spread` are used.
    """
    others_cpu, widest = budgets["validity.others_cpu"], budgets["validity.spread"]
    reasons = []
    for name, done in runs.items():
        loud = [run for run in done if not others_cpu.holds(run.others_cpu)]
        if loud:
            worst = max(loud, key=lambda run: run.others_cpu)
            reasons.append(f"other processes used {worst.others_cpu:.0%} of the CPU while {name} ran in round {worst.round + 1} (limit {others_cpu.limit:.0%})")
        width = spread(turn_rates(done))
        if not widest.holds(width):
            reasons.append(f"the rates of {name} spread over {width:.0%} of their median (limit {widest.limit:.0%})")
    if len({run.frames for done in runs.values() for run in done}) > 1:
        counts = ", ".join(f"{name} {sorted({run.frames for run in done})}" for name, done in runs.items())
        reasons.append(f"the peers did not see the same frames: {counts}")
    return reasons


def _prepared(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, str]]:
    not_run = {peer.name: reason for peer in peers if (reason := _why_not(peer))}
    return [peer for peer in peers if peer.name not in not_run], not_run


def _why_not(peer: Peer) -> str:
    try:
        peer.prepare()
    except MissingDependency as error:
        progress(f"{peer.name} will not run: {error}")
        return str(error)
    return ""


def _verdicts(
    rivals: Sequence[str], runs: Runs, times_as_fast: Mapping[str, Interval], not_run: Mapping[str, str], budgets: Mapping[str, Budget]
) -> list[Verdict]:
    verdicts = []
    for name in rivals:
        key = f"peers.{name}"
        if key in budgets:
            # One rival's bad run says nothing against another's.
            invalid = "; ".join(why_invalid({known: runs[known] for known in (OURS, name) if known in runs}, budgets))
            verdicts.append(judge(key, budgets[key], times_as_fast.get(name), invalid=invalid, not_run=not_run.get(name, "")))
    return verdicts


def _peer_line(name: str, what: str, runs: Sequence[PeerRun]) -> str:
    rates = turn_rates(runs)
    frame_ms = percentiles([interval_ms for run in runs for interval_ms in run.interval_ms])
    flips = [run.flips_per_100 for run in runs if run.flips_per_100 is not None]
    return (
        f"{name:13}{percentile(rates, 50):7.1f} frames/s (min {min(rates):.1f}, max {max(rates):.1f}), "
        f"a frame p50 {frame_ms['p50']:.2f} p95 {frame_ms['p95']:.2f} p99 {frame_ms['p99']:.2f} ms, "
        f"first result {percentile([run.first_result_s for run in runs], 50):.2f} s, whole process {percentile([run.wall_s for run in runs], 50):.2f} s, "
        f"CPU {percentile([run.cpu_s for run in runs], 50):.2f} s, face in {runs[0].frames_with_face}/{runs[0].frames} frames, "
        f"{f'{percentile(flips, 50):.1f} label flips per 100 frames' if flips else 'no emotions'}: {what}"
    )
