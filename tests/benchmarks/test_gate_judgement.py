"""The gate's statistics on frame times whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.estimates import median_interval
from benchmarks.gate.blocks import ORDER, Block, Measured, Quad
from benchmarks.gate.judgement import MIN_QUADS, drift, judge_gate

BUDGETS = load_budgets()
FRAMES = 20


def simulated(
    random: np.random.Generator,
    *,
    quads: int,
    luck: float,
    slow: float = 1.0,
    disturbed: float = 0.0,
    loud: int = 0,
    drifts: float = 1.0,
    tail: float = 1.0,
) -> Measured:
    """A run whose processes differ from each other by `luck` (standard deviation of the logarithm), with one slow frame in 20 that takes twice as long."""
    done = []
    for number in range(quads + loud):
        blocks = []
        for side in ORDER:
            factor = np.exp(random.normal(0, luck)) * (drifts ** (number / max(1, quads + loud - 1)))
            factor *= slow if side == "head" else 1.0
            factor *= np.exp(random.exponential(0.15)) if random.random() < disturbed else 1.0
            frames = 5e6 * factor * np.exp(random.normal(0, 0.05, FRAMES))
            frames[-1] *= 2 * (tail if side == "head" else 1.0)
            blocks.append(Block(side, 1.0, 0.3 if number < loud else 0.01, 1.0, 0, 0, 0, [round(ns) for ns in frames]))
        done.append(Quad(blocks, loud=number < loud))
    return Measured(quads, done, 0.0, {})


def _words(measured: Measured) -> tuple[str, str]:
    median, p99 = judge_gate(measured, BUDGETS)
    assert (median.name, p99.name) == ("gate.median", "gate.p99")
    return median.word, p99.word


def test_a_run_against_itself_fails_in_at_most_one_of_twenty_however_loud_the_noise() -> None:
    random = np.random.default_rng(1)
    for luck in (0.01, 0.3):
        runs = [judge_gate(simulated(random, quads=10, luck=luck, disturbed=0.05), BUDGETS) for _ in range(60)]
        # by the intervals, for much noise also looks like drift, and would be called invalid
        above = [any(verdict.interval is None or verdict.interval[0] > verdict.budget.limit for verdict in verdicts) for verdicts in runs]
        assert sum(above) <= 3


@pytest.mark.parametrize(("quads", "share"), [(MIN_QUADS, 0.06), (10, 0.06), (20, 0.06)])
def test_an_interval_of_enough_quads_lies_above_the_truth_in_about_1_of_30_runs(quads: int, share: float) -> None:
    assert _above_the_truth(quads) < share


def test_an_interval_of_too_few_quads_does_not() -> None:
    assert _above_the_truth(2) > 0.15


def _above_the_truth(quads: int) -> float:
    random = np.random.default_rng(10)
    return float(np.mean([median_interval(np.exp(random.normal(0, 0.1, quads)).tolist()).low > 1.0 for _ in range(200)]))


def test_a_planted_slowdown_of_5_percent_is_nearly_always_found_where_processes_differ_by_1_percent() -> None:
    random = np.random.default_rng(2)
    words = [_words(simulated(random, quads=20, luck=0.01, slow=1.05, disturbed=0.05))[0] for _ in range(40)]
    assert words.count("fail") >= 37
    assert "pass" not in words


def test_a_run_against_itself_passes_where_processes_differ_by_1_percent() -> None:
    random = np.random.default_rng(3)
    words = [_words(simulated(random, quads=10, luck=0.01, disturbed=0.05)) for _ in range(40)]
    assert words.count(("pass", "pass")) >= 34


def test_noise_that_could_hide_a_slowdown_is_unclear_and_no_pass() -> None:
    random = np.random.default_rng(4)
    runs = [judge_gate(simulated(random, quads=6, luck=0.06), BUDGETS)[0] for _ in range(20)]
    unclear = [verdict for verdict in runs if verdict.word == "unclear"]
    assert len(unclear) >= 10
    assert not any(verdict.word == "fail" for verdict in runs)
    assert "a slowdown of 5% is not excluded: more --quads" in unclear[0].reason


def test_a_slower_tail_fails_alone() -> None:
    random = np.random.default_rng(5)
    assert _words(simulated(random, quads=10, luck=0.01, tail=1.5)) == ("pass", "fail")


def test_a_faster_head_passes() -> None:
    assert _words(simulated(np.random.default_rng(6), quads=10, luck=0.01, slow=0.8)) == ("pass", "pass")


def test_steady_drift_cancels_and_much_of_it_is_invalid() -> None:
    random = np.random.default_rng(7)
    warming = simulated(random, quads=10, luck=0.005, drifts=1.06)
    assert _words(warming) == ("pass", "pass")
    throttled = simulated(random, quads=10, luck=0.005, drifts=1.4, slow=1.5)
    assert drift(throttled) == pytest.approx(1.4**0.7, rel=0.1)
    assert _words(throttled) == ("invalid", "invalid")
    assert "base itself changed its frame time by a factor of 1." in judge_gate(throttled, BUDGETS)[0].reason


def test_loud_quads_do_not_count_and_too_many_are_invalid() -> None:
    random = np.random.default_rng(8)
    some = simulated(random, quads=10, luck=0.005, loud=4)
    assert len(some.counted) == 10
    assert not any(quad.loud for quad in some.counted)
    assert _words(some) == ("pass", "pass")
    few = Measured(10, some.quads[:8], 0.0, {})
    verdict = judge_gate(few, BUDGETS)[0]
    assert verdict.word == "invalid"
    assert verdict.value is not None
    assert "other processes used up to 30% of the CPU (limit 10%) in 4 of 8 quads" in verdict.reason


def test_a_head_that_loses_faces_is_invalid_and_not_faster() -> None:
    measured = simulated(np.random.default_rng(9), quads=4, luck=0.005, slow=0.5)
    verdict = judge_gate(Measured(4, measured.quads, 0.2, {}), BUDGETS)[0]
    assert verdict.word == "invalid"
    assert "different numbers of faces on 20.0% of the frames (limit 1%)" in verdict.reason


def test_a_quad_takes_geometric_means() -> None:
    times = {"base": [100.0, 400.0], "head": [300.0, 300.0]}
    blocks = [Block(side, 1.0, 0.0, 1.0, 0, 0, 0, [round(times[side].pop() * 1e6)] * 3) for side in ORDER]
    quad = Quad(blocks, loud=False)
    assert quad.frame_ms("base", 50) == pytest.approx(200.0)
    assert quad.ratio(50) == pytest.approx(1.5)
    assert quad.ratio(99) == pytest.approx(1.5)


def test_the_order_of_a_quad_cancels_what_grows_steadily() -> None:
    blocks = [Block(side, 1.0, 0.0, 1.0, 0, 0, 0, [round(5e6 * 1.1**number)] * 3) for number, side in enumerate(ORDER)]
    assert Quad(blocks, loud=False).ratio(50) == pytest.approx(1.0)
