from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.budgets import Budget, judge, load_budgets
from benchmarks.estimates import Interval
from edge.errors import ConfigError

AT_LEAST = Budget(limit=2.5, sense="at_least", unit="times", source="test")
AT_MOST = Budget(limit=33.0, sense="at_most", unit="ms", source="test")


def test_every_budget_says_its_unit_and_source() -> None:
    budgets = load_budgets()
    assert {"peers.fer", "peers.mediapipe", "latency.overhead", "loops.age_30", "validity.others_cpu"} <= budgets.keys()
    assert all(budget.unit and budget.source for budget in budgets.values())


_NO_SOURCE = "[a.b]\nlimit = 1.0\nsense = 'at_most'\nunit = 'x'\n"
_NO_SUCH_SENSE = "[a.b]\nlimit = 1.0\nsense = 'around'\nunit = 'x'\nsource = 'y'\n"


@pytest.mark.parametrize("text", [_NO_SOURCE, _NO_SUCH_SENSE, "a = ["])
def test_a_budget_that_means_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "budgets.toml").write_text(text)
    with pytest.raises(ConfigError, match="expected budgets with limit, sense, unit and source"):
        load_budgets(tmp_path / "budgets.toml")


def test_missing_budgets_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_budgets(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(2.6, 3.0, "pass"), (2.5, 2.5, "pass"), (2.0, 2.4, "fail"), (2.4, 2.6, "unclear")],
)
def test_an_interval_passes_only_when_all_of_it_does(low: float, high: float, word: str) -> None:
    assert judge("peers.fer", AT_LEAST, Interval((low + high) / 2, low, high)).word == word


def test_at_most_and_at_least_are_opposites() -> None:
    assert judge("loops.age_30", AT_MOST, 32.9).word == "pass"
    assert judge("loops.age_30", AT_MOST, 33.1).word == "fail"
    assert judge("peers.fer", AT_LEAST, 2.4).word == "fail"
    assert judge("loops.age_30", AT_MOST, math.nan).word == "fail"


def test_invalid_and_not_run_are_told_apart_from_pass_and_fail() -> None:
    invalid = judge("peers.fer", AT_LEAST, 9.0, invalid="other processes used 40% of the CPU")
    absent = judge("peers.fer", AT_LEAST, None, not_run="no wheel")
    assert (invalid.word, invalid.value) == ("invalid", 9.0)
    assert (absent.word, absent.value, absent.interval) == ("not run", None, None)
    assert "other processes" in invalid.line()
    assert "no value" in absent.line()
    assert "no wheel" in absent.line()
