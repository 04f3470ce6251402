"""Colours of what a rendered face shows, pixel by pixel: skin, brows, lips, eyes, hair, and the light on them.

Arrays have an axis of three, or of a colour's parts, first: NumPy is fast along long last axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.rendering.geometry import MATERIALS, FaceModel
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


class Noise:
    """Smooth noise in a room that repeats itself every 32 cells: mean 0 and deviation about 0.5, the same at the same places.

    Args:
        rng: Draws it.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        cells = rng.normal(0, 1, (_NOISE_CELLS,) * 3).astype(np.float32)
        # With the first cells once more after the last ones, a cell's neighbours lie at fixed distances from it.
        self._cells = np.pad(cells, (0, 1), mode="wrap").ravel()

    def at(self, places: Array, per_cm: float | Array) -> Array:
        """Return the noise, float32[P], at places, float32[3, P], with so many cells per centimetre."""
        scaled = places * np.asarray(per_cm, np.float32)
        low = np.floor(scaled)
        x, y, z = scaled - low
        column, row, layer = low.astype(np.int32) % _NOISE_CELLS
        side = _NOISE_CELLS + 1
        first = (column * side + row) * side + layer
        edges = [_between(self._cells[start:].take(first), self._cells[start + 1 :].take(first), z) for start in (0, side, side * side, side * side + side)]
        return _between(_between(edges[0], edges[1], y), _between(edges[2], edges[3], y), x)


class Paint:
    """What is painted on a person: the same in all of their pictures.

    Args:
        model: The face model.
        person: Who.

    Attributes:
        person: Who.
        lift_cm: float32[V, 1], how far the hair stands off at each point of the mesh.
    """

    def __init__(self, model: FaceModel, person: Person) -> None:
        rng = np.random.default_rng(person.paint)
        self.person = person
        cover = _hair_cover(model.neutral.T, person, Noise(np.random.default_rng(rng.integers(2**31)))) * ~model.mouth
        outside = np.zeros(len(cover), bool)
        outside[model.triangles[np.isin(model.material, [MATERIALS.index(name) for name in ("M_Face", "M_BackHead")])]] = True
        self.lift_cm = (person.hair_cm * cover * outside)[:, np.newaxis]
        self._spots, self._fine_spots, self._strands, self._hairline = (Noise(rng) for _ in range(4))

    def colors(self, surface: Surface) -> tuple[Array, Array]:
        """Return the colour of every pixel in white light, float32[3, P], and how much it shines, float32[P]."""
        person, face, on_face = self.person, surface.shows("M_Face"), surface.on_face
        skin, hair = linear(person.skin), linear(person.hair)
        x, y, z = on_face
        beside = np.abs(x)
        albedo = _column(skin) * (1 + 0.05 * self._spots.at(on_face, 0.4) + 0.03 * self._fine_spots.at(on_face, 1.5))
        cheeks = np.exp(-((beside - 4.8) ** 2 + (y + 1.0) ** 2) / 5.0) + 0.7 * np.exp(-(x**2 + (y + 0.6) ** 2) / 2.5)
        _lay(albedo, _RED * skin.mean() * 1.5, 0.25 * cheeks * face)
        strands = np.clip(0.65 + 0.5 * self._strands.at(on_face, np.array([[4.0], [1.2], [4.0]])), 0, 1)
        beard: Array = np.zeros_like(x)
        if person.beard:
            beard = person.beard * face * _step(-1.4, -2.2, y + 0.15 * beside) * _step(-10.5, -8.5, y) * _step(2.0, 4.5, z + 0.3 * beside)
            _lay(albedo, hair * 0.8, beard * strands * _step(0.5, 0.9, surface.lip))
        _lay(albedo, _RED * (0.35 + 0.65 * skin.mean()), (0.35 + 0.5 * person.lips) * face * np.exp(-((surface.lip / 0.42) ** 4)))
        _lay(albedo, hair * 0.9, person.brows * face * np.exp(-((surface.brow / 0.40) ** 4)) * np.clip(strands + 0.2, 0, 1))
        covered = _hair_cover(on_face, person, self._hairline) * (face | (surface.shows("M_BackHead") & ~surface.in_mouth))
        _lay(albedo, _column(hair) * (0.6 + 0.6 * strands), covered)
        shine = np.where(face, np.float32(0.25), np.float32(0.1)) * (1 - covered) * (1 - beard)
        self._inside(surface, albedo, shine)
        return albedo, shine

    def _inside(self, surface: Surface, albedo: Array, shine: Array) -> None:
        """Eyes, lashes, and the mouth's inside."""
        for side, name in enumerate(("M_ScleraLeft", "M_ScleraRight")):
            eye = np.flatnonzero(surface.shows(name))
            albedo[:, eye], shine[eye] = _eye(surface.on_face[:, eye], surface.eye_centers[side], self.person), 0.9
        colors = (("M_Teeth", linear(_TEETH), 0.4), ("M_GumsTongue", linear(_GUMS), 0.3), ("M_EyeLashes", linear(self.person.hair) * 0.5, 0.0))
        for name, color, gloss in colors:
            part = np.flatnonzero(surface.shows(name))
            albedo[:, part], shine[part] = _column(color), gloss
        albedo[:, np.flatnonzero(surface.in_mouth)] = _column(linear(_MOUTH))
        # Deep in the mouth there is no light.
        inside = np.flatnonzero(surface.in_mouth | surface.shows("M_Teeth") | surface.shows("M_GumsTongue"))
        depth = np.clip((surface.on_face[2, inside] - 6.0) / 5.0, 0.12, 0.9)
        albedo[:, inside] *= depth
        shine[inside] *= depth


