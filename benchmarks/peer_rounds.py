"""`python -m benchmarks peers`: everybody on the same clip, in turns, and how many times as fast we are."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Budget, Verdict, judge, load_budgets
from benchmarks.environment import describe_machine, load_averages
from benchmarks.estimates import Interval, median_interval, percentile, spread
from benchmarks.peer_run import TURN_S, Peer, PeerRun, rate_of_turn, take_turn
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
        not_run: Why a peer has no numbers.
        invalid: Why the numbers cannot be trusted; empty where they can.
        verdicts: One for each budget.
    """

    schema: str
    clip: dict[str, Any]
    machine: dict[str, Any]
    load_after: list[float]
    what: dict[str, str]
    runs: dict[str, list[PeerRun]]
    ratios: dict[str, list[float]]
    not_run: dict[str, str]
    invalid: list[str]
    verdicts: list[Verdict]

    def lines(self) -> list[str]:
        """Return the report for a person."""
        table = [_peer_line(name, self.what[name], runs) for name, runs in self.runs.items()]
        table += [f"{name:10} not run: {' '.join(reason.split())}" for name, reason in self.not_run.items()]
        return [*table, *(f"invalid: {reason}" for reason in self.invalid), *(verdict.line() for verdict in self.verdicts)]


def compare(peers: Sequence[Peer], clip: Path, rounds: int, turn_s: float = TURN_S) -> PeersReport:
    """Let every peer take `rounds` turns over the clip, interleaved, the order rotated by one in each round.

    Args:
        peers: The first one is ours.
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
            progress(f"round {number + 1}/{rounds}  {peer.name:10}{times}, others used at most {max(run.others_cpu for run in turn):.1%} of the CPU")
    complete = {name: done for name, done in runs.items() if name not in not_run}
    budgets = load_budgets()
    invalid = why_invalid(complete, budgets)
    rivals = [name for name in complete if name != OURS]
    rates = {name: turn_rates(done) for name, done in complete.items()}
    ratios = {name: [ours / theirs for ours, theirs in zip(rates[OURS], rates[name], strict=True)] for name in rivals}
    return PeersReport(
        schema="edge.benchmark.peers/1",
        clip={"name": clip.name, "bytes": clip.stat().st_size},
        machine=machine,
        load_after=load_averages(),
        what={peer.name: peer.what for peer in peers},
        runs=complete,
        ratios=ratios,
        not_run=not_run,
        invalid=invalid,
        verdicts=_verdicts([peer.name for peer in peers if peer.name != OURS], ratios, not_run, invalid, budgets),
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
    rivals: Sequence[str], ratios: Mapping[str, list[float]], not_run: Mapping[str, str], invalid: Sequence[str], budgets: Mapping[str, Budget]
) -> list[Verdict]:
    verdicts = []
    for name in rivals:
        key = f"peers.{name}"
        if key in budgets:
            measured: Interval | None = median_interval(ratios[name]) if name in ratios else None
            verdicts.append(judge(key, budgets[key], measured, invalid="; ".join(invalid), not_run=not_run.get(name, "")))
    return verdicts


def _peer_line(name: str, what: str, runs: Sequence[PeerRun]) -> str:
    rates = turn_rates(runs)
    middle = {key: percentile([run.interval_ms[key] for run in runs], 50) for key in ("p50", "p95", "p99")}
    flips = runs[0].flips_per_100
    return (
        f"{name:10}{percentile(rates, 50):7.1f} frames/s (min {min(rates):.1f}, max {max(rates):.1f}), "
        f"a frame p50 {middle['p50']:.2f} p95 {middle['p95']:.2f} p99 {middle['p99']:.2f} ms, "
        f"first result {percentile([run.first_result_s for run in runs], 50):.2f} s, whole process {percentile([run.wall_s for run in runs], 50):.2f} s, "
        f"CPU {percentile([run.cpu_s for run in runs], 50):.2f} s, face in {runs[0].frames_with_face}/{runs[0].frames} frames, "
        f"{'no emotions' if flips is None else f'{flips:.1f} label flips per 100 frames'}: {what}"
    )
