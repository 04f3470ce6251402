"""What MediaPipe's chain says of a face: where its points are, how the head is turned, how strong eleven of its action units are.

The package `mesh-chain` is read through the runtime's own path: who uses it as teacher gets what a device with that package would have said.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import numpy as np

from converters.training.affect.labelled_faces import POINTS, UNITS, Numbers
from converters.training.kept_arrays import networks_sha256
from edge.affect import AffectNetworks, FaceReading, Scene, eye_shift
from edge.clock import StageTimes
from edge.engine import choose, close_engines, open_engines
from edge.face import Face
from edge.frame import Pixels
from edge.package import load_package
from edge.stage import ActionUnits, Landmarks, Presence

PACKAGE = "mesh-chain"
_MESH = "mesh"

# The units that follow what people see. AU9 has no blendshape that moves; AU15, AU17 and AU23 were not found to tell any emotion from neutral.
# Source: AUC of an emotion against neutral on FER+ faces, see `low_confidence` and `not_offered` of the package.
SOUND_UNITS = ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU10", "AU12", "AU16", "AU20", "AU26")


@dataclass(frozen=True)
class Lesson:
    """What the teacher says of one face.

    Attributes:
        points: float32[17, 3]: `POINTS` in picture pixels.
        units: float32[15]: every unit that the package offers, the sound ones and the others; NaN for the rest.
        pose: float32[3]: yaw, pitch and roll in degrees.
        presence: Probability that there is a face.
        eye_shift: How far the eyes moved from the first reading to the second, in distances of the eyes.
        mesh_box: float32[4]: left, top, right and bottom of the whole mesh, in picture pixels.
        limits: The package's for a new track, which are those for a lesson.
    """

    points: Numbers
    units: Numbers
    pose: Numbers
    presence: float
    eye_shift: float
    mesh_box: Numbers
    limits: Landmarks

    @property
    def is_sure(self) -> bool:
        """Whether it may be taught: read again in the crop that follows from the first reading, the mesh is sure and finds the eyes where they were."""
        return self.limits.admits(self.presence, self.eye_shift)


class Teacher:
    """The package `mesh-chain`, opened; close it after use, or use it as a context.

    Attributes:
        fingerprint: Hash of all that decides what it says: what was read with another one must be read again.
        limits: What a lesson must keep to be sure.

    Raises:
        PackageNotFound: It was never pulled.
        PackageError: It cannot be used.
        EngineError: One of its networks cannot be loaded.
    """

    def __init__(self) -> None:
        package = load_package(PACKAGE)
        self.fingerprint = networks_sha256(package, Landmarks, Presence, ActionUnits)
        self._engines = open_engines(package, choose("onnxruntime", "fp32", package))
        self._networks = AffectNetworks(package, self._engines)
        assert self._networks.landmarks is not None  # of the mesh
        self.limits = self._networks.landmarks

    def read(self, rgb: Pixels, face: Face) -> Lesson | None:
        """Look at a face twice, the second time in the crop that follows from the first.

        Args:
            rgb: uint8[H, W, 3].
            face: Where a detector found it.

        Returns:
            What the second reading says; None where either of them finds no face.
        """
        first = self._read_once(rgb, face)
        second = self._read_once(rgb, first.face) if first is not None else None
        if first is None or second is None or second.values is None:
            return None
        said = self._networks.estimate(second.values).action_units
        assert said is not None
        assert second.pose is not None
        mesh = second.landmarks[_MESH]
        return Lesson(
            points=mesh[[index for _, index in POINTS]].astype(np.float32),
            units=np.array([said.get(label, np.nan) for label in UNITS], np.float32),
            pose=np.array([second.pose.yaw, second.pose.pitch, second.pose.roll], np.float32),
            presence=second.presence,
            eye_shift=eye_shift(first, second),
            mesh_box=np.array(second.face.box_ltrb_px, np.float32),
            limits=self.limits,
        )

    def close(self) -> None:
        """Close its networks."""
        close_engines(self._engines)

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read_once(self, rgb: Pixels, face: Face) -> FaceReading | None:
        (reading,) = self._networks.read(Scene(rgb, 0), [(face, {})], StageTimes())
        return reading if reading.present else None


def sound(units: Numbers) -> Numbers:
    """Return units as they may be taught: float32[..., 15], NaN for those that are not in `SOUND_UNITS`."""
    return np.where(np.isin(UNITS, SOUND_UNITS), units, np.float32(np.nan)).astype(np.float32)
