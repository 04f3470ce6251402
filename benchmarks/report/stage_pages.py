"""Single stages against those of others: networks against LiteRT, our detector against YuNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from benchmarks.estimates import Interval, percentile
from benchmarks.latency import Part
from benchmarks.report.document import Block, Table, Words
from benchmarks.report.wording import interval, number, one_line


def stage_blocks(part: Part) -> list[Block]:
    """Return one comparison of single stages.

    Args:
        part: `networks` or `detectors`; another one is shown as its own command printed it.
    """
    invalid = dict.fromkeys(verdict.reason for verdict in part.verdicts if verdict.word == "invalid")
    blocks: list[Block] = [Words(f"INVALID, {part.name}: {one_line(reason)}.") for reason in invalid]
    if part.name == "networks" and part.numbers:
        return [*blocks, *_networks(part.numbers)]
    if part.name == "detectors" and "samples_ms" in part.numbers:
        return [*blocks, *_detectors(part.numbers)]
    return [*blocks, *(Words(line) for line in part.lines)]


def _networks(numbers: Mapping[str, Any]) -> list[Block]:
    rows = []
    for name, each in numbers.items():
        medians = (number(percentile(each["samples_ms"][whose], 50)) for whose in ("ours", "litert"))
        rows.append((name, *medians, interval(msgspec.convert(each["ratio"], Interval))))
    return [
        Words("Each converted network against LiteRT running the file that it was converted from, one thread, in turns."),
        Table(("network", "ours (ms)", "LiteRT (ms)", "times LiteRT's"), rows),
    ]


def _detectors(numbers: Mapping[str, Any]) -> list[Block]:
    rows = []
    for name, samples_ms in numbers["samples_ms"].items():
        ratio = numbers["ratios"].get(name)
        times = "-" if ratio is None else interval(msgspec.convert(ratio, Interval))
        found = f"{numbers['pictures_with_face'][name]} of {numbers['pictures']}"
        rows.append((name, number(percentile(samples_ms, 50)), number(percentile(samples_ms, 99)), times, found, numbers["what"][name]))
    said: list[Block] = [Words(f"INVALID, detectors: {numbers['invalid']}.")] if numbers["invalid"] else []
    return [
        *said,
        Words("Detectors on the same pictures, one thread, in turns."),
        Table(("detector", "a picture, p50 (ms)", "p99", "our time over its", "pictures with a face", "what it is"), rows),
    ]
