"""The system of document 003: dlib's face embedding, then a perceptron."""

from __future__ import annotations

import sys
from pathlib import Path

from converters import known_files
from converters.from_dlib.embedding_network import SIDE_PX
from converters.from_dlib.onnx_from_dlib import INPUT, OFFSETS, OUTPUT, SCALE
from converters.original import Original
from converters.registry import fetch
from converters.systems.system import System, from_trained
from converters.training.fer2013 import LABELS
from edge.errors import require
from edge.package import Origin, file_sha256
from edge.stage import CropInput, EmbeddingInput, Emotions, EyesRegion, Stage

WEIGHTS = "perceptron.keras"

EMBEDDING = Stage(
    name="embedding",
    model="embedding.onnx",
    input=CropInput(
        tensor=INPUT,
        color="rgb",
        size_wh_px=(SIDE_PX, SIDE_PX),
        # dlib's chip of 150 pixels with a padding of a quarter. Source: BlazeFace's eyes in dlib's own chips (358 FER2013 pictures, medians): they are 0.358 of
        # the width apart at 0.315 of the height; on 59 frames of the sample clip 0.366 and 0.318.
        region=EyesRegion(eye_distance=0.358, eye_line=0.315),
        scale=SCALE,
        offset=OFFSETS,
    ),
    outputs=(),
)
PERCEPTRON = Stage(
    name="mlp",
    model="mlp.onnx",
    input=EmbeddingInput(tensor="face_embedding", stage="embedding", source=OUTPUT),
    outputs=(Emotions(tensor="emotions", activation="none", labels=LABELS),),  # the network ends in a softmax
)


def _embedding_mlp(folder: Path) -> dict[str, Original]:
    require("dlib", install="make frameworks", why="comparing the embedding network with dlib's own run of it")
    require("keras", install="make frameworks", why="the perceptron")
    from converters.from_dlib.dlib_run import DlibOriginal
    from converters.from_keras.keras_file import load_keras
    from converters.from_keras.keras_original import KerasOriginal

    (embedding,) = fetch([known_files.DLIB_EMBEDDING], say=_to_stderr)
    perceptron = folder / WEIGHTS
    return {
        EMBEDDING.name: DlibOriginal(embedding),
        PERCEPTRON.name: KerasOriginal(load_keras(perceptron), name=PERCEPTRON.name, sha256=file_sha256(perceptron)),
    }


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


_DLIB = known_files.DLIB_EMBEDDING
SYSTEMS = (
    System(
        id="embedding-mlp-7",
        document="document 003",
        framework="dlib and Keras",
        description="RGB face 150x150 -> 128-number embedding (dlib's ResNet-29) -> perceptron 128-86-64-32-16 -> 7 emotions",
        reported="54 % on FER2013; Kaggle 2013: winner 71 %, tenth 62.1 %",
        stages=(EMBEDDING, PERCEPTRON),
        build=from_trained("embedding-mlp-7", _embedding_mlp),
        load=_embedding_mlp,
        licence="Apache-2.0 (perceptron), CC0-1.0 (embedding)",
        trained=True,
        origins=(Origin(file=_DLIB.members[-1], package=_DLIB.wheel.requirement, sha256=_DLIB.sha256, framework="dlib", licence=_DLIB.licence, url=_DLIB.url),),
    ),
)
