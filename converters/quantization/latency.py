"""How long networks, or forms of a network, take on this machine, in turns."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from converters.original import Array
from edge.engine import close_engines
from edge.engine.engine import Engine
from edge.engine.pace import WORTHWHILE

BATCHES = (1, 8)
THREADS = 1
_WARM_UPS = 2
_MOST_ROUNDS = 31
# Fewer give no 95 % interval of a median that lies inside the values.
_LEAST_ROUNDS = 9
_SECONDS_EACH = 1.5
# The standard normal distribution's 97.5 % point.
_Z = 1.959964


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Wall time of one run of a network.

    Attributes:
        batch: Inputs in one run.
        fp32_ms: Median of the network in FP32.
        fp32_interval_ms: 95 % interval of that median.
        ms: Median of the other form.
        interval_ms: 95 % interval of that median.
        n_rounds: How many runs of each.
    """

    batch: int
    fp32_ms: float
    fp32_interval_ms: tuple[float, float]
    ms: float
    interval_ms: tuple[float, float]
    n_rounds: int

    @property
    def times(self) -> float:
        """How many times as fast as FP32."""
        return self.fp32_ms / self.ms


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Wall time of one run of a network.

    Attributes:
        batch: Inputs in one run.
        ms: Median.
        interval_ms: 95 % interval of the median.
        n_rounds: How many runs.
    """

    batch: int
    ms: float
    interval_ms: tuple[float, float]
    n_rounds: int


def side_by_side(fp32: Path, other: Path, feeds: Mapping[str, Array]) -> tuple[Latency, ...]:
    """Time two forms of a network.

    Args:
        fp32: ONNX file in FP32.
        other: ONNX file of the other form.
        feeds: As of `in_turns`.

    Returns:
        One entry for each of `BATCHES`.

    Raises:
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    return tuple(
        Latency(batch=plain.batch, fp32_ms=plain.ms, fp32_interval_ms=plain.interval_ms, ms=form.ms, interval_ms=form.interval_ms, n_rounds=form.n_rounds)
        for plain, form in zip(*in_turns((fp32, other), feeds), strict=True)
    )


def in_turns(networks: Sequence[Path], feeds: Mapping[str, Array]) -> tuple[tuple[Timing, ...], ...]:
    """Time networks on the CPU, one thread, in turns: whatever else the machine does meets all of them alike.

    Args:
        networks: ONNX files that take the same inputs.
        feeds: float32[at least 1, ...] by tensor name; repeated where there are fewer than a batch.

    Returns:
        For each network, one entry for each of `BATCHES`.

    Raises:
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    from edge.engine.ort import OrtEngine

    engines: list[Engine] = []
    try:
        for path in networks:
            engines += [OrtEngine(path, cuda=False, threads=THREADS)]
        batches = [_timed(engines, batch, {name: values[[i % len(values) for i in range(batch)]] for name, values in feeds.items()}) for batch in BATCHES]
        return tuple(zip(*batches, strict=True))
    finally:
        close_engines(engines)


def is_faster(latencies: Sequence[Latency]) -> bool:
    """Whether the other form is faster for one face by more than timing noise."""
    return any(latency.batch == 1 and latency.times >= WORTHWHILE for latency in latencies)


def processor() -> str:
    """Return the name of this machine's processor, as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _timed(engines: Sequence[Engine], batch: int, feeds: Mapping[str, Array]) -> list[Timing]:
    samples: list[list[float]] = [[] for _ in engines]
    begin = time.perf_counter()
    for turn in range(_WARM_UPS + _MOST_ROUNDS):
        if len(samples[0]) >= _LEAST_ROUNDS and time.perf_counter() - begin > _SECONDS_EACH * len(engines):
            break
        for engine, taken in zip(engines, samples, strict=True):
            start_ns = time.perf_counter_ns()
            engine.run(feeds)
            if turn >= _WARM_UPS:
                taken.append((time.perf_counter_ns() - start_ns) / 1e6)
    medians = [_median(sorted(taken)) for taken in samples]
    return [Timing(batch=batch, ms=ms, interval_ms=interval, n_rounds=len(samples[0])) for ms, interval in medians]


def _median(ordered: list[float]) -> tuple[float, tuple[float, float]]:
    """Median, and between which of the values it lies with 95 %: by the normal approximation to the binomial distribution of ranks."""
    n = len(ordered)
    half = _Z * math.sqrt(n) / 2
    low, high = max(0, math.floor((n - 1) / 2 - half)), min(n - 1, math.ceil((n - 1) / 2 + half))
    middle = ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
    return middle, (ordered[low], ordered[high])
