"""Rendered faces as files: sheets of many faces each, a line of JSON for every person and every face, and a card that says how they were made."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import msgspec
import numpy as np

from calibration.errors import CalibrationError, TooFewFaces
from calibration.judge import FaceJudge
from calibration.rendering.geometry import FaceModel
from calibration.rendering.render import render
from calibration.rendering.scene import Person, Scene, Shot, draw_person, draw_scene
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.stage import Strict

CARD, PEOPLE, FACES = "card.json", "people.jsonl", "faces.jsonl"
SHEET_COLUMNS, SHEET_ROWS = 8, 5
# Blocks of WebP are 16 pixels wide: faces on a sheet do not bleed into each other.
BLOCK_PX = 16
# Good enough that the runtime reads the same from a face, and a sixth of a lossless file.
_QUALITY = 90
FACES_OF_A_PERSON = 4
# More attempts than this for each face that is wanted, and something is wrong with the renderer.
_MOST_ATTEMPTS = 3

Say = Callable[[str], None]


class PersonLine(Strict, frozen=True):
    """A line of `people.jsonl`."""

    name: str
    person: Person


class FaceLine(Strict, frozen=True):
    """A line of `faces.jsonl`: where the face is, and what it shows; fields as in `Scene`."""

    sheet: str
    row: int
    column: int
    name: str
    action_units: dict[str, float]
    shapes: dict[str, float]
    shot: Shot


class Card(Strict, frozen=True):
    """`card.json`: how the renders were made.

    Attributes:
        schema: Of the card.
        geometry_sha256: Of the face model's file.
        seed: Of persons and scenes.
        size_px: Side of each face's picture.
        n_faces: Kept.
        refused: How many were not kept, by the reason that the runtime's detector and networks gave.
        networks: Hashes of the networks that judged them.
        files: SHA-256 of every other file.
    """

    schema: Literal["edge.renders/1"]
    geometry_sha256: str
    seed: int
    size_px: int
    n_faces: int
    refused: dict[str, int]
    networks: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True)
class RenderedFace:
    """A face of the sheets: what it shows, and uint8[H, W, 3], RGB."""

    line: FaceLine
    rgb: Pixels


def write_renders(model: FaceModel, judge: FaceJudge, folder: Path, *, n: int, seed: int, size_px: int, say: Say) -> Card:
    """Render faces and keep those in which the runtime finds one face.

    Args:
        model: The face model.
        judge: Decides.
        folder: Where sheets, lines and card go: a new or empty one, written in one step or not at all.
        n: How many faces.
        seed: The same seed gives the same faces.
        size_px: Side of each picture, a multiple of 16.
        say: Takes progress lines.

    Raises:
        ConfigError: The folder holds something, or the size is no multiple of 16.
        TooFewFaces: The runtime finds too few faces in the renders.
    """
    if size_px % BLOCK_PX or size_px <= 0:
        raise ConfigError(f"expected a size that is a multiple of {BLOCK_PX} pixels, got {size_px}", hint="for example 160")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there: renders go to a new folder", hint="name another folder with -o, or move away what is there")
    refused: Counter[str] = Counter()
    scenes, pictures = [], []
    for scene, rgb in _usable(model, judge, seed, size_px, refused):
        scenes.append(scene)
        pictures.append(rgb)
        if len(scenes) % 100 == 0:
            say(f"rendered {len(scenes)} of {n} faces; not kept: {refused.total()}")
        if len(scenes) == n:
            break
        if refused.total() > _MOST_ATTEMPTS * n:
            raise TooFewFaces(f"expected {n} renders with a face, the runtime found one in {len(scenes)} of {len(scenes) + refused.total()}: {dict(refused)}")
    files = _files(scenes, pictures)
    card = Card(
        schema="edge.renders/1",
        geometry_sha256=model.sha256,
        seed=seed,
        size_px=size_px,
        n_faces=n,
        refused=dict(sorted(refused.items())),
        networks=judge.networks,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    files[CARD] = msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        temporary.chmod(0o755)
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    return card


def read_renders(folder: Path) -> Iterator[RenderedFace]:
    """Yield the faces of a folder of sheets, in order, each file checked against the card.

    Raises:
        CalibrationError: The folder holds no renders, or a file of it was changed.
    """
    hint = "restore the folder from the repository, or: python -m calibration render --geometry FILE -o DIR"
    try:
        card = msgspec.json.decode((folder / CARD).read_bytes(), type=Card)
        contents = {name: (folder / name).read_bytes() for name in card.files}
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise CalibrationError(f"no rendered faces in {folder}: {error}", hint=hint) from error
    for name, content in contents.items():
        if (found := hashlib.sha256(content).hexdigest()) != card.files[name]:
            raise CalibrationError(f"expected SHA-256 {card.files[name]}, got {found}, for {folder / name}", hint=hint)
    sheets: dict[str, Pixels] = {}
    for line in msgspec.json.Decoder(FaceLine).decode_lines(contents[FACES]):
        if line.sheet not in sheets:
            sheets = {line.sheet: _decoded(contents[line.sheet])}
        top, left = line.row * card.size_px, line.column * card.size_px
        yield RenderedFace(line, np.ascontiguousarray(sheets[line.sheet][top : top + card.size_px, left : left + card.size_px]))


def _usable(model: FaceModel, judge: FaceJudge, seed: int, size_px: int, refused: Counter[str]) -> Iterator[tuple[Scene, Pixels]]:
    """Renders with one face in them, person after person, without end."""
    number = 0
    while True:
        rng = np.random.default_rng([seed, number])
        name, person = f"person-{number:04}", draw_person(rng)
        number += 1
        for _ in range(FACES_OF_A_PERSON):
            scene = draw_scene(rng, name=name, person=person, size_px=size_px)
            rgb = render(model, scene, size_px)
            verdicts = list(judge.faces(rgb))
            if problems := [verdict for verdict in verdicts if isinstance(verdict, str)]:
                refused[problems[0]] += 1
            elif len(verdicts) > 1:
                refused["several faces"] += 1
            else:
                yield scene, rgb


def _files(scenes: Sequence[Scene], pictures: Sequence[Pixels]) -> dict[str, bytes]:
    per_sheet = SHEET_COLUMNS * SHEET_ROWS
    size_px = len(pictures[0])
    files, lines = {}, []
    for number in range(-(-len(pictures) // per_sheet)):
        name = f"sheet-{number:02}.webp"
        sheet = np.zeros((SHEET_ROWS * size_px, SHEET_COLUMNS * size_px, 3), np.uint8)
        for place, scene in enumerate(scenes[number * per_sheet : (number + 1) * per_sheet]):
            row, column = divmod(place, SHEET_COLUMNS)
            sheet[row * size_px : (row + 1) * size_px, column * size_px : (column + 1) * size_px] = pictures[number * per_sheet + place]
            lines.append(FaceLine(sheet=name, row=row, column=column, name=scene.name, action_units=scene.action_units, shapes=scene.shapes, shot=scene.shot))
        files[name] = cv2.imencode(".webp", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
    people = {scene.name: PersonLine(name=scene.name, person=scene.person) for scene in scenes}
    files[PEOPLE] = msgspec.json.Encoder().encode_lines(list(people.values()))
    files[FACES] = msgspec.json.Encoder().encode_lines(lines)
    return files


def _decoded(content: bytes) -> Pixels:
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None  # its hash is the card's
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
