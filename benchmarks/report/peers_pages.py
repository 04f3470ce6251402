"""`peers` in a report: everybody on the same clip."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.estimates import percentile
from benchmarks.peer_rounds import turn_rates
from benchmarks.peer_run import PeerRun
from benchmarks.published_figures import PublishedFigure
from benchmarks.report.document import Bar, Bars, Block, Histograms, Picture, Table, Words
from benchmarks.report.results import Run
from benchmarks.report.stage_pages import stage_blocks
from benchmarks.report.wording import interval, number, one_line

_MS = ("a frame p50 (ms)", "p95", "p99")


def peers_blocks(run: Run, prefix: str) -> list[Block]:
    """Return rates, frame times and ratios of everybody who ran.

    Args:
        run: With a peers report.
        prefix: Of the pictures' names.
    """
    report = run.peers
    assert report is not None
    head = ("who", "frames/s", "lowest", "highest", *_MS, "first result (s)", "CPU (s)", "flips in 100", "what it is")
    ratios = [
        (name, interval(report.times_as_fast[name]), number(min(values)), number(max(values)), str(len(values))) for name, values in report.ratios.items()
    ]
    blocks: list[Block] = [Words(f"INVALID: {reason}.") for reason in report.invalid]
    blocks += [
        Words(f"{report.clip['name']}, in turns, decoding included; median over rounds of each turn's rate, over passes of the rest."),
        Table(head, [(name, *peer_row(runs), report.what[name]) for name, runs in report.runs.items()]),
    ]
    if ratios:
        bars = [Bar(name, times.estimate, (times.low, times.high)) for name, times in report.times_as_fast.items()]
        blocks += [
            Table(("our rate over that of", "times", "lowest round", "highest round", "rounds"), ratios),
            Picture(f"{prefix}peers", "Our rate over each peer's, measured in the same round.", Bars(bars, "times its rate", {"as fast": 1.0})),
        ]
    if report.runs:
        intervals = {name: every_interval(runs) for name, runs in report.runs.items()}
        blocks.append(Picture(f"{prefix}peer-frames", "From one result to the next: every frame of every pass.", Histograms(intervals, "ms")))
    blocks += [Words(f"{name} did not run: {one_line(reason)}") for name, reason in report.not_run.items()]
    blocks += [block for part in report.stages for block in stage_blocks(part)]
    if report.published:
        rows = [(each.name, _published(each), each.on, each.what, each.why_not_run, each.source) for each in report.published]
        blocks += [
            Words("Published by others, not measured here, on other machines: never to be set against the figures above."),
            Table(("not run here", "published", "on", "what was timed", "why not here", "source"), rows),
        ]
    return blocks


def peer_row(runs: Sequence[PeerRun]) -> tuple[str, ...]:
    """Return a peer's runs as cells: rate, lowest and highest of the rounds; frame p50, p95, p99; first result; CPU of a pass; flips in 100 frames."""
    rates, flips = turn_rates(runs), runs[0].flips_per_100
    intervals = every_interval(runs)
    frame = (number(percentile(intervals, percent)) for percent in (50, 95, 99))
    first, cpu = (percentile([getattr(each, key) for each in runs], 50) for key in ("first_result_s", "cpu_s"))
    return (*map(number, (percentile(rates, 50), min(rates), max(rates))), *frame, number(first), number(cpu), "no labels" if flips is None else f"{flips:.1f}")


def _published(figure: PublishedFigure) -> str:
    return "no figure found" if figure.value is None else f"{figure.value:g} {figure.unit}"


def every_interval(runs: Sequence[PeerRun]) -> list[float]:
    """Return the milliseconds from one result to the next, of every pass."""
    return [ms for run in runs for ms in run.interval_ms]
