"""A scene to a picture: pose the mesh, see which triangle each pixel shows, paint and light it over a backdrop."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from calibration.rendering.geometry import FaceModel, rotation
from calibration.rendering.raster import Array, rasterize
from calibration.rendering.scene import Person, Scene, Shot
from calibration.rendering.shade import GAMMA, Paint, Surface, linear, lit, normals
from edge.frame import Pixels

# Pixels are averaged from so many by so many.
_FINER = 2
_SHADOW_PX = 192
# A place is in the shadow where something is nearer to the lamp by more than this.
_SHADOW_BIAS_CM = 0.35
_FACE_WIDTH_CM = 15.0
# The point about which a head turns, in the mean face.
_PIVOT = np.array([0.0, -1.0, 0.0], np.float32)
_MIDDLE_OF_FACE = np.array([0.0, -0.5, 8.0], np.float32)


def render(model: FaceModel, scene: Scene, size_px: int) -> Pixels:
    """Render a scene, without the noise and blur of a camera.

    Args:
        model: The face model.
        scene: What it shows.
        size_px: Side of the picture.

    Returns:
        uint8[size_px, size_px, 3], RGB.
    """
    fine = size_px * _FINER
    person, shot = scene.person, scene.shot
    at_rest, paint = _same_in_all(model, person)
    posed = model.posed(at_rest, scene.shapes)
    # Hair lifts the scalp.
    posed += normals(posed, model.triangles) * paint.lift_cm
    turn = rotation(yaw_deg=shot.yaw_deg, pitch_deg=shot.pitch_deg, roll_deg=shot.roll_deg)
    placed = (posed - _PIVOT) @ turn.T
    middle = (_MIDDLE_OF_FACE - _PIVOT) @ turn.T
    points = _in_picture(placed, middle, shot, fine)
    visible = rasterize(points, model.triangles, fine)
    surface = Surface(model, visible, placed)
    albedo, shine = paint.colors(surface)
    picture = _backdrop(shot, person, _in_picture(middle[np.newaxis], middle, shot, fine)[0], fine)
    picture.reshape(-1, 3)[visible.pixel] = lit(surface, albedo, shine, shot, _shadow(placed, model, surface, shot)).T
    if person.glasses:
        _draw_glasses(picture, model, person, turn, middle, shot, fine)
    small = cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small, 0, 1) ** np.float32(1 / GAMMA) * 255 + 0.5, np.uint8)


# Pictures of one person mostly follow one another.
@lru_cache(maxsize=1)
def _same_in_all(model: FaceModel, person: Person) -> tuple[Array, Paint]:
    """A person's mesh without an expression, and their paint: half of the work of a picture."""
    return model.at_rest(person.identity), Paint(model, person)


def _in_picture(placed: Array, middle: Array, shot: Shot, size_px: int) -> Array:
    """Perspective: x to the right and y down in pixels, z towards the camera."""
    focal_px = shot.width_px * _FINER / _FACE_WIDTH_CM * shot.distance_cm
    depth = shot.distance_cm - (placed[:, 2] - middle[2])
    x = size_px / 2 + shot.shift_px[0] * _FINER + focal_px * (placed[:, 0] - middle[0]) / depth
    y = size_px / 2 + shot.shift_px[1] * _FINER - focal_px * (placed[:, 1] - middle[1]) / depth
    return np.stack([x, y, -depth], axis=1).astype(np.float32)


