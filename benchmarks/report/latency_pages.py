"""`latency` in a report: stages, closed and open loop, start, memory, networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.estimates import percentile
from benchmarks.loops.scenario import Answers, Asked, Tail
from benchmarks.report.document import Block, Curves, Histograms, Picture, Series, Stacks, Table, Words
from benchmarks.report.results import Run, as_type
from benchmarks.report.stage_pages import stage_blocks
from benchmarks.report.wording import bounds, number, percent

SCENARIOS = (1, 8)  # faces a query of the two scenarios
_WHOLE = ("frame", "overhead")  # no parts of a frame: the frame itself, and what is left of it beside decoding and networks


class Rate(msgspec.Struct, frozen=True):
    """What the open loop keeps of one rate; attributes as `benchmarks.loops.open` writes them."""

    frames: int
    results: int
    with_face: int
    dropped: int
    age_ms: dict[str, float] | None
    p99: Tail | None
    ages_ms: list[float]
    machine: dict[str, Any]


def latency_blocks(run: Run, prefix: str) -> list[Block]:
    """Return tables and pictures of a run's latency report, part by part.

    Args:
        run: With a latency report.
        prefix: Of the pictures' names.

    Raises:
        ConfigError: A measurement has not the fields that it should.
    """
    assert run.latency is not None
    pages: Mapping[str, Callable[[Mapping[str, Any], str, Path], list[Block]]] = {
        "stages": _stages,
        "closed": _closed,
        "open": _open,
        "start": _start,
        "memory": _memory,
    }
    blocks: list[Block] = []
    for part in run.latency.parts:
        if part.name not in pages:
            blocks += stage_blocks(part)
            continue
        invalid = list(dict.fromkeys(verdict.reason for verdict in part.verdicts if verdict.word == "invalid"))
        blocks += [Words(f"INVALID, {part.name}: {reason}.") for reason in invalid]
        blocks += pages[part.name](part.numbers, prefix, _file_of(run))
    return blocks


def stage_medians(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Return the medians of the stages that make up a frame, in ms; names with a dot are inside others, and left out."""
    return {name: ms["p50"] for name, ms in numbers["stage_ms"].items() if name not in _WHOLE and "." not in name}


def open_rates(run: Run) -> dict[str, Rate]:
    """Return each rate of a run's open loop; none where it was not played.

    Raises:
        ConfigError: A rate has not the fields that it should.
    """
    parts = [part for part in run.latency.parts if part.name == "open"] if run.latency is not None else []
    return {fps: as_type(numbers, Rate, _file_of(run)) for part in parts for fps, numbers in part.numbers.items()}


def _stages(numbers: Mapping[str, Any], prefix: str, _path: Path) -> list[Block]:
    rows = [(name, *(number(ms[key]) for key in ("p50", "p95", "p99", "max"))) for name, ms in numbers["stage_ms"].items()]
    blocks: list[Block] = [
        Words(
            f"Stages of {numbers['frames']} frames, as fast as they go. frame is from one result to the next; overhead is what is left of it beside read "
            "(waiting for the decoder) and the networks; a name with a dot is a part of the name before it."
        ),
        Table(("stage (ms)", "p50", "p95", "p99", "max"), rows),
        Picture(f"{prefix}stages", "Median of each stage, stacked; parts of a stage are inside it.", Stacks({"a frame": stage_medians(numbers)}, "ms, median")),
    ]
    if "samples_ms" in numbers:
        caption = f"Every frame of the run, {len(numbers['samples_ms']['frame'])} of them."
        blocks.append(Picture(f"{prefix}frames", caption, Histograms({"a frame, as fast as they go": numbers["samples_ms"]["frame"]}, "ms")))
    return blocks


