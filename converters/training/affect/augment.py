"""What cameras do to faces: crops that are not quite in place, light, blur, noise, compression, things in front; and crops without a face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.training.affect.labelled_faces import POINTS, LabelledFaces
from converters.training.affect.network import SIDE_PX
from edge.frame import Pixels

Array = NDArray[np.float32]

# The crop that the runtime cuts: a square of this many times the long side of the points' box, turned until the eyes are level. Source: FER2013's own pictures
# are 1.08 times that side on the median; they are read whole, as crops.
EXPAND = 1.1
# Of the pictures that are a crop already (FER2013's), how many are read as they are, and how many are cut as the runtime would cut them.
_WHOLE = 0.6
# How many crops are taken from where no face is, and how many show what is taken for one: a detector's mistakes are the hardest.
_ELSEWHERE, _FALSE = 0.06, 0.06
_NAMES = [name for name, _ in POINTS]
_MIRRORED = [_NAMES.index(_swapped) for _swapped in (name.replace("right", "*").replace("left", "right").replace("*", "left") for name in _NAMES)]
_EYES = [_NAMES.index(name) for name in ("right_eye_outer", "right_eye_inner", "left_eye_inner", "left_eye_outer")]


@dataclass(frozen=True)
class Views:
    """A batch of crops with what is known of them.

    Attributes:
        crops: float32[N, 1, 64, 64] in [-1, 1].
        points: float32[N, 17, 3], in crop pixels; NaN where unknown.
        presence: float32[N], 1 for a face, 0 for none.
        seen: float32[N, 7]; NaN where unknown.
        labels: int64[N]; -1 where unknown.
        units: float32[N, 15]; NaN where unknown.
    """

    crops: Array
    points: Array
    presence: Array
    seen: Array
    labels: NDArray[np.int64]
    units: Array


@dataclass(frozen=True)
class _Square:
    """A square of a picture that becomes a crop."""

    x: float
    y: float
    side: float
    angle: float


def plain_views(faces: LabelledFaces, chosen: NDArray[np.int64], *, are_crops: bool) -> Views:
    """Return crops as they are measured: whole pictures where they are crops already, else as the runtime cuts them.

    Args:
        faces: Where they come from.
        chosen: int64[N], indices of the faces; each of them has points, or is a whole crop.
        are_crops: The pictures are framed as the runtime frames its crops, as FER2013's are.
    """
    none = np.zeros(len(chosen), bool)
    return _views(faces, chosen, [_plain(faces, number, are_crops) for number in chosen.tolist()], none, none, None)


def random_views(faces: LabelledFaces, chosen: NDArray[np.int64], rng: np.random.Generator, *, are_crops: bool, spoiled: float = 1.0) -> Views:
    """Return crops as they are learned from: moved, mirrored, lit and spoiled at random, as often as `spoiled` says; some are of no face."""
    squares = [_drawn(faces, number, rng, are_crops) for number in chosen.tolist()]
    kind = rng.random(len(chosen))
    elsewhere, false = kind < _ELSEWHERE, (kind >= _ELSEWHERE) & (kind < _ELSEWHERE + _FALSE)
    squares = [_away(square, rng) if away else square for square, away in zip(squares, elsewhere.tolist(), strict=True)]
    return _views(faces, chosen, squares, elsewhere, false, rng, spoiled)


def _views(
    faces: LabelledFaces,
    chosen: NDArray[np.int64],
    squares: list[_Square],
    elsewhere: NDArray[np.bool_],
    false: NDArray[np.bool_],
    rng: np.random.Generator | None,
    spoiled: float = 0.0,
) -> Views:
    crops: Pixels = np.empty((len(chosen), SIDE_PX, SIDE_PX), np.uint8)
    points = np.empty((len(chosen), len(POINTS), 3), np.float32)
    for row, (number, square) in enumerate(zip(chosen.tolist(), squares, strict=True)):
        border = cv2.BORDER_CONSTANT if rng is not None and rng.random() < 0.5 else cv2.BORDER_REPLICATE
        crops[row] = _cut(faces.pictures[number], square, border)
        points[row] = _in_crop(faces.points[number], square)
    seen, units = faces.seen[chosen].copy(), faces.units[chosen].copy()
    labels = faces.labels[chosen].copy()
    if rng is not None:
        mirrored = rng.random(len(chosen)) < 0.5
        crops[mirrored] = crops[mirrored, :, ::-1]
        points[mirrored] = points[mirrored][:, _MIRRORED] * (-1, 1, 1) + (SIDE_PX, 0, 0)
        for number in np.flatnonzero(false).tolist():
            crops[number] = _no_face(crops[number], rng)
        crops = _spoiled(crops, rng, spoiled)
    faceless = elsewhere | false
    for unknown in (points, seen, units):
        unknown[faceless] = np.nan
    labels[faceless] = -1
    return Views(
        crops=crops[:, np.newaxis].astype(np.float32) / 127.5 - 1,
        points=points,
        presence=1 - faceless.astype(np.float32),
        seen=seen,
        labels=labels,
        units=units,
    )


def _plain(faces: LabelledFaces, number: int, are_crops: bool) -> _Square:
    side = faces.pictures.shape[1]
    return _Square(side / 2, side / 2, side, 0.0) if are_crops else _placed(faces.points[number])


def _placed(points: Array) -> _Square:
    """The runtime's crop, see `edge.face.frame_from_crop`."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    outer_right, inner_right, inner_left, outer_left = points[_EYES, :2]
    x, y = (inner_left + outer_left - outer_right - inner_right).tolist()
    center = (low + high) / 2
    return _Square(float(center[0]), float(center[1]), float((high - low).max()) * EXPAND, math.atan2(y, x))


