"""Candidates of one stage on trial: run through the engine that users run, on inputs that nothing was calibrated with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx

from converters.original import Array
from converters.quantization.feeds import Moment, Recording, named_outputs, read_numbers
from converters.quantization.gate import Metric, compare, compare_readings, strain
from edge.engine import close_engines
from edge.engine.engine import Engine
from edge.package import Package
from edge.smooth import Values
from edge.stage import EmbeddingInput, Landmarks, Named, PointsInput, Stage

_BATCH = 8
# For ranking blocks against each other, not for judging.
_N_FOR_RANKING = 48
_THREADS = 1


class Trial:
    """Where the candidates of one stage are judged.

    Args:
        package: The package, whose networks in FP32 are the reference.
        stage: One of its stages.
        calibration: What its networks are fed by the calibration split: for ranking.
        held_out: By the held-out split: for judging.
        folder: For files of candidates.
    """

    def __init__(self, package: Package, stage: Stage, calibration: Recording, held_out: Recording, folder: Path) -> None:
        self.package, self.stage = package, stage
        self.feeds = calibration.feeds[stage.name]
        self._held_out = held_out
        self._file = folder / f"{stage.name}.candidate.onnx"
        self._taken = _taken(package, stage)
        self._later = _later_outputs(package, stage) if package.manifest.trained else []
        path = package.model_path(stage)
        self._reference = answers(path, held_out.feeds[stage.name])
        self._for_ranking = {name: values[:_N_FOR_RANKING] for name, values in self.feeds.items()}
        self._ranking_reference = answers(path, self._for_ranking)
        self._readings: list[list[Values] | None] | None = None

    def judge(self, model: onnx.ModelProto) -> tuple[Metric, ...]:
        """Compare a candidate with FP32 on the held-out inputs, and, where it passes there, in what the later stages say of what it gives.

        Raises:
            EngineError: It cannot be loaded.
            InferenceFailed: It cannot be run.
        """
        onnx.save(model, self._file)
        metrics = compare(
            self.stage, self._reference, answers(self._file, self._held_out.feeds[self.stage.name]), trained=self.package.manifest.trained, taken=self._taken
        )
        if self._later and strain(metrics) <= 1:
            if self._readings is None:
                self._readings = read_with(self.package, {}, self._held_out.moments())
            wanted = [(place, output) for place, output in enumerate(named_outputs(self.package)) if output in self._later]
            readings = read_with(self.package, {self.stage.name: self._file}, self._held_out.moments())
            metrics += compare_readings(wanted, self._readings, readings, prefix=f"with this {self.stage.name}: ")
        return metrics

    def harm(self, model: onnx.ModelProto) -> float:
        """Return how much a candidate loses on a few inputs of the calibration split, to rank candidates by: 0 for equal networks, infinite where it overflows.

        Raises:
            EngineError: It cannot be loaded.
            InferenceFailed: It cannot be run.
        """
        onnx.save(model, self._file)
        got = answers(self._file, self._for_ranking)
        metrics = compare(self.stage, self._ranking_reference, got, trained=self.package.manifest.trained, taken=self._taken)
        noise = max(_noise(expected, got[name]) for name, expected in self._ranking_reference.items())
        # Which of two near labels wins over a few inputs is chance; the divergence and the noise are not.
        return strain([metric for metric in metrics if not metric.name.startswith("label agreement")]) + noise


def answers(path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a network on inputs, eight at a time, one thread.

    Args:
        path: An ONNX file.
        feeds: float32[N, ...] by tensor name.

    Returns:
        float32[N, ...] by tensor name.

    Raises:
        EngineError: It cannot be loaded.
        InferenceFailed: It cannot be run.
    """
    from edge.engine.ort import OrtEngine

    engine = OrtEngine(path, cuda=False, threads=_THREADS)
    try:
        n = len(next(iter(feeds.values())))
        parts = [engine.run({name: values[start : start + _BATCH] for name, values in feeds.items()}) for start in range(0, n, _BATCH)]
    finally:
        engine.close()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_with(package: Package, instead: Mapping[str, Path], moments: Iterable[Moment]) -> list[list[Values] | None]:
    """Let a package look at moments with other networks for some of its stages; see `read_numbers`.

    Args:
        package: The package; the other stages run in FP32.
        instead: ONNX files by the name of the stage.
        moments: See `Recording.moments`.

    Raises:
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    from edge.engine.ort import OrtEngine

    engines: list[Engine] = []
    try:
        for stage in package.manifest.stages:
            path = instead[stage.name] if stage.name in instead else package.model_path(stage)
            engines += [OrtEngine(path, cuda=False, threads=_THREADS)]
        return read_numbers(package, engines, moments)
    finally:
        close_engines(engines)


def _noise(expected: Array, got: Array) -> float:
    if not np.isfinite(got).all():
        return float("inf")
    reference = expected.astype(np.float64)
    signal = ((reference - reference.mean(axis=0)) ** 2).mean()
    return float(((reference - got) ** 2).mean() / max(signal, 1e-30))


def _taken(package: Package, stage: Stage) -> list[str]:
    """The tensors of a stage that later stages take as embeddings."""
    return sorted({s.input.source for s in package.manifest.stages if isinstance(s.input, EmbeddingInput) and s.input.stage == stage.name})


def _later_outputs(package: Package, stage: Stage) -> list[Named]:
    """The numbers of later stages that depend on what a stage gives: on its landmarks, which also move the crops after it, or its embeddings."""
    stages = package.manifest.stages
    moves = any(isinstance(output, Landmarks) for output in stage.outputs)
    depends = {stage.name}
    for later in stages[stages.index(stage) + 1 :]:
        if moves or (isinstance(later.input, PointsInput | EmbeddingInput) and later.input.stage in depends):
            depends.add(later.name)
    return [output for s in stages if s.name in depends - {stage.name} for output in s.shown if isinstance(output, Named)]
