"""L3 and L4: Inception over ResNet, and Inception-ResNet between the two, side by side in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from benchmarks.budgets import Budget
from benchmarks.estimates import Interval, median_interval
from benchmarks.limits.devices import Place, opened
from benchmarks.limits.finding import Finding, Limit, Point, Ran, found, not_run, point
from benchmarks.limits.turns import in_turns
from benchmarks.limits.untrained import noise, system_package
from benchmarks.timed_process import progress
from edge.package import Precision

RESNET, INCEPTION, BETWEEN = "resnet18-22", "inceptionv4-22", "inception-resnet-22"
STATED_TIMES = {
    1.5: "Inception takes about 1.5 times as long as ResNet, in training and in use (document 004)",
    2.25: "ten epochs took 36 h with Inception and 16 h with ResNet, 2.25 times (document 004's own training times)",
}
STATED_BETWEEN = "Inception-ResNet is faster than Inception, and not faster than ResNet (document 004)"
STATED_REAL_TIME = "Inception-ResNet can be real time where its number of layers is chosen for it (document 004)"
ABOUT = 0.2  # how far from the stated ratio still counts as `about`: our reading, and wide enough that the two statements meet
REAL_TIME_FPS = 25.0


def measure_inception(
    limits: Sequence[Limit], place: Place, precisions: Sequence[Precision], batches: Sequence[int], rounds: int, budgets: Mapping[str, Budget], built: list[str]
) -> list[Finding]:
    """Time the three networks of document 004 in turns, network alone, and compare them round by round.

    Args:
        limits: Of `L3` and `L4`, which rows are wanted.
        place: What runs the networks.
        precisions: Those to measure.
        batches: Crops in one run.
        rounds: Samples of each network, precision and batch.
        budgets: Of which those of `validity` are used.
        built: Gets a line for each package that had to be made.

    Raises:
        MissingDependency: A network is not in the cache, and PyTorch is not installed.
        EngineError: A network cannot be loaded.
    """
    networks = (RESNET, INCEPTION, BETWEEN) if "L4" in limits else (RESNET, INCEPTION)
    lacking = {precision: place.lacks(precision) for precision in precisions}
    wanted = [precision for precision in precisions if not lacking[precision]]
    packages = {name: system_package(name, wanted, built) for name in networks} if wanted else {}
    findings = []
    for precision in precisions:
        if lacking[precision]:
            stated = {"L3": STATED_TIMES[1.5], "L4": STATED_BETWEEN}
            findings += [not_run(limit, place.device, precision, "document 004's networks", stated[limit], lacking[precision]) for limit in limits]
            continue
        for batch in batches:
            progress(f"{' and '.join(limits)} {place.device} {precision}: {', '.join(networks)}, batch {batch}")
            with ExitStack() as stack:
                calls, engine = {}, None
                for name in networks:
                    (engine,) = stack.enter_context(opened(packages[name], place, precision))
                    calls[name] = partial(engine.run, noise(engine.input_shapes, batch))
                turns = in_turns(calls, rounds, place.device, budgets)
            assert engine is not None
            points = [point(f"{name}, batch {batch}", batch, turns.samples_ms[name], turns.first_ms[name]) for name in networks]
            ran = Ran(place.device, precision, engine.description, turns.machine, turns.invalid)
            if "L3" in limits:
                findings += judge_times(points[0], points[1], ran)
            if "L4" in limits:
                findings += judge_between(points[0], points[1], points[2], ran)
    return findings


def judge_times(resnet: Point, inception: Point, ran: Ran) -> list[Finding]:
    """Return one row for each of the document's two ratios.

    Args:
        resnet: Timed.
        inception: Timed in the same rounds.
        ran: On what.
    """
    ratio = ratio_of(inception, resnet)
    return [
        found(
            "L3",
            ran,
            f"{INCEPTION} over {RESNET}, batch {resnet.size:g}, beside {times:g}",
            stated,
            figure=f"{_shown(ratio)} times: {inception.ms.estimate:.2f} ms over {resnet.ms.estimate:.2f} ms",
            value=ratio.estimate,
            interval=(ratio.low, ratio.high),
            sides=_agrees(ratio, times * (1 - ABOUT), times * (1 + ABOUT)),
            points=[resnet, inception],
        )
        for times, stated in STATED_TIMES.items()
    ]


def judge_between(resnet: Point, inception: Point, between: Point, ran: Ran) -> list[Finding]:
    """Return the row of the order of the three, and for one crop that of Inception-ResNet's real time.

    Args:
        resnet: Timed.
        inception: Timed in the same rounds.
        between: Timed in the same rounds.
        ran: On what.
    """
    over_resnet, under_inception = ratio_of(between, resnet), ratio_of(inception, between)
    wrong = over_resnet.high < 1 or under_inception.high < 1
    sure = over_resnet.low >= 1 and under_inception.low > 1
    points = [resnet, between, inception]
    order = " < ".join(f"{each.name.partition(',')[0]} {each.ms.estimate:.2f} ms" for each in sorted(points, key=lambda each: each.ms.estimate))
    in_order = found(
        "L4",
        ran,
        f"{BETWEEN} between, batch {resnet.size:g}",
        STATED_BETWEEN,
        figure=f"{order}; {_shown(over_resnet)} times ResNet, Inception {_shown(under_inception)} times it",
        value=over_resnet.estimate,
        interval=(over_resnet.low, over_resnet.high),
        sides=[False] if wrong else [True] if sure else [True, False],
        points=points,
    )
    if between.size != 1:
        return [in_order]
    period_ms = 1e3 / REAL_TIME_FPS
    in_time = found(
        "L4",
        ran,
        f"{BETWEEN} at {REAL_TIME_FPS:g} frames/s, one crop, network alone",
        STATED_REAL_TIME,
        figure=f"{_shown(between.ms)} ms of a period of {period_ms:.1f} ms, in the one size that there is",
        value=between.ms.estimate,
        interval=(between.ms.low, between.ms.high),
        sides=[end <= period_ms for end in (between.ms.low, between.ms.high)],
        points=[between],
    )
    return [in_order, in_time]


def ratio_of(one: Point, other: Point) -> Interval:
    """Return the median, over the rounds, of one network's time over the other's in the same round, with its interval."""
    return median_interval([mine / theirs for mine, theirs in zip(one.samples_ms, other.samples_ms, strict=True)])


def _agrees(ratio: Interval, low: float, high: float) -> list[bool]:
    """Whether a ratio lies within a range, at each end of its interval; both, where the range lies inside the interval."""
    inside = [low <= end <= high for end in (ratio.low, ratio.high)]
    return [True, False] if ratio.low < low and ratio.high > high else inside


def _shown(each: Interval) -> str:
    return f"{each.estimate:.2f} [{each.low:.2f}, {each.high:.2f}]"
