"""What the quads of a gate run say: slower, not slower, or that nobody can tell.

One number a quad, head over base, of the median and of the 99th percentile of the frame times; of these numbers the median over the quads, with its
95 % bootstrap interval (`benchmarks.estimates.median_interval`). The median over quads and not their mean: a block in which the machine did something
else for a moment moves one quad, and must not move the verdict.

Three zones (an interval against two limits, as in a test of non-inferiority):

- `fail`: the whole interval is above the limit. By chance alone this happens in about 1 of 30 runs at most for each of the two, whatever the noise, for the
  interval of 6 quads or more lies above the truth in 3 to 4 % of runs (simulated); of 2 quads in 28 %, so that fewer than 6 are refused;
- `pass`: it is not, and the whole interval is below the slowdown that a pass excludes: had head been so slow, the run would have seen it;
- `unclear`: the interval is too wide for either. More quads, or a quieter machine; or `--counts`.

Source: Walker & Nowacki 2011, Understanding equivalence and noninferiority testing, doi:10.1007/s11606-010-1513-8.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.budgets import Budget, Verdict, Word
from benchmarks.estimates import Interval, median_interval, percentile
from benchmarks.gate.blocks import Measured

PERCENTS = {"gate.median": 50.0, "gate.p99": 99.0}
# Fewer have no 95 % interval of a median at all that holds for every distribution: from the lowest of 5 to the highest are 94 %, of 6 97 %.
# Source: Conover 1999, Practical Nonparametric Statistics, 3rd edition, section 3.2 (1 - 2 / 2^n).
MIN_QUADS = 6


def judge_gate(measured: Measured, budgets: Mapping[str, Budget]) -> list[Verdict]:
    """Return the verdicts on the median and on the 99th percentile of the frame times.

    Args:
        measured: At least 2 quads.
        budgets: Of which `gate.*` and `validity.others_cpu` are used.
    """
    invalid = "; ".join(why_invalid(measured, budgets))
    return [
        judge_ratio(name, budgets, median_interval([quad.ratio(percent) for quad in measured.counted]), invalid=invalid) for name, percent in PERCENTS.items()
    ]


def judge_ratio(name: str, budgets: Mapping[str, Budget], ratio: Interval, *, invalid: str = "") -> Verdict:
    """Compare a ratio of head over base with its limit, and with the slowdown that a pass must exclude.

    Args:
        name: Key of the limit; that of the slowdown is the same with `_excluded`.
        budgets: Both limits.
        ratio: The estimate and its interval.
        invalid: Why the run cannot be trusted; empty where it can.
    """
    budget, excluded = budgets[name], budgets[f"{name}_excluded"]
    word: Word
    reason = invalid
    if invalid:
        word = "invalid"
    elif ratio.low > budget.limit:
        word = "fail"
    elif ratio.high < excluded.limit:
        word = "pass"
    else:
        word = "unclear"
        reason = f"a slowdown of {excluded.limit - 1:.0%} is not excluded: more --quads, or --profile full, or a quieter machine"
    return Verdict(name=name, word=word, value=ratio.estimate, interval=(ratio.low, ratio.high), reason=reason, budget=budget)


def why_invalid(measured: Measured, budgets: Mapping[str, Budget]) -> list[str]:
    """Return the reasons why a run says nothing; none where it does.

    Args:
        measured: At least 2 quads.
        budgets: Of which `validity.others_cpu`, `gate.drift` and `gate.differing_faces` are used.
    """
    reasons = []
    loud = [max(block.others_cpu for block in quad.blocks) for quad in measured.quads if quad.loud]
    if len(measured.quads) - len(loud) < measured.wanted:
        limit = budgets["validity.others_cpu"].limit
        reasons.append(f"other processes used up to {max(loud):.0%} of the CPU (limit {limit:.0%}) in {len(loud)} of {len(measured.quads)} quads")
    moved, allowed = drift(measured), budgets["gate.drift"]
    if not allowed.holds(moved):
        reasons.append(f"base itself changed its frame time by a factor of {moved:.2f} between the first and the last quads (limit {allowed.limit:g})")
    same = budgets["gate.differing_faces"]
    if not same.holds(measured.differing_faces):
        reasons.append(f"the sides find different numbers of faces on {measured.differing_faces:.1%} of the frames (limit {same.limit:.0%}): not the same work")
    return reasons


def drift(measured: Measured) -> float:
    """Return by what factor, at least 1, base's median frame time differs between the first third of the quads and the last: the machine's clock or load.

    Args:
        measured: At least 2 quads.
    """
    base_ms = [quad.frame_ms("base", 50) for quad in measured.counted]
    third = max(1, len(base_ms) // 3)
    first, last = percentile(base_ms[:third], 50), percentile(base_ms[-third:], 50)
    return max(first / last, last / first)
