"""The wheel, and an environment that has next to nothing: what a device looks like before it is set up."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Bare:
    """A virtual environment with the wheel, numpy, msgspec and tomli alone, far from the checkout."""

    wheel: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, in a folder of its own and with nothing of ours in the environment variables."""
        executable = self.folder / "venv/bin" / command[0]
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        return subprocess.run([executable, *command[1:]], cwd=self.folder, env=variables, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    folder = tmp_path_factory.mktemp("bare")
    checkout = folder / "checkout"
    # A copy: setuptools leaves build/ behind, and files that were deleted since would go from there into the wheel.
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name in ("edge", "converters", "benchmarks"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    _pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", str(folder), str(checkout))
    shutil.rmtree(checkout)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    lock = (ROOT / "requirements/dev.lock").read_text()
    pins = re.findall(r"^((?:numpy|msgspec|tomli)==\S+(?: ; [^\\\n]+)?)", lock, re.MULTILINE)
    _pip(folder / "venv/bin/python", "install", "--no-deps", str(wheel), *pins)
    return Bare(wheel, folder)


def _pip(python: Path, *arguments: str) -> None:
    done = subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
