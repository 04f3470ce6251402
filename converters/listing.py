"""Every known package, system and clip, with the state that is worked out from what lies on the disk."""

from __future__ import annotations

from typing import Any

from converters import known_files
from converters.evidence import system_state
from converters.known_packages import NAMES
from converters.pull import clip_state, package_state
from converters.systems.known import KNOWN
from converters.systems.system import TRAINED, System
from converters.training.card import read_card


def everything() -> dict[str, dict[str, dict[str, Any]]]:
    """Return `packages`, `systems` and `clips`, each by name, as `list --json` prints them."""
    return {
        "packages": {name: {"state": package_state(name)} for name in NAMES},
        "systems": {name: _row(system) for name, system in KNOWN.items()},
        "clips": {file.name: {"state": clip_state(file)} for file in known_files.CLIPS},
    }


def lines(rows: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return the same as text."""
    text = []
    for kind, entries in rows.items():
        text.append(f"{kind}")
        for name, row in entries.items():
            text.append(f"  {name:28}{row['state']:11}{_remark(name, row)}".rstrip())
    return text


def _row(system: System) -> dict[str, Any]:
    state, detail = system_state(system)
    return {
        "state": state,
        "detail": detail,
        "document": system.document,
        "framework": system.framework,
        "trained": system.trained,
        "reported": system.reported,
        "measured": _measured(system.id) if system.trained else None,
    }


def accuracy_line(system: System) -> str:
    """Return the accuracy of a system that we trained, beside what its document reports."""
    test = read_card(TRAINED / system.id).test
    low, high = test.interval
    return f"accuracy {test.accuracy:.1%} [{low:.1%}, {high:.1%}] of {test.n} pictures of FER2013; {system.document}: {system.reported}"


def _measured(name: str) -> dict[str, Any]:
    test = read_card(TRAINED / name).test
    return {"n": test.n, "accuracy": test.accuracy, "interval": test.interval, "macro_f1": test.macro_f1}


def _remark(name: str, row: dict[str, Any]) -> str:
    if "document" not in row:
        return ""
    if row["state"] != "works":
        return str(row["detail"])
    return accuracy_line(KNOWN[name]) if row["trained"] else "untrained"
