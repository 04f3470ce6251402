"""`python -m benchmarks gate`: the command, and its report."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Verdict, load_budgets
from benchmarks.clips import open_clip
from benchmarks.environment import describe_machine, load_averages
from benchmarks.gate.blocks import ORDER, Measured, Side, Workload, measure
from benchmarks.gate.checkouts import Checkout, open_checkout
from benchmarks.gate.counts import Count, count_both, judge_counts
from benchmarks.gate.judgement import MIN_QUADS, judge_gate
from benchmarks.gate.proof import Trial, judge_proof, prove, summary
from benchmarks.timed_process import REPOSITORY
from edge.errors import ConfigError

FRAMES, WARM_UP = 270, 30
COUNTED_FRAMES, COUNTED_WARM_UP = 30, 10
# For the times that `--help` names: a laptop of 2024, a process from its start to its first frame, and one frame of one face.
_START_S, _FRAME_S = 1.5, 0.006


@dataclass(frozen=True)
class Profile:
    """How much is measured.

    Attributes:
        quads: Of a run. 20 find a slowdown of 5 % nearly always where processes differ by 1 %, in 5 of 6 runs where they differ by 2 %; 10 find it in 5 of 6
            and in 4 of 7. Source: simulated, as in tests/benchmarks/test_gate_judgement.py, one block in 20 disturbed by 15 % on average.
        proof_runs: Of a checkout against itself, in a proof.
    """

    quads: int
    proof_runs: int

    def minutes(self, *, proof: bool) -> float:
        """Return about how long it takes where a frame takes 6 ms and a process 1.5 s to start."""
        run_s = (2 + len(ORDER) * self.quads) * (_START_S + (WARM_UP + FRAMES) * _FRAME_S)
        return run_s * (self.proof_runs + 1 if proof else 1) / 60


PROFILES = {"quick": Profile(quads=10, proof_runs=5), "full": Profile(quads=20, proof_runs=20)}


class GateReport(msgspec.Struct, frozen=True):
    """A run of the gate, or its proof, every sample included.

    Attributes:
        base: What base was: the working tree, a folder as given, or a commit.
        head: The same.
        workload: Clip, frames, engine and precision.
        machine: Where it ran; its `load` is from before the run.
        measured: Every block; None where nothing was timed, and in a proof, which has them in its trials.
        counts: Empty where nothing was counted.
        trials: Of a proof; else empty.
    """

    schema: str
    base: str
    head: str
    workload: dict[str, Any]
    machine: dict[str, Any]
    load_after: list[float]
    measured: Measured | None
    counts: list[Count]
    trials: list[Trial]
    verdicts: list[Verdict]


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add `gate` to the commands.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
        shared: The parent that has `--json`.
    """
    quick, full = PROFILES["quick"], PROFILES["full"]
    parser = commands.add_parser(
        "gate",
        parents=[shared],
        help="is one checkout slower than another, on this machine?",
        description="Runs the same frames through edge of two checkouts, in turns, each block a process of its own, and fails where head is surely slower: the "
        "95 % interval of the ratio of the median frame times wholly above 1.03, or that of the 99th percentiles wholly above 1.10. A run that could not have "
        f"seen a slowdown is no pass but `unclear`. Where a frame takes {_FRAME_S * 1000:g} ms: quick about {quick.minutes(proof=False):.0f} minutes, full "
        f"{full.minutes(proof=False):.0f}; the proof {quick.minutes(proof=True):.0f} and {full.minutes(proof=True):.0f}.",
    )
    parser.add_argument("--base", metavar="REV|FOLDER", help="what is compared with: a git revision, or the folder of a checkout")
    parser.add_argument("--head", default=str(REPOSITORY), metavar="REV|FOLDER", help="what is compared (default: the working tree)")
    parser.add_argument("--profile", choices=PROFILES, default="quick", help=f"{quick.quads} or {full.quads} quads of four blocks (default: quick)")
    parser.add_argument("--quads", type=int, metavar="N", help="another number of quads than the profile's")
    parser.add_argument("--frames", type=int, metavar="N", help=f"of a block that count (default: {FRAMES}; with --counts {COUNTED_FRAMES})")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="default: the sample clip")
    parser.add_argument("--engine", choices=["onnxruntime", "tensorrt"], default="onnxruntime", help="of both sides (default: onnxruntime)")
    parser.add_argument("--precision", choices=["fp32", "fp16", "int8"], default="fp32", help="of both sides (default: fp32)")
    parser.add_argument("--counts", action="store_true", help="count instructions (callgrind), calls and new memory in place of times: for noisy machines")
    parser.add_argument(
        "--prove",
        action="store_true",
        help=f"prove the gate on --head against itself: a planted slowdown of 5 %% must be found, and of {quick.proof_runs} (quick) or {full.proof_runs} "
        "(full) runs without one at most one may fail",
    )
    parser.add_argument("--runs", type=int, metavar="N", help="another number of runs without a slowdown than the profile's, for --prove")