def _shadow(placed: Array, model: FaceModel, surface: Surface, shot: Shot) -> Array:
    """How much of the lamp reaches each pixel's place: the head seen from the lamp, softened."""
    towards = np.array(shot.light, np.float32) / np.linalg.norm(shot.light)
    across = np.cross([0.0, 1.0, 0.0], towards)
    across /= np.linalg.norm(across)
    axes = np.stack([across, -np.cross(towards, across), towards]).astype(np.float32)
    scale = np.array([_SHADOW_PX / 34.0, _SHADOW_PX / 34.0, 1.0], np.float32)
    offset = np.array([_SHADOW_PX / 2, _SHADOW_PX / 2, 0.0], np.float32)
    from_lamp = placed @ axes.T * scale + offset
    seen = rasterize(from_lamp, model.triangles, _SHADOW_PX)
    nearest = np.full(_SHADOW_PX * _SHADOW_PX, -1e3, np.float32)
    nearest[seen.pixel] = seen.depth
    # Continued beyond its edges, for places that lie there.
    nearest = np.pad(nearest.reshape(_SHADOW_PX, _SHADOW_PX), 3, mode="edge").ravel()
    x, y, z = (axes * scale[:, np.newaxis]) @ surface.place + offset[:, np.newaxis]
    column, row = (np.clip(np.floor(axis - 1.5), -3, _SHADOW_PX - 1).astype(np.int32) + 3 for axis in (x, y))
    first = row * (_SHADOW_PX + 6) + column
    light = np.zeros(len(z), np.int32)
    for down in range(4):
        for right in range(4):
            light += nearest[down * (_SHADOW_PX + 6) + right :].take(first) <= z + _SHADOW_BIAS_CM
    return light.astype(np.float32) / 16


def _backdrop(shot: Shot, person: Person, middle_px: Array, size_px: int) -> Array:
    """A blurred room, the hair that hangs behind the head, neck and clothes: float32[size, size, 3], linear."""
    rng = np.random.default_rng(shot.backdrop)
    tone = rng.uniform(0.02, 0.75)
    cells = (int(rng.integers(2, 7)), int(rng.integers(2, 7)))
    coarse = np.clip(tone * rng.uniform(0.8, 1.2, 3) * (1 + rng.normal(0, 0.35, (*cells, 1)) + rng.normal(0, 0.08, (*cells, 3))), 0.005, 1).astype(np.float32)
    room = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 6)):
        corners = (rng.uniform(-0.2, 1.2, (4, 2)) * size_px).astype(np.int32)
        cv2.fillConvexPoly(room, cv2.convexHull(corners), (rng.uniform(0.01, 0.8) * rng.uniform(0.6, 1.2, 3)).tolist(), cv2.LINE_AA)
    room = cv2.GaussianBlur(room, (0, 0), float(rng.uniform(0.5, 8)) * _FINER)
    px_per_cm = shot.width_px * _FINER / _FACE_WIDTH_CM
    light = np.array(shot.ambient, np.float32) * 0.8 + np.array(shot.lamp, np.float32) * 0.25

    def ellipse(x_cm: float, y_cm: float, wide_cm: float, high_cm: float, color: Array) -> None:
        center = (round(float(middle_px[0] + x_cm * px_per_cm)), round(float(middle_px[1] - y_cm * px_per_cm)))
        cv2.ellipse(room, center, (round(wide_cm * px_per_cm), round(high_cm * px_per_cm)), shot.roll_deg, 0, 360, (color * light).tolist(), -1, cv2.LINE_AA)

    lean = -0.1 * shot.yaw_deg
    if person.long_hair:
        ellipse(lean, 1.0 - person.long_hair / 2, 10.5 + person.hair_cm, 10.0 + person.hair_cm + person.long_hair / 2, linear(person.hair) * 0.7)
    ellipse(0.0, -27.0, 22.0, 14.0, linear(shot.clothes))
    return np.asarray(np.clip(room, 0.003, 1.0), np.float32)


def _draw_glasses(picture: Array, model: FaceModel, person: Person, turn: Array, middle: Array, shot: Shot, size_px: int) -> None:
    angle = np.linspace(0, 2 * np.pi, 40)
    width = max(1, round(person.glasses * shot.width_px * _FINER / _FACE_WIDTH_CM))
    rims = []
    for side in range(2):
        x, y, z = model.eyes(side)
        rims.append(
            np.stack([x + 2.6 * np.cos(angle), y - 0.3 + 2.0 * np.sin(angle), np.full_like(angle, z + 3.2) - 0.25 * np.abs(x + 2.6 * np.cos(angle))], axis=1)
        )
    bridge = np.array([[model.eyes(0)[0] - 2.6, model.eyes(0)[1], rims[0][0, 2] + 0.4], [model.eyes(1)[0] + 2.6, model.eyes(1)[1], rims[0][0, 2] + 0.4]])
    for line in (*rims, bridge):
        points = _in_picture((line.astype(np.float32) - _PIVOT) @ turn.T, middle, shot, size_px)[:, :2]
        cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], False, (0.03, 0.03, 0.03), width, cv2.LINE_AA, 4)
