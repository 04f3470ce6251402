"""A calibration set of the test clips' frames, made in a second: one woman to calibrate with, one man to judge by."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from calibration.set_file import Clip, Features, Item, MadeBy, SetManifest, Split, pixels_sha256
from converters.real_inputs import detect, read_frames
from edge.frame import Pixels
from edge.package import file_sha256, load_package

CLIPS: dict[Split, tuple[str, range]] = {"calibration": ("WolfgangLanger_Pexels.mp4", range(0, 180, 2)), "held-out": ("single_face.mp4", range(60))}
# Of one picture after the other: clips of one room vary little.
_LIGHTS = (1.0, 0.8, 0.6, 0.4)
_FEATURES = Features(yaw_deg=0, pitch_deg=0, roll_deg=0, side_px=0, brightness=0, contrast=0, side_light=0, sharpness=0)


def make_set(folder: Path, clip: Callable[[str], Path], models: Path) -> Path:
    """Write the set: pictures of twice the face's box, and the two clips."""
    (folder / "pictures").mkdir(parents=True)
    (folder / "clips").mkdir()
    items, clips = [], []
    for split, (name, numbers) in CLIPS.items():
        for picture in _pictures(clip(name), numbers, models):
            path = folder / "pictures" / f"{pixels_sha256(picture)[:20]}.png"
            cv2.imwrite(str(path), picture[..., ::-1])
            sha256 = pixels_sha256(picture)
            place = {"file": f"pictures/{path.name}", "sha256": file_sha256(path), "origin": name, "source": name, "licence": "test media", "split": split}
            items.append(Item(**place, pixels_sha256=sha256, source_sha256=sha256, features=_FEATURES))  # type: ignore[arg-type]
        shutil.copyfile(clip(name), folder / "clips" / name)
        clips.append(Clip(file=f"clips/{name}", sha256=file_sha256(clip(name)), origin=name, source=name, licence="test media", split=split))
    manifest = SetManifest(
        schema="edge.calibration/1",
        name="small",
        made_by=MadeBy(versions={}, networks={}),
        n_looked_at=len(items),
        n_faces=len(items),
        refused={},
        excluded={},
        coverage={},
        items=tuple({item.sha256: item for item in items}.values()),
        clips=tuple(clips),
    )
    (folder / "set.toml").write_bytes(msgspec.toml.encode(manifest))
    return folder


def _pictures(clip: Path, numbers: range, models: Path) -> list[Pixels]:
    frames = read_frames(clip, list(numbers))
    pictures: list[Pixels] = []
    for frame, faces in zip(frames, detect(frames, load_package(models / "blazeface")), strict=True):
        if faces:
            (x, y), side = faces[0].center_px, faces[0].side_px
            top, left = max(0, round(y - side)), max(0, round(x - side))
            light = _LIGHTS[len(pictures) % len(_LIGHTS)]
            pictures.append((frame[top : round(y + side), left : round(x + side)] * light).astype(np.uint8))
    return pictures
