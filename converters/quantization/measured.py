"""What a package's networks come to in one precision: each of them, all of them together, and their speed on this machine."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import onnx

from converters.quantization.candidates import Candidate
from converters.quantization.card import Accuracy, Calibrated, PrecisionCard, StageCard, not_faster
from converters.quantization.feeds import Recording, named_outputs
from converters.quantization.gate import Metric, compare_readings, failures, lost, strain
from converters.quantization.labelled import Labelled, accuracy, emotions_of
from converters.quantization.latency import THREADS, Latency, is_faster, processor, side_by_side
from converters.quantization.trial import read_with
from converters.registry import Say
from edge.package import Package, Reduced, file_sha256, model_file
from edge.stage import Stage

_LIBRARIES = ("numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Bench:
    """Where a precision is measured.

    Attributes:
        package: The package, whose networks in FP32 are the reference.
        calibrated: What stands in the card of the calibration set.
        held_out: What judges.
        folder: Takes the files of the precision's networks.
        evaluate: What accuracy is measured on, or None.
        say: Takes progress lines.
    """

    package: Package
    calibrated: Calibrated
    held_out: Recording
    folder: Path
    evaluate: Labelled | None
    say: Say

    def card(self, precision: Reduced, candidates: Mapping[str, Candidate]) -> PrecisionCard:
        """Write the networks that are kept, and measure them.

        Args:
            precision: Of the candidates.
            candidates: By the name of the stage.

        Raises:
            EngineError: A network cannot be loaded.
            InferenceFailed: A network cannot be run.
        """
        stages = {stage.name: stage for stage in self.package.manifest.stages}
        accuracies: list[Accuracy] = []
        cards = {name: self._stage_card(stages[name], precision, candidate, accuracies) for name, candidate in candidates.items()}
        together = self._together(precision, cards)
        return PrecisionCard(
            calibration=self.calibrated,
            stages=cards,
            together=together,
            machine=f"{processor()}, ONNX Runtime on the CPU, {THREADS} thread",
            versions={"python": platform.python_version(), **{name: metadata.version(name) for name in _LIBRARIES}},
            accuracy=tuple(each for each in accuracies if cards[each.stage].file),
        )

    def _stage_card(self, stage: Stage, precision: Reduced, candidate: Candidate, accuracies: list[Accuracy]) -> StageCard:
        """Write a network, time it and see what it is right about, which goes into `accuracies`; it is taken away again where it is refused."""
        reason, metrics, latency = candidate.reason, candidate.metrics, tuple[Latency, ...]()
        path = self.folder / model_file(stage, precision)
        if candidate.model is not None:
            onnx.save(candidate.model, path)
            losses = self._losses(stage, path, accuracies)
            metrics += losses
            reason = reason or "; ".join(failures(losses))
            if precision == "int8":
                latency = side_by_side(self.package.model_path(stage), path, self.held_out.feeds[stage.name])
                reason = reason or self._too_slow(stage, candidate, latency)
        if reason:
            path.unlink(missing_ok=True)
        card = StageCard(
            precision="fp32" if reason else precision,
            verdict="refused" if reason else "kept",
            reason=reason,
            metrics=metrics,
            file="" if reason else path.name,
            sha256="" if reason else file_sha256(path),
            fp32_sha256=self.package.manifest.files[stage.model],
            calibrator=candidate.calibrator,
            harms={name: harm if math.isfinite(harm) else None for name, harm in candidate.harms.items()},
            back_in_float=candidate.back,
            n_blocks=candidate.n_blocks,
            n_quantised=candidate.n_quantised,
            keep_fp32=len(candidate.keep_fp32),
            latency=latency,
            faster_here=is_faster(latency) if latency else None,
        )
        if line := not_faster(stage.name, card):
            self.say(line)
        return card

    def _losses(self, stage: Stage, path: Path, accuracies: list[Accuracy]) -> tuple[Metric, ...]:
        """What each of a network's emotion outputs loses on pictures with labels; nothing where there are none."""
        if self.evaluate is None:
            return ()
        losses = []
        for output in emotions_of(stage):
            each = accuracy(stage, output, self.package.model_path(stage), path, self.evaluate)
            accuracies.append(each)
            losses.append(lost(output, each.fp32 - each.value, each.n))
        return tuple(losses)

    def _too_slow(self, stage: Stage, candidate: Candidate, latency: tuple[Latency, ...]) -> str:
        """Why INT8 with some blocks in float is not worth it; empty where it is, or where none of it in float gains nothing here either."""
        if is_faster(latency) or not candidate.back or candidate.full is None:
            return ""
        full = self.folder / f"{stage.name}.full.onnx"
        onnx.save(candidate.full, full)
        gained = is_faster(side_by_side(self.package.model_path(stage), full, self.held_out.feeds[stage.name]))
        full.unlink()
        return f"with {len(candidate.back)} of {candidate.n_blocks} blocks back in float it is no faster than fp32" if gained else ""

    def _together(self, precision: Reduced, cards: dict[str, StageCard]) -> tuple[Metric, ...]:
        """Compare the whole package with FP32 through the runtime; where that fails, the network that is nearest to its own limits goes back."""
        package = self.package
        if not package.manifest.trained or package.manifest.task != "face-affect":
            return ()
        outputs = list(enumerate(named_outputs(package)))
        expected = read_with(package, {}, self.held_out.moments())
        while len(kept := {name: self.folder / card.file for name, card in cards.items() if card.file}) > 1:
            metrics = compare_readings(outputs, expected, read_with(package, kept, self.held_out.moments()), prefix="")
            if strain(metrics) <= 1:
                return metrics
            worst = max(kept, key=lambda name: strain(cards[name].metrics))
            why = "; ".join(failures(metrics))
            self.say(f"{package.name}: {precision} of {', '.join(kept)} together: {why}: {worst} stays in fp32")
            kept[worst].unlink()
            old = cards[worst]
            cards[worst] = StageCard(
                precision="fp32",
                verdict="refused",
                reason=f"together with {', '.join(name for name in kept if name != worst)}: {why}",
                metrics=old.metrics,
                fp32_sha256=old.fp32_sha256,
                latency=old.latency,
                faster_here=old.faster_here,
            )
        return ()
