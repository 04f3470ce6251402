"""The face model: a mesh whose shape depends on identity and expression, and which part of a face each of its points is.

ICT-FaceKit (USC Institute for Creative Technologies, MIT licence, https://github.com/ICT-VGL/ICT-FaceKit) as one .npz: `neutral` float[V,3] in centimetres (x
to the subject's left, y up, z forward), `faces` int[F,4], `material` uint8[F], `materials`, `expr` float[57,V,3] with `expr_names`, `ident` float[100,V,3] for
weights that are normally distributed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError
from edge.package import file_sha256

Points = NDArray[np.floating[Any]]
N_VERTICES = 26719

# Vertices of the 68 landmarks of Multi-PIE that are used here. Source: vertex_indices.json of ICT-FaceKit.
_BROWS = ((268, 493, 1914, 2044, 1401), (3615, 4240, 4114, 2734, 2509))
_LIPS = ((5708, 5695, 2081, 0, 4275, 6200, 6213), (6213, 6346, 6461, 5518, 5957, 5841, 5708), (5702, 5711, 5533, 6216, 6207), (6207, 6470, 5517, 5966, 5702))
# Vertices of the eyeballs and of the mouth's inside. Source: the mesh's own materials; the mouth is the part of the back of the head that lies within it.
_EYEBALLS = (slice(21451, 23021), slice(23021, 24591))
_MOUTH = slice(11248, 14062)
# Materials that are drawn; the others are shells around the eyes that would have to be transparent, and irises that are painted on the eyeballs instead.
MATERIALS = ("M_Face", "M_BackHead", "M_Teeth", "M_GumsTongue", "M_EyeLashes", "M_ScleraLeft", "M_ScleraRight")
# How far an eye turns at a weight of 1, degrees: the shapes `eyeLook...` move the lids alone.
_GAZE_DEG = 25.0


@dataclass(frozen=True, eq=False)
class FaceModel:
    """The model, ready to be posed.

    Attributes:
        sha256: Of its file.
        neutral: float32[V, 3], the mean face.
        triangles: int32[T, 3], counterclockwise seen from outside.
        material: int8[T], index into `MATERIALS`.
        brow: float32[V], distance to the line of the brows in centimetres; large where there is no skin.
        lip: float32[V], distance to the lips' lines.
        mouth: bool[V], inside of the mouth.
        shapes: Names of the expressions.
    """

    sha256: str
    neutral: Points
    triangles: NDArray[np.int32]
    material: NDArray[np.int8]
    brow: NDArray[np.float32]
    lip: NDArray[np.float32]
    mouth: NDArray[np.bool_]
    shapes: tuple[str, ...]
    _expressions: Points
    _identities: Points

    @property
    def n_identity(self) -> int:
        """How many weights an identity has."""
        return len(self._identities)

    def eyes(self, side: int) -> Points:
        """Return the centre of an eyeball of the mean face, float32[3]; side 0 is the subject's left."""
        points = self.neutral[_EYEBALLS[side]]
        return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2, np.float32)

    def at_rest(self, identity: Sequence[float]) -> Points:
        """Return the mesh of a person without an expression, float32[V, 3], in centimetres; `identity` has up to `n_identity` weights."""
        return np.asarray(self.neutral + np.tensordot(np.array(identity, np.float32), self._identities[: len(identity)], 1), np.float32)

    def posed(self, at_rest: Points, expression: Mapping[str, float]) -> Points:
        """Return the mesh of a person with an expression, float32[V, 3], in centimetres.

        Args:
            at_rest: float32[V, 3].
            expression: Weights in [0, 1] by the names of `shapes`.
        """
        points = at_rest.copy()
        for name, weight in expression.items():
            points += np.float32(weight) * self._expressions[self.shapes.index(name)]
        for side, letter in enumerate("LR"):
            up = expression.get(f"eyeLookUp_{letter}", 0.0) - expression.get(f"eyeLookDown_{letter}", 0.0)
            outwards = expression.get(f"eyeLookOut_{letter}", 0.0) - expression.get(f"eyeLookIn_{letter}", 0.0)
            eyeball = points[_EYEBALLS[side]]
            center = (eyeball.min(axis=0) + eyeball.max(axis=0)) / 2
            turn = rotation(yaw_deg=_GAZE_DEG * outwards * (1 if side == 0 else -1), pitch_deg=_GAZE_DEG * up, roll_deg=0.0)
            points[_EYEBALLS[side]] = (eyeball - center) @ turn.T + center
        return points


def rotation(*, yaw_deg: float, pitch_deg: float, roll_deg: float) -> Points:
    """Return the rotation of a head, float32[3, 3], for x to the right edge of the picture, y up and z to the viewer; signs as in `edge.result.Pose`."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, np.float32)


def load_face_model(path: Path) -> FaceModel:
    """Read the model.

    Raises:
        ConfigError: There is no such file, or it is not the model.
    """
    hint = "expected ICT-FaceKit's geometry as .npz: neutral, faces, material, materials, expr, expr_names, ident"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            neutral, faces, material = stored["neutral"].astype(np.float32), stored["faces"], stored["materials"][stored["material"]]
            expressions, identities = stored["expr"].astype(np.float32), stored["ident"].astype(np.float32)
            names = tuple(str(name) for name in stored["expr_names"])
    except (OSError, KeyError, ValueError, TypeError, IndexError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read as a face model: {error}", hint=hint) from error
    if neutral.shape != (N_VERTICES, 3) or expressions.shape != (len(names), N_VERTICES, 3) or identities.shape[1:] != (N_VERTICES, 3):
        raise ConfigError(f"{path}: expected {N_VERTICES} vertices in neutral, expr and ident, got {list(neutral.shape)}", hint=hint)
    shown = np.isin(material, MATERIALS)
    quads, material = faces[shown], np.array([MATERIALS.index(name) for name in material[shown]], np.int8)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    material = np.concatenate([material, material])
    whole = (triangles[:, 0] != triangles[:, 2]) & (triangles[:, 1] != triangles[:, 2])
    mouth = np.zeros(N_VERTICES, bool)
    mouth[_MOUTH] = True
    return FaceModel(
        sha256=file_sha256(path),
        neutral=neutral,
        triangles=np.asarray(triangles[whole], np.int32),
        material=material[whole],
        brow=_distance(neutral, _BROWS),
        lip=_distance(neutral, _LIPS),
        mouth=mouth,
        shapes=names,
        _expressions=expressions,
        _identities=identities,
    )


def _distance(points: Points, lines: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Distance of every point of the mesh to lines through some of them."""
    nearest = np.full(len(points), np.inf, np.float32)
    for line in lines:
        for first, second in zip(points[list(line[:-1])], points[list(line[1:])], strict=True):
            along = second - first
            place = np.clip((points - first) @ along / (along @ along), 0, 1)[:, np.newaxis]
            nearest = np.minimum(nearest, np.linalg.norm(points - (first + place * along), axis=1))
    return nearest
