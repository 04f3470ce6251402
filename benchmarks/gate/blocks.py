"""Blocks and quads of the gate: base, head, head, base, each block a process of its own that runs the same frames.

Why a process is the sample, and not a frame: each start of a process has its own luck (where its memory lies, its hash seed, which core it gets), which
moves all of its frames together by a few per cent. More frames of one process do not average that out, more processes do.
Source: Kalibera & Jones 2013, Rigorous benchmarking in reasonable time, doi:10.1145/2464157.2464160 (repeat at the highest level that varies);
Georges, Buytaert & Eeckhout 2007, Statistically rigorous Java performance evaluation, doi:10.1145/1297027.1297033 (several invocations, not several
iterations); Mytkowicz et al. 2009, Producing wrong data without doing anything obviously wrong!, doi:10.1145/1508244.1508275 (memory layout).

Why base, head, head, base: whatever changes steadily over the four blocks, such as a processor that gets warm, touches both sides alike.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.budgets import Budget
from benchmarks.estimates import percentile
from benchmarks.gate.checkouts import Checkout
from benchmarks.timed_process import RunFailed, progress, run_timed

WORKER = Path(__file__).with_name("frame_worker.py")
BLOCK_TIMEOUT_S = 3600.0
ORDER: tuple[Literal["base", "head"], ...] = ("base", "head", "head", "base")


@dataclass(frozen=True)
class Workload:
    """What each block runs.

    Attributes:
        clip: An existing file.
        frames: Frames of a block that count.
        warm_up: Frames before them, left out: caches, arenas and the clock of the processor settle.
        engine: Engine of every network.
        precision: Of every network.
    """

    clip: Path
    frames: int
    warm_up: int
    engine: str = "onnxruntime"
    precision: str = "fp32"


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        name: For messages.
        checkout: Where its `edge` is.
        slow: A planted slowdown: each frame is made to take so many times its own time.
    """

    name: str
    checkout: Checkout
    slow: float = 1.0


class WorkerReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a block says of itself (`benchmarks/gate/frame_worker.py`); None for what it was not asked to measure.

    Attributes:
        edge_file: The `edge` that ran.
        engine: What ran the networks at the end.
        precision: Of the networks.
        engine_description: The same in words, with versions.
        seen: Media time in ns, width, height in pixels and number of faces of each frame, those of the warm-up first.
        frame_ns: Wall time of each frame that counts.
        cpu_s: CPU time of the process during the frames that count, all its threads.
        minor_faults: Page faults during them that needed no reading from disk.
        major_faults: Page faults during them that did.
        preemptions: How often the process lost a core during them without asking.
        calls: Function calls of the analysing thread.
        new_bytes: Bytes of memory that came to be in pieces of 4 KiB or more.
    """

    schema: Literal["edge.gate.block/1"]
    edge_file: str
    engine: str
    precision: str
    engine_description: str
    seen: list[tuple[int, int, int, int]]
    frame_ns: list[int] | None = None
    cpu_s: float | None = None
    minor_faults: int | None = None
    major_faults: int | None = None
    preemptions: int | None = None
    calls: int | None = None
    new_bytes: int | None = None


class Block(msgspec.Struct, frozen=True):
    """One process: its times, and what else the machine did meanwhile."""

    side: Literal["base", "head"]
    wall_s: float
    others_cpu: float
    cpu_s: float
    minor_faults: int
    major_faults: int
    preemptions: int
    frame_ns: list[int]

    def frame_ms(self, percent: float) -> float:
        """Return a percentile of its frames' times."""
        return percentile(self.frame_ns, percent) / 1e6


class Quad(msgspec.Struct, frozen=True):
    """Four blocks, in the order base, head, head, base.

    Attributes:
        blocks: The four.
        loud: Other processes used more of the CPU during one of them than `validity.others_cpu` allows: kept in the report, not counted.
    """

    blocks: list[Block]
    loud: bool

    def ratio(self, percent: float) -> float:
        """Return head's percentile of the frame times over base's: geometric means of two blocks each."""
        return self.frame_ms("head", percent) / self.frame_ms("base", percent)

    def frame_ms(self, side: str, percent: float) -> float:
        """Return the geometric mean of one side's two percentiles of the frame times."""
        first, second = (block.frame_ms(percent) for block in self.blocks if block.side == side)
        return math.sqrt(first * second)


class Measured(msgspec.Struct, frozen=True):
    """A run of the gate: every block of it.

    Attributes:
        wanted: How many quiet quads were to be measured.
        quads: In their order, loud ones too.
        differing_faces: Share of the frames on which the sides do not find equally many faces.
        engine_description: Of base and of head.
    """

    wanted: int
    quads: list[Quad]
    differing_faces: float
    engine_description: dict[str, str]

    @property
    def counted(self) -> list[Quad]:
        """The quiet quads; all of them where the quiet ones are too few, for a run that is invalid shows its numbers too."""
        quiet = [quad for quad in self.quads if not quad.loud]
        return quiet if len(quiet) >= self.wanted else self.quads