def _drawn(faces: LabelledFaces, number: int, rng: np.random.Generator, are_crops: bool) -> _Square:
    known = bool(np.isfinite(faces.points[number]).all())
    square = _placed(faces.points[number]) if known and not (are_crops and rng.random() < _WHOLE) else _plain(faces, number, are_crops)
    # A face that is being followed lies near its place; one that moves fast, or was just found, does not.
    wide = 2.5 if rng.random() < 0.2 else 1.0
    shift = rng.normal(0, 0.04 * wide, 2) * square.side
    return _Square(
        square.x + float(shift[0]),
        square.y + float(shift[1]),
        square.side * math.exp(float(np.clip(rng.normal(0, 0.08 * wide), -0.4, 0.4))),
        square.angle + math.radians(float(np.clip(rng.normal(0, 6 * wide), -35, 35))),
    )


def _away(square: _Square, rng: np.random.Generator) -> _Square:
    """A square beside the face, or a small part of it."""
    direction = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.4:
        return _Square(
            square.x + 0.3 * square.side * math.cos(direction),
            square.y + 0.3 * square.side * math.sin(direction),
            square.side * rng.uniform(0.12, 0.5),
            direction,
        )
    far = square.side * rng.uniform(0.42, 1.2)
    return _Square(square.x + far * math.cos(direction), square.y + far * math.sin(direction), square.side * rng.uniform(0.6, 1.2), direction)


def _no_face(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """What has a face's parts or its tones and is none: parts in the wrong places, a face that stands on its head, lettering, bare texture."""
    kind = rng.integers(4)
    if kind == 0:
        parts = int(rng.choice([2, 4]))
        tiles = crop.reshape(parts, SIDE_PX // parts, parts, SIDE_PX // parts).swapaxes(1, 2).reshape(-1, SIDE_PX // parts, SIDE_PX // parts)
        order = rng.permutation(len(tiles))
        while (order == np.arange(len(tiles))).sum() > len(tiles) // 4:
            order = rng.permutation(len(tiles))
        return np.ascontiguousarray(tiles[order].reshape(parts, parts, SIDE_PX // parts, SIDE_PX // parts).swapaxes(1, 2).reshape(SIDE_PX, SIDE_PX))
    if kind == 1:
        return np.ascontiguousarray(np.rot90(crop, int(rng.integers(1, 4))))
    # The crop's own tones, without its shapes.
    cells = int(rng.integers(2, 24))
    values = rng.choice(crop.ravel(), (cells, cells))
    texture = np.asarray(cv2.resize(values, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_NEAREST), np.uint8)
    if kind == 2:
        return texture
    for _ in range(int(rng.integers(1, 5))):
        letters = "".join(chr(code) for code in rng.integers(48, 91, rng.integers(1, 7)))
        place = (int(rng.integers(-8, 40)), int(rng.integers(10, SIDE_PX)))
        tone, thick = float(rng.integers(0, 256)), int(rng.integers(1, 6))
        cv2.putText(texture, letters, place, int(rng.integers(0, 6)), float(rng.uniform(0.4, 2.2)), tone, thick, cv2.LINE_AA)
    return texture


def _cut(picture: Pixels, square: _Square, border: int) -> Pixels:
    # Centres of pixels lie at one half; OpenCV counts them as whole numbers.
    scale = square.side / SIDE_PX
    c, s = scale * math.cos(square.angle), scale * math.sin(square.angle)
    half = (SIDE_PX - 1) / 2
    picture_from_crop = np.array([[c, -s, square.x - 0.5 - c * half + s * half], [s, c, square.y - 0.5 - s * half - c * half]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, picture_from_crop, (SIDE_PX, SIDE_PX), flags=flags, borderMode=border), np.uint8)


def _in_crop(points: Array, square: _Square) -> Array:
    scale = SIDE_PX / square.side
    c, s = scale * math.cos(square.angle), scale * math.sin(square.angle)
    x, y = points[:, 0] - square.x, points[:, 1] - square.y
    return np.stack([c * x + s * y + SIDE_PX / 2, c * y - s * x + SIDE_PX / 2, points[:, 2] * scale], axis=1)


def _spoiled(crops: Pixels, rng: np.random.Generator, often: float) -> Pixels:
    for crop in crops:
        if rng.random() < 0.3 * often:
            _coarsen(crop, rng)
        if rng.random() < 0.1 * often:
            crop[:] = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 1.8)))
        elif rng.random() < 0.05 * often:
            _move(crop, rng)
        if rng.random() < 0.25 * often:
            _cover(crop, rng)
    values = _lit(np.asarray(crops, np.float32) / np.float32(255), rng, often)
    n = len(crops)
    deviation = np.where(rng.random(n) < 0.25 * often, rng.exponential(0.025, n), 0.0)[:, np.newaxis, np.newaxis]
    values += rng.standard_normal(values.shape, np.float32) * deviation
    spoiled = np.asarray(np.clip(values, 0, 1) * 255 + 0.5, np.uint8)
    for crop in spoiled:
        if rng.random() < 0.15 * often:
            _, code = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))))
            crop[:] = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
    return spoiled


