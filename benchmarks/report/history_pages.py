"""Several runs of the same hardware: median and 99th percentile from run to run, with commit and date."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.estimates import percentile
from benchmarks.peer_rounds import OURS, turn_rates
from benchmarks.report.document import Block, Curves, Picture, Series, Table, Words
from benchmarks.report.latency_pages import open_rates
from benchmarks.report.results import Run
from benchmarks.report.wording import counted, number

_LIKE_A_CAMERA = "30"
MEDIAN, P99, AGE, RATE = "a frame, median (ms)", "a frame, p99 (ms)", f"age at {_LIKE_A_CAMERA} frames/s, p99 (ms)", "frames/s, peers' run"


def history_blocks(runs: Sequence[Run], prefix: str) -> list[Block]:
    """Return the figures of each run, the oldest first.

    Args:
        runs: Of the same hardware, in the order of their time.
        prefix: Of the pictures' names.
    """
    if len(runs) < 2:
        return [Words("One run of this hardware: a history begins with the second.")]
    figures = [history_figures(run) for run in runs]
    names = list(dict.fromkeys(name for each in figures for name in each))
    rows = [
        (
            run.began_utc[:16],
            ", ".join(run.commits),
            run.name,
            *(number(each.get(name)) for name in names),
            counted([verdict.word for _, verdict in run.verdicts]) or "-",
        )
        for run, each in zip(runs, figures, strict=True)
    ]
    blocks: list[Block] = [Table(("begun (UTC)", "commit", "run", *names, "verdicts"), rows)]
    under = {float(place): "\n".join([run.began_utc[:10], run.commits[0], *_doubt(run)]) for place, run in enumerate(runs)}
    in_ms = [name for name in names if name.endswith("(ms)")]
    for key, label, shown in (("ms", "ms", in_ms), ("rates", "frames/s", [name for name in names if name not in in_ms])):
        series = [_series(name, figures) for name in shown]
        if series:
            blocks.append(
                Picture(f"{prefix}history-{key}", f"From run to run, by date and commit: {', '.join(shown)}.", Curves(series, "run", label, x_names=under))
            )
    return blocks


def history_figures(run: Run) -> dict[str, float]:
    """Return the figures of a run that are followed over time; those that it has."""
    figures: dict[str, float] = {}
    if run.latency is not None:
        for part in run.latency.parts:
            if part.name == "stages":
                frame = part.numbers["stage_ms"]["frame"]
                figures |= {MEDIAN: frame["p50"], P99: frame["p99"]}
        rate = open_rates(run).get(_LIKE_A_CAMERA)
        if rate is not None and rate.p99 is not None:
            figures[AGE] = rate.p99.ms
    if run.peers is not None and OURS in run.peers.runs:
        figures[RATE] = percentile(turn_rates(run.peers.runs[OURS]), 50)
        figures |= {f"times {name}'s rate": times.estimate for name, times in run.peers.times_as_fast.items()}
    return figures


def _series(name: str, figures: Sequence[dict[str, float]]) -> Series:
    places = [place for place, each in enumerate(figures) if name in each]
    return Series(name, places, [figures[place][name] for place in places])


def _doubt(run: Run) -> list[str]:
    return ["invalid"] if any(verdict.word == "invalid" for _, verdict in run.verdicts) else []
