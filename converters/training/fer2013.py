"""Reads FER2013 as its users have it, and cuts its faces as the runtime cuts a camera's.

FER2013 (Goodfellow et al. 2013, doi:10.1007/978-3-642-42051-1_16) is 35,887 gray pictures of 48x48 pixels in seven classes. Its rights are unresolved: it is
read from a file that the user names and no picture of it goes into a package.

FER+ (Barsoum et al. 2016, arXiv:1608.01041) has ten people say anew what each picture shows. Its votes are read where they are at hand.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.registry import Say
from converters.training.kept_arrays import kept, networks_sha256
from edge import crop
from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine import choose, close_engines, open_engines
from edge.errors import ConfigError
from edge.face import Face, frame_from_crop
from edge.frame import Pixels
from edge.package import Package, file_sha256
from edge.result import EMOTIONS
from edge.stage import CropInput

Labels = NDArray[np.int64]
Votes = NDArray[np.uint8]

# The data set's numbers 0 to 6, by the names of the contract.
LABELS = ("angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral")
TRAINING, PUBLIC_TEST, PRIVATE_TEST = SPLITS = ("Training", "PublicTest", "PrivateTest")
SIDE_PX = 48
# PublicTest and PrivateTest, either of them. Source: Goodfellow et al. 2013.
N_IN_TEST = 3589

# A face that fills its whole picture is found best when the picture is enlarged and put on a black canvas of twice its side. Source: of 400 PublicTest
# pictures, 387 are found without a border, 399 with one of half a side, 398 with a whole one; 392 where the border repeats the picture's edge.
CANVAS_SCALE = 4
_BORDER_PX = SIDE_PX * CANVAS_SCALE // 2
# Where the canvas has its corner, in pixels of the picture: this less.
CANVAS_CORNER_PX = _BORDER_PX // CANVAS_SCALE

# What FER+ asked for, in its order.
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
# Its words for the contract's emotions, one for each. Contempt is none of them; `unknown` and `NF` (no face) are no emotions.
_VOTE_FOR = {
    "neutral": "neutral",
    "happy": "happiness",
    "surprised": "surprise",
    "angry": "anger",
    "disgusted": "disgust",
    "sad": "sadness",
    "afraid": "fear",
}
_COLUMN_OF_EMOTION = [VOTES.index(_VOTE_FOR[name]) for name in EMOTIONS]
VOTES_FILE = "fer2013new.csv"
_MOST_VOTES = 10

_COLUMNS = ("emotion", "pixels", "Usage")
_HINT = "expected fer2013.csv or icml_face_data.csv of the Kaggle competition, or an .npz with uint8 images[N,48,48], usage[N] (0, 1, 2) and fer2013_label[N]"
_VOTES_HINT = f"expected {VOTES_FILE} of FER+ (github.com/microsoft/FERPlus), one row for each of the competition's, in their order"


@dataclass(frozen=True)
class Split:
    """One part of the data set.

    Attributes:
        name: `Training`, `PublicTest` or `PrivateTest`.
        pictures: uint8[N, 48, 48], gray.
        labels: int64[N], indices into `LABELS`; -1 where the file gives none, if such pictures were asked for.
        sha256: Hash of pictures and labels: the same whichever file they came from.
        votes: uint8[N, 10]: how many people saw what, in the order of `VOTES`; None where FER+ is not at hand.
    """

    name: str
    pictures: Pixels
    labels: Labels
    sha256: str
    votes: Votes | None = None


@dataclass(frozen=True)
class Fer2013:
    """The data set, or as much of it as its file holds.

    Attributes:
        file: Name of the file.
        sha256: Hash of the file.
        splits: By name, in the order of `SPLITS`.
        n_unlabelled: Pictures that were left out because the file gives them no class.
    """

    file: str
    sha256: str
    splits: Mapping[str, Split]
    n_unlabelled: int


class Faces(Protocol):
    """What was made of the faces of a split: their crops, or embeddings."""

    @property
    def truth(self) -> Labels:
        """int64[N], the true class of every face that was found."""
        ...

    @property
    def n_pictures(self) -> int:
        """Pictures that were searched."""
        ...


def read_fer2013(path: Path, *, with_unlabelled: bool = False) -> Fer2013:
    """Read the data set.

    Args:
        path: Kaggle's `fer2013.csv` or `icml_face_data.csv`, with FER+'s `fer2013new.csv` beside it for the votes; or an `.npz` with the same pictures, and
            uint8 `ferplus_votes[N, 10]` for the votes.
        with_unlabelled: Keep the pictures that the file gives no class.

    Raises:
        ConfigError: A file cannot be read, is no FER2013 or no FER+, or lacks one of the three splits.
    """
    if not path.is_file():
        raise ConfigError(f"no file at {path}", hint=_HINT)
    pictures, labels, usage, votes = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    kept_rows = (labels >= 0) | with_unlabelled
    splits = {}
    for number, name in enumerate(SPLITS):
        chosen = kept_rows & (usage == number)
        if not chosen.any():
            raise ConfigError(f"{path} holds no picture of the split {name}", hint=_HINT)
        splits[name] = _split(name, pictures[chosen], labels[chosen], votes[chosen] if votes is not None else None)
    return Fer2013(path.name, file_sha256(path), splits, int((~kept_rows).sum()))


def emotion_votes(votes: Votes) -> Labels:
    """Return how many people saw each of the contract's emotions: int64[N, 7], in the order of `edge.result.EMOTIONS`.

    Args:
        votes: uint8[N, 10], in the order of `VOTES`.
    """
    return votes[:, _COLUMN_OF_EMOTION].astype(np.int64)


def majorities(votes: Votes) -> Labels:
    """Return the clear majorities: int64[N], what one of the contract's emotions has more than half of all votes for, as index into `edge.result.EMOTIONS`.

    Votes for contempt, `unknown` and `NF` count among all votes. Where no emotion has more than half of them, it is -1.

    Args:
        votes: uint8[N, 10], in the order of `VOTES`.
    """
    of_seven = emotion_votes(votes)
    return np.where(2 * of_seven.max(axis=1) > votes.sum(axis=1, dtype=np.int64), of_seven.argmax(axis=1), -1)


def check_enough(data: Fer2013, faces: Mapping[str, Faces], labels: Sequence[str], *, of_each: int, in_all: int = 1) -> None:
    """Make sure that there are faces enough to train with and to measure on.

    Args:
        data: Where they come from.
        faces: By split.
        labels: Classes that are to be told apart.
        of_each: Faces of each class that the training needs.
        in_all: Faces that it needs.

    Raises:
        ConfigError: There are fewer of a class in Training, or none at all in a test.
    """
    hint = "train on the whole of FER2013; a picture counts where the detector finds a face in it"
    counts = np.bincount(faces[TRAINING].truth, minlength=len(labels)).tolist()
    for label, count in zip(labels, counts, strict=True):
        if count < of_each:
            raise ConfigError(f"{data.file}: expected at least {of_each} faces of '{label}' in {TRAINING}, found {count}", hint=hint)
    for split, least in ((TRAINING, in_all), (PUBLIC_TEST, 1), (PRIVATE_TEST, 1)):
        if (found := len(faces[split].truth)) < least:
            raise ConfigError(f"{data.file}: expected at least {least} faces of {', '.join(labels)} in {split}, found {found}", hint=hint)


def find_faces(pictures: Pixels, detector: Package, *, say: Say) -> list[Face | None]:
    """Find the face of every picture with the runtime's detector; what was found once is kept in the user's cache folder.

    Args:
        pictures: uint8[N, 48, 48]. Give a whole split, and choose afterwards: the cache knows them by their hash.
        detector: A package of task `face-detection`.
        say: Takes progress lines.

    Returns:
        For each picture the best face whose centre lies in it, in pixels of `on_canvas`; None where there is none.

    Raises:
        EngineError: The detector's networks cannot be loaded.
    """
    recipe = f"faces x{CANVAS_SCALE} +{_BORDER_PX}"
    rows = kept((recipe, networks_sha256(detector), np.ascontiguousarray(pictures).tobytes()), lambda: _search(pictures, detector, say))
    return [_face(row) for row in rows]


def cut_faces(pictures: Pixels, faces: Sequence[Face | None], spec: CropInput) -> tuple[Pixels, Labels]:
    """Cut the faces that were found, as the runtime cuts them. Beyond its edges a picture is continued by its outermost pixels.

    Args:
        pictures: uint8[N, 48, 48].
        faces: What `find_faces` found in them, N entries.
        spec: The crop that a package's stage takes.

    Returns:
        uint8[M, height, width, 3], or uint8[M, height, width] where `spec` is gray (as `edge.crop.batch` takes them), and int64[M], the indices of the
        pictures that they come from: those with a face.
    """
    found = [number for number, face in enumerate(faces) if face is not None]
    width, height = spec.size_wh_px
    crops = np.empty((len(found), height, width) if spec.color == "gray" else (len(found), height, width, 3), np.uint8)
    for row, number in enumerate(found):
        face = faces[number]
        assert face is not None
        # The detector likes a black border; a network would take it for a part of the face.
        canvas = on_canvas(pictures[number], border=cv2.BORDER_REPLICATE)
        crops[row] = crop.cut(canvas, frame_from_crop(face, spec.region, spec.size_wh_px), spec)
    return crops, np.array(found, np.int64)


def on_canvas(picture: Pixels, *, border: int) -> Pixels:
    """Return a picture four times enlarged, with a border of half its side.

    Args:
        picture: uint8[48, 48].
        border: OpenCV's rule for what lies beyond the edge: `BORDER_CONSTANT` is black.

    Returns:
        uint8[384, 384, 3].
    """
    side = SIDE_PX * CANVAS_SCALE
    large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = cv2.copyMakeBorder(large, _BORDER_PX, _BORDER_PX, _BORDER_PX, _BORDER_PX, border)
    return np.asarray(cv2.cvtColor(canvas, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _split(name: str, pictures: Pixels, labels: Labels, votes: Votes | None) -> Split:
    digest = hashlib.sha256(np.ascontiguousarray(pictures).tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return Split(name, pictures, labels, digest.hexdigest(), votes)


def _read_npz(path: Path) -> tuple[Pixels, Labels, Labels, Votes | None]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            pictures, labels, usage = stored["images"], stored["fer2013_label"], stored["usage"]
            votes = stored.get("ferplus_votes")
    except (OSError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read as FER2013: {error}", hint=_HINT) from error
    n = labels.size
    wanted = {"images": (pictures, "uint8", (n, SIDE_PX, SIDE_PX)), "fer2013_label": (labels, "int", (n,)), "usage": (usage, "int", (n,))}
    if votes is not None:
        wanted["ferplus_votes"] = (votes, "uint8", (n, len(VOTES)))
    for name, (array, kind, shape) in wanted.items():
        if array.shape != shape or kind not in str(array.dtype) or not n:
            raise ConfigError(f"{path}: expected {kind}{list(shape)} for '{name}', got {array.dtype}{list(array.shape)}", hint=_HINT)
    if labels.min() < -1 or labels.max() >= len(LABELS):
        raise ConfigError(f"{path}: expected classes 0 to 6, or -1 for unknown, got {labels.min()} to {labels.max()}", hint=_HINT)
    if usage.min() < 0 or usage.max() >= len(SPLITS):
        raise ConfigError(f"{path}: expected a usage of 0, 1 or 2 ({', '.join(SPLITS)}), got {usage.min()} to {usage.max()}", hint=_HINT)
    return pictures, labels.astype(np.int64), usage.astype(np.int64), votes


def _read_csv(path: Path) -> tuple[Pixels, Labels, Labels, Votes | None]:
    pictures, labels, usage = [], [], []
    try:
        for picture, label, split in _csv_rows(path):
            pictures.append(picture)
            labels.append(label)
            usage.append(split)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}", hint=_HINT) from error
    if not pictures:
        raise ConfigError(f"{path} has no rows", hint=_HINT)
    votes_path = path.with_name(VOTES_FILE)
    votes = _read_votes(votes_path, usage) if votes_path.exists() else None
    return np.stack(pictures), np.array(labels, np.int64), np.array(usage, np.int64), votes


def _read_votes(path: Path, usage: Sequence[int]) -> Votes:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}", hint=_VOTES_HINT) from error
    if len(rows) != len(usage):
        raise ConfigError(f"{path}: expected {len(usage)} rows, as many as the table beside it has, got {len(rows)}", hint=_VOTES_HINT)
    votes = np.zeros((len(rows), len(VOTES)), np.uint8)
    for number, (row, split) in enumerate(zip(rows, usage, strict=True)):
        # The two tables share no key: a split that differs is what shows that they don't go together.
        if row.get("Usage") != SPLITS[split]:
            raise ConfigError(f"{path}: row {number + 1}: expected {SPLITS[split]}, as in the table beside it, got '{row.get('Usage')}'", hint=_VOTES_HINT)
        counts = [row.get(name) or "" for name in VOTES]
        if not all(count.isdecimal() and int(count) <= _MOST_VOTES for count in counts):
            raise ConfigError(f"{path}: row {number + 1}: expected votes from 0 to {_MOST_VOTES}, got {', '.join(counts)[:100]}", hint=_VOTES_HINT)
        votes[number] = [int(count) for count in counts]
    return votes


def _csv_rows(path: Path) -> Iterator[tuple[Pixels, int, int]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file, skipinitialspace=True)
        # The two files of the competition have the same columns in two orders, one of them with blanks after the commas.
        header = [name.strip() for name in next(rows, [])]
        if sorted(header) != sorted(_COLUMNS):
            raise ConfigError(f"{path}: expected the columns {', '.join(_COLUMNS)}, got {', '.join(header)[:200] or 'none'}", hint=_HINT)
        for row in rows:
            yield _csv_row(dict(zip(header, row, strict=False)), where=f"{path}:{rows.line_num}")


def _csv_row(row: Mapping[str, str], *, where: str) -> tuple[Pixels, int, int]:
    emotion, pixels, usage = (row.get(name, "").strip() for name in _COLUMNS)
    if emotion not in set("0123456"):
        raise ConfigError(f"{where}: expected an emotion from 0 to 6, got '{emotion[:20]}'", hint=_HINT)
    if usage not in SPLITS:
        raise ConfigError(f"{where}: expected a Usage of {', '.join(SPLITS)}, got '{usage[:20]}'", hint=_HINT)
    try:
        picture = np.array(pixels.split(), dtype=np.uint8)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{where}: expected pixels from 0 to 255: {error}", hint=_HINT) from error
    if picture.size != SIDE_PX * SIDE_PX:
        raise ConfigError(f"{where}: expected {SIDE_PX * SIDE_PX} pixels, got {picture.size}", hint=_HINT)
    return picture.reshape(SIDE_PX, SIDE_PX), int(emotion), SPLITS.index(usage)


def _best(faces: Sequence[Face]) -> Face | None:
    low, high = _BORDER_PX, _BORDER_PX + SIDE_PX * CANVAS_SCALE
    return next((face for face in faces if all(low <= value < high for value in face.center_px)), None)


def _search(pictures: Pixels, detector: Package, say: Say) -> NDArray[np.float64]:
    engines = open_engines(detector, choose("onnxruntime", "fp32", detector))
    try:
        finder = FaceDetector(detector, engines)
        rows = []
        for picture in pictures:
            rows.append(_row(_best(finder.detect(on_canvas(picture, border=cv2.BORDER_CONSTANT), StageTimes(), all_views=True))))
            if len(rows) % 2000 == 0:
                say(f"looked for faces in {len(rows)} of {len(pictures)} pictures")
    finally:
        close_engines(engines)
    return np.array(rows)


# A face in the cache: box, eyes, score; all NaN where none was found.
def _row(face: Face | None) -> list[float]:
    return [np.nan] * 9 if face is None else [*face.box_ltrb_px, *face.eyes_px.ravel().tolist(), face.score]


def _face(row: NDArray[np.float64]) -> Face | None:
    if np.isnan(row).any():
        return None
    left, top, right, bottom, *eyes, score = row.tolist()
    return Face(box_ltrb_px=(left, top, right, bottom), eyes_px=np.array(eyes).reshape(2, 2), score=score)
