"""A virtual environment for each peer, made once from pinned requirements and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.timed_process import progress
from edge.errors import MissingDependency

REQUIREMENTS = Path(__file__).parent / "peers"
PYTHONS = ((3, 10), (3, 12))  # Source: the pinned wheels of mediapipe 0.10.21 and tensorflow-cpu 2.18.1 exist for these versions, first and last


def peer_python(name: str) -> Path:
    """Return the interpreter of a peer's environment, making the environment where it is not there yet.

    Args:
        name: Stem of the requirements file, such as `fer`.

    Raises:
        MissingDependency: This Python or platform has no wheels of the peer, or the environment cannot be made.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    running = sys.version_info[:2]
    if not PYTHONS[0] <= running <= PYTHONS[1]:
        first, last = (".".join(map(str, version)) for version in PYTHONS)
        raise MissingDependency(
            f"{name} has wheels for Python {first} to {last}, this is {running[0]}.{running[1]}", hint=f"run the benchmarks with a Python of {first} to {last}"
        )
    folder = environment_folder(name, requirements.read_bytes())
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)  # a run that was interrupted half way
        progress(f"making the environment of {name} in {folder} (once; up to 1.5 GB and some minutes)")
        _run([sys.executable, "-m", "venv", str(folder)], name, hint="on Debian and Ubuntu: sudo apt install python3-venv")
        install = [str(python), "-m", "pip", "install", "--no-deps", "--only-binary=:all:", "-r", str(requirements)]
        _run(install, name, hint=f"has your package index a wheel for this platform of every line of {requirements}?")
        complete.touch()
    return python


def environment_folder(name: str, requirements: bytes) -> Path:
    """Return the folder of an environment: other requirements or another Python make another folder."""
    key = hashlib.sha256(requirements + sys.version.encode() + sys.executable.encode()).hexdigest()[:12]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge" / "peers" / f"{name}-{key}"


def _run(command: list[str], name: str, *, hint: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise MissingDependency(f"the environment of {name} cannot be made: {' '.join(command)}\n  {said}", hint=hint)
