"""What the packages `blazeface` and `mesh-chain`, of networks that others trained, say of themselves: what they are fed, how their answers are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from converters import known_files
from converters.registry import RegistryFile
from edge.package import Manifest, Origin, Quality
from edge.stage import ActionUnit, ActionUnits, Boxes, BoxRegion, CropInput, Emotions, FrameInput, Landmarks, PointsInput, Presence, Stage


@dataclass(frozen=True)
class Recipe:
    """A package before its networks are fetched and converted.

    Attributes:
        manifest: Everything but the hashes of the files.
        sources: TFLite file of each stage, by the stage's name.
        max_relative_error: Limit of the parity run, as a fraction of each output's own deviation over the inputs.
    """

    manifest: Manifest
    sources: Mapping[str, RegistryFile]
    max_relative_error: float = 1e-3


def _origin(file: RegistryFile) -> Origin:
    return Origin(file=file.members[-1], package=file.wheel.requirement, sha256=file.sha256, framework="TensorFlow Lite", licence=file.licence, url=file.url)


def _blazeface(name: str, *, tensors: tuple[str, str, str], side_px: int, resize: Literal["letterbox", "tiles"], anchors: tuple[tuple[int, int], ...]) -> Stage:
    source, boxes, scores = tensors
    return Stage(
        name=name,
        model=f"{name}.onnx",
        input=FrameInput(tensor=source, color="rgb", size_wh_px=(side_px, side_px), resize=resize, scale=1 / 127.5, offset=-1.0),
        # The person's right eye comes first: on the left of a picture that is not mirrored.
        outputs=(Boxes(tensor=boxes, score_tensor=scores, anchors=anchors, eyes=(0, 1), min_score=0.5, max_overlap=0.3),),
    )


BLAZEFACE = Recipe(
    manifest=Manifest(
        schema="edge.package/1",
        name="blazeface",
        task="face-detection",
        description="MediaPipe's BlazeFace detectors: short range (faces up to about two metres away) and full range",
        trained=True,
        licence="Apache-2.0",
        stages=(
            # Source of the anchors: MediaPipe, face_detection_short_range.pbtxt (two for each of the strides 8, 16, 16, 16) and
            # face_detection_full_range.pbtxt (one, stride 4).
            _blazeface("short", tensors=("input", "regressors", "classificators"), side_px=128, resize="letterbox", anchors=((8, 2), (16, 6))),
            _blazeface("full", tensors=("input_1", "Identity", "Identity_1"), side_px=192, resize="tiles", anchors=((4, 1),)),
        ),
        files={},
        origins=(_origin(known_files.FACE_DETECTOR_SHORT), _origin(known_files.FACE_DETECTOR_FULL)),
    ),
    sources={"short": known_files.FACE_DETECTOR_SHORT, "full": known_files.FACE_DETECTOR_FULL},
)

# The landmarks that the blendshape network takes, in its order. Source: MediaPipe, face_blendshapes_graph.cc, kLandmarksSubsetIdxs.
BLENDSHAPE_LANDMARKS = (
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95),
    *(103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176),
    *(178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311),
    *(312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388),
    *(389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
)

# The network's 52 outputs, in its order. Source: MediaPipe, face_blendshapes_graph.cc, kBlendshapeNames.
BLENDSHAPES = (
    *("_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight"),
    *("eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft"),
    *("mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower"),
    *("mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)

_MEASURED = (
    "rest: median over 584 neutral faces; full: 99th percentile over 1,924 faces (FER2013 PublicTest, FER+ majority votes, enlarged four times, found with "
    "presence over 0.9, yaw under 30 degrees)"
)


def _unit(label: str, *shapes: str, rest: float, full: float, log_odds: bool = False) -> ActionUnit:
    return ActionUnit(label=label, shapes=shapes, rest=rest, full=full, log_odds=log_odds, origin=_MEASURED)


def _pair(label: str, shape: str, *, rest: float, full: float, log_odds: bool = False) -> ActionUnit:
    return _unit(label, f"{shape}Left", f"{shape}Right", rest=rest, full=full, log_odds=log_odds)


ACTION_UNIT_TABLE = (
    _unit("AU1", "browInnerUp", rest=0.029, full=0.94),
    _pair("AU2", "browOuterUp", rest=0.12, full=0.93),
    _pair("AU4", "browDown", rest=0.027, full=0.78),
    _pair("AU5", "eyeWide", rest=0.012, full=0.34),
    _pair("AU6", "cheekSquint", rest=4.6e-7, full=8.4e-6, log_odds=True),
    _pair("AU7", "eyeSquint", rest=0.25, full=0.72),
    _pair("AU10", "mouthUpperUp", rest=0.0003, full=0.83),
    _pair("AU12", "mouthSmile", rest=0.0001, full=0.95),
    _pair("AU15", "mouthFrown", rest=0.004, full=0.46),
    _pair("AU16", "mouthLowerDown", rest=0.0017, full=0.92),
    _unit("AU17", "mouthShrugLower", rest=0.021, full=0.58),
    _pair("AU20", "mouthStretch", rest=0.004, full=0.51),
    _pair("AU23", "mouthPress", rest=0.017, full=0.34),
    _unit("AU26", "jawOpen", rest=0.01, full=0.73),
)

MESH_CHAIN = Recipe(
    manifest=Manifest(
        schema="edge.package/1",
        name="mesh-chain",
        task="face-affect",
        description="15 action units less one from MediaPipe's face mesh and blendshapes, 7 emotions from fer's mini-Xception",
        trained=True,
        licence="Apache-2.0 (mesh, blendshapes) and MIT (emotion)",
        stages=(
            Stage(
                name="mesh",
                model="mesh.onnx",
                input=CropInput(tensor="input_12", color="rgb", size_wh_px=(256, 256), region=BoxRegion(expand=1.5), scale=1 / 255),
                outputs=(
                    Landmarks(tensor="Identity", left_eye=(33, 133), right_eye=(362, 263), axes=(234, 454, 10, 152)),
                    Presence(tensor="Identity_1", activation="sigmoid", min_score=0.5),
                ),
            ),
            Stage(
                name="blendshapes",
                model="blendshapes.onnx",
                input=PointsInput(tensor="serving_default_input_points:0", stage="mesh", indices=BLENDSHAPE_LANDMARKS),
                outputs=(
                    ActionUnits(
                        tensor="StatefulPartitionedCall:0",
                        activation="none",  # the network ends in a sigmoid
                        labels=BLENDSHAPES,
                        units=ACTION_UNIT_TABLE,
                        quantity="intensity",
                        learned_from="no FACS codes: a table from MediaPipe's blendshapes to action units",
                    ),
                ),
            ),
            Stage(
                name="emotion",
                model="emotion.onnx",
                # fer: x / 255, then (x - 0.5) * 2. The region: of 20 placements by the eyes and 10 by the mesh's box, the one whose crops the network reads
                # best (68.1 % of 1,007 FER2013 PrivateTest pictures; 67.0 % on their own pixels).
                input=CropInput(tensor="x", color="gray", size_wh_px=(64, 64), region=BoxRegion(expand=1.0), scale=2 / 255, offset=-1.0),
                # fer's order: angry, disgust, fear, happy, sad, surprise, neutral; the network ends in a softmax.
                outputs=(
                    Emotions(
                        tensor="Identity",
                        activation="none",
                        labels=("angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral"),
                        convention="fer2013",
                    ),
                ),
            ),
        ),
        files={},
        origins=(_origin(known_files.FACE_MESH), _origin(known_files.FACE_BLENDSHAPES), _origin(known_files.FER_EMOTIONS)),
        detector="blazeface",
        # Size and blur: the sample clips' frames reduced, or blurred, step by step, against themselves (127 frames, same top emotion / mean difference of the
        # action units): eyes 24 px apart 98 % / .03, 16 px 93 % / .05, 12 px 83 % / .06, 8 px 67 % / .09; sharpness .13 98 % / .03, .09 89 % / .04,
        # .04 72 % / .06. Pose: not measured; the emotion network has seen few faces beyond these angles.
        quality=Quality(max_yaw_deg=35, max_pitch_deg=30, min_eye_distance_px=12, min_sharpness=0.07),
        low_confidence=("AU6", "AU15", "AU17", "AU23"),
        not_offered={"AU9": "the blendshape network's noseSneer activations stay below 1e-4 on every face tried: nothing to read it from"},
    ),
    sources={"mesh": known_files.FACE_MESH, "blendshapes": known_files.FACE_BLENDSHAPES, "emotion": known_files.FER_EMOTIONS},
)
