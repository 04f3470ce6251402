"""What a package's networks say of pictures: of whole pictures as their input, and of faces on the runtime's own path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.metrics import Numbers
from edge import crop
from edge.affect import AffectNetworks, FaceReading, Scene, confirms
from edge.clock import StageTimes
from edge.engine import PrecisionChoice, choose, close_engines, open_engines
from edge.errors import ConfigError
from edge.estimate import NumberRow
from edge.face import Face
from edge.frame import Pixels
from edge.package import Package, Precision
from edge.result import ACTION_UNITS, EMOTIONS
from edge.stage import ActionUnits, CropInput, Emotions, Output, Stage

# Whose labels: what people see in a picture (FER+'s votes), or FER2013's own.
Convention = Literal["seen", "fer2013"]
CONVENTIONS: tuple[Convention, ...] = ("seen", "fer2013")

# Crops that go through a network at once.
_BATCH = 64


@dataclass(frozen=True)
class FaceReadings:
    """What the runtime reads from the faces of N pictures, NaN where it has no face, or no such number.

    Attributes:
        found: bool[N].
        emotions: float64[N, 7], in the order of `edge.result.EMOTIONS`.
        units: float64[N, 15], in the order of `edge.result.ACTION_UNITS`.
        pose_deg: float64[N, 3]: yaw, pitch, roll.
    """

    found: NDArray[np.bool_]
    emotions: Numbers
    units: Numbers
    pose_deg: Numbers


class Networks(AbstractContextManager["Networks"]):
    """A package's networks in one precision, by ONNX Runtime.

    Args:
        package: One of task `face-affect` that reads the contract's seven emotions from a crop.
        precision: As `edge-run --precision`.

    Attributes:
        package: The package.
        precision: What they run in.
        units: Labels of the action units that the package gives; empty where it gives none.

    Raises:
        ConfigError: The package has no such output, or no such precision here.
        PackageNotFound: It does not offer the precision.
        MissingDependency: ONNX Runtime is not installed.
        EngineError: A network cannot be loaded.
    """

    def __init__(self, package: Package, precision: PrecisionChoice) -> None:
        self.package = package
        self._emotions = {convention: emotions_output(package, convention) for convention in CONVENTIONS}
        outputs = [output for stage in package.manifest.stages for output in stage.outputs if isinstance(output, ActionUnits)]
        self.units = tuple(name for output in outputs for name in output.names)
        choice = choose("onnxruntime", precision, package)
        self.precision: Precision = choice.precision
        self._engines = open_engines(package, choice)

    def __exit__(self, *_: object) -> None:
        close_engines(self._engines)

    def output(self, convention: Convention) -> tuple[Stage, Emotions]:
        """Return what is measured against a convention's labels."""
        return self._emotions[convention]

    def whole(self, pictures: Pixels) -> Mapping[Convention, Numbers]:
        """Read emotions from whole pictures, each resized to the network's input: one pass, no flips.

        Args:
            pictures: uint8[N, S, S], gray: faces in the framing of FER2013.

        Returns:
            float64[N, 7] for each convention, in the order of `edge.result.EMOTIONS`; the same twice where one output serves both.
        """
        read: dict[str, list[dict[str, NDArray[np.float32]]]] = {}
        for stage in {stage.name: stage for stage, _ in self._emotions.values()}.values():
            assert isinstance(stage.input, CropInput)
            engine = self._engines[self.package.manifest.stages.index(stage)]
            parts = (pictures[start : start + _BATCH] for start in range(0, len(pictures), _BATCH))
            read[stage.name] = [
                {name: rows.reshape(len(part), -1) for name, rows in engine.run({stage.input.tensor: _as_input(part, stage.input)}).items()} for part in parts
            ]
        return {
            convention: np.concatenate([_named(output, tensors[output.tensor]) for tensors in read[stage.name]])
            for convention, (stage, output) in self._emotions.items()
        }

    def faces(self, pictures: Iterable[tuple[Callable[[], Pixels], Face | None]], n: int, convention: Convention) -> FaceReadings:
        """Read faces as the runtime lets a face in: in the detector's box, then once more where the first reading places it.

        Limits of quality (`low_quality`) are not applied: what a device would withhold is measured too.

        Args:
            pictures: N times a function that gives uint8[H, W, 3], and the face that the detector found in it.
            n: N.
            convention: Which emotions.
        """
        networks = AffectNetworks(self._showing(convention), self._engines)
        found = np.zeros(n, bool)
        emotions, units, pose_deg = (np.full((n, width), np.nan) for width in (len(EMOTIONS), len(ACTION_UNITS), 3))
        for row, (picture, face) in enumerate(pictures):
            reading = None if face is None else _admitted(networks, picture(), face)
            if reading is None or (values := reading.values) is None:
                continue
            found[row] = True
            estimate = networks.estimate(values)
            emotions[row] = [(estimate.emotions or {})[name] for name in EMOTIONS]
            units[row] = [(estimate.action_units or {}).get(name, np.nan) for name in ACTION_UNITS]
            if reading.pose is not None:
                pose_deg[row] = reading.pose.yaw, reading.pose.pitch, reading.pose.roll
        return FaceReadings(found, emotions, units, pose_deg)

    def _showing(self, convention: Convention) -> Package:
        """The package with one of its emotion outputs alone, shown."""
        wanted = self._emotions[convention][1]

        def kept(outputs: Sequence[Output]) -> tuple[Output, ...]:
            others = (output for output in outputs if output == wanted or not isinstance(output, Emotions))
            return tuple(msgspec.structs.replace(output, shown=True) if isinstance(output, Emotions) else output for output in others)

        stages = tuple(msgspec.structs.replace(stage, outputs=kept(stage.outputs)) for stage in self.package.manifest.stages)
        return msgspec.structs.replace(self.package, manifest=msgspec.structs.replace(self.package.manifest, stages=stages))


