"""Queries in a closed loop: the next one is asked when the last one is answered.

Scenarios are those of MLPerf Inference: *single stream* is one sample a query, its figure the 90th percentile; *eight per query* is its multiple stream in the
form of the rules since version 2.0, its figure the 99th percentile. Its runs last ten minutes and are stopped early by a rule of their own; ours have a fixed
number of queries, and each percentile has its interval.

Source: Reddi et al. 2020, MLPerf Inference Benchmark, arXiv:1911.02549; MLCommons, inference_rules.adoc, table of scenarios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.budgets import Budget, Verdict, judge
from benchmarks.estimates import Interval, percentile
from benchmarks.loops.turns import take_turns

QUERIES = 1024  # Source: Reddi et al. 2020, the fewest queries of a single-stream run
BLOCKS = 8  # turns of each case
WARM_UPS = 10
_Z = 1.959963985  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Case:
    """Something that can be asked again and again.

    Attributes:
        what: Who answers, such as `default/face`.
        precision: Of its network; of the path, as asked for.
        batch: Faces a query.
        threads: Of one query on the CPU; None where that is not ours to set.
        queries: How many are timed.
        ask: Asks once and returns the milliseconds until the answer.
    """

    what: str
    precision: str
    batch: int
    threads: int | None
    queries: int
    ask: Callable[[], float]


class Tail(msgspec.Struct, frozen=True):
    """A percentile with its 95 % interval, in ms; `high` is None where there are too few samples for one."""

    ms: float
    low: float
    high: float | None

    def __str__(self) -> str:
        """Return it as a line of the report has it."""
        return f"{self.ms:.2f} [{self.low:.2f}, {'?' if self.high is None else f'{self.high:.2f}'}]"


class Answers(msgspec.Struct, frozen=True):
    """How long a case took: every sample in its order, none left out but the warm-up.

    Attributes:
        what: Of the case, as are precision, batch and threads.
        first_ms: The very first query, in which memory is taken and kernels are chosen; in no percentile.
        p50: Median.
        p90: 90th percentile: the figure of the single stream.
        p99: 99th percentile: the figure of eight per query.
        max_ms: The slowest.
        ms: All of them.
    """

    what: str
    precision: str
    batch: int
    threads: int | None
    first_ms: float
    p50: Tail
    p90: Tail
    p99: Tail
    max_ms: float
    ms: list[float]


class Asked(msgspec.Struct, frozen=True):
    """What cases that took turns came to.

    Attributes:
        answers: In the order of the cases.
        machine: How it was before and after, and what others did on it.
        invalid: Why the samples cannot be trusted; empty where they can.
    """

    answers: list[Answers]
    machine: dict[str, Any]
    invalid: str


def ask_in_turns(cases: Sequence[Case], budgets: Mapping[str, Budget], *, gpu_is_warm: bool) -> Asked:
    """Ask every case as often as it wants, in blocks that take turns.

    Args:
        cases: At least one, each with at least one query.
        budgets: As of `take_turns`.
        gpu_is_warm: As of `take_turns`.
    """
    named = {f"{number} {case.what}": case for number, case in enumerate(cases)}
    asks, queries = {name: case.ask for name, case in named.items()}, {name: case.queries for name, case in named.items()}
    turns = take_turns(asks, queries, BLOCKS, budgets, warm_ups=WARM_UPS, gpu_is_warm=gpu_is_warm)
    answers = [_answers(case, turns.first_ms[name], turns.samples_ms[name]) for name, case in named.items()]
    return Asked(answers, turns.machine, turns.invalid)


def tail(values_ms: Sequence[float], percent: float) -> Tail:
    """Return a percentile and its 95 % interval, which assumes nothing of the distribution: its ends are samples, chosen by the binomial distribution.

    The samples are taken for independent; what slows many queries in a row makes the interval too narrow.

    Args:
        values_ms: At least one sample.
        percent: In (0, 100).

    Raises:
        ValueError: There are no values.

    Source: Conover 1999, Practical Nonparametric Statistics, 3rd edition, section 3.2 (large-sample form).
    """
    ordered, share, n = sorted(values_ms), percent / 100, len(values_ms)
    half = _Z * math.sqrt(n * share * (1 - share))
    low, high = math.floor(n * share - half), math.ceil(n * share + half)
    estimate = percentile(values_ms, percent)
    return Tail(ms=estimate, low=ordered[max(low, 1) - 1], high=ordered[high - 1] if high <= n else None)


def judge_tail(name: str, budget: Budget, measured: Tail | None, n: int, *, invalid: str = "", not_run: str = "") -> Verdict:
    """Compare a percentile with its budget; where there are too few samples for the upper end of its interval, nothing passes.

    Args:
        name: Full key of the budget, which is of the sense `at_most`.
        budget: The limit.
        measured: The percentile; None where there is none.
        n: Of how many samples.
        invalid: Why the run cannot be trusted; empty where it can.
        not_run: Why there is no measurement.
    """
    if measured is None or measured.high is not None:
        interval = None if measured is None or measured.high is None else Interval(measured.ms, measured.low, measured.high)
        return judge(name, budget, interval, invalid=invalid, not_run=not_run)
    verdict = judge(name, budget, measured.ms, invalid=invalid)
    open_end = f"{n} samples are too few for the upper end of its interval"
    unclear = verdict.word == "pass" or (verdict.word == "fail" and budget.holds(measured.low))
    return msgspec.structs.replace(verdict, word="unclear", reason=open_end) if unclear else verdict


def _answers(case: Case, first_ms: float, ms: list[float]) -> Answers:
    p50, p90, p99 = (tail(ms, percent) for percent in (50, 90, 99))
    return Answers(case.what, case.precision, case.batch, case.threads, first_ms, p50, p90, p99, max(ms), ms)
