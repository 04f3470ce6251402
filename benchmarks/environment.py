"""On what a measurement was made: a number without this is worth nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.timed_process import REPOSITORY

PACKAGES = ("facial-affect-edge", "numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless", "PyGObject", "msgspec")


def describe_machine() -> dict[str, Any]:
    """Return processor, memory, governor, load, versions and commit as JSON values; None for what the machine does not tell."""
    return {
        "utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _first_value("/proc/cpuinfo", ("model name", "Model", "Hardware")) or platform.processor() or None,
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "max_khz": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"),
        "memory": _first_value("/proc/meminfo", ("MemTotal",)),
        "memory_available": _first_value("/proc/meminfo", ("MemAvailable",)),
        "board": _text("/proc/device-tree/model"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if (changes := _git("status", "--porcelain")) is None else bool(changes),
        "load": load_averages(),
    }


def load_averages() -> list[float]:
    """Return the load averages over 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _first_value(path: str, keys: tuple[str, ...]) -> str | None:
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return " ".join(value.split())
    return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
