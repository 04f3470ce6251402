"""The PyTorch systems, of documents 002 and 004.

Every network gives logits and the package names what is applied to them. Document 004 resizes faces to 98x80 and normalises gray values as (x - 127) / 128.
Its detector gives squares, so they are stretched; they are not turned, for it does not say so. It orders the action units, not the emotions: those stand in the
order of its application's window.

Ours, where the documents are silent: the widths of AR1 to AR5 and of every perceptron; that AR4's extractor, which the document calls one of features, names
the 15 action units, and that a sigmoid makes presences of them; version 1 of Inception-ResNet; the crops and ImageNet's normalisation of document 002's two;
and that 98 is the height (an equation of document 004 has it the other way round).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from converters.original import Original
from converters.systems.system import System, Warmth
from converters.systems.torch_networks.residual_blocks import blocks_of_stages
from edge.result import ACTION_UNITS, EMOTIONS
from edge.stage import (
    ActionUnits,
    BoxRegion,
    ClipAudioInput,
    ClipInput,
    CropInput,
    EmbeddingInput,
    Emotions,
    Spectrogram,
    Stage,
    StageInput,
)

# What the classifiers of torchvision and timm are trained with. Source: https://docs.pytorch.org/vision/stable/models.html, transforms of the weights.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

_UPRIGHT = BoxRegion(level_eyes=False)
# Document 004's crop, and its normalisation (x - 127) / 128.
_STRETCHED = BoxRegion(level_eyes=False, stretch=True)
_CROP_WH_PX = (80, 98)
_SCALE, _OFFSET = 1 / 128, -127 / 128
_N_AUS = len(ACTION_UNITS)
_WITHOUT_NEUTRAL = tuple(name for name in EMOTIONS if name != "neutral")
# Rule E2 predicts neutral where all other scores are "very low"; the document gives no number.
_NEUTRAL_BELOW = 0.5

_Networks = Mapping[str, tuple[str, int, int]]  # see `torch_networks.originals`

_RECONSTRUCTION = "a reconstruction: the document describes it in words and leaves its figures out"
_UNTRAINED = "nothing: the network is untrained"


def _gray_crop() -> CropInput:
    return CropInput(tensor="crop", color="gray", size_wh_px=_CROP_WH_PX, region=_STRETCHED, scale=_SCALE, offset=_OFFSET)


def _rgb_crop(side_px: int) -> CropInput:
    scale = tuple(1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION)
    offset = tuple(-mean / deviation for mean, deviation in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True))
    return CropInput(tensor="crop", color="rgb", size_wh_px=(side_px, side_px), region=_UPRIGHT, scale=scale, offset=offset)


def _action_units(tensor: str, columns: tuple[int, int] | None = None) -> ActionUnits:
    return ActionUnits(tensor=tensor, activation="sigmoid", labels=ACTION_UNITS, quantity="presence", learned_from=_UNTRAINED, columns=columns)


def _both(*, neutral_rule: bool = False) -> tuple[ActionUnits | Emotions, ...]:
    labels = _WITHOUT_NEUTRAL if neutral_rule else EMOTIONS
    return (
        _action_units("logits", (0, _N_AUS)),
        Emotions(
            tensor="logits",
            activation="sigmoid",
            labels=labels,
            columns=(_N_AUS, _N_AUS + len(labels)),
            neutral_below=_NEUTRAL_BELOW if neutral_rule else None,
        ),
    )


def _document_002(name: str, architecture: str, side_px: int, description: str, reported: str) -> System:
    emotions = Emotions(tensor="logits", activation="softmax", labels=("angry", "disgusted", "afraid", "happy", "neutral"))
    return _single(name, architecture, _rgb_crop(side_px), (emotions,), n_in=3, document="document 002", description=description, reported=reported)


def _document_004(name: str, architecture: str, description: str, reported: str, *, neutral_rule: bool = False) -> System:
    if neutral_rule:
        name, description = f"{name}-e2", f"{description}; no neutral output: neutral where all other emotions are below {_NEUTRAL_BELOW} (rule E2, our limit)"
    return _single(name, architecture, _gray_crop(), _both(neutral_rule=neutral_rule), document="document 004", description=description, reported=reported)


def resnet_22(*, blocks: int = 8, neutral_rule: bool = False) -> System:
    """Return the ResNet of document 004 in a depth.

    Args:
        blocks: Residual blocks, 8 (ResNet18) to 60.
        neutral_rule: Without a `neutral` output, which rule E2 replaces.

    Raises:
        ConfigError: A depth that is not offered.
    """
    blocks_of_stages(blocks)  # refuses what it cannot spread
    if blocks == 8:
        reported = "FN1 to FN4: 88.59, 65.12, 61.47, 74.92 %" if neutral_rule else "FN1 to FN4: 75.40, 64.79, 58.13, 65.74 %"
        return _document_004("resnet18-22", "resnet18", "gray 98x80 crop to 15 AUs and 7 emotions, ResNet18", reported, neutral_rule=neutral_rule)
    description = f"gray 98x80 crop to 15 AUs and 7 emotions, ResNet of {blocks} basic blocks"
    reported = "of ResNets with more than 50 blocks: not in real time"
    return _document_004(f"resnet-22-blocks{blocks}", f"resnet-{blocks}-blocks", description, reported, neutral_rule=neutral_rule)


def inceptionv4_22(*, neutral_rule: bool = False) -> System:
    """Return the InceptionV4 of document 004; `neutral_rule` as in `resnet_22`."""
    reported = "FN1 to FN4: 71.60, 64.79, 54.31, 70.12 %" if neutral_rule else "FN1 to FN4: 68.47, 65.58, 56.44, 52.99 %"
    description = "gray 98x80 crop to 15 AUs and 7 emotions, InceptionV4 with one input channel and adaptive pooling"
    return _document_004("inceptionv4-22", "inceptionv4", description, reported, neutral_rule=neutral_rule)


def inception_resnet_22(*, neutral_rule: bool = False) -> System:
    """Return the Inception-ResNet of document 004; `neutral_rule` as in `resnet_22`."""
    reported = "FN1 to FN4: 88.19, 67.91, 59.06, 74.92 %" if neutral_rule else "FN1 to FN4: 86.72, 63.95, 48.08, 78.26 %"
    description = "gray 98x80 crop to 15 AUs and 7 emotions, Inception-ResNet (version 1: ours) with one input channel"
    return _document_004("inception-resnet-22", "inception-resnet", description, reported, neutral_rule=neutral_rule)


def variant_called(name: str) -> System | None:
    """Return the variant of a network of 22 outputs that has this id, such as `resnet-22-blocks33-e2`; None where no variant has.

    Raises:
        ConfigError: A depth that is not offered.
    """
    plain = name.removesuffix("-e2")
    rule = plain != name
    if match := re.fullmatch(r"resnet-22-blocks(\d{1,3})", plain):
        return resnet_22(blocks=int(match.group(1)), neutral_rule=rule)
    made = {"resnet18-22": resnet_22, "inceptionv4-22": inceptionv4_22, "inception-resnet-22": inception_resnet_22}.get(plain)
    return made(neutral_rule=True) if made is not None and rule else None


def _ar3() -> System:
    spec = ClipInput(
        tensor="clip",
        color="gray",
        size_wh_px=_CROP_WH_PX,
        region=_STRETCHED,
        scale=_SCALE,
        offset=_OFFSET,
        n_frames=16,
        duration_s=0.625,  # our choice: 16 neighbouring frames at the 24 fps of the document's databases
        frames_as="depth",
    )
    description = f"16 gray 98x80 crops over 0.625 s to 15 AUs and 7 emotions, 3-D convolutions; {_RECONSTRUCTION}"
    return _single("ar3-22", "ar3", spec, _both(), document="document 004, section 5.2.3", description=description, reported="no figure")


def _ar5() -> System:
    # The document's own code for CREMA-D normalises crops as x / 255 - 0.5, and takes scipy's default spectrogram; its size is not stated.
    sound = Spectrogram(tensor="spectrogram", rate_hz=16000, duration_s=2.5, segment=256, overlap=32, taper=0.25, noise=1.0, size_wh_px=(128, 64))
    spec = ClipAudioInput(
        tensor="clip",
        color="gray",
        size_wh_px=_CROP_WH_PX,
        region=_STRETCHED,
        scale=1 / 255,
        offset=-0.5,
        n_frames=20,
        duration_s=2.5,  # our choice: about what a clip of CREMA-D lasts
        frames_as="channels",
        audio=sound,
    )
    emotions = Emotions(tensor="logits", activation="softmax", labels=("angry", "disgusted", "afraid", "happy", "neutral", "sad"))
    description = f"20 gray 98x80 crops over 2.5 s as channels, and the sound's spectrogram, to 6 emotions; {_RECONSTRUCTION}"
    reported = "CREMA-D, one actor left out: 62.84 % video, 69.42 % with sound; people: 58.2 and 63.6 %"
    document = "document 004, section 5.2.5 and annex 2"
    return _single("ar5-av", "ar5", spec, (emotions,), n_in=20, document=document, description=description, reported=reported)


def _single(
    name: str,
    architecture: str,
    spec: StageInput,
    outputs: tuple[ActionUnits | Emotions, ...],
    *,
    document: str,
    description: str,
    reported: str,
    n_in: int = 1,
) -> System:
    n_out = sum(len(output.labels) for output in outputs)
    stage = Stage(name="network", model="network.onnx", input=spec, outputs=outputs)
    return _system(name, (stage,), {stage.name: (architecture, n_in, n_out)}, document=document, description=description, reported=reported)


def _two_stages(name: str, stage_names: tuple[str, str], architectures: tuple[str, str], *, document: str, description: str, reported: str) -> System:
    first, second = stage_names
    stages = (
        Stage(name=first, model=f"{first}.onnx", input=_gray_crop(), outputs=(_action_units("logits"),)),
        Stage(
            name=second,
            model=f"{second}.onnx",
            input=EmbeddingInput(tensor="action_units", stage=first, source="logits"),
            outputs=(Emotions(tensor="logits", activation="sigmoid", labels=EMOTIONS),),
        ),
    )
    networks = {first: (architectures[0], 1, _N_AUS), second: (architectures[1], _N_AUS, len(EMOTIONS))}
    return _system(name, stages, networks, document=document, description=description, reported=reported)


def _au_mlp(name: str, architecture: str, title: str, reported: str) -> System:
    return _two_stages(
        name,
        ("action_units", "emotions"),
        (architecture, "perceptron-of-logits"),
        document="document 004, experiment 4",
        description=f"gray 98x80 crop to 15 AUs, {title}, and from these to 7 emotions, one hidden layer",
        reported=reported,
    )


def _system(name: str, stages: tuple[Stage, ...], networks: _Networks, *, document: str, description: str, reported: str) -> System:
    return System(
        id=name,
        document=document,
        framework="PyTorch",
        description=description,
        reported=reported,
        stages=stages,
        build=partial(_untrained, stages, networks),
        load=partial(_loaded, stages, networks),
    )


def _untrained(stages: tuple[Stage, ...], networks: _Networks, warmth: Warmth, seed: int) -> dict[str, Original]:
    from converters.systems.torch_networks.originals import untrained

    return untrained(stages, networks, warmth, seed)


def _loaded(stages: tuple[Stage, ...], networks: _Networks, path: Path) -> dict[str, Original]:
    from converters.systems.torch_networks.originals import loaded

    return loaded(stages, networks, path)


SYSTEMS: tuple[System, ...] = (
    _document_002(
        "resnet18-5",
        "resnet18-frozen",
        224,
        "RGB 224x224 crop to 5 emotions, ResNet18 of which the last layer alone is trained",
        "F1 0.90; 11,179,077 parameters, 2,565 of them trained; 14.51 GMAC at batch 8",
    ),
    _document_002(
        "efficientnet-b0-5",
        "efficientnet-b0-hidden256",
        256,
        "RGB 256x256 crop to 5 emotions, EfficientNet-b0 with a hidden layer of 256",
        "F1 0.86; 4,336,769 parameters; 4.02 GMAC at batch 8",
    ),
    _document_004("ar1-22", "ar1", f"gray 98x80 crop to 15 AUs and 7 emotions, AR1, plain convolutions; {_RECONSTRUCTION}", "no figure"),
    _document_004("ar2-22", "ar2", f"gray 98x80 crop to 15 AUs and 7 emotions, AR2, deeper with few channels; {_RECONSTRUCTION}", "no figure"),
    _ar3(),
    _two_stages(
        "ar4",
        ("extractor", "perceptron"),
        ("ar4-extractor", "perceptron"),
        document="document 004, section 5.2.4",
        description=f"gray 98x80 crop to 15 AUs, without activation, and from these to 7 emotions, one hidden layer; {_RECONSTRUCTION}",
        reported="no figure",
    ),
    _ar5(),
    resnet_22(),
    inceptionv4_22(),
    inception_resnet_22(),
    _au_mlp("resnet18-au-mlp", "resnet18", "ResNet18", "FN1 to FN4: 71.92, 62.72, 54.88, 67.33 %"),
    _au_mlp("inceptionv4-au-mlp", "inceptionv4", "InceptionV4", "FN1 to FN4: 70.33, 67.41, 55.88, 61.13 %"),
    _au_mlp("inception-resnet-au-mlp", "inception-resnet", "Inception-ResNet-v1", "FN1 to FN4: 87.46, 68.33, 57.41, 76.82 %"),
)
