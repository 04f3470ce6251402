"""Action units and head pose on rendered faces of people that nothing was trained on. Synthetic: exact numbers, of faces that nobody has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.conditions import ANGLE_EDGES_DEG, BRIGHTNESS_EDGES, CONTRAST_EDGES, bins, reduced
from benchmarks.accuracy.metrics import Numbers, auc, auc_samples, interval_of, pearson
from benchmarks.accuracy.readings import FaceReadings, Networks
from benchmarks.estimates import Interval
from converters.registry import Say
from converters.training.affect.rendered_faces import RenderedPeople
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine import choose, close_engines, open_engines
from edge.errors import ConfigError
from edge.face import Face
from edge.frame import Pixels
from edge.package import Package
from edge.result import ACTION_UNITS

# Fewer faces with or without a unit than this, and a bin has no area for it.
LEAST = 10
_SIDES_PX = (160, 96, 64, 48, 32, 24)
_TONE_EDGES = (0.35, 0.55, 0.75)
_SAY_EVERY = 500


class UnitFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One action unit: how well it tells drawn from not drawn, and follows the intensity that was drawn (0 for none)."""

    n_present: int
    auc: Interval
    pearson: Interval


class UnitsInBin(msgspec.Struct, frozen=True, kw_only=True):
    """The mean over the action units in a bin of faces, and the worst of them.

    Attributes:
        bin: Which.
        n: Faces found.
        of: Faces rendered.
        mean_auc: None where a unit is too rare in it.
        lowest: Unit and area.
        pose_error_deg: Median of the angles' largest distance from the truth; None where no pose is given.
    """

    bin: str
    n: int
    of: int
    mean_auc: Interval | None
    lowest: tuple[str, float] | None
    pose_error_deg: float | None


class UnitsOnRenders(msgspec.Struct, frozen=True, kw_only=True):
    """Synthetic figures: rendered faces, not photographs.

    Attributes:
        what: What they are, in words.
        n: Rendered faces.
        n_found: Of them, those that detector and package find: the figures are over these.
        n_people: Whole people are resampled for the intervals.
        per_unit: By name, those that the package gives.
        mean_auc: Over them.
        lowest_auc: The worst of them.
        mean_pearson: Of the intensities.
        pose_error_deg: Median and 90th percentile of each angle's distance from the truth; None where the package gives no pose.
        bins: The same by pose, by light in the detector's box, skin, glasses, beard, and by the size of the face: the median side of the detector's box.
    """

    what: str
    n: int
    n_found: int
    n_people: int
    per_unit: dict[str, UnitFigures]
    mean_auc: Interval
    lowest_auc: tuple[str, float]
    mean_pearson: float
    pose_error_deg: dict[str, tuple[float, float]] | None
    bins: dict[str, tuple[UnitsInBin, ...]]


def units_on_renders(networks: Networks, detector: Package, renders: RenderedPeople, say: Say) -> UnitsOnRenders:
    """Read rendered faces on the runtime's path and compare with what was rendered.

    Args:
        networks: Of a package that gives action units.
        detector: Finds the faces.
        renders: N of them.
        say: Takes progress lines.

    Raises:
        ConfigError: The package finds next to no face in them.
    """
    faces = _found(detector, renders.pictures, say)
    readings = _read(networks, renders.pictures, faces, say)
    if (n_found := int(readings.found.sum())) < LEAST:
        raise ConfigError(
            f"expected faces in at least {LEAST} of {len(faces)} renders, got {n_found}", hint="does the package find faces at all? edge-run --source sample"
        )
    chosen, given = readings.found, [ACTION_UNITS.index(unit) for unit in networks.units]
    per_unit = {ACTION_UNITS[column]: _of_unit(renders, readings, chosen, column) for column in given}
    lowest = min(per_unit, key=lambda unit: per_unit[unit].auc.estimate)
    error = np.abs(readings.pose_deg - renders.pose)[chosen]
    angles = None if np.isnan(error).any() else np.percentile(error, [50, 90], axis=0).T.tolist()
    return UnitsOnRenders(
        what="rendered faces (ICT-FaceKit) of people never trained on, each unit drawn on its own",
        n=len(renders.pictures),
        n_found=n_found,
        n_people=int(renders.person.max()) + 1,
        per_unit=per_unit,
        mean_auc=_mean_auc(renders, readings, chosen, given),
        lowest_auc=(lowest, per_unit[lowest].auc.estimate),
        mean_pearson=float(np.mean([each.pearson.estimate for each in per_unit.values()])),
        pose_error_deg=None if angles is None else {name: (half, most) for name, (half, most) in zip(("yaw", "pitch", "roll"), angles, strict=True)},
        bins={**_bins(renders, faces, readings, given), "size of the face (px)": tuple(_by_size(networks, renders, faces, readings, given, say))},
    )


def _found(detector: Package, pictures: Pixels, say: Say) -> list[Face | None]:
    engines = open_engines(detector, choose("onnxruntime", "fp32", detector))
    try:
        finder, faces = FaceDetector(detector, engines), list[Face | None]()
        for picture in pictures:
            faces.append(next(iter(finder.detect(_rgb(picture), StageTimes(), all_views=True)), None))
            if len(faces) % _SAY_EVERY == 0:
                say(f"looked for faces in {len(faces)} of {len(pictures)} renders")
    finally:
        close_engines(engines)
    return faces


