"""Which faces go into a set, and where: no doubles, origins kept apart, and every chosen face as far as can be from those before it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.coverage import point
from calibration.judge import JudgedFace
from calibration.lookalikes import THUMBNAIL_PX, Thumbnail, looks_like_one_of, thumbnail
from calibration.set_file import Split
from edge.frame import Pixels

_HELD_OUT_PART = 0.2


@dataclass(frozen=True)
class Candidate:
    """A face that could go into the set.

    Attributes:
        face: The face.
        group: Number of the source that it is from.
        origin: Who or what is in it.
        source: File, and frame or row.
        source_sha256: Of the pixels of the whole picture.
        split: Where its origin belongs, if its source says so.
    """

    face: JudgedFace
    group: int
    origin: str
    source: str
    source_sha256: str
    split: Split | None


class KnownPictures:
    """Tells whether the same picture came before, in another file or as another row: to the pixel, or as a copy that was encoded again, scaled or mirrored."""

    def __init__(self) -> None:
        self._hashes: set[str] = set()
        self._thumbnails: Thumbnail = np.empty((1024, THUMBNAIL_PX**2), np.float32)
        self._origins: list[str] = []

    def seen_before(self, rgb: Pixels, sha256: str, origin: str) -> bool:
        """Return whether it is known, and know it from now on.

        Args:
            rgb: uint8[H, W, 3].
            sha256: Of its pixels.
            origin: Who or what is in it: neighbouring frames of a clip are near each other and are no copies.
        """
        near = thumbnail(rgb)
        others = [place for place, name in enumerate(self._origins) if name != origin]
        if sha256 in self._hashes or looks_like_one_of(near, self._thumbnails[others]):
            return True
        n = len(self._origins)
        if n == len(self._thumbnails):
            self._thumbnails = np.concatenate([self._thumbnails, np.empty_like(self._thumbnails)])
        self._thumbnails[n] = near
        self._origins.append(origin)
        self._hashes.add(sha256)
        return False


def without_doubles(candidates: Sequence[Candidate]) -> tuple[list[Candidate], int]:
    """Drop faces that look the same as an earlier one or its mirror image, as where nobody moved between two frames, and return how many those are."""
    kept: list[Candidate] = []
    thumbnails: Thumbnail = np.empty((len(candidates), THUMBNAIL_PX**2), np.float32)
    for candidate in candidates:
        if not looks_like_one_of(candidate.face.thumbnail, thumbnails[: len(kept)]):
            thumbnails[len(kept)] = candidate.face.thumbnail
            kept.append(candidate)
    return kept, len(candidates) - len(kept)


def splits_of(candidates: Sequence[Candidate]) -> dict[str, Split]:
    """Say where each origin belongs: about a fifth of the faces of each source are held out, whole origins at a time.

    An origin whose source does not say is placed by the hash of its name: the same whatever else is in the set.
    """
    placed: dict[str, Split] = {each.origin: each.split for each in candidates if each.split is not None}
    for group in dict.fromkeys(each.group for each in candidates):
        sizes = Counter(each.origin for each in candidates if each.group == group and each.origin not in placed)
        wanted = _HELD_OUT_PART * sizes.total()
        n_held_out = 0
        for number, origin in enumerate(sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).hexdigest())):
            # One origin at least is left to calibrate with; of two, the smaller part would rather be held out, but its name decides.
            held_out = n_held_out < wanted and number < len(sizes) - 1
            n_held_out += sizes[origin] if held_out else 0
            placed[origin] = "held-out" if held_out else "calibration"
    return placed


def chosen(candidates: Sequence[Candidate], n: int) -> list[Candidate]:
    """Choose up to `n` faces, the sources taking turns, each time the one that is farthest from all that were chosen before (Gonzalez 1985).

    Source: Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5.
    """
    if not candidates:
        return []
    points = np.stack([point(each.face.features) for each in candidates])
    groups = np.array([each.group for each in candidates])
    # The first one is the most ordinary one.
    distance = -_distance(points, np.median(points, axis=0))
    result: list[Candidate] = []
    free = np.ones(len(candidates), bool)
    turns: Counter[int] = Counter()
    while len(result) < min(n, len(candidates)):
        turn = min((int(group) for group in np.unique(groups[free])), key=lambda group: (turns[group], group))
        best = int(np.argmax(np.where(free & (groups == turn), distance, -np.inf)))
        result.append(candidates[best])
        free[best] = False
        turns[turn] += 1
        nearer = _distance(points, points[best])
        distance = nearer if len(result) == 1 else np.minimum(distance, nearer)
    return result


def _distance(points: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(points - to, axis=1), np.float64)
