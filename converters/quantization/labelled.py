"""How often an emotion network is right on FER2013 in each precision: on its pictures as they are, which fill the network's input."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import CalibrationSet
from calibration.exclusion import read_exclusion, shared_with
from converters.original import Array
from converters.quantization.card import Accuracy
from converters.quantization.trial import answers
from converters.training.fer2013 import LABELS, PRIVATE_TEST, Split, read_fer2013
from converters.training.measure import wilson_interval
from edge import crop
from edge.errors import ConfigError
from edge.estimate import NumberRow
from edge.package import Package
from edge.stage import CropInput, Emotions, Stage


@dataclass(frozen=True)
class Labelled:
    """What accuracy is measured on.

    Attributes:
        name: Of the file and its split.
        split: FER2013's PrivateTest.
    """

    name: str
    split: Split


def read_labelled(path: Path, package: Package, calibration: CalibrationSet) -> Labelled:
    """Read what accuracy is to be measured on, and make sure that it can be.

    Args:
        path: FER2013, see `converters.training.fer2013.read_fer2013`.
        package: What is to be measured.
        calibration: The set that must not share a picture with it.

    Raises:
        ConfigError: The package reads no emotions from a crop, the file is no FER2013, none of its classes is one of the network's, or the calibration set
            has pictures of it.
    """
    stages = emotion_stages(package)
    if not stages:
        raise ConfigError(f"--evaluate: package '{package.name}' has no network that reads emotions from a crop", hint="leave it out")
    split = read_fer2013(path).splits[PRIVATE_TEST]
    for output in map(_output, stages):
        if not _known(output, split).any():
            raise ConfigError(f"{path.name} has no picture of {', '.join(output.names)}", hint="--evaluate is for packages with the emotions of FER2013")
    with tempfile.TemporaryDirectory(prefix="edge-evaluate-") as folder:
        # FER2013 comes in several forms; as an array of pictures it is one that exclusion reads.
        array = Path(folder) / f"{PRIVATE_TEST}.npy"
        np.save(array, split.pictures)
        shared = shared_with(calibration, read_exclusion([str(array)], say=lambda _: None))
    if shared:
        raise ConfigError(
            f"--evaluate: expected pictures that calibration set '{calibration.name}' does not know, it shares {len(shared)} with {path.name} {PRIVATE_TEST}",
            hint="build the set again without them: python -m calibration build ... --exclude FILE",
        )
    return Labelled(f"{path.name} {PRIVATE_TEST}", split)


def emotion_stages(package: Package) -> list[Stage]:
    """Return the stages that read emotions from one crop."""
    return [stage for stage in package.manifest.stages if isinstance(stage.input, CropInput) and any(isinstance(output, Emotions) for output in stage.outputs)]


def accuracy(stage: Stage, fp32: Path, other: Path, data: Labelled) -> Accuracy:
    """Measure a network in FP32 and in another form on FER2013's PrivateTest.

    Args:
        stage: One of `emotion_stages`.
        fp32: ONNX file in FP32.
        other: ONNX file of the other form.
        data: See `read_labelled`.

    Raises:
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    assert isinstance(stage.input, CropInput)
    split, output = data.split, _output(stage)
    known = _known(output, split)
    pictures = [cv2.resize(picture, stage.input.size_wh_px, interpolation=cv2.INTER_LINEAR) for picture in split.pictures[known]]
    if stage.input.color != "gray":
        pictures = [cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) for picture in pictures]
    feed = crop.batch([np.asarray(picture, np.uint8) for picture in pictures], stage.input)
    truth = [LABELS[label] for label in split.labels[known]]
    ours, others = (_labels(output, answers(path, {stage.input.tensor: feed})[output.tensor]) for path in (fp32, other))
    n = len(truth)
    right, other_right = (sum(map(str.__eq__, truth, labels)) for labels in (ours, others))
    return Accuracy(
        stage=stage.name,
        data=data.name,
        n=n,
        fp32=right / n,
        fp32_interval=wilson_interval(right, n),
        value=other_right / n,
        interval=wilson_interval(other_right, n),
        agreement=sum(map(str.__eq__, ours, others)) / n,
    )


def _output(stage: Stage) -> Emotions:
    return next(output for output in stage.outputs if isinstance(output, Emotions))


def _known(output: Emotions, split: Split) -> NDArray[np.bool_]:
    """bool[N]: the pictures whose class the network can name."""
    return np.array([LABELS[label] in output.names for label in split.labels])


def _labels(output: Emotions, rows: Array) -> Sequence[str]:
    numbers = NumberRow([output])
    estimates = [numbers.estimate(row).ranked for row in numbers.part(output, rows.reshape(len(rows), -1))]
    return [max(ranked, key=ranked.__getitem__) for ranked in estimates]
