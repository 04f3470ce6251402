"""What a limit came to on one device in one precision: the document's statement, our figure, and the word that joins them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from benchmarks.estimates import Interval, median_interval
from edge.package import Precision

Device = Literal["cpu", "gpu"]
Limit = Literal["L1", "L2", "L3", "L4", "L5"]
Word = Literal["holds", "does not hold", "unclear", "invalid", "not run"]

LIMITS: tuple[Limit, ...] = ("L1", "L2", "L3", "L4", "L5")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
DEVICES: tuple[Device, ...] = ("cpu", "gpu")


class Point(msgspec.Struct, frozen=True):
    """One thing that was timed.

    Attributes:
        name: What it is: `33 blocks`, `inceptionv4-22, batch 8`, `2 streams`.
        size: The number that it stands over in a plot: blocks, batch, streams, frames a second.
        statistic: What `ms` estimates.
        ms: Milliseconds, with the 95 % interval.
        samples_ms: Every sample, in the order in which they were taken.
        first_ms: The first call, which is no sample; None where it was not seen apart.
    """

    name: str
    size: float
    statistic: Literal["median", "p99"]
    ms: Interval
    samples_ms: list[float]
    first_ms: float | None


class Ran(msgspec.Struct, frozen=True):
    """On what something was measured.

    Attributes:
        device: What ran the networks.
        precision: Of the networks.
        engine: What ran them, in its own words.
        machine: How it was before and after, and what others did on it; as of `MachineWatch.end`.
        invalid: Why the run cannot be trusted; empty where it can.
    """

    device: Device
    precision: Precision
    engine: str
    machine: dict[str, Any]
    invalid: str


class Finding(msgspec.Struct, frozen=True):
    """One row of the report.

    Attributes:
        limit: L1 to L5.
        device: What ran it.
        precision: Of the networks.
        subject: What the row is about: a rate, a batch, a network.
        stated: The document's statement in our words, with its number.
        figure: Our figure for a person.
        value: The number in `figure`; None where there is none.
        interval: 95 % interval of `value`; an end that was not met within what was measured is None.
        word: Whether the statement holds on this device; `unclear` where the interval lies on both sides; `invalid` where the run cannot be trusted.
        reason: Why it is `invalid`, `unclear` or `not run`; else empty.
        engine: What ran the networks; empty where nothing ran.
        machine: As in `Ran`; None where nothing ran.
        points: What was timed for it.
    """

    limit: Limit
    device: Device
    precision: Precision
    subject: str
    stated: str
    figure: str
    value: float | None
    interval: tuple[float | None, float | None] | None
    word: Word
    reason: str
    engine: str
    machine: dict[str, Any] | None
    points: list[Point]

    def line(self) -> str:
        """Return one line for a person."""
        reason = f"; {self.reason}" if self.reason else ""
        figure = f": {self.figure}" if self.figure else ""
        return f"{self.limit} {self.device} {self.precision} {self.word:14}{self.subject}{figure}. Stated: {self.stated}{reason}"


def point(name: str, size: float, samples_ms: Sequence[float], first_ms: float | None) -> Point:
    """Return what was timed with the median of its samples.

    Args:
        name: What it is.
        size: The number that it stands over in a plot.
        samples_ms: At least two.
        first_ms: The first call, which is none of them.

    Raises:
        ValueError: There are fewer than two samples.
    """
    return Point(name, size, "median", median_interval(samples_ms), [*samples_ms], first_ms)


def found(
    limit: Limit,
    ran: Ran,
    subject: str,
    stated: str,
    *,
    figure: str,
    value: float | None,
    interval: tuple[float | None, float | None] | None,
    sides: Sequence[bool],
    points: Sequence[Point],
) -> Finding:
    """Return the row of something that was measured; arguments as of `Finding`.

    Args:
        limit: L1 to L5.
        ran: On what.
        subject: What the row is about.
        stated: The document's statement.
        figure: Ours, for a person.
        value: Ours.
        interval: Of `value`.
        sides: At least one: whether the statement is true at each end of what was measured.
        points: What was timed.

    Raises:
        ValueError: There are no sides.
    """
    if not sides:
        raise ValueError("expected at least one side to judge a statement by, got none")
    word: Word = "invalid" if ran.invalid else "unclear" if len(set(sides)) > 1 else "holds" if sides[0] else "does not hold"
    reason = ran.invalid or ("the interval lies on both sides" if word == "unclear" else "")
    return Finding(limit, ran.device, ran.precision, subject, stated, figure, value, interval, word, reason, ran.engine, ran.machine, [*points])


def not_run(limit: Limit, device: Device, precision: Precision, subject: str, stated: str, reason: str) -> Finding:
    """Return the row of something that was not measured, with the reason."""
    return Finding(limit, device, precision, subject, stated, "", None, None, "not run", " ".join(reason.split()), "", None, [])
