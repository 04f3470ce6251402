"""L2: how long ResNets take over the number of their residual blocks, and where they leave real time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.budgets import Budget
from benchmarks.limits.devices import Place, opened
from benchmarks.limits.finding import Finding, Point, Ran, found, not_run, point
from benchmarks.limits.turns import in_turns
from benchmarks.limits.untrained import noise, resnet_package
from benchmarks.timed_process import progress
from edge.package import Precision

STATED = "a ResNet with more than 50 residual blocks is not real time, if by a small delay only (document 004)"
MOST_REAL_TIME = 50
PERIODS_OF_FPS = (25.0, 30.0)


class _Curve:
    """The points of one precision, in the order of their depth."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.engine = self.invalid = ""
        self.machine: dict[str, Any] = {}


def measure_depth(
    place: Place, precisions: Sequence[Precision], blocks: Sequence[int], deeper: Sequence[int], rounds: int, budgets: Mapping[str, Budget], built: list[str]
) -> list[Finding]:
    """Time ResNets of basic blocks on document 004's crop, one face, the network alone, all of them in turns.

    Basic blocks, two convolutions of 3x3 each, are those of the ResNet18 that the document trained; its deeper networks' kind of block is not stated. Where a
    precision is still faster than the longest frame period at the last of `blocks`, it goes on with `deeper`, one depth at a time.

    Args:
        place: What runs the networks.
        precisions: Those to measure.
        blocks: Depths, ascending, the last one above 50.
        deeper: Where to go on; may be empty.
        rounds: Samples of each network.
        budgets: Of which those of `validity` are used.
        built: Gets a line for each package that had to be made.

    Raises:
        MissingDependency: A network is not in the cache, and PyTorch is not installed.
        EngineError: A network cannot be loaded.
    """
    lacking = {precision: place.lacks(precision) for precision in precisions}
    curves = {precision: _Curve() for precision in precisions if not lacking[precision]}
    pending = [*curves]
    for step in [tuple(blocks), *((each,) for each in deeper)]:
        if not pending:
            break
        _measure(place, curves, pending, step, rounds, budgets, built)
        pending = [precision for precision in pending if curves[precision].points[-1].ms.low <= 1e3 / min(PERIODS_OF_FPS)]
    findings = []
    for precision, fps in itertools.product(precisions, PERIODS_OF_FPS):
        subject = f"ResNets on one crop, network alone, {fps:g} frames/s"
        if precision in curves:
            curve = curves[precision]
            ran = Ran(place.device, precision, curve.engine, curve.machine, curve.invalid)
            findings.append(judge_depth(curve.points, fps, subject, ran))
        else:
            findings.append(not_run("L2", place.device, precision, subject, STATED, lacking[precision]))
    return findings


def _measure(
    place: Place,
    curves: Mapping[Precision, _Curve],
    pending: Sequence[Precision],
    step: Sequence[int],
    rounds: int,
    budgets: Mapping[str, Budget],
    built: list[str],
) -> None:
    packages = {count: resnet_package(count, [*curves], built) for count in step}
    progress(f"L2 {place.device}: {', '.join(map(str, step))} blocks in {', '.join(pending)}")
    with ExitStack() as stack:
        calls = {}
        for precision, count in itertools.product(pending, step):
            (engine,) = stack.enter_context(opened(packages[count], place, precision))
            calls[f"{precision} {count}"] = partial(engine.run, noise(engine.input_shapes, 1))
            curves[precision].engine = engine.description
        turns = in_turns(calls, rounds, place.device, budgets)
    for precision, count in itertools.product(pending, step):
        key = f"{precision} {count}"
        curves[precision].points.append(point(f"{count} blocks", count, turns.samples_ms[key], turns.first_ms[key]))
    for precision in pending:
        if not curves[precision].invalid:  # of several steps, the first one that went wrong is told
            curves[precision].machine, curves[precision].invalid = turns.machine, turns.invalid


def judge_depth(points: Sequence[Point], fps: float, subject: str, ran: Ran) -> Finding:
    """Say at which depth a frame period is exceeded, and whether the document's statement holds here.

    It holds where the shallowest measured network of more than 50 blocks takes longer than the frame period. The crossing lies between two measured depths.

    Args:
        points: One for each depth, ascending.
        fps: Whose period counts.
        subject: Of the row.
        ran: On what.

    Raises:
        ValueError: No depth above 50 was measured, so nothing can be said of the statement.
    """
    period_ms = 1e3 / fps
    deep = [each for each in points if each.size > MOST_REAL_TIME]
    if not deep:
        raise ValueError(f"expected a ResNet of more than {MOST_REAL_TIME} blocks among those measured, got {[each.size for each in points]}")
    sizes = [each.size for each in points]
    value = crossing(sizes, [each.ms.estimate for each in points], period_ms)
    # A slower curve crosses earlier: the upper ends of the medians give the lower end of the block count.
    ends = crossing(sizes, [each.ms.high for each in points], period_ms), crossing(sizes, [each.ms.low for each in points], period_ms)
    first, last = points[0], points[-1]
    if value is not None:
        shown = f"the period of {period_ms:.1f} ms is exceeded at {value:.0f} blocks [{_end(ends[0], 'under', first)}, {_end(ends[1], 'over', last)}]"
    elif first.ms.estimate > period_ms:
        shown = f"the period of {period_ms:.1f} ms is exceeded by every network measured, from {first.size:g} blocks on"
    else:
        shown = f"the period of {period_ms:.1f} ms is not exceeded up to {last.size:g} blocks"
    shown += f"; {first.size:g} blocks {first.ms.estimate:.2f} ms, {deep[0].size:g} blocks {deep[0].ms.estimate:.2f} ms"
    interval = None if value is None else ends
    sides = [end > period_ms for end in (deep[0].ms.low, deep[0].ms.high)]
    return found("L2", ran, subject, STATED, figure=shown, value=value, interval=interval, sides=sides, points=points)


def crossing(sizes: Sequence[float], ms: Sequence[float], limit_ms: float) -> float | None:
    """Return the size at which a curve first goes over a limit, on the straight line between the two measured points around it.

    Args:
        sizes: Ascending.
        ms: The curve at each of them.
        limit_ms: The limit.

    Returns:
        None where it is over the limit from the first point on, or nowhere: nothing is extrapolated.

    Raises:
        ValueError: The two have different lengths, are empty, or the sizes do not ascend.
    """
    if not sizes or len(sizes) != len(ms) or any(after <= before for before, after in itertools.pairwise(sizes)):
        raise ValueError(f"expected one time for each of some ascending sizes, got sizes {[*sizes]} and {len(ms)} times")
    if ms[0] > limit_ms:
        return None
    for (size, time_ms), (next_size, next_ms) in itertools.pairwise(zip(sizes, ms, strict=True)):
        if next_ms > limit_ms:
            return size + (next_size - size) * (limit_ms - time_ms) / (next_ms - time_ms)
    return None


def _end(count: float | None, side: str, outermost: Point) -> str:
    return f"{side} {outermost.size:g}" if count is None else f"{count:.0f}"
