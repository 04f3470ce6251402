from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from benchmarks.budgets import Budget
from benchmarks.environment import Gpu, MachineState, MachineWatch, describe_machine, gpus_of, jetson_gpus, machine_state, what_moved

LIMIT = Budget(limit=1.05, sense="at_most", unit="times", source="test")
DESKTOP = "NVIDIA GeForce RTX 4070, 580.95.05, P0, 2475, 10251, 61, 143.52, 0x0000000000000000"
QUIET = MachineState(probe_ms=0.5, cpu_mhz=[], temperature_c={}, load=[0.0, 0.0, 0.0], gpus=[Gpu("toy", sm_mhz=1500.0, memory_mhz=7001.0)])


def _with_gpu(**changes: object) -> MachineState:
    return msgspec.structs.replace(QUIET, gpus=[msgspec.structs.replace(QUIET.gpus[0], **changes)])


def test_the_machine_is_described_with_its_clocks() -> None:
    machine = json.loads(json.dumps(describe_machine()))
    assert machine["probe_ms"] > 0
    assert {"gpus", "power_mode", "temperature_c", "cpu_mhz", "load"} <= machine.keys()


def test_what_nvidia_smi_prints_is_read() -> None:
    assert gpus_of(DESKTOP) == [Gpu("NVIDIA GeForce RTX 4070", "580.95.05", "P0", 2475.0, 10251.0, 61.0, 143.52)]
    assert gpus_of("Orin (nvgpu), N/A, [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]") == [Gpu("Orin (nvgpu)")]
    assert gpus_of("No devices were found") == []


@pytest.mark.parametrize(
    ("active", "why"),
    [("0x1", ()), ("0x2", ()), ("0x4", ("power cap",)), ("0x48", ("hardware slowdown", "heat (hardware)")), ("0x20", ("heat (software)",))],
)
def test_only_what_slows_a_gpu_down_counts(active: str, why: tuple[str, ...]) -> None:
    (gpu,) = gpus_of(DESKTOP.rpartition(",")[0] + f", {active}")
    assert gpu.slowed_by == why


def _tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("older", [False, True])
def test_drivers_before_535_are_asked_by_their_own_names(older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = "throttle_reasons" if older else "event_reasons"
    _tool(tmp_path, "nvidia-smi", f'case "$*" in *{known}*) echo "{DESKTOP}" ;; *) echo "not a valid field to query" ; exit 2 ;; esac')
    _tool(tmp_path, "nvpmodel", 'echo "NV Power Mode: MAXN_SUPER"; echo 2')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert [gpu.sm_mhz for gpu in machine_state().gpus] == [2475.0]
    assert describe_machine()["power_mode"] == "MAXN_SUPER"


def test_a_jetsons_gpu_is_found_among_the_devices(tmp_path: Path) -> None:
    for name, hertz in (("17000000.gpu", "1020000000\n"), ("13e10000.host1x", "5\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cur_freq").write_text(hertz)
    assert jetson_gpus(tmp_path) == [Gpu("17000000.gpu", sm_mhz=1020.0)]
    assert jetson_gpus(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        (msgspec.structs.replace(QUIET, probe_ms=0.53), "a fixed piece of work took 0.5 ms before and 0.53 ms after (limit 1.05 times)"),
        (msgspec.structs.replace(QUIET, probe_ms=0.47), "a fixed piece of work took"),
        (_with_gpu(sm_mhz=1395.0), "toy: its sm clock was 1500 MHz before and 1395 MHz after"),
        (_with_gpu(memory_mhz=5001.0), "toy: its memory clock was"),
        (_with_gpu(slowed_by=("heat (hardware)",)), "toy was slowed down: heat (hardware)"),
        (_with_gpu(name="other"), "the GPUs were ['toy'], then ['other']"),
    ],
)
def test_what_moved_is_named(after: MachineState, problem: str) -> None:
    (found,) = what_moved(QUIET, after, LIMIT)
    assert problem in found


@pytest.mark.parametrize("after", [QUIET, msgspec.structs.replace(QUIET, probe_ms=0.52), _with_gpu(sm_mhz=1470.0), _with_gpu(sm_mhz=None)])
def test_what_stays_within_the_limit_has_not_moved(after: MachineState) -> None:
    assert what_moved(QUIET, after, LIMIT) == []


def test_clocks_of_a_gpu_that_idles_at_both_looks_say_nothing_but_heat_does() -> None:
    assert what_moved(QUIET, _with_gpu(sm_mhz=210.0), LIMIT, gpu_is_warm=False) == []
    assert what_moved(QUIET, _with_gpu(slowed_by=("heat (software)",)), LIMIT, gpu_is_warm=False) == ["toy was slowed down: heat (software)"]


@pytest.mark.parametrize(("share", "ratio", "valid"), [(1.0, 1000.0, True), (-1.0, 1000.0, False), (1.0, 0.5, False)])
def test_a_watch_keeps_both_looks_and_judges_them(share: float, ratio: float, valid: bool) -> None:
    def limit(value: float) -> Budget:
        return msgspec.structs.replace(LIMIT, limit=value)

    kept, invalid = MachineWatch().end({"validity.others_cpu": limit(share), "validity.clock_ratio": limit(ratio)})
    assert kept["before"].probe_ms > 0
    assert kept["after"].probe_ms > 0
    assert 0 <= kept["others_cpu"] <= 1
    assert (invalid == "") is valid
