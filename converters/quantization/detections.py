"""Whether two face detection networks find the same faces, in what they answered to the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from converters.original import Array
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine.engine import Array as Tensor
from edge.face import Face, overlap
from edge.package import Manifest, Package
from edge.stage import FrameInput, Stage

# Two boxes that overlap as much are the same face, in the same place. Source: the usual threshold of detection benchmarks is 0.5; crops follow from the boxes,
# so more is asked here.
_SAME_FACE = 0.7


@dataclass(frozen=True)
class Agreement:
    """How two networks agree.

    Attributes:
        n_found: Faces that either found; one that both found counts once.
        n_agreed: Those that both found in the same place.
        eye_error: Mean distance of their eyes, over the distance between the eyes.
        score_error: Mean difference of their scores.
    """

    n_found: int
    n_agreed: int
    eye_error: float
    score_error: float


def agreement(stage: Stage, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> Agreement:
    """Compare the faces that two networks found.

    Args:
        stage: A stage that gives boxes.
        reference: float32[N, ...] by tensor name, of the network in FP32.
        candidate: The same of the other one.
    """
    eye_errors, score_errors, n_found = [], [], 0
    for expected, got in zip(_faces(stage, reference), _faces(stage, candidate), strict=True):
        left = list(got)
        for face in expected:
            same = max(left, key=lambda other, face=face: overlap(face, other), default=None)  # type: ignore[misc]  # the default binds the loop's own face
            if same is not None and overlap(face, same) >= _SAME_FACE:
                left.remove(same)
                eye_errors.append(float(np.linalg.norm(face.eyes_px - same.eyes_px, axis=1).mean()) / max(face.eye_distance_px, 1e-6))
                score_errors.append(abs(face.score - same.score))
        n_found += len(expected) + len(left)
    return Agreement(n_found, len(eye_errors), float(np.mean(eye_errors or [0.0])), float(np.mean(score_errors or [0.0])))


def _faces(stage: Stage, answers: Mapping[str, Array]) -> list[list[Face]]:
    """The faces of each input, in pixels of the network's input: read by the runtime's own detector, from answers that are there already."""
    assert isinstance(stage.input, FrameInput)
    width, height = stage.input.size_wh_px
    blank = np.zeros((height, width, 3), np.uint8)
    manifest = Manifest(schema="edge.package/1", name=stage.name, task="face-detection", description="", trained=True, licence="", stages=(stage,), files={})
    answered = _Answered(answers)
    detector = FaceDetector(Package(path=Path(), manifest=msgspec.structs.replace(manifest), sha256=""), [answered])
    found = []
    for answered.row in range(len(next(iter(answers.values())))):
        found.append(detector.detect(blank, StageTimes(), all_views=True))
    return found


class _Answered:
    """An engine whose answers are known."""

    description, notes = "recorded", ()

    def __init__(self, answers: Mapping[str, Array]) -> None:
        self._answers = answers
        self.row = 0
        self.input_shapes: Mapping[str, tuple[int | None, ...]] = {}
        self.output_shapes: Mapping[str, tuple[int | None, ...]] = {}

    def run(self, _feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: array[self.row : self.row + 1] for name, array in self._answers.items()}

    def close(self) -> None: ...
