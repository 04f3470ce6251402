"""`edge-doctor`: what this machine has, what `edge-run` lacks, and what to do next.

Imports the standard library alone, so that it works where nothing else does; each check imports what it checks.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edge.errors import EdgeError, MissingDependency, PackageError, PackageNotFound

DOCTOR_SCHEMA = "edge.doctor/1"

_ROOT = Path("/")
_GIB = 2**30
# The default package, ONNX Runtime and GStreamer together stay below this. Below it, the kernel may end the run.
_LEAST_MEMORY_BYTES = _GIB // 2
_LEAST_DISK_BYTES = _GIB

_NO_GPU = "none from NVIDIA: networks run on the CPU"

_EXAMPLES = """examples:
  edge-doctor                                   a line for each check
  edge-doctor --json | jq '.checks[] | select(.state != "ok")'

exit codes: 0 edge-run can run on the CPU, 3 a dependency is missing, 4 no model package can be used
"""

# Import name and the distributions that bring it.
_LIBRARIES = (
    ("numpy", ("numpy",)),
    ("msgspec", ("msgspec",)),
    ("cv2", ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")),
    ("gi", ("PyGObject",)),
    ("onnx", ("onnx",)),
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
)

# GStreamer element and what it is for.
_NEEDED_ELEMENTS = (("appsink", "every source"), ("videoconvert", "every source"), ("decodebin", "files"))
_OPTIONAL_ELEMENTS = (
    ("qtdemux", "MP4 and MOV files"),
    ("v4l2src", "cameras"),
    ("jpegdec", "MJPEG cameras and pictures"),
    ("rtspsrc", "RTSP"),
    ("h264parse", "H.264"),
    ("avdec_h264", "H.264 on the CPU"),
    ("avdec_h265", "H.265 on the CPU"),
    ("x264enc", "--annotate"),
    ("ximagesink", "--display window"),
)
_JETSON_ELEMENTS = ("nvv4l2decoder", "nvvidconv", "nvarguscamerasrc", "nvjpegdec", "nvv4l2h264enc", "nv3dsink")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        topic: What was looked at.
        state: `ok`; `warn` where edge-run works, with less; `missing` where it cannot run.
        found: What is there.
        next_step: What to do, empty where nothing is.
        exit_code: That of edge-doctor when this is the first `missing`; 0 otherwise.
    """

    topic: str
    state: Literal["ok", "warn", "missing"]
    found: str
    next_step: str = ""
    exit_code: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="edge-doctor", description="What this machine has and what edge-run lacks.", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    as_json = parser.parse_args(argv).json
    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            print(f"{check.state:<8} {check.topic:<12} {check.found}" + (f"\n{'':<21} -> {check.next_step}" if check.next_step else ""), flush=True)
    exit_code = next((check.exit_code for check in checks if check.state == "missing"), 0)
    if as_json:
        print(json.dumps({"schema": DOCTOR_SCHEMA, "exit_code": exit_code, "checks": [asdict(check) for check in checks]}, indent=2, ensure_ascii=False))
    else:
        print("\nedge-run can run here" if exit_code == 0 else "\nedge-run cannot run here: see the lines that begin with 'missing'")
    return exit_code


def examine() -> Iterator[Check]:
    """Look at one thing after another; none of them depends on an earlier one."""
    yield machine()
    yield operating_system()
    yield python_environment()
    yield from jetson()
    yield nvidia_gpu()
    yield from libraries()
    yield from gstreamer()
    yield from cameras()
    yield display(os.environ)
    yield from engines()
    yield from packages()
    yield memory()
    yield disk()
    yield clock()


def machine(root: Path = _ROOT) -> Check:
    """Model, architecture, cores and memory."""
    model = _text(root / "proc/device-tree/model") or _text(root / "sys/devices/virtual/dmi/id/product_name") or "unknown model"
    processor = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    total = _memory_bytes(root, "MemTotal")
    parts = [model, processor.group(1) if processor else "", platform.machine(), f"{len(os.sched_getaffinity(0))} cores"]
    return Check("machine", "ok", ", ".join(part for part in (*parts, f"{total / _GIB:.1f} GiB" if total else "") if part))


def operating_system(root: Path = _ROOT) -> Check:
    """Distribution and kernel."""
    release = dict(re.findall(r'^(\w+)="?(.*?)"?$', _text(root / "etc/os-release"), re.MULTILINE))
    name = release.get("PRETTY_NAME", "unknown Linux")
    found = f"{name}, kernel {platform.release()}"
    if (release.get("ID"), release.get("VERSION_ID")) in {("debian", "12"), ("ubuntu", "22.04"), ("ubuntu", "24.04")}:
        return Check("os", "ok", found)
    return Check("os", "warn", found, "set up and tested on Debian 12, Ubuntu 22.04 and 24.04 (JetPack 6 and 7)")


