"""edge-doctor on this machine, and on the files of machines that are not here."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from edge import doctor
from edge.doctor import Check

TEGRA_RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH, empty."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[Check]]:
    exit_code = doctor.main(["--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == "edge.doctor/1"
    assert printed["exit_code"] == exit_code
    return exit_code, [Check(**check) for check in printed["checks"]]


def test_a_machine_that_is_set_up_can_run(models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGE_MODELS", str(models))
    exit_code, checks = report(capsys)
    assert [check for check in checks if check.state == "missing"] == []
    assert exit_code == 0
    assert {"machine", "os", "python", "gpu", "numpy", "gstreamer", "elements", "display", "engine", "tensorrt", "package", "memory", "disk", "clock"} <= {
        c.topic for c in checks
    }
    assert all(check.next_step for check in checks if check.state != "ok")
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out
    assert "edge-run can run here" in lines
    assert "\nok       package      default: face-affect, sha256 " in lines


def test_tensorrt_and_the_gpu_that_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    check = doctor.tensorrt()
    assert check.topic == "tensorrt"
    if importlib.util.find_spec("tensorrt_rtx") is not None and doctor.nvidia_gpu().found == "none from NVIDIA: networks run on the CPU":
        assert re.fullmatch(r"TensorRT-RTX \d+(\.\d+)+, not used: opening the GPU: no NVIDIA driver is installed", check.found)
        assert (check.state, check.next_step) == ("ok", "")
        # On a machine with a GPU the same is worth a word.
        monkeypatch.setattr(doctor, "nvidia_gpu", lambda: Check("gpu", "ok", "some GPU"))
        check = doctor.tensorrt()
        assert check.state == "warn"
        assert "nvidia.com/drivers" in check.next_step
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert doctor.tensorrt().found.startswith("not used: TensorRT is not installed (Python module 'tensorrt'); TensorRT-RTX is not installed")


def test_without_a_package_the_next_step_is_to_pull_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path))
    assert doctor.main([]) == 4
    lines = capsys.readouterr().out
    assert f"missing  packages     no usable package 'default' in {tmp_path}\n" in lines
    assert "-> python -m converters pull default" in lines
    assert "edge-run cannot run here" in lines


def test_a_damaged_package_is_named_and_not_counted(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path))
    shutil.copytree(models / "default", tmp_path / "default")
    network = next((tmp_path / "default").glob("*.onnx"))
    network.write_bytes(network.read_bytes()[:-1] + b"?")
    damaged, missing = doctor.packages()
    assert (damaged.topic, damaged.state, missing.state, missing.exit_code) == ("package", "warn", "missing", 4)
    assert damaged.found.startswith("default: expected SHA-256 ")


def test_a_jetson_is_read_from_its_files(tmp_path: Path, programs: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
            "proc/meminfo": "MemTotal:        7802112 kB\nMemAvailable:     400000 kB\n",
            "etc/nv_tegra_release": TEGRA_RELEASE,
            "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu\nVERSION_ID="22.04"\n',
            "usr/local/cuda/version.json": '{"cuda" : {"name" : "CUDA SDK", "version" : "12.6.11"}, "cuda_cccl" : {"version" : "12.6.37"}}',
        },
    )
    add(programs, "dpkg-query", "printf 6.2+b77")
    add(programs, "nvpmodel", "echo 'NV Power Mode: MAXN_SUPER\n2'")
    assert doctor.machine(root).found.startswith("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, ")
    assert doctor.machine(root).found.endswith(" cores, 7.4 GiB")
    assert doctor.operating_system(root).state == "ok"
    assert [(check.topic, check.state, check.found) for check in doctor.jetson(root)] == [
        ("jetpack", "ok", "JetPack 6.2+b77, L4T 36.4.3"),
        ("power", "ok", "mode MAXN_SUPER"),
    ]
    assert doctor.nvidia_gpu(root).found == "integrated in the Jetson module, CUDA toolkit 12.6.11"
    memory = doctor.memory(root)
    assert (memory.state, memory.found) == ("warn", "0.38 GiB free")


def test_a_jetson_without_jetpack_says_what_to_install(tmp_path: Path, programs: Path) -> None:
    root = write(tmp_path, {"etc/nv_tegra_release": TEGRA_RELEASE})
    assert list(programs.iterdir()) == []
    jetpack, power = doctor.jetson(root)
    assert (jetpack.state, jetpack.found) == ("warn", "L4T 36.4.3; the package nvidia-jetpack is not installed")
    assert "apt-get install nvidia-jetpack" in jetpack.next_step
    assert (power.state, power.next_step) == ("warn", "run it as root: sudo nvpmodel -q")


def test_a_machine_that_is_no_jetson_has_no_jetson_lines(tmp_path: Path) -> None:
    assert list(doctor.jetson(tmp_path)) == []


def test_nvidia_smi_names_the_card(tmp_path: Path, programs: Path) -> None:
    add(programs, "nvidia-smi", "echo 'NVIDIA GeForce RTX 4060, 560.35.03, 8.9'")
    check = doctor.nvidia_gpu(tmp_path)
    assert (check.state, check.found) == ("ok", "NVIDIA GeForce RTX 4060, driver 560.35.03, compute capability 8.9, no CUDA toolkit")


@pytest.mark.parametrize("script", [None, "echo 'NVIDIA-SMI has failed'; exit 9"])
def test_a_card_without_a_driver_is_told_from_no_card(script: str | None, tmp_path: Path, programs: Path) -> None:
    if script:
        add(programs, "nvidia-smi", script)
    assert doctor.nvidia_gpu(tmp_path).found == "none from NVIDIA: networks run on the CPU"
    card = "sys/bus/pci/devices/0000:01:00.0"
    write(tmp_path, {f"{card}/vendor": "0x10de\n", f"{card}/class": "0x040300\n"})
    assert doctor.nvidia_gpu(tmp_path).state == "ok", "the sound function of a card is no GPU"
    write(tmp_path, {f"{card}/class": "0x030000\n"})
    check = doctor.nvidia_gpu(tmp_path)
    assert (check.state, check.found) == ("warn", "an NVIDIA GPU on the PCI bus whose driver does not answer")


def test_an_unknown_system_is_a_warning(tmp_path: Path) -> None:
    root = write(tmp_path, {"etc/os-release": 'PRETTY_NAME="Fedora Linux 43"\nID=fedora\nVERSION_ID=43\n'})
    check = doctor.operating_system(root)
    assert check.state == "warn"
    assert check.found.startswith("Fedora Linux 43, kernel ")
    assert doctor.memory(tmp_path).found == "the kernel does not tell"


def test_displays_are_servers_and_screens(tmp_path: Path) -> None:
    assert doctor.display({}, tmp_path).found.startswith("none")
    write(tmp_path, {"dev/dri/card0": "", "dev/dri/renderD128": "", "dev/fb0": ""})
    assert doctor.display({"DISPLAY": ":0", "WAYLAND_DISPLAY": ""}, tmp_path).found == "DISPLAY=:0, /dev/dri/card0, /dev/fb0"
