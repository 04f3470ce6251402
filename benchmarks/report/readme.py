"""The figures in the README: blocks between two marks, made from results that lie in the repository."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from benchmarks.estimates import percentile
from benchmarks.peer_rounds import turn_rates
from benchmarks.report.document import Block, Table, Words
from benchmarks.report.latency_pages import open_rates, open_row
from benchmarks.report.overview import how_to_make
from benchmarks.report.peers_pages import every_interval
from benchmarks.report.results import Run
from benchmarks.report.summary_text import blocks_as_markdown
from benchmarks.report.wording import interval, limit, measured, number, one_line
from edge.errors import ConfigError

# `<!-- report: NAME -->` to `<!-- /report -->`, each on a line of its own.
BLOCK = re.compile(r"^<!-- report: (?P<name>\S+) -->\n(?P<text>.*?)^<!-- /report -->$", re.MULTILINE | re.DOTALL)


def filled(text: str, run: Run) -> str:
    """Return a README with its blocks made from a run.

    Args:
        text: With blocks of `NAMES`.
        run: Whose figures they are.

    Raises:
        ConfigError: There is no block, a block of another name, one without an end, or one whose report is not in the run.
    """
    if not BLOCK.search(text):
        raise ConfigError(f"expected '<!-- report: NAME -->' and '<!-- /report -->' with NAME of {', '.join(NAMES)}, got no such block")
    if text.count("<!-- report:") != len(BLOCK.findall(text)):
        raise ConfigError("expected '<!-- /report -->' after each '<!-- report: NAME -->', both on lines of their own")
    return BLOCK.sub(lambda found: f"<!-- report: {found['name']} -->\n{block(found['name'], run)}<!-- /report -->", text)


def block(name: str, run: Run) -> str:
    """Return one block as Markdown.

    Raises:
        ConfigError: The name is not known, or its report is not in the run.
    """
    if name not in NAMES:
        raise ConfigError(f"expected a block of {', '.join(NAMES)}, got {name!r}")
    if name != "machine" and getattr(run, name) is None:
        raise ConfigError(f"the block '{name}' needs {name}.json, which {run.name} does not have", hint=how_to_make(name))
    return "\n" + blocks_as_markdown(NAMES[name](run))


def _machine(run: Run) -> list[Block]:
    versions = next(iter(run.machines.values())).get("versions", {})
    shown = ", ".join(f"{name} {versions[name]}" for name in ("onnxruntime", "tensorrt", "numpy") if versions.get(name))
    measured_on = f"Measured {run.began_utc[:10]} at commit {', '.join(run.commits)} on {run.hardware}; {shown}."
    return [Words(f"{measured_on} Run it on your machine: these figures are that one's.")]


def _peers(run: Run) -> list[Block]:
    assert run.peers is not None
    report = run.peers
    rows = []
    for name, runs in report.runs.items():
        times = interval(report.times_as_fast[name]) if name in report.times_as_fast else "-"
        p50, p99 = (percentile(every_interval(runs), percent) for percent in (50, 99))
        flips = "no labels" if runs[0].flips_per_100 is None else f"{runs[0].flips_per_100:.1f}"
        rows.append((name, number(percentile(turn_rates(runs), 50)), f"{number(p50)} and {number(p99)}", times, flips))
    said: list[Block] = [Words(f"The command calls this run invalid: {reason}.") for reason in report.invalid]
    absent = [Words(f"{name} did not run: {one_line(reason)}") for name, reason in report.not_run.items()]
    head = ("the sample clip, decoding included", "frames/s", "a frame, p50 and p99 (ms)", "our rate over its", "label flips in 100 frames")
    return [Table(head, rows), *said, *_said(run, "peers"), *absent]


def _latency(run: Run) -> list[Block]:
    rates = {fps: rate for fps, rate in open_rates(run).items() if rate.age_ms is not None}
    rows = []
    for fps, rate in rates.items():
        _, frames, _, dropped, p50, _, p99, most, period = open_row(fps, rate)
        rows.append((fps, f"{dropped} of {frames}", p50, p99, most, period))
    table = [Table(("camera, frames/s", "dropped", "age p50 (ms)", "p99", "max", "period (ms)"), rows)] if rows else []
    return [*table, *_said(run, "latency")]


def _scaling(run: Run) -> list[Block]:
    assert run.scaling is not None
    report = run.scaling
    blocks: list[Block] = []
    if report.faces is not None and "whole" in report.faces.fits:
        fit, lost = report.faces.fits["whole"], report.faces.lost_at
        until = "" if lost is None else f"; 25 frames/s are lost at {interval(lost)} faces"
        beyond = " (off the line: more than were measured)" if lost is not None and lost.estimate > report.faces.largest_measured else ""
        blocks.append(
            Words(f"A frame costs {interval(fit.fixed_ms)} ms and {interval(fit.each_ms)} ms for each face{until}{beyond}.{_doubt(report.faces.ran.invalid)}")
        )
    if report.streams is not None:
        invalid = next((point.ran.invalid for point in report.streams.points if point.ran.invalid), "")
        lost_by_n = ", ".join(f"{point.n} lost {point.lost} of {sum(stream.due for stream in point.streams)}" for point in report.streams.points)
        blocks.append(Words(f"Streams of {report.streams.fps:g} frames/s at once, {report.streams.window_s:g} s: {lost_by_n} frames.{_doubt(invalid)}"))
    if report.floor is not None:
        over = f"{interval(report.floor.frame_over_floor)} times the {number(report.floor.frame_floor_ms)} ms that this machine could do at best"
        blocks.append(
            Words(f"A frame with one face takes {interval(report.floor.frame.ms)} ms from the picture to its result, {over}.{_doubt(report.floor.ran.invalid)}")
        )
    return blocks or [Words("No curve was measured.")]


def _said(run: Run, kind: str) -> list[Block]:
    verdicts = [verdict for of, verdict in run.verdicts if of == kind]
    if not verdicts:
        return []
    others = [f"{each.name} is {each.word}: {measured(each)}, {limit(each.budget)}" for each in verdicts if each.word != "pass"]
    return [Words(f"Budgets kept: {len(verdicts) - len(others)} of {len(verdicts)}{''.join(f'; {other}' for other in others)}.")]


def _doubt(invalid: str) -> str:
    return f" The command calls this run invalid: {invalid}." if invalid else ""


NAMES: Mapping[str, Callable[[Run], list[Block]]] = {"machine": _machine, "peers": _peers, "latency": _latency, "scaling": _scaling}
