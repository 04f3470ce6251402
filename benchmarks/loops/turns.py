"""Times several things in turns: whatever else the machine does meets all of them alike.

The samples are those of one process. Another start of it has its own luck with memory and cores, which can move all of its times together by a few per cent:
an interval of such samples says what this process would show again, not what the next one will. What has to tell such a difference apart starts new processes
(`benchmarks/gate/blocks.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from benchmarks.budgets import Budget
from benchmarks.environment import MachineWatch


class Turns(msgspec.Struct, frozen=True):
    """What came of the turns.

    Attributes:
        samples_ms: By name, every sample in its order.
        first_ms: By name, the very first call, in which memory is taken and kernels are chosen; it is no sample.
        machine: How it was before and after, and what others did on it; as of `MachineWatch.end`.
        invalid: Why the samples cannot be trusted; empty where they can.
    """

    samples_ms: dict[str, list[float]]
    first_ms: dict[str, float]
    machine: dict[str, Any]
    invalid: str


def take_turns(
    asks: Mapping[str, Callable[[], float]], samples: Mapping[str, int], turns: int, budgets: Mapping[str, Budget], *, warm_ups: int, gpu_is_warm: bool
) -> Turns:
    """Ask everything as often as it shall be, in turns, and keep every answer; the order turns round from one turn to the next.

    Args:
        asks: By name, what asks once and returns milliseconds.
        samples: By name, how many are wanted; they are spread over the turns.
        turns: How many, at least one.
        budgets: Of which those of `validity` that `MachineWatch` uses.
        warm_ups: Calls of each before the first that is kept, beside the very first.
        gpu_is_warm: As of `MachineWatch`: what is timed runs on a GPU in this process.
    """
    first_ms = {name: ask() for name, ask in asks.items()}
    _warm_up(asks, warm_ups)
    watch = MachineWatch(gpu_is_warm=gpu_is_warm)
    if gpu_is_warm:
        _warm_up(asks, warm_ups)  # it idled while the machine was looked at
    taken: dict[str, list[float]] = {name: [] for name in asks}
    for turn in range(turns):
        # Who always runs after the same other one finds that one's leftovers in the caches.
        for name in [*asks][:: 1 if turn % 2 == 0 else -1]:
            due = samples[name] * (turn + 1) // turns
            taken[name] += [asks[name]() for _ in range(due - len(taken[name]))]
    machine, invalid = watch.end(budgets)
    return Turns(taken, first_ms, machine, invalid)


def _warm_up(asks: Mapping[str, Callable[[], float]], warm_ups: int) -> None:
    for ask in asks.values():
        for _ in range(warm_ups):
            ask()


def timed_ms(call: Callable[[], object]) -> float:
    """Call it and return how many milliseconds that took."""
    start_ns = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start_ns) / 1e6
