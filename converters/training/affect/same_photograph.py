"""Which pictures of faces were cut from the same photograph: copies, mirror images, and crops that lie or are scaled a little differently.

FER2013 was gathered by searching the web: the same photograph came back from several pages, was cut anew, and fell into different splits. Its copies differ by
a few pixels of place, by scale, brightness and watermarks, so that thumbnails alone tell them from other people's faces no better than faces from each other.
Here thumbnails only propose pairs; a pair is then aligned, and its fine detail compared.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.registry import Say
from converters.training.kept_arrays import kept
from edge.frame import Pixels

_THUMBNAIL_PX = 16
# For each picture and its mirror image the two others of the most similar thumbnails are looked at, unless those correlate by less than this. Source: 1,500
# pictures of Training with four looks from 0.5 on: of 125 with a copy in the tests, 4 lie below 0.6, 40 below 0.8; 117 are found at the first look.
_WORTH_A_LOOK = 0.6
_N_LOOKS = 2
# Aligned at half their size, other people's faces correlate by 0.8 to 0.95, copies by 0.95 and more.
_WORTH_A_SECOND_LOOK = 0.88
# Correlation of the fine detail of aligned pictures from which on they are one photograph. Source: nearest pairs of 8,600 pictures of FER2013's Training and
# its tests: other people from 0.1 to 0.7, the same photograph from 0.8 to 1, 1 % between 0.75 and 0.85. Of the 72 pairs of PublicTest and PrivateTest next
# above the limit (0.80 to 0.96), looked at one by one, 71 are one photograph.
SAME_DETAIL = 0.8

# Of the affine alignment: iterations, and the step at which it ends.
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 1e-3)
# The farthest that a corner may move, as a fraction of the side: beyond, an alignment has gone astray.
_FARTHEST = 0.25
# Detail is what a blur by this many pixels takes away, in units of its own strength around.
_DETAIL_PX = 3.0
_NOISE = 3.0  # gray values: what is weaker than this is no detail
_EDGE_PX = 2
_BLUR_PX = 0.7  # about what the linear interpolation does

_ALGORITHM = "same photograph, 1"


def same_photographs(pictures: Pixels, others: Pixels, *, say: Say) -> NDArray[np.bool_]:
    """Return which pictures show a photograph that others show too. The result is kept in the user's cache folder.

    Args:
        pictures: uint8[N, S, S], gray; faces, framed alike.
        others: uint8[M, S, S].
        say: Takes progress lines.

    Returns:
        bool[N].
    """
    depends_on = (_ALGORITHM, np.ascontiguousarray(pictures).tobytes(), np.ascontiguousarray(others).tobytes())
    return kept(depends_on, lambda: _search(pictures, others, say)).astype(bool)


def same_photograph(picture: Pixels, other: Pixels) -> bool:
    """Return whether two pictures, uint8[S, S], are of one photograph, neither of them mirrored."""
    half, other_half = (np.asarray(cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8) for each in (picture, other))
    coarse = _aligned(half, other_half, np.eye(2, 3, dtype=np.float32))
    if coarse is None or coarse[0] < _WORTH_A_SECOND_LOOK:
        return False
    coarse[1][:, 2] *= 2
    fine = _aligned(picture, other, coarse[1])
    return fine is not None and _detail_correlation(picture, other, fine[1]) >= SAME_DETAIL


def _search(pictures: Pixels, others: Pixels, say: Say) -> NDArray[np.bool_]:
    known = {other.tobytes() for other in others}
    found = np.array([picture.tobytes() in known for picture in pictures])
    thumbnails, theirs = _thumbnails(pictures), (_thumbnails(others), _thumbnails(others[:, :, ::-1]))
    for start in range(0, len(pictures), 2000):
        rows = [row for row in range(start, min(start + 2000, len(pictures))) if not found[row]]
        for mirrored in (0, 1):
            for row, likeness in zip(rows, thumbnails[rows] @ theirs[mirrored].T, strict=True):
                best = [index for index in np.argsort(-likeness)[:_N_LOOKS] if likeness[index] >= _WORTH_A_LOOK]
                candidates = (others[index, :, ::-1] if mirrored else others[index] for index in best)
                found[row] = found[row] or any(same_photograph(pictures[row], np.ascontiguousarray(each)) for each in candidates)
        say(f"compared {min(start + 2000, len(pictures))} of {len(pictures)} pictures with {len(others)} others")
    return found


def _thumbnails(pictures: Pixels) -> NDArray[np.float32]:
    """float32[N, 256] of mean 0 and length 1: their products are correlations."""
    size = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    small = np.stack([cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA).astype(np.float32).ravel() for picture in pictures])
    small -= small.mean(axis=1, keepdims=True)
    return np.asarray(small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6), np.float32)


def _aligned(picture: Pixels, other: Pixels, start: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]] | None:
    """Correlation and the map from `picture` to `other`; None where none is found near the start."""
    try:
        correlation, found = cv2.findTransformECC(picture, other, start.copy(), cv2.MOTION_AFFINE, _CRITERIA, None, 3)  # type: ignore[call-overload]
    except cv2.error:
        return None  # it does not converge: nothing in common, or nothing to see
    side = picture.shape[0]
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]], np.float32)
    moved = corners @ found[:, :2].T + found[:, 2]
    return (correlation, found) if np.abs(moved - corners).max() <= _FARTHEST * side else None


def _detail_correlation(picture: Pixels, other: Pixels, placed: NDArray[np.float32]) -> float:
    side = picture.shape[0]
    flags = cv2.WARP_INVERSE_MAP
    brought = cv2.warpAffine(other, placed, (side, side), flags=flags | cv2.INTER_LINEAR)
    common = cv2.warpAffine(np.full_like(other, 255), placed, (side, side), flags=flags | cv2.INTER_NEAREST) > 0
    common[:_EDGE_PX], common[-_EDGE_PX:], common[:, :_EDGE_PX], common[:, -_EDGE_PX:] = False, False, False, False
    # One of the two was blurred by the interpolation.
    first, second = _detail(cv2.GaussianBlur(picture, (0, 0), _BLUR_PX))[common], _detail(brought)[common]
    first, second = first - first.mean(), second - second.mean()
    return float((first @ second) / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-6))


def _detail(picture: cv2.typing.MatLike) -> NDArray[np.float32]:
    gray = picture.astype(np.float32)
    fine = np.asarray(gray - cv2.GaussianBlur(gray, (0, 0), _DETAIL_PX), np.float32)
    strength = np.sqrt(cv2.GaussianBlur(np.square(fine), (0, 0), 2 * _DETAIL_PX))
    return np.asarray(fine / (strength + _NOISE), np.float32)
