"""Rounds of things that are compared with each other: samples of the same index were taken one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.budgets import Budget
from benchmarks.limits.finding import Device
from benchmarks.loops.turns import Turns, take_turns, timed_ms

WARM_UPS = 2  # beside the first call: arenas, caches and clocks settle


def in_turns(calls: Mapping[str, Callable[[], object]], rounds: int, device: Device, budgets: Mapping[str, Budget]) -> Turns:
    """Call everything once in each round, and keep every sample.

    Args:
        calls: What to time, by name.
        rounds: How many samples of each, at least two.
        device: What it runs on.
        budgets: As of `take_turns`.

    Raises:
        ValueError: There are fewer than two rounds, which have no spread.
    """
    if rounds < 2:
        raise ValueError(f"expected at least 2 rounds, got {rounds}")
    asks = {name: partial(timed_ms, call) for name, call in calls.items()}
    return take_turns(asks, dict.fromkeys(calls, rounds), rounds, budgets, warm_ups=WARM_UPS, gpu_is_warm=device == "gpu")