def command(arguments: argparse.Namespace) -> tuple[GateReport, list[str], list[Verdict]]:
    """Run the gate, its counts or its proof.

    Returns:
        The report, its lines for a person, and the verdicts.

    Raises:
        ConfigError: Arguments that cannot be used, or a base or head that is neither a revision nor a checkout.
        SourceNotFound: There is no such clip.
        UnsupportedFormat: The clip is none.
        RunFailed: A block failed, or the sides do not analyse the same frames.
    """
    profile = PROFILES[arguments.profile]
    quads = profile.quads if arguments.quads is None else arguments.quads
    runs = profile.proof_runs if arguments.runs is None else arguments.runs
    frames = (COUNTED_FRAMES if arguments.counts else FRAMES) if arguments.frames is None else arguments.frames
    _check(arguments, quads, runs, frames)
    clip = open_clip(arguments.clip)
    warm_up = COUNTED_WARM_UP if arguments.counts else WARM_UP
    if warm_up + frames > clip.frames:
        raise ConfigError(f"--frames: expected at most {clip.frames - warm_up} of {clip.path.name}, for {warm_up} come before, got {frames}")
    workload = Workload(clip.path, frames, warm_up, engine=arguments.engine, precision=arguments.precision)
    budgets, machine = load_budgets(), describe_machine()
    measured: Measured | None = None
    counts: list[Count] = []
    trials: list[Trial] = []
    with contextlib.ExitStack() as stack:
        head = stack.enter_context(open_checkout(arguments.head))
        base: Checkout = head if arguments.prove else stack.enter_context(open_checkout(arguments.base))
        if arguments.prove:
            trials = prove(head, workload, quads=quads, runs=runs, budgets=budgets)
            verdicts = judge_proof(trials, budgets)
            lines = [line for trial in trials for line in trial.lines()] + [summary(trials)]
        elif arguments.counts:
            counts = count_both(Side("base", base), Side("head", head), workload)
            verdicts, lines = judge_counts(counts, budgets), [count.line() for count in counts]
        else:
            measured = measure(Side("base", base), Side("head", head), workload, quads, budgets)
            verdicts, lines = judge_gate(measured, budgets), _lines(measured)
    report = GateReport(
        schema="edge.benchmark.gate/1",
        base=base.what,
        head=head.what,
        workload={"clip": clip.path.name, "frames": frames, "warm_up": warm_up, "engine": workload.engine, "precision": workload.precision},
        machine=machine,
        load_after=load_averages(),
        measured=measured,
        counts=counts,
        trials=trials,
        verdicts=verdicts,
    )
    return report, [f"base {base.what}, head {head.what}", *lines, *(verdict.line() for verdict in verdicts)], verdicts


def _check(arguments: argparse.Namespace, quads: int, runs: int, frames: int) -> None:
    if arguments.prove and arguments.counts:
        raise ConfigError("--prove and --counts: expected one of them", hint="the proof is of the times; counts show themselves whether they repeat")
    if arguments.prove == (arguments.base is not None):
        expected = "no --base with --prove, which runs --head against itself" if arguments.prove else "--base"
        raise ConfigError(f"expected {expected}", hint="python -m benchmarks gate --base main   or: python -m benchmarks gate --prove")
    if arguments.runs is not None and not arguments.prove:
        raise ConfigError("--runs: expected --prove with it")
    if quads < MIN_QUADS or runs < 1 or frames < 1:
        raise ConfigError(f"expected --quads of at least {MIN_QUADS}, --runs and --frames of at least 1, got {quads}, {runs} and {frames}")


def _lines(measured: Measured) -> list[str]:
    lines = [f"{side}: {description}" for side, description in measured.engine_description.items()]
    for side in ("base", "head"):
        blocks = [block for quad in measured.counted for block in quad.blocks if block.side == side]
        faults = sum(block.minor_faults + block.major_faults for block in blocks) / sum(len(block.frame_ns) for block in blocks)
        cpu_ms = 1000 * sum(block.cpu_s for block in blocks) / sum(len(block.frame_ns) for block in blocks)
        medians = ", ".join(f"{block.frame_ms(50):.2f}" for block in blocks)
        lines.append(f"{side}: CPU {cpu_ms:.2f} ms and {faults:.1f} page faults a frame; median frame of each block in ms: {medians}")
    return lines