def python_environment() -> Check:
    """Interpreter and virtual environment."""
    where = f"virtual environment {sys.prefix}" if sys.prefix != sys.base_prefix else f"no virtual environment ({sys.prefix})"
    found = f"{platform.python_version()}, {where}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Check("python", "ok", found)
    return Check("python", "warn", found, "supported: Python 3.10 to 3.13")


def jetson(root: Path = _ROOT) -> Iterator[Check]:
    """JetPack, L4T and power mode; nothing on other machines.

    Source: the form of `/etc/nv_tegra_release` and of `nvpmodel -q` in NVIDIA's Jetson Linux Developer Guide.
    """
    release = _text(root / "etc/nv_tegra_release")
    if not release:
        return
    l4t = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", release)
    version = f"L4T {l4t.group(1)}.{l4t.group(2)}" if l4t else f"unknown L4T ({release.splitlines()[0]})"
    jetpack = _output("dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack")
    if jetpack:
        yield Check("jetpack", "ok", f"JetPack {jetpack}, {version}")
    else:
        yield Check(
            "jetpack", "warn", f"{version}; the package nvidia-jetpack is not installed", "CUDA and TensorRT come with it: sudo apt-get install nvidia-jetpack"
        )
    mode = re.search(r"NV Power Mode:\s*(\S+)", _output("nvpmodel", "-q"))
    if mode:
        yield Check("power", "ok", f"mode {mode.group(1)}")
    else:
        yield Check("power", "warn", "nvpmodel -q tells no mode", "run it as root: sudo nvpmodel -q")


