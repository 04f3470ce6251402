"""Real faces of the sample clip as a gray crop's tensor, cut by the runtime's own code."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx

from converters.original import Array, Original
from converters.real_inputs import find_faces, read_frames
from edge import crop
from edge.face import Face, frame_from_crop
from edge.frame import Pixels
from edge.package import load_package
from edge.stage import BoxRegion, CropInput, Emotions, Stage

LABELS = ("angry", "disgusted", "afraid", "happy", "neutral")


def stage(*, side_px: int = 26, labels: tuple[str, ...] = LABELS) -> Stage:
    """A stage that takes a small gray crop and gives probabilities."""
    spec = CropInput(tensor="crop", color="gray", size_wh_px=(side_px, side_px), region=BoxRegion(), scale=1.0)
    return Stage(name="emotion", model="emotion.onnx", input=spec, outputs=(Emotions(tensor="probabilities", activation="none", labels=labels),))


def gray_faces(clip: Path, models: Path, spec: object) -> Array:
    """float32[48, 1, H, W]."""
    assert isinstance(spec, CropInput)
    return crop.batch([crop.cut(frame, frame_from_crop(face, spec.region, spec.size_wh_px), spec) for frame, face in _faces(clip, models)], spec)


def with_initializer(model: onnx.ModelProto, name: str, change: float) -> onnx.ModelProto:
    """A copy of a network, one of whose constants (the first whose name ends so) is scaled."""
    mutant = onnx.ModelProto()
    mutant.CopyFrom(model)
    tensor = next(each for each in mutant.graph.initializer if each.name.endswith(name))
    tensor.CopyFrom(onnx.numpy_helper.from_array((onnx.numpy_helper.to_array(tensor) * change).astype(np.float32), tensor.name))
    return mutant


def interface(model: onnx.ModelProto) -> tuple[list[str], list[list[str | int]], int, dict[str, int]]:
    """Names, shapes, IR version and operator sets."""
    values = [*model.graph.input, *model.graph.output]
    shapes = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values]
    return [value.name for value in values], shapes, model.ir_version, {opset.domain: opset.version for opset in model.opset_import}


def answers(original: Original, faces: Array) -> Array:
    """What the original says of the faces."""
    return original.run({"crop": faces})["probabilities"]


@cache
def _faces(clip: Path, models: Path) -> list[tuple[Pixels, Face]]:
    return find_faces(read_frames(clip), load_package(models / "blazeface"))
