"""On what a measurement was made, and whether that changed under it: a number without this is worth nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Budget
from benchmarks.timed_process import REPOSITORY, OthersCpu

PACKAGES = ("facial-affect-edge", "numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless", "PyGObject", "msgspec", "cuda-bindings", "tensorrt")
PROBE_S = 0.3  # long enough for a processor that slept to come up to speed
_PROBED = bytes(1 << 20)
_TOOL_TIMEOUT_S = 20.0
# What nvidia-smi is asked for; the last one is called `clocks_throttle_reasons` by drivers before 535.
_GPU_FIELDS = ("name", "driver_version", "pstate", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "clocks_event_reasons.active")
# Source: NVML API Reference, nvmlClocksEventReasons. The others (idle, clocks set by the user, ...) slow nothing down that runs.
_SLOWDOWNS = {0x04: "power cap", 0x08: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "power brake"}
_JETSON_GPUS = ("gpu", "ga10b", "gv11b", "gp10b", "gb10b")  # how the boards' device trees name it


class Gpu(msgspec.Struct, frozen=True):
    """An NVIDIA GPU at one moment; None for what its driver does not tell.

    Attributes:
        name: As the driver tells it.
        driver: Version.
        pstate: `P0` is the fastest.
        sm_mhz: Clock of its processors.
        memory_mhz: Clock of its memory.
        temperature_c: Degrees Celsius.
        power_w: What it draws.
        slowed_by: Why it runs slower than it could: heat, power.
    """

    name: str
    driver: str | None = None
    pstate: str | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    slowed_by: tuple[str, ...] = ()


class MachineState(msgspec.Struct, frozen=True):
    """What may change while something is measured.

    Attributes:
        probe_ms: How long a fixed piece of work takes at best: follows the processor's clock, also where the machine does not tell that, as in a virtual one.
        cpu_mhz: What each core says of its clock; empty where it says nothing.
        temperature_c: By sensor; empty where there are none.
        load: Averages over 1, 5 and 15 minutes.
        gpus: Each NVIDIA GPU.
    """

    probe_ms: float
    cpu_mhz: list[float]
    temperature_c: dict[str, float]
    load: list[float]
    gpus: list[Gpu]


class MachineWatch:
    """Looks at the machine now, and again when asked what moved.

    Make it when everything is warm, and ask at once after the last sample: an idle GPU has other clocks.

    Args:
        gpu_is_warm: Compare the GPUs' clocks; not where a process of its own uses them, before and after which they idle.

    Attributes:
        before: How the machine was when this was made.
    """

    def __init__(self, *, gpu_is_warm: bool = True) -> None:
        self.before = machine_state()
        self._gpu_is_warm = gpu_is_warm
        self._others = OthersCpu()

    def end(self, budgets: Mapping[str, Budget]) -> tuple[dict[str, Any], str]:
        """Return what is to be kept of the machine beside the samples, and why they cannot be trusted; the latter is empty where they can.

        Args:
            budgets: Of which `validity.others_cpu` and `validity.clock_ratio` are used.
        """
        share = self._others.share()  # first: what follows is our own, but waits for tools
        after = machine_state()
        kept = {"before": self.before, "after": after, "others_cpu": share}
        moved = what_moved(self.before, after, budgets["validity.clock_ratio"], gpu_is_warm=self._gpu_is_warm)
        return kept, "; ".join(reason for reason in (too_loud(share, budgets), *moved) if reason)


def describe_machine() -> dict[str, Any]:
    """Return processor, GPU, memory, governor, power mode, clocks, temperature, load, versions and commit as JSON values; None for what is not told."""
    state = machine_state()
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
        "power_mode": _power_mode(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _said("git", "rev-parse", "HEAD"),
        "dirty": None if (changes := _said("git", "status", "--porcelain")) is None else bool(changes),
        **msgspec.to_builtins(state),
    }


def machine_state() -> MachineState:
    """Look at clocks, temperatures, load and GPUs; takes a third of a second."""
    gpus = _gpus()  # first: while the probe runs, a GPU idles and its clocks fall
    return MachineState(probe_ms=_probe_ms(), cpu_mhz=_cpu_mhz(), temperature_c=_temperatures_c(), load=load_averages(), gpus=gpus)


def what_moved(before: MachineState, after: MachineState, limit: Budget, *, gpu_is_warm: bool = True) -> list[str]:
    """Return why times taken between two looks at the machine cannot be compared with each other; empty where nothing moved.

    Args:
        before: When the machine was warm.
        after: Just after the last sample.
        limit: Of the ratio of two clocks, the larger over the smaller.
        gpu_is_warm: See `MachineWatch`.
    """
    pairs = [("a fixed piece of work took", "ms", before.probe_ms, after.probe_ms)]
    if [gpu.name for gpu in before.gpus] != [gpu.name for gpu in after.gpus]:
        return [f"the GPUs were {[gpu.name for gpu in before.gpus]}, then {[gpu.name for gpu in after.gpus]}"]
    for then, now in zip(before.gpus, after.gpus, strict=True):
        clocks = (("sm", then.sm_mhz, now.sm_mhz), ("memory", then.memory_mhz, now.memory_mhz))
        pairs += [(f"{now.name}: its {which} clock was", "MHz", was, is_now) for which, was, is_now in clocks if gpu_is_warm and was and is_now]
    moved = [
        f"{what} {was:.4g} {unit} before and {is_now:.4g} {unit} after (limit {limit.limit:g} times)"
        for what, unit, was, is_now in pairs
        if not limit.holds(max(was, is_now) / min(was, is_now))
    ]
    return moved + [f"{gpu.name} was slowed down: {', '.join(gpu.slowed_by)}" for gpu in after.gpus if gpu.slowed_by]


def too_loud(others_cpu: float, budgets: Mapping[str, Budget]) -> str:
    """Return why a run cannot be trusted, where other processes used more of the CPU than `validity.others_cpu` allows; else an empty text."""
    limit = budgets["validity.others_cpu"]
    return "" if limit.holds(others_cpu) else f"other processes used {others_cpu:.0%} of the CPU (limit {limit.limit:.0%})"


def load_averages() -> list[float]:
    """Return the load averages over 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]


