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
from converters.quantization.gate import called
from converters.quantization.trial import answers
from converters.training.fer2013 import LABELS, PRIVATE_TEST, Split, majorities, read_fer2013
from converters.training.measure import wilson_interval
from edge import crop
from edge.errors import ConfigError
from edge.estimate import NumberRow
from edge.package import Package
from edge.result import EMOTIONS
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
        ConfigError: The package reads no emotions from a crop, the file is no FER2013, lacks the votes that an output was taught, none of its classes is one
            of the network's, or the calibration set has pictures of it.
    """
    outputs = [output for stage in package.manifest.stages for output in emotions_of(stage)]
    if not outputs:
        raise ConfigError(f"--evaluate: package '{package.name}' has no network that reads emotions from a crop", hint="leave it out")
    split = read_fer2013(path).splits[PRIVATE_TEST]
    for output in outputs:
        if output.convention == "seen" and split.votes is None:
            raise ConfigError(
                f"--evaluate: {path.name} has no votes of FER+, which emotions '{output.tensor}' were taught",
                hint="an .npz with ferplus_votes, or fer2013new.csv beside the .csv: see converters.training.fer2013",
            )
        if not len(_truth(output, split)[0]):
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


def emotions_of(stage: Stage) -> list[Emotions]:
    """Return the outputs by which a stage reads emotions from one crop, shown or not."""
    return [output for output in stage.outputs if isinstance(output, Emotions)] if isinstance(stage.input, CropInput) else []


def accuracy(stage: Stage, output: Emotions, fp32: Path, other: Path, data: Labelled) -> Accuracy:
    """Measure a network in FP32 and in another form on FER2013's PrivateTest: an output that says what people see on what people saw.

    Args:
        stage: The network's.
        output: One of `emotions_of` it.
        fp32: ONNX file in FP32.
        other: ONNX file of the other form.
        data: See `read_labelled`.

    Raises:
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    assert isinstance(stage.input, CropInput)
    rows, truth = _truth(output, data.split)
    pictures = [cv2.resize(picture, stage.input.size_wh_px, interpolation=cv2.INTER_LINEAR) for picture in data.split.pictures[rows]]
    if stage.input.color != "gray":
        pictures = [cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) for picture in pictures]
    feed = crop.batch([np.asarray(picture, np.uint8) for picture in pictures], stage.input)
    ours, others = (_labels(output, answers(path, {stage.input.tensor: feed})[output.tensor]) for path in (fp32, other))
    n = len(truth)
    right, other_right = (sum(map(str.__eq__, truth, labels)) for labels in (ours, others))
    return Accuracy(
        stage=stage.name,
        output=called(output),
        data=f"{data.name}, clear majorities of FER+" if output.convention == "seen" else data.name,
        n=n,
        fp32=right / n,
        fp32_interval=wilson_interval(right, n),
        value=other_right / n,
        interval=wilson_interval(other_right, n),
        agreement=sum(map(str.__eq__, ours, others)) / n,
    )


def _truth(output: Emotions, split: Split) -> tuple[NDArray[np.intp], list[str]]:
    """The pictures whose class the output can name, and that class."""
    if output.convention == "seen":
        assert split.votes is not None  # `read_labelled` has made sure
        names = [EMOTIONS[emotion] if emotion >= 0 else "" for emotion in majorities(split.votes)]
    else:
        names = [LABELS[label] for label in split.labels]
    rows = np.flatnonzero([name in output.names for name in names])
    return rows, [names[row] for row in rows]


def _labels(output: Emotions, rows: Array) -> Sequence[str]:
    numbers = NumberRow([output])
    estimates = [numbers.estimate(row).ranked for row in numbers.part(output, rows.reshape(len(rows), -1))]
    return [max(ranked, key=ranked.__getitem__) for ranked in estimates]
