"""Cost against faces in the picture: a straight line, and where it leaves 25 frames a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.budgets import Budget
from benchmarks.estimates import RESAMPLES, SEED, Interval
from benchmarks.limits.turns import in_turns
from benchmarks.scaling.face_pictures import MOST_FACES, PICTURE_WH_PX, pictures_of, read_faces
from benchmarks.scaling.finding import FacePoint, FaceScaling, Fit, Ran
from benchmarks.scaling.followed_path import PERIOD_MS, FollowedPath, analyzers
from benchmarks.timed_process import RunFailed, progress
from edge.config import Config

COUNTS = (0, 1, 2, 4, 8, 16, 32)
QUICK_COUNTS = (0, 1, 4, 16)
_LEAST_POINTS = 2  # of a line


def measure_faces(counts: Sequence[int], rounds: int, budgets: Mapping[str, Budget]) -> FaceScaling:
    """Run the default package over pictures with ever more faces, all numbers in turns.

    `max_faces` is raised to 32 for it; by itself the runtime follows 8.

    Args:
        counts: Faces to draw, ascending, up to 32; at least two of them above 0.
        rounds: Samples of each number.
        budgets: Of which those of `validity` are used.

    Raises:
        CalibrationError: The renders are missing or were changed.
        PackageError: The default package cannot be used.
        RunFailed: Hardly any faces were found, so that there is no line.
    """
    progress(f"faces: {', '.join(map(str, counts))}, {rounds} turns each")
    faces = read_faces(max(counts))
    with analyzers(Config(max_faces=MOST_FACES)) as new:
        opened = {n: new() for n in counts}
        paths = {n: FollowedPath(opened[n], pictures_of(faces[:n])) for n in counts}
        for path in paths.values():
            path.settle()
        turns = in_turns({str(n): path for n, path in paths.items()}, rounds, paths[counts[0]].device, budgets)
        serving, engine = opened[counts[0]].serving, opened[counts[0]].engine_description
    points = []
    for n, path in paths.items():
        last = path.last(rounds)
        points.append(FacePoint(drawn=n, found=last.found, whole=last.whole, stages=last.stages, slowest_frame_ms=last.slowest_ms))
    return face_scaling(points, paths[counts[0]].frames_a_turn, Ran(engine, serving[1], turns.machine, turns.invalid))


def face_scaling(points: Sequence[FacePoint], frames_a_sample: int, ran: Ran) -> FaceScaling:
    """Lay the lines through the points with faces.

    Args:
        points: By faces drawn, ascending.
        frames_a_sample: Over which each sample is a mean.
        ran: On what.

    Raises:
        RunFailed: Fewer than two numbers of faces were found.
    """
    fitted = [point for point in points if point.drawn > 0]
    found = [point.found for point in fitted]
    if len(set(found)) < _LEAST_POINTS:
        raise RunFailed(f"expected at least {_LEAST_POINTS} numbers of faces, got pictures in which {found} were found", hint="choose larger faces")
    series = {"whole": [point.whole.samples_ms for point in fitted]}
    series |= {name: [point.stages[name].samples_ms for point in fitted] for name in fitted[0].stages}
    lines = {name: Lines(found, samples) for name, samples in series.items()}
    return FaceScaling(
        picture_wh_px=PICTURE_WH_PX,
        frames_a_sample=frames_a_sample,
        ran=ran,
        points=[*points],
        fits={name: line.fit() for name, line in lines.items()},
        lost_at=lines["whole"].reaches(PERIOD_MS),
        largest_measured=max(found),
    )


class Lines:
    """The least-squares line through the medians of some points, and those of resampled points.

    Args:
        sizes: Abscissa of each point; not all the same.
        samples_ms: Of each point.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 9: the samples of each point are drawn anew, for their spread differs.
    """

    def __init__(self, sizes: Sequence[float], samples_ms: Sequence[Sequence[float]]) -> None:
        self._sizes = np.asarray(sizes, np.float64)
        self._medians = np.array([np.median(samples) for samples in samples_ms])
        rng = np.random.default_rng(SEED)
        drawn = [np.median(rng.choice(np.asarray(samples), (RESAMPLES, len(samples))), axis=1) for samples in samples_ms]
        self._fixed, self._each = _line(self._sizes, self._medians[np.newaxis])
        self._fixed_drawn, self._each_drawn = _line(self._sizes, np.stack(drawn, axis=1))

    def fit(self) -> Fit:
        """Return the line with its intervals."""
        off = self._medians - (self._fixed[0] + self._each[0] * self._sizes)
        return Fit(_interval(self._fixed[0], self._fixed_drawn), _interval(self._each[0], self._each_drawn), float(np.abs(off).max()))

    def reaches(self, ms: float) -> Interval | None:
        """Return at which size the line reaches a duration, 0 at least; None where it, or one of the resampled lines' ends, does not rise."""
        low, high = np.percentile(self._each_drawn, [2.5, 97.5])
        if min(low, high, self._each[0]) <= 0:
            return None
        rising = self._each_drawn > 0
        crossings = (ms - self._fixed_drawn[rising]) / self._each_drawn[rising]
        return _interval(max(0.0, (ms - self._fixed[0]) / self._each[0]), np.maximum(crossings, 0.0))


def _line(sizes: NDArray[np.float64], medians: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intercepts and slopes, float64[R] each, of float64[R, P]."""
    centred = sizes - sizes.mean()
    each = medians @ centred / (centred @ centred)
    return medians.mean(axis=1) - each * sizes.mean(), each


def _interval(estimate: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(estimate), float(low), float(high))