def _read(networks: Networks, pictures: Pixels, faces: Sequence[Face | None], say: Say) -> FaceReadings:
    def each() -> Iterator[tuple[Callable[[], Pixels], Face | None]]:
        for number, (picture, face) in enumerate(zip(pictures, faces, strict=True), 1):
            yield partial(_rgb, picture), face
            if number % _SAY_EVERY == 0:
                say(f"read {number} of {len(pictures)} renders")

    return networks.faces(each(), len(pictures), "seen")


def _rgb(picture: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8)


def _of_unit(renders: RenderedPeople, readings: FaceReadings, chosen: NDArray[np.bool_], column: int) -> UnitFigures:
    drawn, read, person = renders.units[chosen, column].astype(np.float64), readings.units[chosen, column], renders.person[chosen]
    return UnitFigures(n_present=int((drawn > 0).sum()), auc=auc(drawn > 0, read, person), pearson=pearson(drawn, read, person))


def _mean_auc(renders: RenderedPeople, readings: FaceReadings, chosen: NDArray[np.bool_], given: Sequence[int]) -> Interval:
    samples = [auc_samples(renders.units[chosen, column] > 0, readings.units[chosen, column], renders.person[chosen]) for column in given]
    return interval_of(np.mean(samples, axis=0))


def _bins(renders: RenderedPeople, faces: Sequence[Face | None], readings: FaceReadings, given: Sequence[int]) -> dict[str, tuple[UnitsInBin, ...]]:
    turned = np.abs(renders.pose.astype(np.float64))
    inside = [None if face is None else _inside(picture, face) for picture, face in zip(renders.pictures, faces, strict=True)]
    brightness, contrast = (np.array([np.nan if box is None else float(measure(box)) for box in inside]) for measure in (np.mean, np.std))
    measured: Mapping[str, tuple[Numbers, Sequence[float]]] = {
        "yaw either way (degrees)": (turned[:, 0], ANGLE_EDGES_DEG),
        "pitch either way (degrees)": (turned[:, 1], ANGLE_EDGES_DEG[:-1]),
        "brightness of the face (mean of 255)": (brightness, BRIGHTNESS_EDGES),
        "contrast of the face (deviation of 255)": (contrast, CONTRAST_EDGES),
        "skin (luminance from 0, dark, to 1)": (renders.traits["skin"].astype(np.float64), _TONE_EDGES),
        "glasses (none below 0.01)": (renders.traits["glasses"].astype(np.float64), (0.01,)),
        "beard (none below 0.01)": (renders.traits["beard"].astype(np.float64), (0.01,)),
    }
    return {
        name: tuple(_in_bin(label, chosen, renders, readings, given) for label, chosen in bins(values, edges)) for name, (values, edges) in measured.items()
    }


def _inside(picture: Pixels, face: Face) -> Pixels:
    left, top, right, bottom = (round(min(max(edge, 0), len(picture))) for edge in face.box_ltrb_px)
    return picture[top:bottom, left:right]


def _by_size(
    networks: Networks, renders: RenderedPeople, faces: Sequence[Face | None], readings: FaceReadings, given: Sequence[int], say: Say
) -> Iterator[UnitsInBin]:
    """The same faces from further away: reduced, and enlarged again so that the detector's boxes of the full pictures still hold."""
    full_px = renders.pictures.shape[1]
    face_px = float(np.median([face.side_px for face in faces if face is not None]))
    everything = np.ones(len(renders.pictures), bool)
    for side in _SIDES_PX:
        if side > full_px:
            continue
        if side < full_px:
            say(f"action units on renders of {side} px")
            small = reduced(renders.pictures, side)
            again = np.stack([np.asarray(cv2.resize(picture, (full_px, full_px), interpolation=cv2.INTER_LINEAR), np.uint8) for picture in small])
            readings = _read(networks, again, faces, say)
        yield _in_bin(f"{face_px * side / full_px:.0f} (picture {side})", everything, renders, readings, given)


def _in_bin(label: str, chosen: NDArray[np.bool_], renders: RenderedPeople, readings: FaceReadings, given: Sequence[int]) -> UnitsInBin:
    found = chosen & readings.found
    drawn = renders.units[found] > 0
    counts = np.minimum(drawn.sum(axis=0), (~drawn).sum(axis=0))[list(given)]
    enough = counts.size > 0 and counts.min() >= LEAST
    areas = {ACTION_UNITS[column]: auc_samples(drawn[:, column], readings.units[found, column], renders.person[found])[0] for column in given} if enough else {}
    lowest = min(areas, key=areas.__getitem__, default=None)
    error = np.abs(readings.pose_deg - renders.pose)[found].max(axis=1, initial=0.0)
    return UnitsInBin(
        bin=label,
        n=int(found.sum()),
        of=int(chosen.sum()),
        mean_auc=_mean_auc(renders, readings, found, given) if enough else None,
        lowest=None if lowest is None else (lowest, float(areas[lowest])),
        pose_error_deg=None if not error.size or np.isnan(error).any() else float(np.median(error)),
    )
