"""How long two forms of a network take on this machine, in turns."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from converters.original import Array
from edge.engine.engine import Engine
from edge.engine.pace import WORTHWHILE

BATCHES = (1, 8)
THREADS = 1
_WARM_UPS = 2
_MOST_ROUNDS = 31
# Fewer give no 95 % interval of a median that lies inside the values.
_LEAST_ROUNDS = 9
_SECONDS = 3.0
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


def side_by_side(fp32: Path, other: Path, feeds: Mapping[str, Array]) -> tuple[Latency, ...]:
    """Time two forms of a network on the CPU, one thread, in turns.

    Args:
        fp32: ONNX file in FP32.
        other: ONNX file of the other form.
        feeds: float32[at least 1, ...] by tensor name; repeated where there are fewer than a batch.

    Returns:
        One entry for each of `BATCHES`.

    Raises:
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    from edge.engine.ort import OrtEngine

    engines = [OrtEngine(path, cuda=False, threads=THREADS) for path in (fp32, other)]
    try:
        return tuple(_timed(engines, batch, {name: values[[i % len(values) for i in range(batch)]] for name, values in feeds.items()}) for batch in BATCHES)
    finally:
        for engine in engines:
            engine.close()


def is_faster(latencies: Sequence[Latency]) -> bool:
    """Whether the other form is faster for one face by more than timing noise."""
    return any(latency.batch == 1 and latency.times >= WORTHWHILE for latency in latencies)


def processor() -> str:
    """Return the name of this machine's processor, as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _timed(engines: Sequence[Engine], batch: int, feeds: Mapping[str, Array]) -> Latency:
    samples: tuple[list[float], list[float]] = ([], [])
    begin = time.perf_counter()
    for turn in range(_WARM_UPS + _MOST_ROUNDS):
        if len(samples[0]) >= _LEAST_ROUNDS and time.perf_counter() - begin > _SECONDS:
            break
        for engine, taken in zip(engines, samples, strict=True):
            start_ns = time.perf_counter_ns()
            engine.run(feeds)
            if turn >= _WARM_UPS:
                taken.append((time.perf_counter_ns() - start_ns) / 1e6)
    (fp32_ms, fp32_interval), (ms, interval) = (_median(sorted(taken)) for taken in samples)
    return Latency(batch=batch, fp32_ms=fp32_ms, fp32_interval_ms=fp32_interval, ms=ms, interval_ms=interval, n_rounds=len(samples[0]))


def _median(ordered: list[float]) -> tuple[float, tuple[float, float]]:
    """Median, and between which of the values it lies with 95 %: by the normal approximation to the binomial distribution of ranks."""
    n = len(ordered)
    half = _Z * math.sqrt(n) / 2
    low, high = max(0, math.floor((n - 1) / 2 - half)), min(n - 1, math.ceil((n - 1) / 2 + half))
    middle = ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
    return middle, (ordered[low], ordered[high])
