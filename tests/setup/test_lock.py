"""The locks: files that pip accepts, hashes and all, on every Python and processor that we support."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PROCESSORS = ("x86_64", "aarch64")
# Lock -> the extras of pyproject.toml that it holds.
LOCKS = {"dev": ("converters", "test"), "frameworks": ("converters", "rtx", "test", "frameworks", "train")}
TEXTS = {name: (ROOT / f"requirements/{name}.lock").read_text() for name in LOCKS}


def locked(lock: str, python: str, processor: str) -> dict[str, list[str]]:
    """Versions by name that a machine would install."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": processor, "sys_platform": "linux"}
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^([a-zA-Z][^\\\n]*)", TEXTS[lock], re.MULTILINE):
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier).removeprefix("=="))
    return found


def unmet(wanted: list[str], lock: str, python: str, processor: str) -> list[str]:
    """Requirements that the lock does not meet on a machine."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": processor, "sys_platform": "linux"}
    versions = locked(lock, python, processor)
    problems = []
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        found = versions.get(canonicalize_name(requirement.name), [])
        if len(found) != 1 or not requirement.specifier.contains(found[0], prereleases=True):
            problems.append(f"{text}: the lock has {found or 'nothing'}")
    return problems


def project_requirements(lock: str) -> list[str]:
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(requirement for extra in LOCKS[lock] for requirement in extras[extra])]


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_meet_pyproject_and_the_pins_everywhere(python: str, processor: str, lock: str) -> None:
    pins = [line for line in (ROOT / "requirements/pins.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert unmet(project_requirements(lock) + pins, lock, python, processor) == []


def test_a_requirement_that_the_lock_lacks_is_named() -> None:
    assert unmet(["numpy>=3", "leftpad"], "dev", "3.12", "aarch64") == ["numpy>=3: the lock has ['2.2.6']", "leftpad: the lock has nothing"]


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("python", PYTHONS)
def test_no_name_is_locked_twice(python: str, lock: str) -> None:
    assert {name: versions for name, versions in locked(lock, python, "x86_64").items() if len(versions) != 1} == {}


@pytest.mark.parametrize("python", PYTHONS)
def test_what_both_locks_hold_has_one_version(python: str) -> None:
    small, large = locked("dev", python, "x86_64"), locked("frameworks", python, "x86_64")
    assert {name: versions for name, versions in small.items() if large.get(name) != versions} == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_has_hashes_and_no_index_is_named(lock: str) -> None:
    entries = re.split(r"^(?=[a-zA-Z])", TEXTS[lock], flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert [entry.split()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", TEXTS[lock])
