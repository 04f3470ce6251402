"""Colours of what a rendered face shows, pixel by pixel: skin, brows, lips, eyes, hair, and the light on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.rendering.geometry import FaceModel
from calibration.rendering.raster import Array, Visible
from calibration.rendering.scene import Person, Shot

# Radii of iris and pupil, centimetres.
_IRIS_CM, _PUPIL_CM = 0.62, 0.25
_TEETH, _GUMS, _MOUTH, _SCLERA = (0.90, 0.87, 0.82), (0.68, 0.42, 0.42), (0.55, 0.30, 0.30), (0.90, 0.88, 0.87)
# Source: IEC 61966-2-1's mean exponent.
GAMMA = 2.2
_NOISE_CELLS = 32


def linear(color: Sequence[float]) -> Array:
    """Return an sRGB colour in [0, 1] as linear light, float32[3], never quite black."""
    return np.clip(np.array(color, np.float32), 0.03, 1) ** np.float32(GAMMA)


_RED = linear((0.78, 0.40, 0.38))


class Surface:
    """What lies under the pixels of a face.

    Args:
        model: The face model.
        visible: What the pixels show.
        posed: float32[V, 3], the mesh as it stands in the room.
    """

    def __init__(self, model: FaceModel, visible: Visible, posed: Array) -> None:
        triangles = model.triangles
        self.material = model.material[visible.triangle]
        self.place = visible.interpolated(posed, triangles)
        # Where on the mean face: what is painted on moves with the skin.
        self.on_face = visible.interpolated(model.neutral, triangles)
        self.normal = _unit(visible.interpolated(normals(posed, triangles), triangles))
        self.brow = visible.interpolated(model.brow, triangles)
        self.lip = visible.interpolated(model.lip, triangles)
        self.in_mouth = visible.interpolated(model.mouth.astype(np.float32), triangles) > 0.5
        self.eye_centers = (model.eyes(0), model.eyes(1))


def normals(points: Array, triangles: NDArray[np.int32]) -> Array:
    """Return the normals of a mesh's points, float32[V, 3]."""
    corners = points[triangles]
    of_triangles = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.stack([np.bincount(triangles.ravel(), np.repeat(of_triangles[:, axis], 3), len(points)) for axis in range(3)], axis=1)
    return _unit(sums.astype(np.float32))


