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

    def newcomers(self, found: Iterable[Face], t_media_ns: int) -> list[tuple[Face, Rings]]:
        """Return the faces that are not those of active tracks, largest first, with copies of the clips that go on if they are admitted."""
        self.forget(t_media_ns)
        left = list(self._lost)
        faces = []
        for face in self.unexplained(found):
            track = _nearest(left, face)
            if track is not None and overlap(track.face, face) >= _SAME_FACE_OVERLAP:
                left.remove(track)
                faces.append((face, {name: ring.copy() for name, ring in track.rings.items()}))
            else:
                faces.append((face, {}))
        return faces

    def start(self, face: Face, t_media_ns: int, rings: Rings | None = None) -> Track:
        """Return the track of a newly found face: one that was lost nearby a moment ago, else a new one.

        Args:
            face: Where it is.
            t_media_ns: Media time of the frame.
            rings: What `newcomers` gave with it, with what its first frame has put by; None where that is nothing.
        """
        rings = {} if rings is None else rings
        self.forget(t_media_ns)
        track = _nearest(self._lost, face)
        if track is not None:
            self._lost.remove(track)
            # The number is kept on trust; what was smoothed and put by before is not carried over to what may be somebody else. Clips that allow so much time
            # between two frames go on where the face has not moved away: in two frames that follow each other nothing else tells faces apart either.
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
        for ring in track.rings.values():
            ring.forget_after(track.seen_ns)  # a crop in which the face was looked for in vain
        self._lost.append(track)
        self.forget(t_media_ns)

    def forget(self, t_media_ns: int) -> None:
        """Let go of lost tracks that are not taken up again at this time or later, and of clips that cannot be continued."""
        self._lost = [track for track in self._lost if t_media_ns - track.seen_ns <= REMEMBER_NS]
        for track in self._lost:
            for ring in track.rings.values():
                ring.lapse(t_media_ns)

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


def _nearest(lost: Iterable[Track], face: Face) -> Track | None:
    """The lost track that the face may be."""
    return min((track for track in lost if _may_be(track.face, face)), key=lambda track: _distance(track.face, face), default=None)


def _may_be(lost: Face, found: Face) -> bool:
    growth = max(lost.side_px, found.side_px) / max(1e-6, min(lost.side_px, found.side_px))
    return growth <= _MAX_GROWTH and _distance(lost, found) <= _REACH_SIDES * lost.side_px
