"""Cameras for a closed loop over the whole path: a clip, decoded beforehand, with one face or with eight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from benchmarks.clips import Clip
from benchmarks.timed_process import RunFailed
from edge.analyzer import Analyzer
from edge.clock import StageTimes, monotonic_ns
from edge.frame import Frame, Pixels

ROWS, COLUMNS = 2, 4
APART_FRAMES = 7  # between one tile and the next: no two show the same moment


def decoded(clip: Clip, frames: int) -> list[Pixels]:
    """Return the first frames of a clip.

    Args:
        clip: Where they are.
        frames: How many at most.

    Returns:
        uint8[H, W, 3] each, RGB; at least two.

    Raises:
        RunFailed: It has fewer than two.
    """
    capture = cv2.VideoCapture(str(clip.path))
    pictures: list[Pixels] = []
    while len(pictures) < frames and (read := capture.read())[0]:
        pictures.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8))
    capture.release()
    if len(pictures) < 2:
        raise RunFailed(f"expected at least 2 frames, got {len(pictures)} from {clip.path.name}")
    return pictures


def of_eight(pictures: Sequence[Pixels], face_at_px: tuple[float, float]) -> list[Pixels]:
    """Return pictures with eight faces: tiles of one clip, each at another moment.

    Args:
        pictures: uint8[H, W, 3] each, with one face.
        face_at_px: Its centre, x and y.

    Returns:
        uint8[2 S, 4 S, 3] each, where S is the shorter side.
    """
    height, width, _ = pictures[0].shape
    side = min(height, width)
    left, top = (min(max(round(centre) - side // 2, 0), size - side) for centre, size in zip(face_at_px, (width, height), strict=True))
    tiles = [picture[top : top + side, left : left + side] for picture in pictures]

    def picture_of(moment: int) -> Pixels:
        chosen = [tiles[(moment + APART_FRAMES * place) % len(tiles)] for place in range(ROWS * COLUMNS)]
        return np.ascontiguousarray(np.vstack([np.hstack(chosen[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]))

    return [picture_of(moment) for moment in range(len(tiles))]


def frames_of(pictures: Sequence[Pixels], fps: float) -> Iterator[Frame]:
    """Play pictures forwards and backwards for ever: a jump from the last to the first would lose the faces.

    Args:
        pictures: uint8[H, W, 3] each, RGB; at least two.
        fps: Of their media time.
    """
    back_and_forth = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    seq = 0
    while True:
        for place in back_and_forth:
            yield Frame(
                seq=seq,
                source="closed-loop",
                pixels=pictures[place],
                t_media_ns=round(seq * 1e9 / fps),
                t_capture_ns=monotonic_ns(),
                t_capture_from="arrival",
                paced=False,
            )
            seq += 1


class Camera:
    """A camera that shows pictures to an analyzer of its own; one call is one frame, from the picture to its result.

    Args:
        analyzer: Fresh.
        pictures: uint8[H, W, 3] each, RGB, shown forwards and backwards for ever.
        fps: Of their media time.
        faces: How many each picture has.

    Attributes:
        n_shown: Frames so far.
        n_complete: Those among them in which at least so many faces were found: with fewer, a frame costs less.
    """

    def __init__(self, analyzer: Analyzer, pictures: Sequence[Pixels], fps: float, faces: int = 1) -> None:
        self._analyzer, self._frames, self._faces = analyzer, frames_of(pictures, fps), faces
        self.n_shown = self.n_complete = 0

    def __call__(self) -> None:
        """Let it analyse the next frame."""
        result = self._analyzer.step(next(self._frames), StageTimes())
        self.n_shown += 1
        self.n_complete += len(result.faces) >= self._faces


def centre_of_face(analyzer: Analyzer, pictures: Sequence[Pixels]) -> tuple[float, float]:
    """Return where the face of the first picture is, x and y in pixels.

    Args:
        analyzer: Fresh; it has seen the picture afterwards.
        pictures: uint8[H, W, 3] each, RGB.

    Raises:
        RunFailed: There is none.
    """
    found = analyzer.step(next(frames_of(pictures, fps=1.0)), StageTimes()).faces
    if not found:
        raise RunFailed("expected a face in the clip's first frame, got none: eight faces are made of it")
    left, top, right, bottom = found[0].box_ltrb_px
    return (left + right) / 2, (top + bottom) / 2
