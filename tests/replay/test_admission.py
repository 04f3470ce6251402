"""Newcomers need two agreeing readings: shown with the full-range detector on whole frames, where it takes lettering for faces in these clips."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge import Pipeline
from edge.package import MANIFEST, load_package
from edge.stage import Landmarks, Output

# Clip, and the frames of it that show no face (the cuts are those of test_clips.py).
WITHOUT_FACES = (("no_face.mp4", range(1000)), ("noface_face.mov", range(94)), ("face_noface.mov", range(72, 1000)))


@pytest.fixture(params=["default", "mesh-chain"])
def tempted(request: pytest.FixtureRequest, models: Path, tmp_path: Path) -> Path:
    """A package, with a detector that looks at whole frames only."""
    for name in (request.param, "blazeface"):
        shutil.copytree(models / name, tmp_path / name)
    manifest = tmp_path / "blazeface" / "package.toml"
    text = manifest.read_text()
    assert 'resize = "tiles"' in text
    manifest.write_text(text.replace('resize = "tiles"', 'resize = "letterbox"'))
    return tmp_path / str(request.param)


def invented(package: Path, clip: Callable[[str], Path]) -> int:
    n = 0
    for name, frames in WITHOUT_FACES:
        with Pipeline(source=clip(name), model=package) as pipeline:
            n += sum(len(result.faces) for result in pipeline if result.seq in frames)
    return n


def admitting_anything(package: Path) -> Path:
    manifest = load_package(package).manifest

    def lax(output: Output) -> Output:
        return msgspec.structs.replace(output, admit_presence=1e-9, admit_eye_shift=1e9) if isinstance(output, Landmarks) else output

    stages = tuple(msgspec.structs.replace(stage, outputs=tuple(map(lax, stage.outputs))) for stage in manifest.stages)
    (package / MANIFEST).write_bytes(msgspec.toml.encode(msgspec.structs.replace(manifest, stages=stages)))
    return package


def test_lettering_is_not_let_in(tempted: Path, clip: Callable[[str], Path]) -> None:
    assert invented(tempted, clip) == 0


@pytest.mark.parametrize("tempted", ["mesh-chain"], indirect=True)
def test_the_clips_do_tempt(tempted: Path, clip: Callable[[str], Path]) -> None:
    assert invented(admitting_anything(tempted), clip) > 3
