"""Whether a plan answers live inputs as ONNX Runtime does: the last look before it takes over."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge.engine.engine import Array, Engine
from edge.engine.pace import timed_run
from edge.errors import EngineError
from edge.package import Precision

# How many live inputs both must have answered. Source: our choice; a quarter of a second of video, and other faces with every start.
N_COMPARED = 8

_REPORT = "--engine onnxruntime runs it; report it with the GPU and the versions that edge-doctor shows"


@dataclass(frozen=True)
class Tolerance:
    """How far answers may lie from those of ONNX Runtime; each output must meet one of the two.

    Attributes:
        least_snr_db: Signal-to-noise ratio, over all values of the output.
        most_rms: Root of the mean squared difference, in the output's own unit: values near zero have no signal to speak of.
    """

    least_snr_db: float
    most_rms: float


# To catch a plan that computes something else (answers of zero, or twice the right ones, have 0 dB), not to judge accuracy: the gate of `python -m converters
# quantize` has measured that. Source: the networks of `default` and `blazeface` on a clip, against FP32, all in ONNX Runtime: FP16 has 50 to 74 dB; INT8,
# calibrated on a dozen inputs, 9 to 33 dB; INT8 that truncates where it should round, -5 to 19 dB.
TOLERANCES: Mapping[Precision, Tolerance] = {"fp32": Tolerance(50, 1e-4), "fp16": Tolerance(30, 1e-3), "int8": Tolerance(5, 1e-2)}


class Likeness:
    """What two engines answered to the same inputs.

    Args:
        reference: ONNX Runtime.
        candidate: The plan.

    Raises:
        EngineError: They take or give other tensors.
    """

    def __init__(self, reference: Engine, candidate: Engine) -> None:
        for what in ("input_shapes", "output_shapes"):
            expected, got = sorted(getattr(reference, what)), sorted(getattr(candidate, what))
            if expected != got:
                raise EngineError(f"its plan has {what.partition('_')[0]}s {got}, expected {expected}", hint=_REPORT)
        self._engines = (reference, candidate)
        self._taken_ms: tuple[list[float], list[float]] = ([], [])
        self._sums = {name: _Sums() for name in reference.output_shapes}

    def answer(self, feeds: Mapping[str, Array]) -> None:
        """Let both answer one input.

        Raises:
            EngineError: One fails, or the candidate's answer is of another shape or not finite.
        """
        answers = []
        for engine, taken_ms in zip(self._engines, self._taken_ms, strict=True):
            answer, ms = timed_run(engine, feeds)
            answers.append(answer)
            taken_ms.append(ms)
        reference, candidate = answers
        for name, sums in self._sums.items():
            sums.add(name, reference[name], candidate[name])

    def check(self, *precisions: Precision) -> None:
        """Compare all answers.

        Args:
            precisions: Of the two networks; the coarser one tells how far they may lie apart.

        Raises:
            EngineError: They are not alike.
        """
        tolerance = min((TOLERANCES[precision] for precision in precisions), key=lambda tolerance: tolerance.least_snr_db)
        for name, sums in self._sums.items():
            if sums.snr_db < tolerance.least_snr_db and sums.rms > tolerance.most_rms:
                measured = f"'{name}' has {sums.snr_db:.1f} dB over {len(self._taken_ms[0])} live inputs, limit {tolerance.least_snr_db:g} dB"
                raise EngineError(f"its plan answers otherwise than ONNX Runtime: {measured}", hint=_REPORT)

    @property
    def median_ms(self) -> tuple[float, float]:
        """How long an answer took, each engine's median."""
        reference, candidate = map(statistics.median, self._taken_ms)
        return reference, candidate


@dataclass
class _Sums:
    """Over the values of one output."""

    n: int = 0
    signal: float = 0.0
    noise: float = 0.0

    def add(self, name: str, reference: Array, candidate: Array) -> None:
        if reference.shape != candidate.shape:
            raise EngineError(f"its plan gives {list(candidate.shape)} for '{name}', expected {list(reference.shape)}", hint=_REPORT)
        if not np.isfinite(candidate).all():
            raise EngineError(f"its plan gives numbers that are not finite for '{name}'", hint=_REPORT)
        self.n += reference.size
        self.signal += float(np.square(reference, dtype=np.float64).sum())
        self.noise += float(np.square(np.subtract(candidate, reference, dtype=np.float64)).sum())

    @property
    def snr_db(self) -> float:
        if self.noise == 0:
            return np.inf
        return 10 * float(np.log10(self.signal / self.noise)) if self.signal else -np.inf

    @property
    def rms(self) -> float:
        return float(np.sqrt(self.noise / self.n))
