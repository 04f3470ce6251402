"""The wheel, alone, where neither GStreamer nor OpenCV nor ONNX Runtime is: it imports, explains itself and says what is missing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.architecture.conftest import Bare
from tests.architecture.import_rules import python_files

ROOT = Path(__file__).resolve().parents[2]

# What users reach before anything is set up; the rest may need OpenCV and the libraries with a home file.
EVERYWHERE = {"edge", "edge.cli", "edge.config", "edge.doctor", "edge.errors", "edge.frame", "edge.package", "edge.result"}
HEAVY = {"cuda", "cv2", "gi", "onnx", "onnxruntime", "pycuda"}

_IMPORT_EACH = """
import importlib, json, sys
report = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        report[name] = ""
    except ModuleNotFoundError as error:
        report[name] = error.name.split(".")[0]
print(json.dumps(report))
"""


def test_the_wheel_holds_edge_and_nothing_else(bare: Bare) -> None:
    names = zipfile.ZipFile(bare.wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"edge"}
    assert {name for name, _ in python_files(ROOT, "edge")} <= set(names)
    assert {"edge/py.typed", "edge/schemas/result.schema.json"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_every_module_imports_or_names_the_heavy_library_that_it_needs(bare: Bare) -> None:
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name, _ in python_files(ROOT, "edge")]
    done = bare.run("python", "-W", "error", "-c", _IMPORT_EACH, *modules)
    assert done.returncode == 0, done.stderr
    report: dict[str, str] = json.loads(done.stdout)
    assert {name: library for name, library in report.items() if library and library not in HEAVY} == {}
    assert {name: library for name, library in report.items() if library and name in EVERYWHERE} == {}
    assert report["edge.engine.ort"] in HEAVY, "the environment is not bare"


@pytest.mark.parametrize("command", ["edge-run", "edge-doctor"])
def test_help_works(command: str, bare: Bare) -> None:
    done = bare.run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {command}")
    assert "examples:" in done.stdout


def test_doctor_says_what_is_missing(bare: Bare) -> None:
    done = bare.run("edge-doctor", "--json")
    assert (done.returncode, done.stderr) == (3, "")
    missing = {check["topic"]: check["next_step"] for check in json.loads(done.stdout)["checks"] if check["state"] == "missing"}
    assert missing.keys() == {"cv2", "gi", "onnx", "onnxruntime", "gstreamer", "engine", "packages"}
    assert all(missing.values())


def test_a_run_ends_with_a_message_not_with_a_traceback(bare: Bare) -> None:
    done = bare.run("edge-run", "--source", "clip.mp4")
    assert done.returncode == 3, done.stderr
    assert "make setup" in done.stderr or "pip install" in done.stderr
    assert "Traceback" not in done.stderr
