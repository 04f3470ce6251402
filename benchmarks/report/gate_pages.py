"""`gate` in a report: one checkout against another, quad by quad; counts; the gate's proof."""

from __future__ import annotations

from benchmarks.gate.blocks import Measured
from benchmarks.gate.proof import summary
from benchmarks.report.document import Block, Curves, Picture, Series, Table, Words
from benchmarks.report.results import Run
from benchmarks.report.wording import measured, number, one_line


def gate_blocks(run: Run, prefix: str) -> list[Block]:
    """Return what was compared, every quad, the counts and the proof.

    Args:
        run: With a gate report.
        prefix: Of the pictures' names.
    """
    report = run.gate
    assert report is not None
    workload = ", ".join(f"{name} {value}" for name, value in report.workload.items())
    blocks: list[Block] = [Words(f"Base: {report.base}. Head: {report.head}. Workload: {workload}.")]
    if report.measured is not None:
        blocks += _quads(report.measured, prefix)
    if report.counts:
        rows = [
            (count.name, " and ".join(map(number, count.base)), " and ".join(map(number, count.head)), "yes" if count.exact else "no")
            for count in report.counts
            if not count.not_run
        ]
        blocks.append(Table(("count, a frame", "base", "head", "exactly repeatable"), rows))
    if report.trials:
        trials = [
            (trial.word, "itself" if trial.slow == 1.0 else f"itself, {trial.slow - 1:.0%} slower", *(measured(verdict) for verdict in trial.verdicts))
            for trial in report.trials
        ]
        blocks += [Words(f"Proof: {summary(report.trials)}."), Table(("said", "a checkout against", "median, times", "p99, times"), trials)]
    return blocks + [Words(f"INVALID: {one_line(verdict.reason)}.") for verdict in report.verdicts[:1] if verdict.word == "invalid"]


def _quads(taken: Measured, prefix: str) -> list[Block]:
    places = range(1, len(taken.quads) + 1)
    series = [Series(name, places, [quad.ratio(percent) for quad in taken.quads], joined=False) for name, percent in (("median", 50), ("p99", 99))]
    loud = [str(place) for place, quad in zip(places, taken.quads, strict=True) if quad.loud]
    caption = f"Head over base, one point a quad (base, head, head, base); too loud, and measured again: {', '.join(loud) or 'none'}."
    engines = "; ".join(f"{side}: {description}" for side, description in taken.engine_description.items())
    return [Words(f"{engines}."), Picture(f"{prefix}gate", caption, Curves(series, "quad", "head's frame time over base's", {"the same": 1.0}))]
