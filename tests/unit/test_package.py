"""Model packages: what loads, and that nothing wrong does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.errors import PackageCorrupt, PackageError, PackageNotFound, PackageRefused
from edge.package import Manifest, Precision, Reduced, check_manifest, load_package, models_dir
from edge.stage import ActionUnit, ActionUnits, Stage
from tests.toy import affect_manifest, detector_manifest, make_affect, make_detector

replace = msgspec.structs.replace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_affect(tmp_path / "toy-affect")


def test_a_sound_package_loads(folder: Path) -> None:
    package = load_package(folder)
    assert package.name == "toy-affect"
    assert len(package.sha256) == 64
    (stage,) = package.manifest.stages
    assert package.model_path(stage) == folder / "brightness.onnx"
    assert load_package(package.detector_path()).name == "toy-detector"


def test_packages_are_found_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MODELS", str(folder.parent))
    assert models_dir() == folder.parent
    assert load_package("toy-affect").name == "toy-affect"
    monkeypatch.delenv("EDGE_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert models_dir() == Path("/somewhere/edge/models")


def test_a_missing_package_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(PackageNotFound, match=r"no model package at .*absent") as caught:
        load_package(tmp_path / "absent")
    assert "python -m converters pull absent" in str(caught.value)


def test_one_changed_bit_is_noticed(folder: Path) -> None:
    path = folder / "brightness.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(PackageCorrupt, match=r"expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}, for .*brightness\.onnx"):
        load_package(folder)
    path.unlink()
    with pytest.raises(PackageCorrupt, match="is named by its manifest but cannot be read"):
        load_package(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xfe", "is not a manifest"),
        (b"= = =", "is not a manifest"),
        (b'schema = "edge.package/1"', "missing required field"),
        (b'schema = "edge.package/9"', "Invalid enum value"),
    ],
)
def test_a_manifest_that_cannot_be_read(folder: Path, text: bytes, message: str) -> None:
    (folder / "package.toml").write_bytes(text)
    with pytest.raises(PackageError, match=message):
        load_package(folder)


def test_a_misspelt_key_is_an_error(folder: Path) -> None:
    path = folder / "package.toml"
    path.write_text(path.read_text().replace("description", "descriptoin"))
    with pytest.raises(PackageError, match="unknown field `descriptoin`"):
        load_package(folder)


def test_untrained_networks_need_to_be_asked_for(tmp_path: Path) -> None:
    folder = make_affect(tmp_path / "untrained", trained=False)
    with pytest.raises(PackageRefused, match="never trained"):
        load_package(folder)
    assert not load_package(folder, allow_untrained=True).manifest.trained


def test_a_precision_that_was_not_made(folder: Path) -> None:
    package = load_package(folder)
    assert package.offers == ("fp32",)
    hint = "add them on a workstation: python -m converters quantize toy-affect --precision int8"
    with pytest.raises(PackageNotFound, match=f"package 'toy-affect' has no int8 networks: it offers fp32\n.*{hint}"):
        package.model_path(package.manifest.stages[0], "int8")


def test_stages_that_stay_in_fp32(folder: Path) -> None:
    package = load_package(folder)
    stage = package.manifest.stages[0]
    other = replace(stage, name="other", model="other.onnx")
    precisions: dict[Reduced, dict[str, Precision]] = {"int8": {stage.name: "int8", "other": "fp32"}}
    manifest = replace(
        package.manifest, stages=(stage, other), precisions=precisions, files={**package.manifest.files, "brightness.int8.onnx": "", "other.onnx": ""}
    )
    mixed = replace(package, manifest=manifest)
    assert mixed.offers == ("fp32", "int8")
    assert [mixed.model_path(of, "int8").name for of in manifest.stages] == ["brightness.int8.onnx", "other.onnx"]
    assert [mixed.model_path(of).name for of in manifest.stages] == ["brightness.onnx", "other.onnx"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"precisions": {"int8": {}}}, "precisions.int8 expects a line for each stage \\(.*\\), got none"),
        ({"precisions": {"fp16": {"brightness": "fp16"}}}, "precisions.fp16 names brightness.fp16.onnx, which is not listed under \\[files\\]"),
        ({"precisions": {"fp16": {"brightness": "fp32"}}}, "precisions.fp16: no stage has a network of that precision"),
        ({"keep_fp32": {"ghost": ("node",)}}, "keep_fp32 names a stage 'ghost' that does not exist"),
    ],
)
def test_precisions_that_contradict(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(PackageError, match=problem):
        check_manifest(replace(affect_manifest(), files={"brightness.onnx": ""}, **change), where="here")


def with_stage(change: Callable[[Stage], Stage]) -> Manifest:
    manifest = affect_manifest()
    return replace(manifest, stages=(change(manifest.stages[0]),), files={"brightness.onnx": "0" * 64})


def with_units(**changes: object) -> Manifest:
    def change(stage: Stage) -> Stage:
        units = next(output for output in stage.outputs if isinstance(output, ActionUnits))
        others = tuple(output for output in stage.outputs if not isinstance(output, ActionUnits))
        unit = ActionUnit(**({"label": "AU12", "shapes": ("brightness",), "rest": 0.0, "full": 1.0} | changes))  # type: ignore[arg-type]
        return replace(stage, outputs=(*others, replace(units, units=(unit,))))

    return with_stage(change)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (replace(affect_manifest(), stages=()), "no stages"),
        (affect_manifest(), "which is not listed under"),
        (replace(with_stage(lambda stage: stage), stages=with_stage(lambda stage: stage).stages * 2), "two stages are called 'brightness'"),
        (with_stage(lambda stage: replace(stage, input=replace(stage.input, size_wh_px=(0, 8)))), r"an input of \(0, 8\) pixels"),
        (with_stage(lambda stage: replace(stage, outputs=(replace(stage.outputs[1], labels=("joy",)),))), "emotions must be some of"),
        (with_stage(lambda stage: replace(stage, outputs=(replace(stage.outputs[1], labels=("sad", "sad")),))), "each once"),
        (with_units(label="AU99"), "'AU99' is not one of"),
        (with_units(shapes=("smile",)), r"AU12 is read from \['smile'\]"),
        (with_units(rest=0.7, full=0.7), "needs at least one activation and rest < full"),
        (replace(with_stage(lambda stage: stage), task="face-detection"), "without an output of role 'boxes'"),
        (replace(with_stage(lambda stage: stage), detector=""), "no detector is named"),
        (replace(with_stage(lambda stage: stage), low_confidence=("AU99",)), "'AU99' is neither"),
        (replace(detector_manifest(), task="face-affect", files={"cells.onnx": ""}), "with an output of role 'boxes'"),
    ],
)
def test_contradictions_are_named(manifest: Manifest, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        check_manifest(manifest, where="here")


def test_points_need_an_earlier_stage_with_landmarks() -> None:
    from edge.stage import PointsInput

    manifest = with_stage(lambda stage: replace(stage, input=PointsInput(tensor="x", stage="mesh", indices=(0,))))
    with pytest.raises(PackageError, match="takes landmarks of 'mesh', which is no earlier stage with landmarks"):
        check_manifest(manifest, where="here")


def test_the_detector_package_is_consistent(tmp_path: Path) -> None:
    check_manifest(load_package(make_detector(tmp_path / "d")).manifest, where="here")