def _coarsen(crop: Pixels, rng: np.random.Generator) -> None:
    """A face of so many pixels."""
    side = int(np.exp(rng.uniform(math.log(18), math.log(56))))
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    crop[:] = cv2.resize(small, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC)


def _move(crop: Pixels, rng: np.random.Generator) -> None:
    """Motion during the exposure."""
    length = int(rng.integers(3, 9))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, math.pi)
    reach = (length - 1) / 2
    ends = [(round(reach + side * reach * math.cos(angle)), round(reach + side * reach * math.sin(angle))) for side in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    crop[:] = cv2.filter2D(crop, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _cover(crop: Pixels, rng: np.random.Generator) -> None:
    """Something in front of the face: a hand, a cup, hair, the edge of a screen. Source: random erasing, Zhong et al. 2017, arXiv:1708.04896."""
    area, ratio = rng.uniform(0.02, 0.2), math.exp(rng.uniform(-1.0, 1.0))
    wide, high = (min(SIDE_PX, max(2, round(SIDE_PX * math.sqrt(area * factor)))) for factor in (ratio, 1 / ratio))
    left, top = int(rng.integers(0, SIDE_PX - wide + 1)), int(rng.integers(0, SIDE_PX - high + 1))
    tone = float(rng.uniform(0, 255))
    if rng.random() < 0.5:
        crop[top : top + high, left : left + wide] = np.clip(rng.normal(tone, rng.uniform(0, 40), (high, wide)), 0, 255)
    else:
        center = (left + wide // 2, top + high // 2)
        cv2.ellipse(crop, center, (max(1, wide // 2), max(1, high // 2)), float(rng.uniform(0, 180)), 0, 360, tone, -1)


def _lit(values: Array, rng: np.random.Generator, often: float) -> Array:
    """Contrast, brightness, gamma and a lamp at one side."""
    n = len(values)

    def some(odds: float, drawn: NDArray[np.float64], otherwise: float) -> Array:
        return np.where(rng.random(n) < odds * often, drawn, otherwise).astype(np.float32)[:, np.newaxis, np.newaxis]

    middle = values.mean((1, 2), keepdims=True)
    values = (values - middle) * some(0.4, np.exp(rng.normal(0, 0.3, n)), 1.0) + middle + some(0.4, rng.normal(0, 0.1, n), 0.0)
    values = np.clip(values, 0, 1) ** some(0.3, np.exp(rng.normal(0, 0.35, n)), 1.0)
    # Dim rooms: few of the levels are left.
    values *= some(0.1, rng.uniform(0.15, 0.6, n), 1.0)
    slope = np.linspace(-0.5, 0.5, SIDE_PX, dtype=np.float32)
    across, down = some(0.2, rng.normal(0, 0.5, n), 0.0), some(0.2, rng.normal(0, 0.3, n), 0.0)
    return np.asarray(values * np.clip(1 + across * slope + down * slope[:, np.newaxis], 0.1, 2), np.float32)
