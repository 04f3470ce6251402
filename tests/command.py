"""The command, as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def edge_run_line(*arguments: object) -> list[str]:
    """The command line of `edge-run` with these arguments."""
    return [sys.executable, "-m", "edge.cli", *map(str, arguments)]


def edge_run(*arguments: object, timeout_s: float = 100, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `edge-run` to its end."""
    return subprocess.run(edge_run_line(*arguments), capture_output=True, text=True, timeout=timeout_s, check=False, **options)


def records_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a record file, header first; each must be whole."""
    return [json.loads(line) for line in path.read_text().splitlines()]
