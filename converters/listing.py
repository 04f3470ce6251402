"""Every known package, system and clip, with the state that is worked out from what lies on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from converters import known_files
from converters.default_package import RECIPES
from converters.evidence import system_state
from converters.pull import clip_state, package_state
from converters.systems.known import KNOWN
from converters.systems.system import System

_TRAINED = Path(__file__).parent / "trained"


def everything() -> dict[str, dict[str, dict[str, Any]]]:
    """Return `packages`, `systems` and `clips`, each by name, as `list --json` prints them."""
    return {
        "packages": {name: {"state": package_state(name)} for name in RECIPES},
        "systems": {name: _row(system) for name, system in KNOWN.items()},
        "clips": {file.name: {"state": clip_state(file)} for file in known_files.CLIPS},
    }


def lines(rows: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return the same as text."""
    text = []
    for kind, entries in rows.items():
        text.append(f"{kind}")
        for name, row in entries.items():
            text.append(f"  {name:28}{row['state']:11}{_remark(row)}".rstrip())
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


def _measured(name: str) -> dict[str, Any]:
    card = json.loads((_TRAINED / name / "card.json").read_text())
    return {key: card["test"][key] for key in ("n", "accuracy", "interval", "macro_f1")}


def _remark(row: dict[str, Any]) -> str:
    if "document" not in row:
        return ""
    if row["state"] != "works":
        return str(row["detail"])
    if (measured := row["measured"]) is None:
        return "untrained"
    low, high = measured["interval"]
    return f"accuracy {measured['accuracy']:.1%} [{low:.1%}, {high:.1%}] of {measured['n']}; document {row['document']}: {row['reported']}"
