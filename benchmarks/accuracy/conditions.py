"""Under which conditions emotions are right: pictures in bins of what they are, and the same pictures made worse step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.emotions import Part, accuracy_of
from benchmarks.accuracy.metrics import Numbers
from benchmarks.accuracy.readings import Convention, Networks
from benchmarks.accuracy.truth import Truth
from benchmarks.accuracy.whole_pictures import Taught
from benchmarks.estimates import SEED
from converters.registry import Say
from converters.training.affect.labelled_faces import POINTS
from edge.frame import Pixels

# Edges of the bins.
BRIGHTNESS_EDGES = (80.0, 110.0, 140.0, 170.0)  # mean gray value, of 255
CONTRAST_EDGES = (35.0, 50.0, 65.0)  # standard deviation of the gray values
ANGLE_EDGES_DEG = (10.0, 20.0, 30.0)  # either way

_SIDES_PX = (48, 32, 24, 16)
_BLURS_PX = (0.0, 1.0, 1.5, 2.0)
_JPEG_QUALITIES = (100, 50, 25, 10)
_DIMMED_TO = (1.0, 0.5, 0.25, 0.12)
_NOISE = 2.0
_GRAY = 128
# A bar's width and height, in distances of the eyes.
_EYE_BAR, _MOUTH_BAR = (2.4, 0.7), (1.6, 0.9)
_PLACE = {name: place for place, (name, _) in enumerate(POINTS)}
_BARS: Mapping[str, tuple[tuple[str, ...], tuple[float, float]]] = {
    "bar over the eyes": (("right_eye_outer", "right_eye_inner", "left_eye_inner", "left_eye_outer"), _EYE_BAR),
    "bar over the mouth": (("mouth_right", "mouth_left", "upper_lip", "lower_lip"), _MOUTH_BAR),
}


class EmotionsUnder(msgspec.Struct, frozen=True, kw_only=True):
    """Emotions under one condition.

    Attributes:
        condition: In words.
        fer2013: Part right by FER2013's labels.
        ferplus: Part right by FER+'s clear majorities.
    """

    condition: str
    fer2013: Part
    ferplus: Part


def natural_bins(
    pictures: Pixels, lessons: Taught, truths: Mapping[Convention, Truth], answers: Mapping[Convention, Numbers]
) -> dict[str, tuple[EmotionsUnder, ...]]:
    """Sort pictures into bins of brightness, contrast, and of the head's pose as the teacher sees it.

    Args:
        pictures: uint8[N, 48, 48].
        lessons: Of the same pictures.
        truths: By convention.
        answers: By convention, float64[N, 7].
    """
    measured: Mapping[str, tuple[Numbers, Sequence[float]]] = {
        "brightness (mean of 255)": (pictures.mean(axis=(1, 2)), BRIGHTNESS_EDGES),
        "contrast (deviation of 255)": (pictures.std(axis=(1, 2)), CONTRAST_EDGES),
        "yaw either way (degrees)": (np.abs(lessons.pose_deg[:, 0]), ANGLE_EDGES_DEG),
        "pitch either way (degrees)": (np.abs(lessons.pose_deg[:, 1]), ANGLE_EDGES_DEG),
    }
    return {name: tuple(_under(label, chosen, truths, answers) for label, chosen in bins(values, edges)) for name, (values, edges) in measured.items()}


def made_worse(networks: Networks, pictures: Pixels, lessons: Taught, truths: Mapping[Convention, Truth], say: Say) -> dict[str, tuple[EmotionsUnder, ...]]:
    """Make the same pictures smaller, blurred, compressed, dark, or hide a part of the face, and read them again. Arguments as in `natural_bins`."""
    everything = np.ones(len(pictures), bool)
    kinds: Mapping[str, Sequence[tuple[str, Callable[[], Pixels], NDArray[np.bool_]]]] = {
        "size of the picture (px)": [(str(side), partial(reduced, pictures, side), everything) for side in _SIDES_PX],
        "blur (px, of 48)": [(f"{sigma:g}", partial(blurred, pictures, sigma), everything) for sigma in _BLURS_PX],
        "JPEG quality": [(str(quality), partial(compressed, pictures, quality), everything) for quality in _JPEG_QUALITIES],
        f"light dimmed to, with noise of {_NOISE:g}": [(f"{part:g}", partial(dimmed, pictures, part), everything) for part in _DIMMED_TO],
        "a part hidden, faces whose points are known": [
            ("nothing hidden", partial(np.copy, pictures), lessons.sure),
            *((name, partial(barred, pictures, lessons, name), lessons.sure) for name in _BARS),
        ],
    }
    found: dict[str, tuple[EmotionsUnder, ...]] = {}
    for kind, levels in kinds.items():
        say(f"emotions by {kind}")
        found[kind] = tuple(_under(label, chosen, truths, networks.whole(change())) for label, change, chosen in levels)
    return found


def bins(values: Numbers, edges: Sequence[float]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield a name and bool[N] for each bin of float64[N]: below the first edge, between two, from the last on. NaN is in none."""
    for low, high in zip((-np.inf, *edges), (*edges, np.inf), strict=True):
        name = f"below {high:g}" if low == -np.inf else f"{low:g} and more" if high == np.inf else f"{low:g} to {high:g}"
        yield name, (values >= low) & (values < high)


