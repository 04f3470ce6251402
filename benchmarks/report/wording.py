"""Numbers, intervals and budgets in words, the same everywhere in a report."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.budgets import Budget, Verdict
from benchmarks.estimates import Interval


def number(value: float | None) -> str:
    """Return a number with three significant digits, or whole where it is larger; `-` for none."""
    if value is None:
        return "-"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}" if abs(value) >= 0.9995 else f"{value:.3g}"


def bounds(low: float | None, high: float | None) -> str:
    """Return the two ends of an interval; `?` for one that is not known."""
    return f"[{'?' if low is None else number(low)}, {'?' if high is None else number(high)}]"


def interval(value: Interval) -> str:
    """Return an estimate with its interval."""
    return f"{number(value.estimate)} {bounds(value.low, value.high)}"


def percent(share: float) -> str:
    """Return a share as `65.8 %`."""
    return f"{100 * share:.1f} %"


def limit(budget: Budget) -> str:
    """Return a budget's limit with its unit."""
    return f"{budget.sense.replace('_', ' ')} {budget.limit:g} {budget.unit}"


def measured(verdict: Verdict) -> str:
    """Return what a verdict is about, with its interval where it has one."""
    return number(verdict.value) if verdict.interval is None else f"{number(verdict.value)} {bounds(*verdict.interval)}"


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def counted(words: Sequence[str]) -> str:
    """Return how often each word comes, in the order of their first coming."""
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
