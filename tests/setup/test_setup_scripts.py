"""The set-up scripts, run for real in folders of their own; apt, dpkg and sudo are replaced by programs that say what they were asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAIN_TOOLS = ("bash", "cat", "dirname", "env", "grep", "sed", "sh")
# Answers what the scripts ask of an interpreter, and lies outside /usr/bin.
SOME_PYTHON = 'case "$2" in *_base_executable*) echo "$0";; *) echo 3.11;; esac'
OLD_PYTHON = 'case "$1" in --version) echo Python 3.8.10;; *) exit 1;; esac'


class Machine:
    """A checkout's scripts, and a PATH that holds plain tools and what the test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for name in PLAIN_TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))
        for part in ("scripts", "requirements"):
            shutil.copytree(ROOT / part, folder / part)
        self.add("python3", SOME_PYTHON)

    def add(self, name: str, script: str) -> None:
        """Put a program on PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def installed(self, *absent: str) -> None:
        """Let dpkg-query know every package but some."""
        cases = "".join(f"{name}) ;; " for name in absent)
        self.add("dpkg-query", f'for name; do case "$name" in --*) ;; {cases}*) echo "$name installed";; esac; done; exit {1 if absent else 0}')

    def run(self, script: str, *arguments: str, root: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(self.folder / "scripts" / script), *arguments]
        if not root and os.geteuid() == 0:
            command = [str(shutil.which("setpriv")), "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        variables = {"PATH": str(self.bin), "LANG": "C.UTF-8", **environment}
        return subprocess.run(command, cwd=self.folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not tmp_path: a user without rights must be able to enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Machine(Path(folder) / "checkout")


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: make test installs it")
    done = subprocess.run(["shellcheck", *sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci/run"], capture_output=True, text=True)
    assert done.stdout == ""


def test_make_lists_every_target() -> None:
    listed = subprocess.run(["make", "--no-print-directory", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
    assert set(re.findall(r"^  make ([\w-]+) ", listed, re.MULTILINE)) == targets


def test_every_system_package_says_why() -> None:
    for path in (ROOT / "requirements").glob("system-*.txt"):
        for line in path.read_text().splitlines():
            assert line.startswith("#") or re.fullmatch(r"[a-z0-9.+-]+ +# .+", line), line


def test_apt_is_not_called_when_all_is_there(machine: Machine) -> None:
    machine.installed()
    machine.add("apt-get", "echo called >&2; exit 1")
    done = machine.run("system_packages.sh", "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"setup: all \d+ system packages are there\n", done.stdout)


def test_only_what_is_missing_is_installed_and_explained(machine: Machine) -> None:
    machine.installed("xvfb", "gcc")
    machine.add("sudo", 'if [ "$1" = -n ]; then exit 0; fi; exec "$@"')
    machine.add("apt-cache", "exit 0")
    machine.add("apt-get", 'echo "apt-get $DEBIAN_FRONTEND $*"')
    done = machine.run("system_packages.sh", "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  gcc +compiles PyGObject", done.stdout, re.MULTILINE)
    calls = [line for line in done.stdout.splitlines() if line.startswith("apt-get noninteractive")]
    assert [call.split("Timeout=300 ")[1] for call in calls] == ["update", "install -y --no-install-recommends gcc xvfb"]


def test_run_does_not_ask_for_what_only_tests_need(machine: Machine) -> None:
    machine.installed("xvfb")
    assert machine.run("system_packages.sh", "run").returncode == 0


def test_a_python_of_the_distribution_needs_its_headers_too(machine: Machine) -> None:
    version = subprocess.run(["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True).stdout.strip()
    if version not in {"3.10", "3.11", "3.12", "3.13"}:
        pytest.skip(f"/usr/bin/python3 is {version or 'absent'}")
    machine.installed(f"python{version}-dev")
    done = machine.run("system_packages.sh", "run", root=False, PYTHON="/usr/bin/python3")
    assert f"setup: installing system packages:\n  python{version}-dev " in done.stdout


def test_without_root_and_sudo_the_line_to_run_is_printed(machine: Machine) -> None:
    machine.installed("gcc")
    done = machine.run("system_packages.sh", "run", root=False)
    assert done.returncode == 3
    assert "needs root, and there is no sudo" in done.stderr
    assert "  apt-get update && apt-get install -y --no-install-recommends gcc\n" in done.stderr


def test_a_sudo_that_would_ask_prints_the_line_to_run(machine: Machine) -> None:
    machine.installed("gcc")
    machine.add("sudo", "exit 1")
    done = machine.run("system_packages.sh", "run", root=False)
    assert done.returncode == 3
    assert "sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends gcc'" in done.stderr


@pytest.mark.parametrize(
    ("apt_get", "apt_cache", "message"),
    [
        ("exit 100", "exit 0", "apt-get update failed: see its message above"),
        ("exit 0", "exit 100", "this system's apt sources have no package 'gcc' (compiles PyGObject and pycairo"),
        ('case "$*" in *install*) exit 100;; esac', "exit 0", "apt-get install failed: see its message above"),
    ],
)
def test_what_apt_cannot_do_is_said(apt_get: str, apt_cache: str, message: str, machine: Machine) -> None:
    machine.installed("gcc")
    machine.add("sudo", 'if [ "$1" = -n ]; then exit 0; fi; exec "$@"')
    machine.add("apt-get", apt_get)
    machine.add("apt-cache", apt_cache)
    done = machine.run("system_packages.sh", "run")
    assert done.returncode == 3
    assert f"setup: {message}" in done.stderr


def test_other_distributions_are_told_what_is_supported(machine: Machine) -> None:
    done = machine.run("system_packages.sh", "run")
    assert done.returncode == 3
    assert "there is no dpkg here" in done.stderr


def test_an_old_python_is_refused_before_anything_is_installed(machine: Machine) -> None:
    machine.add("python3", OLD_PYTHON)
    machine.installed("gcc")
    done = machine.run("system_packages.sh", "run")
    assert done.returncode == 3
    assert "no Python 3.10 to 3.13 on PATH; found: Python 3.8.10" in done.stderr
    assert done.stdout == ""


def test_a_versioned_python_is_found_behind_an_old_one(machine: Machine) -> None:
    machine.add("python3", OLD_PYTHON)
    machine.add("python3.12", SOME_PYTHON)
    assert machine.run("find_python.sh").stdout == f"{machine.bin / 'python3.12'}\n"


@pytest.mark.parametrize(("python", "got"), [("bin/old", "Python 3.8.10"), ("bin/absent", "nothing that runs")])
def test_a_python_that_was_named_is_never_replaced_by_another(python: str, got: str, machine: Machine) -> None:
    machine.add("old", OLD_PYTHON)
    done = machine.run("find_python.sh", PYTHON=python)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"PYTHON={python} must be Python 3.10 to 3.13; got: " in done.stderr
    assert got in done.stderr


def test_the_environment_is_made_once_and_again_when_it_must_be(tmp_path: Path) -> None:
    for part in ("scripts", "requirements"):
        shutil.copytree(ROOT / part, tmp_path / part)
    lock = tmp_path / "requirements/dev.lock"
    lock.write_text(re.findall(r"^iniconfig==.*?(?=^\w|^    # via)", lock.read_text(), re.MULTILINE | re.DOTALL)[0])
    backend = '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
    (tmp_path / "pyproject.toml").write_text(f'{backend}[project]\nname = "toy"\nversion = "1"\n[tool.setuptools]\npackages = []\n')

    def run() -> str:
        return subprocess.run(
            ["bash", tmp_path / "scripts/virtualenv.sh", "run"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=True
        ).stdout

    assert "making .venv with" in (first := run())
    assert "installing requirements/dev.lock" in first
    assert re.fullmatch(r"setup: .venv is up to date \(Python 3\.\d+\)\n", run())
    (tmp_path / ".venv/bin/python").unlink()
    (tmp_path / ".venv/bin/python").symlink_to("gone")
    assert "making .venv again: its Python is gone" in run()
    moved = tmp_path / "moved"
    moved.mkdir()
    for part in (".venv", "scripts", "requirements", "pyproject.toml"):
        (tmp_path / part).rename(moved / part)
    broken = moved / "requirements/dev.lock"
    broken.write_text(re.sub(r"sha256:\w{4}", "sha256:0000", broken.read_text()))
    done = subprocess.run(["bash", moved / "scripts/virtualenv.sh", "run"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert "making .venv again: it was made for another folder" in done.stdout
    assert done.returncode == 3
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "pip could not install requirements/dev.lock" in done.stderr


@pytest.mark.parametrize(("status", "verdict"), [(0, "===== 3 passed in 0.10s ====="), (2, "===== 1 failed, 2 passed in 0.10s =====")])
def test_ci_ends_with_the_verdict_and_its_exit_code(status: int, verdict: str, tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text(f"test:\n\t@cat; echo '{verdict}'; exit {status}\n")
    done = subprocess.run([tmp_path / ".ci/run"], input="something that must not be read", capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == verdict
    assert "must not be read" not in done.stdout
