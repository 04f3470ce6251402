"""Toy packages of every kind of input: each network reads brightness, so that what it was fed can be told from what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edge.package import Manifest
from edge.stage import (
    ActionUnits,
    BoxRegion,
    ClipAudioInput,
    ClipInput,
    CropInput,
    EmbeddingInput,
    Emotions,
    FrameInput,
    Landmarks,
    Scores,
    Spectrogram,
    Stage,
)
from tests.toy import make_detector, save_graph, save_package

SIDE_PX = 8
# The middle of a detected face, so that the crop lies inside a bright spot.
MIDDLE = BoxRegion(expand=0.3)
# 0.8 s are 28 segments: a column for each.
SOUND = Spectrogram(tensor="sound", rate_hz=8000, duration_s=0.8, segment=256, overlap=32, taper=0.25, noise=1.0, size_wh_px=(28, 4))


def manifest_of(*stages: Stage, detector: str = "toy-detector", **settings: Any) -> Manifest:
    """A trained package of these stages."""
    facts: dict[str, Any] = {"schema": "edge.package/1", "name": "toy", "task": "face-affect", "description": "brightness", "trained": True}
    return Manifest(**(facts | {"licence": "none", "files": {}, "stages": stages, "detector": detector} | settings))


def save(folder: Path, manifest: Manifest) -> Path:
    """Write a package whose networks are in its folder, and beside it the toy detector where it names that."""
    if manifest.detector == "toy-detector":
        make_detector(folder.parent / manifest.detector)
    return save_package(folder, manifest)


def _mean(source: str, target: str, axes: list[int]) -> list[onnx.NodeProto]:
    """Means over axes, as float32[N, n]."""
    return [
        helper.make_node("ReduceMean", [source], [f"{target}_mean"], axes=axes, keepdims=0),
        helper.make_node("Reshape", [f"{target}_mean", f"{target}_row"], [target]),
    ]


def _row(target: str, n: int) -> dict[str, Any]:
    return {f"{target}_row": np.array([-1, n])}


def make_frame_stage(folder: Path, *, resize: str = "stretch") -> Stage:
    """Scores of the whole picture: how red, green and blue it is."""
    folder.mkdir(parents=True, exist_ok=True)
    shape: list[str | int] = ["N", 3, SIDE_PX, SIDE_PX]
    save_graph(folder / "picture.onnx", _mean("picture", "colours", [2, 3]), {"picture": shape}, {"colours": ["N", 3]}, _row("colours", 3))
    return Stage(
        name="picture",
        model="picture.onnx",
        input=FrameInput(tensor="picture", color="rgb", size_wh_px=(SIDE_PX, SIDE_PX), resize=resize, scale=1 / 255),  # type: ignore[arg-type]
        outputs=(Scores(tensor="colours", activation="none", labels=("red", "green", "blue")),),
    )


def make_clip_stage(folder: Path, *, n_frames: int, duration_s: float, frames_as: str = "channels", audio: Spectrogram | None = None) -> Stage:
    """Scores: the brightness of each crop of a clip, oldest first, and after them the power of each column of a spectrogram."""
    folder.mkdir(parents=True, exist_ok=True)
    shape: list[str | int] = ["N", n_frames, SIDE_PX, SIDE_PX] if frames_as == "channels" else ["N", 1, n_frames, SIDE_PX, SIDE_PX]
    nodes = _mean("clip", "frames", [2, 3] if frames_as == "channels" else [1, 3, 4])
    inputs, constants, labels = {"clip": shape}, _row("frames", n_frames), [f"frame {index}" for index in range(n_frames)]
    outputs: dict[str, list[str | int]] = {"frames": ["N", n_frames]}
    read = [Scores(tensor="frames", activation="none", labels=tuple(labels))]
    settings: dict[str, Any] = {"tensor": "clip", "color": "gray", "size_wh_px": (SIDE_PX, SIDE_PX), "region": MIDDLE, "scale": 1 / 255}
    settings |= {"n_frames": n_frames, "duration_s": duration_s, "frames_as": frames_as}
    if audio is not None:
        width, height = audio.size_wh_px
        inputs[audio.tensor] = ["N", 1, height, width]
        nodes += [*_mean(audio.tensor, "columns", [1, 2]), helper.make_node("Concat", ["frames", "columns"], ["all"], axis=1)]
        constants |= _row("columns", width)
        outputs = {"all": ["N", n_frames + width]}
        read = [Scores(tensor="all", activation="none", labels=(*labels, *(f"column {index}" for index in range(width))))]
    save_graph(folder / "clip.onnx", nodes, inputs, outputs, constants)
    spec = ClipInput(**settings) if audio is None else ClipAudioInput(**settings, audio=audio)
    return Stage(name="clip", model="clip.onnx", input=spec, outputs=tuple(read))


def make_embedding_stages(folder: Path) -> tuple[Stage, Stage]:
    """A crop's brightness b as the embedding (b, 1 - b), of which a second network makes sad, AU12, happy in one tensor: (1 - b) / 2, b, b / 2."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [*_mean("crop", "mean", [1, 2, 3]), helper.make_node("Sub", ["one", "mean"], ["rest"])]
    nodes.append(helper.make_node("Concat", ["mean", "rest"], ["features"], axis=1))
    crops: list[str | int] = ["N", 1, SIDE_PX, SIDE_PX]
    save_graph(folder / "extract.onnx", nodes, {"crop": crops}, {"features": ["N", 2]}, _row("mean", 1) | {"one": np.float32(1)})
    weights = np.array([[0.0, 1.0, 0.5], [0.5, 0.0, 0.0]], np.float32)
    save_graph(folder / "judge.onnx", [helper.make_node("MatMul", ["face", "weights"], ["all"])], {"face": ["N", 2]}, {"all": ["N", 3]}, {"weights": weights})
    spec = CropInput(tensor="crop", color="gray", size_wh_px=(SIDE_PX, SIDE_PX), region=MIDDLE, scale=1 / 255)
    return (
        Stage(name="extract", model="extract.onnx", input=spec),
        Stage(
            name="judge",
            model="judge.onnx",
            input=EmbeddingInput(tensor="face", stage="extract", source="features"),
            outputs=(
                Scores(tensor="all", activation="none", labels=("sadness",), columns=(0, 1)),
                ActionUnits(tensor="all", activation="none", labels=("AU12",), quantity="presence", learned_from="arithmetic", columns=(1, 2)),
                Emotions(tensor="all", activation="none", labels=("sad", "happy"), columns=(1, 3), neutral_below=0.5),
            ),
        ),
    )


def make_landmark_stage(folder: Path) -> Stage:
    """Points that span the crop whatever it shows: a followed face stays where it was found."""
    folder.mkdir(parents=True, exist_ok=True)
    eyes = [(6, 8), (10, 8), (14, 8), (18, 8)]
    head = [(0, 12), (24, 12), (12, 0), (12, 24)]
    points = np.array([(x, y, 0) for x, y in (*eyes, *head)], np.float32).reshape(1, -1)
    save_graph(
        folder / "points.onnx",
        [
            *_mean("crop", "mean", [1, 2, 3]),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "constant"], ["points"]),
        ],
        {"crop": ["N", 1, 24, 24]},
        {"points": ["N", points.size]},
        _row("mean", 1) | {"zero": np.float32(0), "constant": points},
    )
    return Stage(
        name="points",
        model="points.onnx",
        input=CropInput(tensor="crop", color="gray", size_wh_px=(24, 24), region=BoxRegion(), scale=1 / 255),
        outputs=(Landmarks(tensor="points", left_eye=(0, 1), right_eye=(2, 3), axes=(4, 5, 6, 7)),),
    )
