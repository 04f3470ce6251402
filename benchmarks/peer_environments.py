"""An environment for each peer, made once from pinned requirements and kept in the user's cache: of Python, or of Node."""

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


def npm_environment(name: str) -> Path:
    """Return the folder with a peer's `node_modules`, installing them where they are not there yet. No script of a package is run while installing.

    Args:
        name: Folder of `package.json` and `package-lock.json`, which pins every package with its hash, such as `tfjs`.

    Raises:
        MissingDependency: There is no Node and npm, or the packages cannot be fetched.
    """
    pinned = [REQUIREMENTS / name / file for file in ("package.json", "package-lock.json")]
    require_programs("node", "npm", packages="nodejs npm")
    folder = environment_folder(name, b"".join(path.read_bytes() for path in pinned))
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)  # a run that was interrupted half way
        folder.mkdir(parents=True)
        for path in pinned:
            shutil.copy(path, folder)
        progress(f"installing npm packages of {name} in {folder} (once; 375 MB)")
        install = ["npm", "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        _run(install, name, hint="check the network and which registry npm asks (npm config get registry)")
        complete.touch()
    return folder


def require_programs(*programs: str, packages: str) -> None:
    """Check that programs of the machine are there.

    Args:
        programs: Their names.
        packages: Debian's packages that have them.

    Raises:
        MissingDependency: One is not there.
    """
    if missing := [program for program in programs if shutil.which(program) is None]:
        raise MissingDependency(f"no {' and '.join(missing)} on this machine", hint=f"on Debian and Ubuntu: sudo apt install {packages}")


def environment_folder(name: str, requirements: bytes) -> Path:
    """Return the folder of an environment: other requirements or another Python make another folder."""
    key = hashlib.sha256(requirements + sys.version.encode() + sys.executable.encode()).hexdigest()[:12]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge" / "peers" / f"{name}-{key}"


def _run(command: list[str], name: str, *, hint: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise MissingDependency(f"the environment of {name} cannot be made: {' '.join(command)}\n  {said}", hint=hint)
