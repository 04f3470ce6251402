"""The proof of the gate: a planted slowdown that it must find, and runs of a checkout against itself that it must let through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from benchmarks.budgets import Budget, Verdict, Word, judge
from benchmarks.gate.blocks import Measured, Side, Workload, measure
from benchmarks.gate.checkouts import Checkout
from benchmarks.gate.judgement import judge_gate
from benchmarks.timed_process import progress

PLANTED = 1.05


class Trial(msgspec.Struct, frozen=True):
    """One run of the gate, of a checkout against itself.

    Attributes:
        slow: The slowdown planted in head; 1 where there is none.
        measured: Every block.
        verdicts: On the median and on the 99th percentile.
    """

    slow: float
    measured: Measured
    verdicts: list[Verdict]

    @property
    def word(self) -> Word:
        """Return one word for the run: the first of `invalid`, `fail`, `unclear` and `pass` that one of its verdicts says."""
        words = {verdict.word for verdict in self.verdicts}
        order: tuple[Word, ...] = ("invalid", "fail", "unclear", "pass")
        return next(word for word in order if word in words)

    def lines(self) -> list[str]:
        """Return the trial for a person."""
        what = "base against itself" if self.slow == 1.0 else f"a slowdown of {self.slow - 1:.0%} planted"
        return [f"{self.word:8}{what}", *(f"        {verdict.line()}" for verdict in self.verdicts)]


def prove(checkout: Checkout, workload: Workload, *, quads: int, runs: int, budgets: Mapping[str, Budget]) -> list[Trial]:
    """Run the gate on a checkout against itself: once with a planted slowdown, then `runs` times without.

    Raises:
        RunFailed: A block failed.
    """
    trials = []
    for number in range(runs + 1):
        slow = PLANTED if number == 0 else 1.0
        measured = measure(Side("base", checkout), Side("head", checkout, slow), workload, quads, budgets)
        trial = Trial(slow, measured, judge_gate(measured, budgets))
        trials.append(trial)
        progress("\n".join([f"run {number + 1} of {runs + 1}:", *trial.lines()]))
    return trials


def judge_proof(trials: Sequence[Trial], budgets: Mapping[str, Budget]) -> list[Verdict]:
    """Say whether the gate is proven: the planted slowdown found in the median, and at most so many false alarms.

    A run that was invalid proves nothing: then the proof is invalid too.

    Args:
        trials: With planted slowdowns and without.
        budgets: Of which `gate.planted_found` and `gate.false_alarms` are used.
    """
    planted = [trial for trial in trials if trial.slow != 1.0]
    same = [trial for trial in trials if trial.slow == 1.0]
    found = sum(trial.verdicts[0].word == "fail" for trial in planted)
    alarms = sum(trial.word == "fail" for trial in same)
    return [
        judge("gate.planted_found", budgets["gate.planted_found"], found / len(planted), invalid=_why_invalid(planted)),
        judge("gate.false_alarms", budgets["gate.false_alarms"], float(alarms), invalid=_why_invalid(same)),
    ]


def summary(trials: Sequence[Trial]) -> str:
    """Return one line: how often each word came, with the planted slowdown and without."""
    parts = []
    for what, chosen in (("planted", [trial for trial in trials if trial.slow != 1.0]), ("against itself", [trial for trial in trials if trial.slow == 1.0])):
        words = [trial.word for trial in chosen]
        parts.append(f"{what}: {', '.join(f'{words.count(word)} {word}' for word in dict.fromkeys(words))}")
    return "; ".join(parts)


def _why_invalid(trials: Sequence[Trial]) -> str:
    invalid = [trial for trial in trials if trial.word == "invalid"]
    return f"{len(invalid)} of {len(trials)} runs were invalid: {invalid[0].verdicts[0].reason}" if invalid else ""