def reduced(pictures: Pixels, side_px: int) -> Pixels:
    """Return uint8[N, side_px, side_px]: the pictures as from further away."""
    return _each(pictures, lambda picture: cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA))


def blurred(pictures: Pixels, sigma_px: float) -> Pixels:
    """Return the pictures out of focus: convolved with a Gaussian."""
    return pictures if sigma_px == 0 else _each(pictures, lambda picture: cv2.GaussianBlur(picture, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))


def compressed(pictures: Pixels, quality: int) -> Pixels:
    """Return the pictures after a JPEG file of this quality."""

    def through(picture: Pixels) -> Pixels:
        _, file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), np.uint8)

    return _each(pictures, through)


def dimmed(pictures: Pixels, part: float) -> Pixels:
    """Return the pictures with a part of their light and a sensor's noise, which does not dim with it. The same pictures get the same noise."""
    noise = np.random.default_rng(SEED).normal(0, _NOISE, pictures.shape)
    return np.asarray(np.clip(np.rint(pictures * part + (noise if part < 1 else 0)), 0, 255), np.uint8)


def barred(pictures: Pixels, lessons: Taught, name: str) -> Pixels:
    """Return the pictures with a gray bar over the eyes or the mouth, as one of `_BARS` says; those whose points are not known stay as they are."""
    points, (width, height) = _BARS[name]
    hidden = pictures.copy()
    for row in np.flatnonzero(lessons.sure):
        known = lessons.points_px[row]
        first, second = (known[[_PLACE[f"{side}_eye_outer"], _PLACE[f"{side}_eye_inner"]]].mean(axis=0) for side in ("right", "left"))
        across = second - first
        down = np.array([-across[1], across[0]])
        center = known[[_PLACE[point] for point in points]].mean(axis=0)
        corners = [center + x * width / 2 * across + y * height / 2 * down for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        # A pixel's centre is at one half.
        cv2.fillConvexPoly(hidden[row], np.rint(np.array(corners) - 0.5).astype(np.int32), _GRAY)
    return hidden


def _each(pictures: Pixels, change: Callable[[Pixels], object]) -> Pixels:
    return np.stack([np.asarray(change(picture), np.uint8) for picture in pictures])


def _under(condition: str, chosen: NDArray[np.bool_], truths: Mapping[Convention, Truth], answers: Mapping[Convention, Numbers]) -> EmotionsUnder:
    parts = {}
    for convention, truth in truths.items():
        known = chosen[truth.rows]
        parts[convention] = accuracy_of(truth.emotion[known], answers[convention][truth.rows][known])
    return EmotionsUnder(condition=condition, fer2013=parts["fer2013"], ferplus=parts["seen"])
