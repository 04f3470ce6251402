"""The lock: one file that pip accepts, hashes and all, on every Python and processor that we support."""

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
LOCK = (ROOT / "requirements/dev.lock").read_text()


def locked(python: str, processor: str) -> dict[str, list[str]]:
    """Versions by name that a machine would install."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": processor, "sys_platform": "linux"}
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^([a-zA-Z][^\\\n]*)", LOCK, re.MULTILINE):
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier).removeprefix("=="))
    return found


def unmet(wanted: list[str], python: str, processor: str) -> list[str]:
    """Requirements that the lock does not meet on a machine."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": processor, "sys_platform": "linux"}
    versions = locked(python, processor)
    problems = []
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        found = versions.get(canonicalize_name(requirement.name), [])
        if len(found) != 1 or not requirement.specifier.contains(found[0], prereleases=True):
            problems.append(f"{text}: the lock has {found or 'nothing'}")
    return problems


def project_requirements() -> list[str]:
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras["converters"], *extras["test"]]


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_meets_pyproject_and_the_pins_everywhere(python: str, processor: str) -> None:
    pins = [line for line in (ROOT / "requirements/pins.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert unmet(project_requirements() + pins, python, processor) == []


def test_a_requirement_that_the_lock_lacks_is_named() -> None:
    assert unmet(["numpy>=3", "leftpad"], "3.12", "aarch64") == ["numpy>=3: the lock has ['2.2.6']", "leftpad: the lock has nothing"]


@pytest.mark.parametrize("python", PYTHONS)
def test_no_name_is_locked_twice(python: str) -> None:
    assert {name: versions for name, versions in locked(python, "x86_64").items() if len(versions) != 1} == {}


def test_every_entry_has_hashes_and_no_index_is_named() -> None:
    entries = re.split(r"^(?=[a-zA-Z])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert [entry.split()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", LOCK)
