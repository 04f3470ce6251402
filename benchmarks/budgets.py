"""The limits of `budgets.toml` and what a measurement says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.estimates import Interval
from edge.errors import ConfigError

BUDGETS_FILE = Path(__file__).with_name("budgets.toml")

Word = Literal["pass", "fail", "unclear", "invalid", "not run"]


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit.

    Attributes:
        limit: In `unit`.
        sense: On which side of the limit it is kept.
        unit: What is counted.
        source: Who says so.
    """

    limit: float
    sense: Literal["at_least", "at_most"]
    unit: str
    source: str

    def holds(self, value: float) -> bool:
        """Return True where `value` keeps the limit. NaN keeps none."""
        return value >= self.limit if self.sense == "at_least" else value <= self.limit


class Verdict(msgspec.Struct, frozen=True):
    """What a run says of a budget.

    Attributes:
        name: The budget's key, such as `peers.fer`.
        word: `pass` or `fail` where the whole interval lies on one side; `unclear` where it straddles the limit; `invalid` where the run cannot be
            trusted; `not run` where there is no measurement.
        value: The estimate; None without a measurement.
        interval: 95 % interval of the estimate; None for a single measurement.
        reason: Why it is `invalid` or `not run`; else empty.
        budget: The limit itself, so that a report stands alone.
    """

    name: str
    word: Word
    value: float | None
    interval: tuple[float, float] | None
    reason: str
    budget: Budget

    def line(self) -> str:
        """Return one line for a person."""
        sense = self.budget.sense.replace("_", " ")
        value = "no value" if self.value is None else f"{self.value:.3g}"
        interval = "" if self.interval is None else f" [{self.interval[0]:.3g}, {self.interval[1]:.3g}]"
        reason = f"; {self.reason}" if self.reason else ""
        return f"{self.word:8}{self.name}: {value}{interval}, budget {sense} {self.budget.limit:g} {self.budget.unit}{reason}"


def load_budgets(path: Path = BUDGETS_FILE) -> dict[str, Budget]:
    """Return every budget by its full key, such as `latency.start`.

    Raises:
        ConfigError: The file cannot be read, or has a key or a value that means nothing.
    """
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=dict[str, dict[str, Budget]])
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"expected budgets with limit, sense, unit and source in {path}: {error}") from error
    return {f"{group}.{name}": budget for group, budgets in tables.items() for name, budget in budgets.items()}


def judge(name: str, budget: Budget, measured: float | Interval | None, *, invalid: str = "", not_run: str = "") -> Verdict:
    """Compare a measurement with its budget.

    Args:
        name: Full key of the budget.
        budget: The limit.
        measured: One number, or an estimate with its interval; None where there is none.
        invalid: Why the run cannot be trusted; empty where it can.
        not_run: Why there is no measurement.
    """
    value = measured.estimate if isinstance(measured, Interval) else measured
    interval = (measured.low, measured.high) if isinstance(measured, Interval) else None
    word: Word
    if value is None:
        word = "not run"
    elif invalid:
        word = "invalid"
    else:
        sides = {budget.holds(end) for end in (interval or (value,))}
        word = "unclear" if len(sides) > 1 else "pass" if sides == {True} else "fail"
    return Verdict(name=name, word=word, value=value, interval=interval, reason=not_run if value is None else invalid, budget=budget)