def _closed(numbers: Mapping[str, Any], prefix: str, path: Path) -> list[Block]:
    whole, networks = (as_type(numbers[key], Asked, path) for key in ("path", "networks"))
    answers = [*whole.answers, *networks.answers]
    most = max(len(each.ms) for each in answers)
    asked_in_full = [each for each in answers if each.batch in SCENARIOS and len(each.ms) == most]
    rows = [
        (_who(each), str(each.batch), number(each.first_ms), *(_tail(tail) for tail in (each.p50, each.p90, each.p99)), number(each.max_ms)) for each in answers
    ]
    shares = ", ".join(f"{faces}: {percent(share)}" for faces, share in numbers["frames_with_all_faces"].items())
    pictures = {f"{_who(each)}, {each.batch} a query": each.ms for each in asked_in_full}
    return [
        Words(
            f"Closed loop: the next query is asked when the last one is answered; up to {most} of each, the first call apart. Single stream is judged by its "
            "90th percentile, eight per query by its 99th (MLPerf Inference, Reddi et al. 2020, arXiv:1911.02549). Percentiles have 95 % intervals; ?: too few "
            f"samples for that end. Frames in which all faces were found, by faces: {shares}."
        ),
        Table(("who (ms a query)", "faces a query", "first call", "p50", "p90", "p99", "max"), rows),
        Picture(
            f"{prefix}closed", "Closed loop: every sample; lines: 50th (solid), 90th (dashed) and 99th (dotted) percentile.", Histograms(pictures, "ms a query")
        ),
        *_batch_curves(networks.answers, prefix),
    ]


def _batch_curves(answers: Sequence[Answers], prefix: str) -> list[Block]:
    curves: dict[str, list[Answers]] = {}
    for each in answers:
        curves.setdefault(_who(each), []).append(each)
    series = [
        Series(who, [each.batch for each in over], [each.p50.ms / each.batch for each in over], [_ends(each.p50, each.batch) for each in over])
        for who, over in curves.items()
        if len(over) > 1
    ]
    if not series:
        return []
    curves_of = Curves(series, "faces a query", "ms a face, median", x_log=True, y_log=True)
    return [Picture(f"{prefix}batches", "Cost of a face over the faces of a query, by network, precision and threads.", curves_of)]


def _open(numbers: Mapping[str, Any], prefix: str, path: Path) -> list[Block]:
    rates = {fps: as_type(each, Rate, path) for fps, each in numbers.items()}
    samples = {f"{fps} frames/s": rate.ages_ms for fps, rate in rates.items() if rate.ages_ms}
    head = ("frames/s", "frames", "with a face", "dropped", "age p50 (ms)", "p95", "p99", "max", "period (ms)")
    pictures = [Picture(f"{prefix}open", "Open loop: the age of every result, by rate.", Histograms(samples, "ms from capture to result"))] if samples else []
    return [
        Words("Open loop: frames come at a camera's pace, whether or not the last result is there; the age of a result is from capture to publishing."),
        Table(head, [open_row(fps, rate) for fps, rate in rates.items()]),
        *pictures,
    ]


def open_row(fps: str, rate: Rate) -> tuple[str, ...]:
    """Return one rate of the open loop as a row: rate, frames, with a face, dropped, age p50, p95, p99, max, period."""
    ages = ("-",) * 4
    if rate.age_ms is not None and rate.p99 is not None:
        ages = (number(rate.age_ms["p50"]), number(rate.age_ms["p95"]), _tail(rate.p99), number(rate.age_ms["max"]))
    return (fps, str(rate.frames), str(rate.with_face), str(rate.dropped), *ages, number(1e3 / float(fps)))


def _start(numbers: Mapping[str, Any], _prefix: str, _path: Path) -> list[Block]:
    seconds = numbers["seconds"]
    shown = ", ".join(number(each) for each in sorted(seconds))
    return [Words(f"From the start of the process to its first result: median {number(percentile(seconds, 50))} s of {len(seconds)} starts ({shown} s).")]


def _memory(numbers: Mapping[str, Any], prefix: str, _path: Path) -> list[Block]:
    rss_mb = numbers["rss_mb"]
    curve = Curves([Series("resident memory", range(1, len(rss_mb) + 1), rss_mb)], "passes over the clip in one process", "MB")
    caption = f"Resident memory after each pass: {number(rss_mb[0])} MB after the first, {number(rss_mb[-1])} MB after the last."
    return [Picture(f"{prefix}memory", caption, curve)]


def _file_of(run: Run) -> Path:
    return Path(run.name) / "latency.json"


def _who(each: Answers) -> str:
    threads = "" if each.threads is None else f", {each.threads} thread{'s' * (each.threads > 1)}"
    return f"{each.what}, {each.precision}{threads}"


def _tail(tail: Tail) -> str:
    return f"{number(tail.ms)} {bounds(tail.low, tail.high)}"


def _ends(tail: Tail, batch: int) -> tuple[float, float]:
    return tail.low / batch, (tail.ms if tail.high is None else tail.high) / batch
