"""`limits` in a report: the documents' statements beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.limits.depth import PERIODS_OF_FPS
from benchmarks.limits.finding import LIMITS, Finding, Limit
from benchmarks.limits.large_networks import REAL_TIME_FPS
from benchmarks.report.document import Bar, Bars, Block, Curves, Picture, Series, Table, Words
from benchmarks.report.results import Run
from benchmarks.report.wording import counted, one_line

TITLES: dict[Limit, str] = {
    "L1": "real time from a camera",
    "L2": "depth of a ResNet",
    "L3": "Inception over ResNet",
    "L4": "Inception-ResNet between the two",
    "L5": "networks of large pictures on a camera",
}


def limits_blocks(run: Run, prefix: str) -> list[Block]:
    """Return the rows of each limit, and its picture.

    Args:
        run: With a limits report.
        prefix: Of the pictures' names.
    """
    assert run.limits is not None
    blocks: list[Block] = []
    if run.limits.built:
        blocks.append(Words(f"Made for it, with random weights, for a time does not depend on them: {'; '.join(run.limits.built)}."))
    for limit in LIMITS:
        rows = [finding for finding in run.limits.findings if finding.limit == limit]
        if not rows:
            blocks.append(Words(f"{limit}, {TITLES[limit]}: not in this run."))
            continue
        blocks.append(Words(f"{limit}, {TITLES[limit]}: {counted([finding.word for finding in rows])}."))
        for stated in dict.fromkeys(finding.stated for finding in rows):
            of_it = [finding for finding in rows if finding.stated == stated]
            head = ("statement", "device", "precision", "of what", "measured here", "why so")
            blocks += [Words(f"Stated: {stated}."), Table(head, [*map(_row, (each for each in of_it if each.word != "not run")), *_absent(of_it)])]
        for device in dict.fromkeys(finding.device for finding in rows):
            timed = [finding for finding in rows if finding.device == device and finding.points]
            if timed and limit != "L1":
                blocks.append(_depth(timed, prefix) if limit == "L2" else _bars(limit, timed, prefix))
    return blocks


def _row(finding: Finding) -> tuple[str, ...]:
    return (finding.word, finding.device, finding.precision, finding.subject, finding.figure, one_line(finding.reason) or "-")


def _absent(rows: Sequence[Finding]) -> list[tuple[str, ...]]:
    """What did not run, a row for each reason."""
    why: dict[tuple[str, str], list[Finding]] = {}
    for row in rows:
        if row.word == "not run":
            why.setdefault((row.device, one_line(row.reason)), []).append(row)
    return [
        ("not run", device, _all(each.precision for each in of_it), _all(each.subject for each in of_it), "-", reason)
        for (device, reason), of_it in why.items()
    ]


def _all(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _depth(rows: Sequence[Finding], prefix: str) -> Picture:
    # The rows of the two rates share one curve.
    curves = {row.precision: row for row in rows}.values()
    series = [
        Series(
            f"{row.precision}, {row.engine}{_mark(row)}",
            [each.size for each in row.points],
            [each.ms.estimate for each in row.points],
            [(each.ms.low, each.ms.high) for each in row.points],
        )
        for row in curves
    ]
    levels = {f"{fps:g} frames/s": 1e3 / fps for fps in PERIODS_OF_FPS}
    caption = f"L2: ResNets over the number of their residual blocks, one gray crop of 98x80, the network alone, {rows[0].device}; dashed: frame periods."
    return Picture(f"{prefix}l2-{rows[0].device}", caption, Curves(series, "residual blocks", "ms, median, batch 1", levels))


def _bars(limit: Limit, rows: Sequence[Finding], prefix: str) -> Picture:
    bars: dict[str, Bar] = {}
    for row in rows:
        for each in row.points[:1] if limit == "L5" else row.points:
            label = f"{row.subject if limit == 'L5' else each.name}, {row.precision}{_mark(row)}"
            bars.setdefault(label, Bar(label, each.ms.estimate, (each.ms.low, each.ms.high), row.precision))
    levels = {f"{REAL_TIME_FPS:g} frames/s": 1e3 / REAL_TIME_FPS} if limit == "L5" else {}
    caption = f"{limit}, {TITLES[limit]}, {rows[0].device}: median with its 95 % interval."
    return Picture(f"{prefix}{limit.lower()}-{rows[0].device}", caption, Bars([*bars.values()], "ms", levels))


def _mark(row: Finding) -> str:
    return " (invalid run)" if row.word == "invalid" else ""