def colors(surface: Surface, person: Person, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the colour of every pixel in white light, float32[P, 3], and how much it shines, float32[P]."""
    face = surface.material == "M_Face"
    skin = linear(person.skin)
    x, y, z = surface.on_face.T
    mottled = 1 + 0.05 * _noise(surface.on_face, 0.4, rng) + 0.03 * _noise(surface.on_face, 1.5, rng)
    albedo = skin * mottled[:, np.newaxis]
    cheeks = np.exp(-((np.abs(x) - 4.8) ** 2 + (y + 1.0) ** 2) / 5.0) + 0.7 * np.exp(-(x**2 + (y + 0.6) ** 2) / 2.5)
    albedo = _mixed(albedo, _RED * skin.mean() * 1.5, 0.25 * cheeks * face)
    beard = person.beard * face * _step(-1.4 - 0.15 * np.abs(x), -2.2 - 0.15 * np.abs(x), y) * _step(-10.5, -8.5, y) * _step(2.0, 4.5, z + 0.3 * np.abs(x))
    strands = np.clip(0.65 + 0.5 * _noise(surface.on_face * np.array([1.0, 0.3, 1.0], np.float32), 4.0, rng), 0, 1)
    hair = linear(person.hair)
    albedo = _mixed(albedo, hair * 0.8, beard * strands * _step(0.5, 0.9, surface.lip))
    albedo = _mixed(albedo, _RED * (0.35 + 0.65 * skin.mean()), (0.35 + 0.5 * person.lips) * face * np.exp(-((surface.lip / 0.42) ** 4)))
    albedo = _mixed(albedo, hair * 0.9, person.brows * face * np.exp(-((surface.brow / 0.40) ** 4)) * np.clip(strands + 0.2, 0, 1))
    covered = hair_cover(surface.on_face, person, rng) * (face | ((surface.material == "M_BackHead") & ~surface.in_mouth))
    albedo = _mixed(albedo, hair * (0.6 + 0.6 * strands)[:, np.newaxis], covered)
    shine = np.where(face, 0.25, 0.1) * (1 - covered) * (1 - beard)
    for side, name in enumerate(("M_ScleraLeft", "M_ScleraRight")):
        eye = surface.material == name
        albedo[eye] = _eye(surface.on_face[eye], surface.eye_centers[side], person)
        shine[eye] = 0.9
    for name, color, gloss in (("M_Teeth", linear(_TEETH), 0.4), ("M_GumsTongue", linear(_GUMS), 0.3), ("M_EyeLashes", hair * 0.5, 0.0)):
        albedo[surface.material == name], shine[surface.material == name] = color, gloss
    # Deep in the mouth there is no light.
    inside = surface.in_mouth | np.isin(surface.material, ("M_Teeth", "M_GumsTongue"))
    depth = np.clip((surface.on_face[:, 2] - 6.0) / 5.0, 0.12, 0.9)
    albedo = np.where(inside[:, np.newaxis], np.where(surface.in_mouth[:, np.newaxis], linear(_MOUTH), albedo) * depth[:, np.newaxis], albedo)
    return albedo.astype(np.float32), np.where(inside, shine * depth, shine).astype(np.float32)


def lit(surface: Surface, albedo: Array, shine: Array, shot: Shot, shadow: Array) -> Array:
    """Return the light that reaches the camera from every pixel, float32[P, 3], linear.

    Args:
        surface: What lies under the pixels.
        albedo: float32[P, 3].
        shine: float32[P].
        shot: The lamp and the light from all sides.
        shadow: float32[P], how much of the lamp reaches a pixel, in [0, 1].
    """
    lamp, ambient = np.array(shot.lamp, np.float32), np.array(shot.ambient, np.float32)
    towards = _unit(np.array([shot.light], np.float32))[0]
    # Light goes a little way around under skin.
    facing = np.clip((surface.normal @ towards + 0.2) / 1.2, 0, 1) * shadow
    half = _unit((towards + np.array([0, 0, 1], np.float32))[np.newaxis])[0]
    gloss = shine * np.clip(surface.normal @ half, 0, 1) ** 25 * shadow
    from_above = 0.75 + 0.25 * surface.normal[:, 1]
    light = facing[:, np.newaxis] * lamp + from_above[:, np.newaxis] * ambient
    return np.asarray(albedo * light + 0.5 * gloss[:, np.newaxis] * lamp, np.float32)


def hair_cover(on_face: Array, person: Person, rng: np.random.Generator) -> Array:
    """Return where on the head hair grows, float32[P] in [0, 1], for places on the mean face."""
    x, y, z = on_face.T
    # The hairline comes down before the ears; behind them it goes to the neck.
    line = 4.6 + person.hairline_cm - 0.045 * x**2 - 0.55 * np.clip(7.0 - z, 0, 12)
    ragged = 0.4 * _noise(on_face, 0.8, rng)
    return _step(-0.35, 0.35, y - np.maximum(line, -4.0) + ragged) * (_step(2.5, 5.0, y + np.clip(3.0 - z, 0, 9)))


def _eye(on_face: Array, center: Array, person: Person) -> Array:
    away = np.where(on_face[:, 2] > center[2], np.hypot(on_face[:, 0] - center[0], on_face[:, 1] - center[1]), 9.0)
    iris = linear(person.iris) * (0.7 + 0.5 * away / _IRIS_CM).clip(0, 1.2)[:, np.newaxis]
    color = _mixed(np.broadcast_to(linear(_SCLERA), iris.shape), iris, _step(_IRIS_CM + 0.04, _IRIS_CM - 0.04, away))
    return _mixed(color, np.float32(0.02), _step(_PUPIL_CM + 0.03, _PUPIL_CM - 0.03, away))


def _noise(places: Array, per_cm: float, rng: np.random.Generator) -> Array:
    """Smooth noise, float32[P], mean 0 and deviation about 0.5: the same at the same places."""
    cells = rng.normal(0, 1, (_NOISE_CELLS,) * 3).astype(np.float32)
    at = places * np.float32(per_cm)
    low = np.floor(at).astype(np.int64)
    part = at - low
    total = np.zeros(len(places), np.float32)
    for corner in np.ndindex(2, 2, 2):
        share = np.where(np.array(corner, bool), part, 1 - part).prod(axis=1)
        x, y, z = ((low + corner) % _NOISE_CELLS).T
        total += share * cells[x, y, z]
    return total


def _mixed(under: Array, over: Array | np.float32, part: Array) -> Array:
    part = np.clip(part, 0, 1)[:, np.newaxis]
    return np.asarray(under * (1 - part) + over * part, np.float32)


def _step(start: Array | float, end: Array | float, value: Array) -> Array:
    """0 before `start`, 1 after `end`, smooth between; `end` may lie below `start`."""
    t = np.clip((value - start) / (np.asarray(end) - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9), np.float32)
