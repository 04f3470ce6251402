"""Packages small enough to be computed by hand: a detector that finds bright cells and a network that reads brightness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.frame import Frame
from edge.package import Manifest, Quality, file_sha256
from edge.stage import ActionUnit, ActionUnits, Boxes, BoxRegion, CropInput, Emotions, FrameInput, Presence, Stage

CELL_PX = 8
INPUT_PX = 64


Shapes = dict[str, list[str | int]]


def graph_of(nodes: list[onnx.NodeProto], inputs: Shapes, outputs: Shapes, constants: dict[str, Any]) -> onnx.ModelProto:
    """An opset-17 graph of float32 tensors."""

    def value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "toy",
        [value(*item) for item in inputs.items()],
        [value(*item) for item in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def save_graph(path: Path, nodes: list[onnx.NodeProto], inputs: Shapes, outputs: Shapes, constants: dict[str, Any]) -> None:
    """Write such a graph."""
    onnx.save(graph_of(nodes, inputs, outputs, constants), path)


def save_package(folder: Path, manifest: Manifest) -> Path:
    """Write a manifest with the hashes of the files beside it."""
    files = {path.name: file_sha256(path) for path in sorted(folder.glob("*.onnx"))}
    manifest = msgspec.structs.replace(manifest, files=files)
    (folder / "package.toml").write_bytes(msgspec.toml.encode(manifest))
    return folder


def detector_manifest() -> Manifest:
    """A detector on 64 x 64 pixels: a cell of 8 x 8 with a mean brightness over one half is an eye-level face of 24 x 24 around its centre."""
    return Manifest(
        schema="edge.package/1",
        name="toy-detector",
        task="face-detection",
        description="bright cells",
        trained=True,
        licence="none",
        files={},
        stages=(
            Stage(
                name="cells",
                model="cells.onnx",
                input=FrameInput(tensor="picture", color="rgb", size_wh_px=(INPUT_PX, INPUT_PX), resize="letterbox", scale=1 / 255),
                outputs=(Boxes(tensor="boxes", score_tensor="scores", anchors=((CELL_PX, 1),), eyes=(0, 1), min_score=0.5, max_overlap=0.3),),
            ),
        ),
    )


def make_detector(folder: Path) -> Path:
    """Write the package of `detector_manifest`."""
    folder.mkdir(parents=True, exist_ok=True)
    n_cells = (INPUT_PX // CELL_PX) ** 2
    row = np.array([0, 0, 24, 24, -4, -4, 4, -4], np.float32)  # centre, size, two eyes
    save_graph(
        folder / "cells.onnx",
        [
            helper.make_node("AveragePool", ["picture"], ["pooled"], kernel_shape=[CELL_PX, CELL_PX], strides=[CELL_PX, CELL_PX]),
            helper.make_node("ReduceMean", ["pooled"], ["gray"], axes=[1], keepdims=1),
            helper.make_node("Reshape", ["gray", "score_shape"], ["brightness"]),
            helper.make_node("Sub", ["brightness", "half"], ["centred"]),
            helper.make_node("Mul", ["centred", "gain"], ["scores"]),
            helper.make_node("Mul", ["brightness", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "row"], ["boxes"]),
        ],
        {"picture": ["N", 3, INPUT_PX, INPUT_PX]},
        {"scores": ["N", n_cells, 1], "boxes": ["N", n_cells, 8]},
        {
            "score_shape": np.array([-1, n_cells, 1]),
            "half": np.float32(0.5),
            "gain": np.float32(20),
            "zero": np.float32(0),
            "row": np.tile(row, (n_cells, 1))[None],
        },
    )
    return save_package(folder, detector_manifest())


def affect_manifest(*, trained: bool = True, quality: Quality | None = None) -> Manifest:
    """A network on a gray 8 x 8 crop: happy = brightness, sad = 1 - brightness, AU12 = brightness from .2 to .7, present from .1 on."""
    return Manifest(
        schema="edge.package/1",
        name="toy-affect",
        task="face-affect",
        description="brightness",
        trained=trained,
        licence="none",
        files={},
        detector="toy-detector",
        quality=quality or Quality(),
        stages=(
            Stage(
                name="brightness",
                model="brightness.onnx",
                input=CropInput(tensor="crop", color="gray", size_wh_px=(8, 8), region=BoxRegion(expand=0.3), scale=1 / 255),
                outputs=(
                    Presence(tensor="mean", activation="none", min_score=0.1),
                    Emotions(tensor="pair", activation="none", labels=("happy", "sad")),
                    ActionUnits(
                        tensor="mean",
                        activation="none",
                        labels=("brightness",),
                        units=(ActionUnit(label="AU12", shapes=("brightness",), rest=0.2, full=0.7),),
                        quantity="intensity",
                        learned_from="arithmetic",
                    ),
                ),
            ),
        ),
    )


def make_affect(folder: Path, *, trained: bool = True, quality: Quality | None = None) -> Path:
    """Write the package of `affect_manifest`, and its detector beside it."""
    make_detector(folder.parent / "toy-detector")
    folder.mkdir(parents=True, exist_ok=True)
    save_graph(
        folder / "brightness.onnx",
        [
            helper.make_node("ReduceMean", ["crop"], ["mean4"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Reshape", ["mean4", "column"], ["mean"]),
            helper.make_node("Sub", ["one", "mean"], ["rest"]),
            helper.make_node("Concat", ["mean", "rest"], ["pair"], axis=1),
        ],
        {"crop": ["N", 1, 8, 8]},
        {"mean": ["N", 1], "pair": ["N", 2]},
        {"column": np.array([-1, 1]), "one": np.float32(1)},
    )
    return save_package(folder, affect_manifest(trained=trained, quality=quality))


def spot_frame(seq: int, spots: list[tuple[int, int, int]], *, size_wh_px: tuple[int, int] = (64, 64), fps: float = 25.0) -> Frame:
    """A black picture with bright squares of 12 x 12.

    Args:
        seq: Number of the frame; its media time is seq / fps.
        spots: x and y of the centre, brightness 0 to 255.
        size_wh_px: Of the picture.
        fps: Frames a second of media time.
    """
    pixels = np.zeros((size_wh_px[1], size_wh_px[0], 3), np.uint8)
    for x, y, brightness in spots:
        pixels[max(0, y - 6) : y + 6, max(0, x - 6) : x + 6] = brightness
    pixels.setflags(write=False)
    t_ns = round(seq / fps * 1e9)
    return Frame(seq=seq, source="toy", pixels=pixels, t_media_ns=t_ns, t_capture_ns=t_ns, t_capture_from="arrival", paced=False)
