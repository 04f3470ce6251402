"""`python -m converters`, on folders of its own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from converters import known_files, known_packages
from converters.__main__ import main
from converters.errors import ConversionError
from converters.known_packages import NAMES
from converters.mediapipe_packages import BLAZEFACE
from converters.pull import package_state, pull_package
from converters.real_inputs import read_frames
from edge.package import file_sha256, load_package


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for packages; clips go beside it. The cache of fetched files stays: the index need not be asked again."""
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_pulling_makes_packages_that_load(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "mesh-chain"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{folder / 'mesh-chain'}\n"
    assert "converting face_landmarks_detector.tflite to mesh.onnx" in captured.err
    assert "Licence: Apache-2.0 (mesh, blendshapes) and MIT (emotion)" in captured.err
    assert sorted(path.name for path in folder.iterdir()) == ["blazeface", "mesh-chain"]
    package = load_package("mesh-chain")
    assert {stage.name for stage in package.manifest.stages} == {"mesh", "blendshapes", "emotion"}
    assert package.manifest.evidence == {"parity.json": file_sha256(folder / "mesh-chain" / "parity.json")}
    report = json.loads((folder / "mesh-chain" / "parity.json").read_text())
    assert set(report) == {"mesh", "blendshapes", "emotion", "emotion, weights as stored"}
    assert report["mesh"]["original_sha256"] == known_files.FACE_MESH.sha256
    assert report["mesh"]["onnx_sha256"] == package.manifest.files["mesh.onnx"]
    assert all(output["relative_error"] <= run["limit"] for run in report.values() for output in run["outputs"])


def test_what_is_whole_and_of_today_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "default"]) == 0
    before = (folder / "default" / "package.toml").stat().st_mtime_ns
    assert main(["pull", "default"]) == 0
    assert f"already there: package 'default' in {folder / 'default'} (--force makes it again)" in capsys.readouterr().err
    assert (folder / "default" / "package.toml").stat().st_mtime_ns == before

    # A damaged package and one that an older recipe made are seen and made again.
    next((folder / "default").glob("*.onnx")).write_bytes(b"damaged")
    assert package_state("default") == "damaged"
    older = msgspec.structs.replace(load_package("blazeface").manifest, description="older")
    (folder / "blazeface" / "package.toml").write_bytes(msgspec.toml.encode(older))
    assert package_state("blazeface") == "outdated"
    assert pull_package("default", force=False, say=print) == folder / "default"
    assert {name: package_state(name) for name in NAMES} == {"blazeface": "installed", "default": "installed", "mesh-chain": "absent"}
    assert main(["pull", "blazeface", "--force"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["blazeface", "default"]


def test_a_failed_run_leaves_the_installed_package_alone(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "blazeface"]) == 0
    sha256 = load_package("blazeface").sha256
    strict = dataclasses.replace(BLAZEFACE, manifest=msgspec.structs.replace(BLAZEFACE.manifest, description="newer"), max_relative_error=1e-9)
    monkeypatch.setattr(known_packages, "BLAZEFACE", strict)
    assert main(["pull", "blazeface"]) == 4
    assert "error: blazeface/short: output 'regressors' differs from the original's by up to" in capsys.readouterr().err
    assert load_package("blazeface").sha256 == sha256
    assert [path.name for path in folder.iterdir()] == ["blazeface"]


def test_clips_are_installed_checked_and_mended(folder: Path, clip: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "sample"]) == 0
    sample = folder.parent / "clips" / "WolfgangLanger_Pexels.mp4"
    captured = capsys.readouterr()
    assert captured.out == f"{sample}\n"
    assert "not redistributable" in captured.err
    assert file_sha256(sample) == known_files.SAMPLE.sha256
    sample.write_bytes(b"damaged")
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert set(rows) == {"packages", "systems", "clips"}
    assert rows["packages"] == {name: {"state": "absent"} for name in ("blazeface", "default", "mesh-chain")}
    assert {row["state"] for row in rows["systems"].values()} == {"absent"}
    assert rows["clips"] == {file.name: {"state": "damaged" if file is known_files.SAMPLE else "absent"} for file in known_files.CLIPS}
    assert main(["pull", "sample"]) == 0
    assert main(["pull", "sample"]) == 0
    assert "already there: WolfgangLanger_Pexels.mp4" in capsys.readouterr().err
    assert main(["list"]) == 0
    assert "  WolfgangLanger_Pexels.mp4   installed\n" in capsys.readouterr().out


def test_a_clip_that_is_no_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no clip")
    with pytest.raises(
        ConversionError, match=r"expected 24 frames to compare networks on, OpenCV read 0 of .*clip.mp4\n  python -m converters pull sample --force"
    ):
        read_frames(tmp_path / "clip.mp4")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "file" / "models"))
    assert main(["pull", "sample"]) == 4
    assert "check permissions and free space" in capsys.readouterr().err


def test_unknown_names_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["pull", "openface"])
    assert "invalid choice: 'openface'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["pull", "--help"]])
def test_help_shows_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    assert "python -m converters pull default" in capsys.readouterr().out


def test_a_closed_pipe_ends_quietly() -> None:
    command = f"{sys.executable} -m converters list | true"
    run = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
