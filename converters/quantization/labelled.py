"""How often an emotion network is right on FER2013 in each precision: on its pictures as they are, which fill the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from converters.original import Array
from converters.quantization.card import Accuracy
from converters.quantization.trial import answers
from converters.training.fer2013 import LABELS, PRIVATE_TEST, read_fer2013
from converters.training.measure import wilson_interval
from edge import crop
from edge.errors import ConfigError
from edge.estimate import NumberRow
from edge.package import Package
from edge.stage import CropInput, Emotions, Stage


def emotion_stages(package: Package) -> list[Stage]:
    """Return the stages that read emotions from one crop."""
    return [stage for stage in package.manifest.stages if isinstance(stage.input, CropInput) and any(isinstance(output, Emotions) for output in stage.outputs)]


def accuracy(stage: Stage, fp32: Path, other: Path, data: Path) -> Accuracy:
    """Measure a network in FP32 and in another form on FER2013's PrivateTest.

    Args:
        stage: One of `emotion_stages`.
        fp32: ONNX file in FP32.
        other: ONNX file of the other form.
        data: The data set, see `converters.training.fer2013.read_fer2013`.

    Raises:
        ConfigError: The file is no FER2013, or none of its classes is one of the network's.
        EngineError: A network cannot be loaded.
    """
    assert isinstance(stage.input, CropInput)
    split = read_fer2013(data).splits[PRIVATE_TEST]
    output = next(output for output in stage.outputs if isinstance(output, Emotions))
    known = np.array([LABELS[label] in output.names for label in split.labels])
    if not known.any():
        raise ConfigError(f"{data.name} has no picture of {', '.join(output.names)}", hint="--evaluate is for packages with the emotions of FER2013")
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
        data=f"{data.name} {PRIVATE_TEST}",
        n=n,
        fp32=right / n,
        fp32_interval=wilson_interval(right, n),
        value=other_right / n,
        interval=wilson_interval(other_right, n),
        agreement=sum(map(str.__eq__, ours, others)) / n,
    )


def _labels(output: Emotions, rows: Array) -> Sequence[str]:
    numbers = NumberRow([output])
    estimates = [numbers.estimate(row).ranked for row in numbers.part(output, rows.reshape(len(rows), -1))]
    return [max(ranked, key=ranked.__getitem__) for ranked in estimates]
