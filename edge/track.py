"""Faces over time: one number for one face, also through short gaps. Media time only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edge.face import Face, overlap
from edge.ring import Rings
from edge.smooth import Smoother

Primary = Literal["largest", "central", "longest"]

# A face that comes back within this time at about the same place and size keeps its number: a blink of the detector, a hand passing by.
REMEMBER_NS = 1_000_000_000
# Two boxes are the same face from this overlap on. Source: the usual 0.5 of detection benchmarks (PASCAL VOC) is for tight boxes of one labeller; the boxes
# of a detector and of a mesh differ by a forehead.
_SAME_FACE_OVERLAP = 0.3
# A lost face is looked for within this many box sides, and taken up again if its size has changed by less than the factor: a person beside it is another one.
_REACH_SIDES = 0.6
_MAX_GROWTH = 1.6
# A face takes another one's place only if it is wanted by this much more, so that two of a size do not take turns.
_CLEARLY = 1.25


@dataclass(slots=True)
class Track:
    """One face over time.

    Attributes:
        number: Its identifier, from 1.
        face: Where it was last.
        smoother: Filter of its numbers.
        rings: What its clips are made of.
        since_ns: Media time of its first frame.
        seen_ns: Media time of its last frame.
    """

    number: int
    face: Face
    smoother: Smoother
    rings: Rings
    since_ns: int
    seen_ns: int


class Tracker:
    """Keeps the tracks of one source.

    Args:
        smoother: Makes the filter of a new track.
        max_faces: No more tracks than this at a time.
    """

    def __init__(self, smoother: Callable[[], Smoother], *, max_faces: int) -> None:
        self._make_smoother = smoother
        self._max_faces = max_faces
        self._next = 1
        self.active: list[Track] = []
        self._lost: list[Track] = []

    @property
    def full(self) -> bool:
        """True when no further face would be taken in."""
        return len(self.active) >= self._max_faces

    def unexplained(self, found: Iterable[Face]) -> list[Face]:
        """Return the faces that are not those of active tracks, largest first."""
        new = [face for face in found if not any(_same(face, track.face) for track in self.active)]
        return sorted(new, key=lambda face: -face.side_px)

    def moved(self, found: Sequence[Face]) -> list[Face | None]:
        """Return for each active track the detection that is its face now, each used once, best overlap first; None where there is none."""
        pairs = sorted(((overlap(track.face, face), i, j) for i, track in enumerate(self.active) for j, face in enumerate(found)), reverse=True)
        match: dict[int, int] = {}
        for shared, i, j in pairs:
            if shared >= _SAME_FACE_OVERLAP and i not in match and j not in match.values():
                match[i] = j
        return [found[match[i]] if i in match else None for i in range(len(self.active))]

    def start(self, face: Face, t_media_ns: int, rings: Rings | None = None) -> Track:
        """Return the track of a newly found face: one that was lost nearby a moment ago, else a new one.

        Args:
            face: Where it is.
            t_media_ns: Media time of the frame.
            rings: What its first frame has put by for clips; None where nothing has.
        """
        rings = {} if rings is None else rings
        near = [track for track in self._lost if t_media_ns - track.seen_ns <= REMEMBER_NS and _may_be(track.face, face)]
        if near:
            track = min(near, key=lambda track: _distance(track.face, face))
            self._lost.remove(track)
            # The number is kept on trust; what was smoothed and put by before is not carried over to what may be somebody else.
            track.smoother, track.rings = self._make_smoother(), rings
        else:
            track = Track(self._next, face, self._make_smoother(), rings, t_media_ns, t_media_ns)
            self._next += 1
        self.active.append(track)
        return track

    def update(self, track: Track, face: Face, t_media_ns: int) -> None:
        """Note where a track's face is now."""
        track.face, track.seen_ns = face, t_media_ns

    def lose(self, track: Track, t_media_ns: int) -> None:
        """Put a track aside; it can be taken up again for `REMEMBER_NS`."""
        self.active.remove(track)
        self._lost = [other for other in self._lost if t_media_ns - other.seen_ns <= REMEMBER_NS]
        self._lost.append(track)

    def drop_doubles(self) -> None:
        """End the younger of two tracks that have come to follow the same face."""
        kept: list[Track] = []
        for track in sorted(self.active, key=lambda track: track.since_ns):
            if not any(_same(track.face, other.face) for other in kept):
                kept.append(track)
        self.active = [track for track in self.active if track in kept]

    def make_room(self, face: Face, rule: Primary, frame_wh_px: tuple[int, int], t_media_ns: int) -> bool:
        """End the least wanted track for a new face that is clearly wanted more; False where there is none, as always by the rule `longest`."""
        if rule == "longest":
            return False
        least = max(self.active, key=lambda track: _remoteness(track.face, rule, frame_wh_px))
        if _remoteness(face, rule, frame_wh_px) * _CLEARLY >= _remoteness(least.face, rule, frame_wh_px):
            return False
        self.lose(least, t_media_ns)
        return True

    def primary(self, rule: Primary, frame_wh_px: tuple[int, int]) -> Track | None:
        """Return the track that a single-person application should look at: the largest face, the most central one, or the one followed longest."""
        if not self.active:
            return None
        if rule == "longest":
            return min(self.active, key=lambda track: track.since_ns)
        return min(self.active, key=lambda track: _remoteness(track.face, rule, frame_wh_px))


def _remoteness(face: Face, rule: Primary, frame_wh_px: tuple[int, int]) -> float:
    """How far a face is from being the primary one."""
    if rule == "largest":
        return 1 / max(1e-6, face.side_px)
    return math.hypot(face.center_px[0] - frame_wh_px[0] / 2, face.center_px[1] - frame_wh_px[1] / 2)


def _same(first: Face, second: Face) -> bool:
    return overlap(first, second) >= _SAME_FACE_OVERLAP or _holds(first, second) or _holds(second, first)


def _holds(outer: Face, inner: Face) -> bool:
    """Whether both eyes of one face lie between the other's box edges, at like size: a partial view of the same face."""
    left, top, right, bottom = outer.box_ltrb_px
    inside = all(left <= x <= right and top <= y <= bottom for x, y in inner.eyes_px.tolist())
    return inside and max(outer.side_px, inner.side_px) <= 2 * _MAX_GROWTH * min(outer.side_px, inner.side_px)


def _distance(first: Face, second: Face) -> float:
    return math.hypot(first.center_px[0] - second.center_px[0], first.center_px[1] - second.center_px[1])


def _may_be(lost: Face, found: Face) -> bool:
    growth = max(lost.side_px, found.side_px) / max(1e-6, min(lost.side_px, found.side_px))
    return growth <= _MAX_GROWTH and _distance(lost, found) <= _REACH_SIDES * lost.side_px