def measure(base: Side, head: Side, workload: Workload, quads: int, budgets: Mapping[str, Budget]) -> Measured:
    """Run quads until there are enough quiet ones, or so many loud ones that the machine is not fit for it.

    One block of each side comes before: it fills the page cache and shows whether both analyse the same frames.

    Args:
        base: What is compared with.
        head: What is compared.
        workload: What each block runs.
        quads: Quiet quads wanted, at least 2. A loud one is measured again, up to half as many times as there are quads.
        budgets: Of which `validity.others_cpu` is used.

    Raises:
        RunFailed: A block failed, ran another `edge` than its side's, or the sides do not analyse the same frames.
    """
    started_s = time.monotonic()
    first = {side.name: run_worker(side, workload)[0] for side in (base, head)}
    check_same_frames(base.name, first[base.name], head.name, first[head.name])
    faces = [mine[3] != other[3] for mine, other in zip(first[base.name].seen, first[head.name].seen, strict=True)]
    block_s = (time.monotonic() - started_s) / 2
    progress(f"gate: {quads} quads of {len(ORDER)} blocks, about {quads * len(ORDER) * block_s / 60:.0f} minutes")
    may_be_loud = (quads + 1) // 2
    done: list[Quad] = []
    while sum(not quad.loud for quad in done) < quads and sum(quad.loud for quad in done) <= may_be_loud:
        blocks = []
        for name in ORDER:
            side = base if name == "base" else head
            report, block = _run_block(name, side, workload)
            check_same_frames(side.name, first[side.name], f"{side.name}, quad {len(done) + 1}", report)
            blocks.append(block)
        loudest = max(block.others_cpu for block in blocks)
        quad = Quad(blocks, loud=not budgets["validity.others_cpu"].holds(loudest))
        done.append(quad)
        progress(
            f"quad {len(done):3}: head over base {quad.ratio(50):.3f} (median), {quad.ratio(99):.3f} (p99), others used up to {loudest:.1%} of the CPU"
            f"{': too loud, once more' if quad.loud else ''}"
        )
    return Measured(quads, done, sum(faces) / len(faces), {name: report.engine_description for name, report in first.items()})


def run_worker(side: Side, workload: Workload, *, wrapper: Sequence[str | Path] = (), count: str | None = None) -> tuple[WorkerReport, tuple[float, float]]:
    """Run one block.

    Args:
        side: Whose `edge`.
        workload: What to run.
        wrapper: A program and its arguments that runs the worker, such as valgrind.
        count: What the worker counts in place of the times: `python` or `instructions`.

    Returns:
        What it said; the wall time of the process in seconds and the share of the CPU that others used meanwhile.

    Raises:
        RunFailed: It failed, ran another `edge` than its side's, or saw fewer frames than it should.
    """
    arguments = [side.checkout.root, workload.clip, "--frames", str(workload.frames), "--warm-up", str(workload.warm_up)]
    arguments += ["--engine", workload.engine, "--precision", workload.precision, "--slow", str(side.slow)]
    command = [*wrapper, sys.executable, WORKER, *arguments, *(("--count", count) if count else ())]
    process = run_timed(command, name=f"gate, {side.name} ({side.checkout.what})", timeout_s=BLOCK_TIMEOUT_S)
    lines = process.stdout.strip().splitlines()
    try:
        report = msgspec.json.decode(lines[-1] if lines else "", type=WorkerReport)
    except msgspec.MsgspecError as error:
        raise RunFailed(f"{side.name}: expected one JSON object of schema edge.gate.block/1 on the worker's last line: {error}") from error
    ran = Path(report.edge_file).resolve()
    if not ran.is_relative_to(side.checkout.root.resolve()):
        raise RunFailed(f"{side.name}: expected edge of {side.checkout.root}, but {ran} ran")
    wanted = workload.warm_up + workload.frames
    if len(report.seen) != wanted:
        raise RunFailed(f"{side.name}: expected {wanted} frames, got {len(report.seen)} from {workload.clip}", hint="a longer --clip, or fewer --frames")
    return report, (process.wall_s, process.others_cpu)


def check_same_frames(name: str, report: WorkerReport, other_name: str, other: WorkerReport) -> None:
    """Check that two blocks analysed the same frames with the same kind of engine.

    Raises:
        RunFailed: They did not; with what differed.
    """
    ours, theirs = (report.engine, report.precision), (other.engine, other.precision)
    if ours != theirs:
        raise RunFailed(f"expected the same engine and precision on both sides, got {' '.join(ours)} ({name}) and {' '.join(theirs)} ({other_name})")
    for number, (mine, their) in enumerate(zip(report.seen, other.seen, strict=True)):
        if mine[:3] != their[:3]:
            raise RunFailed(f"expected the same frames, got in place {number} {_said(mine)} ({name}) and {_said(their)} ({other_name})")


def _said(seen: tuple[int, int, int, int]) -> str:
    return f"{seen[1]}x{seen[2]} at {seen[0] / 1e6:.3f} ms"


def _run_block(name: Literal["base", "head"], side: Side, workload: Workload) -> tuple[WorkerReport, Block]:
    report, (wall_s, others_cpu) = run_worker(side, workload)
    if report.frame_ns is None or report.cpu_s is None or report.minor_faults is None or report.major_faults is None or report.preemptions is None:
        raise RunFailed(f"{side.name}: expected times and page faults from the worker, got none")
    return report, Block(
        side=name,
        wall_s=wall_s,
        others_cpu=others_cpu,
        cpu_s=report.cpu_s,
        minor_faults=report.minor_faults,
        major_faults=report.major_faults,
        preemptions=report.preemptions,
        frame_ns=report.frame_ns,
    )
