"""How long networks take here, side by side: what decides between two precisions on the machine that runs them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from edge.engine.engine import Array, Engine

# A precision that loses accuracy must gain more than timing noise. Source: the contract keeps INT8 only where it is faster; 5 % is our reading of that.
WORTHWHILE = 1.05
_WARM_UPS = 3
_ROUNDS = 15


@runtime_checkable
class Timed(Protocol):
    """An engine that may have to wait for another thread's inference, and can tell how long its own took."""

    def timed_run(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], float]:
        """Run the network: the outputs, and the milliseconds from the moment that the engine was free."""
        ...


@runtime_checkable
class Parted(Engine, Protocol):
    """An engine of a GPU, which can time its copies and its network apart."""

    def parts_ms(self, feeds: Mapping[str, Array]) -> dict[str, float]:
        """Run the network once; return the milliseconds of `h2d`, `compute` and `d2h` by the GPU's clock, as far as there are such parts."""
        ...


def timed_run(engine: Engine, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], float]:
    """Run a network; what passes while another thread's inference is waited for does not count.

    Args:
        engine: A network that is loaded.
        feeds: See `edge.engine.engine.Engine.run`.

    Returns:
        The outputs, and milliseconds.

    Raises:
        SpecMismatch: A name, shape or dtype is not the network's.
        InferenceFailed: The network failed.
    """
    if isinstance(engine, Timed):
        return engine.timed_run(feeds)
    start_ns = time.perf_counter_ns()
    answers = engine.run(feeds)
    return answers, (time.perf_counter_ns() - start_ns) / 1e6


def side_by_side_ms(*candidates: Sequence[Engine]) -> list[float]:
    """Return how long each candidate, the networks of one precision, takes for one face.

    Args:
        candidates: Networks that are loaded. They run in turns, so that a change of clocks meets all of them.

    Returns:
        Milliseconds, the median of 15 rounds, in the order of the candidates.

    Raises:
        InferenceFailed: A network failed.
    """
    feeds = [
        [{name: np.zeros([1, *(size or 1 for size in shape[1:])], np.float32) for name, shape in engine.input_shapes.items()} for engine in engines]
        for engines in candidates
    ]
    taken: list[list[float]] = [[] for _ in candidates]
    for turn in range(_WARM_UPS + _ROUNDS):
        for engines, of_engines, samples in zip(candidates, feeds, taken, strict=True):
            taken_ms = sum(timed_run(engine, feed)[1] for engine, feed in zip(engines, of_engines, strict=True))
            if turn >= _WARM_UPS:
                samples.append(taken_ms)
    return [statistics.median(samples) for samples in taken]