class Surface:
    """What lies under the pixels of a face.

    Args:
        model: The face model.
        visible: What the pixels show.
        posed: float32[V, 3], the mesh as it stands in the room.
    """

    def __init__(self, model: FaceModel, visible: Visible, posed: Array) -> None:
        self._material = model.material[visible.triangle]
        # Where it is in the room; where on the mean face: what is painted on moves with the skin; which way it faces; and what is near. Gathered at once.
        values = np.column_stack([posed, model.neutral, normals(posed, model.triangles), model.brow, model.lip, model.mouth.astype(np.float32)])
        at = np.ascontiguousarray(visible.interpolated(values, model.triangles).T)
        self.place, self.on_face, self.normal = at[0:3], at[3:6], _unit(at[6:9])
        self.brow, self.lip, self.in_mouth = at[9], at[10], at[11] > 0.5
        self.eye_centers = (model.eyes(0), model.eyes(1))

    def shows(self, material: str) -> NDArray[np.bool_]:
        """Return which pixels show a material, bool[P]."""
        return np.asarray(self._material == MATERIALS.index(material), np.bool_)


def normals(points: Array, triangles: NDArray[np.int32]) -> Array:
    """Return the normals of a mesh's points, float32[V, 3]."""
    x, y, z = np.ascontiguousarray(points.T)
    corners = np.ascontiguousarray(triangles.T)
    edges = [[axis[corners[corner]] - axis[corners[0]] for axis in (x, y, z)] for corner in (1, 2)]
    of_triangles = [edges[0][a] * edges[1][b] - edges[0][b] * edges[1][a] for a, b in ((1, 2), (2, 0), (0, 1))]
    sums = [sum(np.bincount(corner, axis, len(points)) for corner in corners) for axis in of_triangles]
    return np.ascontiguousarray(_unit(np.array(sums, np.float32)).T)


def lit(surface: Surface, albedo: Array, shine: Array, shot: Shot, shadow: Array) -> Array:
    """Return the light that reaches the camera from every pixel, float32[3, P], linear.

    Args:
        surface: What lies under the pixels.
        albedo: float32[3, P].
        shine: float32[P].
        shot: The lamp and the light from all sides.
        shadow: float32[P], how much of the lamp reaches a pixel, in [0, 1].
    """
    lamp, ambient = _column(np.array(shot.lamp, np.float32)), _column(np.array(shot.ambient, np.float32))
    towards = _unit(np.array(shot.light, np.float32))
    # Light goes a little way around under skin.
    facing = np.clip((towards @ surface.normal + 0.2) / 1.2, 0, 1) * shadow
    half = _unit(towards + np.array([0, 0, 1], np.float32))
    gloss = 0.5 * shine * np.clip(half @ surface.normal, 0, 1) ** 25 * shadow
    from_above = 0.75 + 0.25 * surface.normal[1]
    return np.asarray(albedo * (facing * lamp + from_above * ambient) + gloss * lamp, np.float32)


def _hair_cover(on_face: Array, person: Person, hairline: Noise) -> Array:
    """Where on the head hair grows, float32[P] in [0, 1], for places on the mean face."""
    x, y, z = on_face
    # The hairline comes down before the ears; behind them it goes to the neck.
    line = 4.6 + person.hairline_cm - 0.045 * x**2 - 0.55 * np.clip(7.0 - z, 0, 12)
    ragged = 0.4 * hairline.at(on_face, 0.8)
    return _step(-0.35, 0.35, y - np.maximum(line, -4.0) + ragged) * _step(2.5, 5.0, y + np.clip(3.0 - z, 0, 9))


def _eye(on_face: Array, center: Array, person: Person) -> Array:
    away = np.where(on_face[2] > center[2], np.hypot(on_face[0] - center[0], on_face[1] - center[1]), np.float32(9.0))
    color = np.repeat(_column(linear(_SCLERA)), len(away), axis=1)
    _lay(color, _column(linear(person.iris)) * (0.7 + 0.5 * away / _IRIS_CM).clip(0, 1.2), _step(_IRIS_CM + 0.04, _IRIS_CM - 0.04, away))
    _lay(color, np.full(3, 0.02, np.float32), _step(_PUPIL_CM + 0.03, _PUPIL_CM - 0.03, away))
    return color


def _lay(under: Array, over: Array, part: Array) -> None:
    """Lay a colour, float32[3] or float32[3, P], over some of what is there already."""
    places = np.flatnonzero(part > 0)
    below = under[:, places]
    under[:, places] = below + ((_column(over) if over.ndim == 1 else over[:, places]) - below) * np.clip(part[places], 0, 1)


def _between(first: Array, second: Array, part: Array) -> Array:
    return first + (second - first) * part


def _step(start: float, end: float, value: Array) -> Array:
    """0 before `start`, 1 after `end`, smooth between; `end` may lie below `start`."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _column(color: Array) -> Array:
    return color[:, np.newaxis]


def _unit(vectors: Array) -> Array:
    """Vectors of length 1, along the first axis."""
    squares = sum(axis * axis for axis in vectors)
    return np.asarray(vectors / (np.sqrt(squares) + np.float32(1e-9)), np.float32)
