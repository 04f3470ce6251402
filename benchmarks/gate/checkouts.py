"""The two checkouts that the gate compares: a folder as it is, or a git revision exported into a temporary folder."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timed_process import REPOSITORY
from edge.errors import ConfigError

_HINT = "a git revision such as main or HEAD~1, or the folder of a checkout"


@dataclass(frozen=True)
class Checkout:
    """A folder that holds `edge`.

    Attributes:
        root: The folder.
        what: What it is, for the report: the working tree, the folder as given, or the full name of the commit.
    """

    root: Path
    what: str


@contextmanager
def open_checkout(named: str, *, repository: Path = REPOSITORY) -> Iterator[Checkout]:
    """Yield a checkout; what was exported for it is removed at the end.

    Args:
        named: An existing folder, which is taken as it is; anything else is a git revision, of which `edge` is exported.
        repository: Where revisions are looked up.

    Raises:
        ConfigError: It is neither, or holds no `edge`.
    """
    if Path(named).is_dir():
        root = Path(named).resolve()
        if not (root / "edge" / "__init__.py").is_file():
            raise ConfigError(f"expected a checkout with edge/__init__.py, got {root}", hint=_HINT)
        yield Checkout(root, "the working tree" if root == REPOSITORY else named)
        return
    found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{named}^{{commit}}")
    if found.returncode != 0:
        raise ConfigError(f"expected a folder or a git revision, got '{named}', in {repository}", hint=_HINT)
    commit = found.stdout.decode().strip()
    with tempfile.TemporaryDirectory(prefix="edge-gate-") as folder:
        # `git archive`, not a worktree: the repository itself is not touched, and nothing stays behind in it when the run is killed.
        archive = _git(repository, "archive", "--format=tar", commit, "edge")
        if archive.returncode != 0:
            raise ConfigError(f"cannot export edge of {named} ({commit}) from {repository}: {archive.stderr.decode(errors='replace').strip()}", hint=_HINT)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Checkout(Path(folder).resolve(), commit)


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ConfigError("a git revision needs git, which is not installed", hint="sudo apt-get install git   or: give folders") from error