def emotions_output(package: Package, convention: Convention) -> tuple[Stage, Emotions]:
    """Return the output that is measured against a convention's labels: the one taught with them, else the one that is shown.

    Raises:
        ConfigError: The package gives no emotions from a crop, or not all seven of the contract.
    """
    outputs = [(stage, output) for stage in package.manifest.stages for output in stage.outputs if isinstance(output, Emotions)]
    outputs = [(stage, output) for stage, output in outputs if isinstance(stage.input, CropInput)]
    if not outputs:
        raise ConfigError(f"package '{package.name}' has no network that reads emotions from a crop", hint="accuracy is measured on emotions: another --model")
    taught = [(stage, output) for stage, output in outputs if output.convention == convention]
    stage, output = (taught or [(stage, output) for stage, output in outputs if output.shown])[0]
    if set(output.names) != set(EMOTIONS):
        raise ConfigError(
            f"package '{package.name}': expected the emotions {', '.join(EMOTIONS)} in '{output.tensor}', got {', '.join(output.names)}",
            hint="its card has its own figures; FER2013's seven classes need a package that names all of them",
        )
    return stage, output


def _as_input(pictures: Pixels, spec: CropInput) -> NDArray[np.float32]:
    crops = [cv2.resize(picture, spec.size_wh_px, interpolation=cv2.INTER_LINEAR) for picture in pictures]
    if spec.color != "gray":
        crops = [cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) for picture in crops]
    return crop.batch([np.asarray(picture, np.uint8) for picture in crops], spec)


def _named(output: Emotions, rows: NDArray[np.float32]) -> Numbers:
    numbers = NumberRow([output])
    estimates = [numbers.estimate(row).emotions or {} for row in numbers.part(output, rows)]
    return np.array([[estimate[name] for name in EMOTIONS] for estimate in estimates])


def _admitted(networks: AffectNetworks, rgb: Pixels, face: Face) -> FaceReading | None:
    """The second reading of a face that `edge.analyzer` would give a track: sure both times, and in the same place."""
    scene, times = Scene(rgb, 0), StageTimes()
    (first,) = networks.read(scene, [(face, {})], times)
    if not first.present:
        return None
    if networks.landmarks is None:
        return first
    (second,) = networks.read(scene, [(first.face, first.rings)], times)
    return second if confirms(first, second, networks.landmarks) else None
