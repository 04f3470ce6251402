"""Revisions and folders that the gate compares."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.gate.checkouts import open_checkout
from edge.errors import ConfigError


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: `edge` says 1, then 2; the working tree says 3. A branch `bare` has no edge."""
    root = tmp_path / "repository"
    (root / "edge").mkdir(parents=True)
    _git(root, "init", "--quiet", "--initial-branch=main")
    for number in (1, 2):
        (root / "edge" / "__init__.py").write_text(f"said = {number}\n")
        (root / "README").write_text("x\n")
        _git(root, "add", ".")
        _git(root, "commit", "--quiet", "-m", str(number))
    (root / "edge" / "__init__.py").write_text("said = 3\n")
    return root


def test_a_revision_is_exported_and_removed(repository: Path) -> None:
    with open_checkout("HEAD~1", repository=repository) as checkout:
        assert checkout.what == _git(repository, "rev-parse", "HEAD~1")
        assert (checkout.root / "edge" / "__init__.py").read_text() == "said = 1\n"
        assert repository not in checkout.root.parents
    assert not checkout.root.exists()
    assert _git(repository, "worktree", "list").count("\n") == 0


def test_a_revision_is_removed_after_a_failure_too(repository: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), open_checkout("main", repository=repository) as checkout:
        raise RuntimeError("stop")
    assert not checkout.root.exists()


def test_a_folder_is_taken_as_it_is(repository: Path) -> None:
    with open_checkout(str(repository)) as checkout:
        assert checkout.root == repository.resolve()
        assert (checkout.root / "edge" / "__init__.py").read_text() == "said = 3\n"
    assert repository.exists()


def test_what_is_neither_is_refused(repository: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"expected a folder or a git revision, got 'no-such-revision', in .*repository"),
        open_checkout("no-such-revision", repository=repository),
    ):
        pass
    with pytest.raises(ConfigError, match="got '--all'"), open_checkout("--all", repository=repository):
        pass
    with pytest.raises(ConfigError, match=r"expected a checkout with edge/__init__.py, got .*empty"), open_checkout(_made(tmp_path / "empty")):
        pass


def test_a_revision_without_edge_is_refused(repository: Path) -> None:
    _git(repository, "rm", "-r", "--quiet", "-f", "edge")
    _git(repository, "commit", "--quiet", "-m", "gone")
    with pytest.raises(ConfigError, match=r"cannot export edge of HEAD \([0-9a-f]{40}\) from .*edge"), open_checkout("HEAD", repository=repository):
        pass


def test_without_git_a_revision_is_refused(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", _made(tmp_path / "no-programs"))
    with pytest.raises(ConfigError, match="a git revision needs git, which is not installed"), open_checkout("HEAD", repository=repository):
        pass


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)