def gpus_of(table: str) -> list[Gpu]:
    """Read what nvidia-smi printed.

    Args:
        table: A line for each GPU, with the values of `_GPU_FIELDS` between commas, without units.
    """
    gpus = []
    for line in table.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != len(_GPU_FIELDS):
            continue
        name, driver, pstate, *numbers, reasons = values
        sm_mhz, memory_mhz, temperature_c, power_w = map(_number, numbers)
        active = int(reasons, 16) if reasons.startswith("0x") else 0
        slowed_by = tuple(why for bit, why in _SLOWDOWNS.items() if active & bit)
        gpus.append(Gpu(name, _told(driver), _told(pstate), sm_mhz, memory_mhz, temperature_c, power_w, slowed_by))
    return gpus


def _gpus() -> list[Gpu]:
    query = ("nvidia-smi", "--format=csv,noheader,nounits", "--query-gpu")
    fields = ",".join(_GPU_FIELDS)
    table = _said(*query[:2], f"{query[2]}={fields}") or _said(*query[:2], f"{query[2]}={fields.replace('event_reasons', 'throttle_reasons')}")
    told = gpus_of(table or "")
    # On a Jetson nvidia-smi is absent, or knows the GPU's name and little else.
    return [gpu for gpu in told if gpu.sm_mhz is not None] or jetson_gpus(Path("/sys/class/devfreq")) or told


def jetson_gpus(folder: Path) -> list[Gpu]:
    """Return the GPU of a Jetson with its clock, as the kernel tells it.

    Args:
        folder: Where the kernel has a folder for each device whose clock it scales.
    """
    found = [path for path in sorted(folder.glob("*")) if path.name.rpartition(".")[2] in _JETSON_GPUS]
    return [Gpu(name=path.name, sm_mhz=_scaled(path / "cur_freq", 1e6)) for path in found]


def _probe_ms() -> float:
    best_ns, end_ns = float("inf"), time.perf_counter_ns() + PROBE_S * 1e9
    while (started_ns := time.perf_counter_ns()) < end_ns:
        hashlib.sha256(_PROBED).digest()
        best_ns = min(best_ns, time.perf_counter_ns() - started_ns)
    return best_ns / 1e6


def _cpu_mhz() -> list[float]:
    clocks = [_scaled(path, 1e3) for path in sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    return [mhz for mhz in clocks if mhz is not None]


def _temperatures_c() -> dict[str, float]:
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*"))
    found = {f"{zone.name} {_text(zone / 'type')}": _scaled(zone / "temp", 1e3) for zone in zones}
    return {name: degrees for name, degrees in found.items() if degrees is not None}


def _power_mode() -> str | None:
    """A Jetson's, as `nvpmodel` names it."""
    said = _said("nvpmodel", "-q") or ""
    return next((line.partition(":")[2].strip() for line in said.splitlines() if "Power Mode" in line), None)


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _scaled(path: Path, divisor: float) -> float | None:
    number = _number(_text(path) or "")
    return None if number is None else number / divisor


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _told(text: str) -> str | None:
    return None if text.startswith("[") or text == "N/A" else text


def _first_value(path: str, keys: Sequence[str]) -> str | None:
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


def _said(*command: str) -> str | None:
    """What a tool prints; None where there is no such tool, or it fails."""
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
