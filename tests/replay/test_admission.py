"""Newcomers need two agreeing readings: shown with the full-range detector on whole frames, where it takes lettering for faces in these clips."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import Pipeline, analyzer

# Clip, and the frames of it that show no face (the cuts are those of test_clips.py).
WITHOUT_FACES = (("no_face.mp4", range(1000)), ("noface_face.mov", range(94)), ("face_noface.mov", range(72, 1000)))


@pytest.fixture
def tempted(models: Path, tmp_path: Path) -> Path:
    """The default package, with a detector that looks at whole frames only."""
    for name in ("default", "blazeface"):
        shutil.copytree(models / name, tmp_path / name)
    manifest = tmp_path / "blazeface" / "package.toml"
    text = manifest.read_text()
    assert 'resize = "tiles"' in text
    manifest.write_text(text.replace('resize = "tiles"', 'resize = "letterbox"'))
    return tmp_path / "default"


def invented(package: Path, clip: Callable[[str], Path]) -> int:
    n = 0
    for name, frames in WITHOUT_FACES:
        with Pipeline(source=clip(name), model=package) as pipeline:
            n += sum(len(result.faces) for result in pipeline if result.seq in frames)
    return n


def test_lettering_is_not_let_in(tempted: Path, clip: Callable[[str], Path]) -> None:
    assert invented(tempted, clip) == 0


def test_the_clips_do_tempt(tempted: Path, clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyzer, "_ADMIT_PRESENCE", 0.0)
    monkeypatch.setattr(analyzer, "_ADMIT_EYE_SHIFT", float("inf"))
    assert invented(tempted, clip) > 3
