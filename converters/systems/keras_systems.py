"""The rows of the Keras systems. Nothing here imports Keras before a network is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from converters.errors import ConversionError
from converters.original import Original
from converters.systems.system import System, Warmth
from edge.stage import BoxRegion, CropInput, Emotions, FrameInput, Scores, Stage

# Source: keras.applications.efficientnet_v2 normalises the variants B0 to B3 by ImageNet's mean and deviation of [0, 1], red, green, blue.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Stretched, as Keras loads the pictures of a folder: the documents give the network every picture whole at 256x256, so it has never seen bars beside one.
_WHOLE_PICTURE = Stage(
    name="sadness",
    model="sadness.onnx",
    input=FrameInput(
        tensor="picture",
        color="rgb",
        size_wh_px=(256, 256),
        resize="stretch",
        scale=tuple(1 / (255 * deviation) for deviation in _DEVIATION),
        offset=tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),
    ),
    outputs=(Scores(tensor="probabilities", activation="none", labels=("sadness", "not sadness")),),
)

# Source of scale and offset: keras.applications' `preprocess_input` of both bodies, [-1, 1]. The crop is ours: the document does not say how faces were cut.
_FACE = Stage(
    name="emotions",
    model="emotions.onnx",
    input=CropInput(tensor="crop", color="rgb", size_wh_px=(299, 299), region=BoxRegion(level_eyes=False), scale=1 / 127.5, offset=-1.0),
    outputs=(Emotions(tensor="probabilities", activation="none", labels=("angry", "disgusted", "afraid", "happy", "neutral")),),
)


def _build(name: str, stage: Stage) -> Callable[[Warmth, int], dict[str, Original]]:
    def build(warmth: Warmth, seed: int) -> dict[str, Original]:
        from converters.systems.keras_networks.networks import untrained

        tensor = stage.input.tensor
        if tensor not in warmth.get(stage.name, {}):
            raise ConversionError(f"an untrained network needs real inputs to set its statistics from: '{tensor}' of the stage '{stage.name}' is missing")
        return {stage.name: untrained(name, warmth[stage.name][tensor], seed)}

    return build


def _load(name: str, stage: Stage) -> Callable[[Path], dict[str, Original]]:
    def load(path: Path) -> dict[str, Original]:
        from converters.systems.keras_networks.networks import loaded

        return {stage.name: loaded(name, path)}

    return load


def _sadness(name: str, description: str, reported: str) -> System:
    return System(
        id=name,
        document="documents 000 and 001",
        framework="Keras",
        description=f"whole picture 256x256 -> {description} -> sadness or not",
        reported=f"{reported}; 61,074 pictures, a tenth of them for the test, mean and deviation of 5 runs",
        stages=(_WHOLE_PICTURE,),
        build=_build(name, _WHOLE_PICTURE),
        load=_load(name, _WHOLE_PICTURE),
        detector="",
    )


def _emotions(name: str, description: str, reported: str) -> System:
    return System(
        id=name,
        document="document 002",
        framework="Keras",
        description=f"face 299x299 -> {description}, flatten, dropout, batch norm, dense -> 5 emotions",
        reported=f"{reported}; on a part of 1,380 pictures of its own",
        stages=(_FACE,),
        build=_build(name, _FACE),
        load=_load(name, _FACE),
    )


_GRAM = "EfficientNetV2-B2 with {} Gram modules (reconstruction: taps and widths are ours)"

SYSTEMS: tuple[System, ...] = (
    _sadness("effnetv2b2-sadness", "EfficientNetV2-B2", "accuracy 81.368 +- 0.174 %"),
    _sadness("effnetv2b2-gram2", _GRAM.format(2), "accuracy 81.772 +- 0.118 %"),
    _sadness("effnetv2b2-gram3", _GRAM.format(3), "accuracy 81.806 +- 0.177 %; 95 % interval of the gain 0.146 to 0.726 points"),
    _sadness("effnetv2b2-gram4", _GRAM.format(4), "accuracy 81.826 +- 0.086 %"),
    _sadness(
        "zhang-multilevel",
        "EfficientNetV2-B2 with Gram matrices of shallow layers (reconstruction after Zhang et al. 2022 as the document describes it)",
        "accuracy 81.542 +- 0.238 %",
    ),
    _emotions("inceptionv3-5", "InceptionV3", "F1 0.90, 22,982,437 parameters"),
    _emotions("mobilenetv2-5", "MobileNetV2", "F1 0.93, 3,409,989 parameters"),
)