def nvidia_gpu(root: Path = _ROOT) -> Check:
    """GPU, driver and CUDA toolkit."""
    cuda = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', _text(root / "usr/local/cuda/version.json"))
    toolkit = f"CUDA toolkit {cuda.group(1)}" if cuda else "no CUDA toolkit"
    cards = _output("nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
    if cards:
        described = "; ".join(
            f"{name}, driver {driver}, compute capability {capability}"
            for name, driver, capability in (line.split(", ") for line in cards.splitlines() if line.count(", ") == 2)
        )
        return Check("gpu", "ok", f"{described or cards}, {toolkit}")
    if _text(root / "etc/nv_tegra_release"):
        return Check("gpu", "ok", f"integrated in the Jetson module, {toolkit}")
    devices = (root / "sys/bus/pci/devices").glob("*")
    if any(_text(device / "vendor") == "0x10de" and _text(device / "class").startswith("0x03") for device in devices):
        return Check("gpu", "warn", "an NVIDIA GPU on the PCI bus whose driver does not answer", "install NVIDIA's driver, or see what ails it: nvidia-smi")
    return Check("gpu", "ok", _NO_GPU)


def libraries() -> Iterator[Check]:
    """Python libraries, without importing any: the later checks do."""
    for module, distributions in _LIBRARIES:
        version = next((version for name in distributions if (version := _version(name))), "")
        if importlib.util.find_spec(module) is not None:
            yield Check(module, "ok", version or "unknown version")
        else:
            yield Check(module, "missing", "not installed", f"pip install {distributions[0]}   (in a checkout: make setup)", MissingDependency.exit_code)


def gstreamer() -> Iterator[Check]:
    """GStreamer and the elements that sources and displays are built from."""
    try:
        from edge.gst import has_element, load_gst, missing_element

        version = load_gst().Gst.version_string()
    except ImportError as error:
        yield Check("gstreamer", "missing", _one_line(error), _hint(error, "make setup installs GStreamer and compiles PyGObject"), MissingDependency.exit_code)
        return
    yield Check("gstreamer", "ok", version)
    for name, use in _NEEDED_ELEMENTS:
        if not has_element(name):
            yield Check("element", "missing", f"no {name}, for {use}", missing_element(name, why=use).hint, MissingDependency.exit_code)
    for name, use in _OPTIONAL_ELEMENTS:
        if not has_element(name):
            yield Check("element", "warn", f"no {name}, for {use}", missing_element(name, why=use).hint)
    yield Check("elements", "ok", ", ".join(name for name, _ in (*_NEEDED_ELEMENTS, *_OPTIONAL_ELEMENTS) if has_element(name)))
    hardware = [name for name in _JETSON_ELEMENTS if has_element(name)]
    yield Check("hardware", "ok", ", ".join(hardware) or "none of NVIDIA's elements: pictures are decoded on the CPU")


def cameras() -> Iterator[Check]:
    """Cameras that the kernel shows."""
    try:
        from edge.capture.cameras import list_cameras

        found = list_cameras()
    except (EdgeError, ImportError, OSError) as error:
        yield Check("cameras", "warn", _one_line(error), _hint(error, "files and streams can be read all the same"))
        return
    if not found:
        yield Check("cameras", "ok", "none")
    for camera in found:
        if os.access(camera.path, os.R_OK | os.W_OK):
            yield Check("camera", "ok", f"{camera.path}: {camera.name}")
        else:
            yield Check("camera", "warn", f"{camera.path}: {camera.name}, not readable by this user", "sudo usermod -aG video $USER, then log in again")


def display(environment: Mapping[str, str], root: Path = _ROOT) -> Check:
    """Where `--display window` would draw."""
    servers = [f"{name}={environment[name]}" for name in ("WAYLAND_DISPLAY", "DISPLAY") if environment.get(name)]
    screens = sorted(f"/dev/{path.relative_to(root / 'dev')}" for pattern in ("dri/card*", "fb[0-9]*") for path in (root / "dev").glob(pattern))
    return Check("display", "ok", ", ".join((*servers, *screens)) or "none: --annotate writes what --display would show")


def engines() -> Iterator[Check]:
    """What can run networks."""
    try:
        from edge.engine.ort import cuda_available, default_threads
    except ImportError as error:
        next_step = "pip install onnx onnxruntime   (in a checkout: make setup)"
        yield Check("engine", "missing", f"onnxruntime: {_one_line(error)}", _hint(error, next_step), MissingDependency.exit_code)
        return
    processors = f"CPU with {default_threads()} thread(s) a network" + (", CUDA" if cuda_available() else "")
    yield Check("engine", "ok", f"onnxruntime: {processors}")
    yield tensorrt()


def tensorrt() -> Check:
    """TensorRT and the GPU that it would run on."""
    from edge.engine.trt.device import find_device
    from edge.engine.trt.library import find_library

    try:
        library = find_library()
    except MissingDependency as error:
        return Check("tensorrt", "ok", f"not used: {_one_line(error)}")
    try:
        device = find_device()
    except EdgeError as error:
        state: Literal["ok", "warn"] = "ok" if nvidia_gpu().found == _NO_GPU else "warn"
        return Check("tensorrt", state, f"{library.title}, not used: {_one_line(error)}", _hint(error, "") if state == "warn" else "")
    generation = "".join(map(str, device.compute_capability))
    return Check("tensorrt", "ok", f"{library.title} on {device.name} (sm{generation}, CUDA {device.driver_version}); we have not run it on hardware yet")


def packages() -> Iterator[Check]:
    """Model packages, each with its hashes checked."""
    try:
        from edge.package import MANIFEST, load_package, models_dir
    except ImportError as error:
        yield Check("packages", "missing", _one_line(error), "pip install msgspec numpy   (in a checkout: make setup)", MissingDependency.exit_code)
        return
    usable = []
    for folder in sorted(path.parent for path in models_dir().glob(f"*/{MANIFEST}")):
        try:
            package = load_package(folder)
        except PackageError as error:
            yield Check("package", "warn", f"{folder.name}: {_one_line(error)}", error.hint)
            continue
        usable.append(package.name)
        yield Check("package", "ok", f"{package.name}: {package.manifest.task}, sha256 {package.sha256[:12]}, {package.manifest.licence}")
    if "default" not in usable:
        found = f"no usable package 'default' in {models_dir()}"
        yield Check("packages", "missing", found, "python -m converters pull default   (in a checkout: make setup)", PackageNotFound.exit_code)


def memory(root: Path = _ROOT) -> Check:
    """Memory that is free now."""
    available = _memory_bytes(root, "MemAvailable")
    if available is None:
        return Check("memory", "warn", "the kernel does not tell", "look for /proc/meminfo")
    if available < _LEAST_MEMORY_BYTES:
        return Check("memory", "warn", f"{available / _GIB:.2f} GiB free", f"edge-run with the default package takes up to {_LEAST_MEMORY_BYTES / _GIB:g} GiB")
    return Check("memory", "ok", f"{available / _GIB:.1f} GiB free")


def disk() -> Check:
    """Space where this user's models and caches go."""
    # Unlike Path.home(), expanduser() bears a service without HOME.
    home = next(folder for folder in (Path(os.path.expanduser("~")).absolute(), _ROOT) if folder.exists())
    free = shutil.disk_usage(home).free
    if free < _LEAST_DISK_BYTES:
        return Check("disk", "warn", f"{free / _GIB:.2f} GiB free in {home}", "models, clips and their downloads take about 1 GiB")
    return Check("disk", "ok", f"{free / _GIB:.1f} GiB free in {home}")


def clock(root: Path = _ROOT) -> Check:
    """The clock behind every age and latency."""
    source = _text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource") or "unknown source"
    return Check("clock", "ok", f"CLOCK_MONOTONIC from {source}, {time.get_clock_info('monotonic').resolution * 1e9:.0f} ns")


def _text(path: Path) -> str:
    """A kernel or system file's text, empty where it is absent; the device tree ends its strings with NUL."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _output(*command: str) -> str:
    """What a command prints, empty where it is absent, fails or hangs (a lost GPU makes nvidia-smi hang)."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _memory_bytes(root: Path, field: str) -> int | None:
    match = re.search(rf"^{field}:\s*(\d+) kB$", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _one_line(error: BaseException) -> str:
    return (str(error.args[0]) if error.args else type(error).__name__).strip().splitlines()[0]


def _hint(error: BaseException, otherwise: str) -> str:
    return (error.hint if isinstance(error, EdgeError) else "") or otherwise


if __name__ == "__main__":
    sys.exit(main())
