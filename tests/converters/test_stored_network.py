"""The repository's form of a network that we trained: what it gives back, and that a broken or foreign file cannot become a package."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from converters import known_packages
from converters.default_network import FACE, StoredRecipe, default_recipe
from converters.errors import ConversionError, ParityFailure
from converters.known_packages import NAMES, recipe
from converters.mediapipe_packages import MESH_CHAIN
from converters.original import Array
from converters.pull import package_state, pull_package
from converters.stored_network import ANSWERS, CARD, PACKED, load_stored, store_network
from converters.stored_weights import computing, stored
from edge import crop
from edge.package import load_package
from edge.stage import CropInput, FrameInput
from tests.toy import save_graph

COLUMNS = {"points": 51, "presence": 1, "seen": 7, "fer2013": 7, "units": 15}


def network(folder: Path) -> onnx.ModelProto:
    """Every output is a matrix product of the crop, small enough for a test and as varied as a trained network."""
    rng = np.random.default_rng(0)
    nodes, weights = [helper.make_node("Flatten", ["crop"], ["flat"])], {}
    for name, width in COLUMNS.items():
        weights[f"{name}.weight"] = rng.normal(0, 0.05, (64 * 64, width)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", ["flat", f"{name}.weight"], [name]))
    save_graph(folder / "face.onnx", nodes, {"crop": ["N", 1, 64, 64]}, {name: ["N", width] for name, width in COLUMNS.items()}, weights)
    return onnx.load(folder / "face.onnx")


def run(model: onnx.ModelProto, x: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(COLUMNS, (np.asarray(values) for values in session.run([*COLUMNS], {"crop": x})), strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the export writes it."""
    model = network(tmp_path)
    pictures = np.random.default_rng(1).integers(0, 256, (12, 64, 64), np.uint8)
    assert isinstance(FACE.input, CropInput)
    answers = run(model, crop.batch(list(pictures), FACE.input))
    files = store_network(model, pictures, answers, tmp_path / "stored" / "face.onnx")
    write_card(tmp_path / "stored", files)
    return tmp_path / "stored"


def write_card(folder: Path, files: dict[str, str]) -> None:
    (folder / CARD).write_text(json.dumps({"name": "default", "files": files, "versions": {"torch": "2.13.0"}}))


def read_files(folder: Path) -> dict[str, str]:
    files: dict[str, str] = json.loads((folder / CARD).read_text())["files"]
    return files


@pytest.fixture
def own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredRecipe:
    """The package `default` is made of that folder, among packages of its own."""
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(known_packages, "default_recipe", lambda: default_recipe(folder))
    return default_recipe(folder)


def test_weights_take_half_the_space_and_come_back_rounded(tmp_path: Path) -> None:
    model = network(tmp_path)
    half = stored(model)
    assert len(half.SerializeToString()) < 0.51 * len(model.SerializeToString())
    onnx.checker.check_model(half, full_check=True)
    full = computing(half)
    assert [node.op_type for node in full.graph.node] == [node.op_type for node in model.graph.node]
    for before, after in zip(model.graph.initializer, full.graph.initializer, strict=True):
        assert before.name == after.name
        expected = numpy_helper.to_array(before).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(numpy_helper.to_array(after), expected)
    assert full.SerializeToString() == computing(half).SerializeToString()
    x = np.random.default_rng(2).normal(0, 1, (2, 1, 64, 64)).astype(np.float32)
    for name, values in run(half, x).items():
        np.testing.assert_allclose(values, run(full, x)[name], rtol=1e-5, atol=1e-5)


def test_a_package_is_made_of_the_repository_alone(own: StoredRecipe, tmp_path: Path) -> None:
    said: list[str] = []
    made = pull_package("default", force=False, say=said.append)
    assert any(line.startswith("parity default/face: ") and "over 12 inputs" in line for line in said)
    package = load_package(made)
    assert package_state("default") == "installed"
    (origin,) = package.manifest.origins
    assert (origin.package, origin.sha256) == ("trained by this project", read_files(own.folder)["face.onnx"])
    report = json.loads((made / "parity.json").read_text())["face"]
    assert report["original_sha256"] == origin.sha256
    assert report["runtimes"]["original"] == "PyTorch 2.13.0, recorded"
    # FP32 again, and the same bytes each time.
    assert {tensor.data_type for tensor in onnx.load(made / "face.onnx").graph.initializer} == {onnx.TensorProto.FLOAT}
    sha256 = package.sha256
    assert load_package(pull_package("default", force=True, say=said.append)).sha256 == sha256
    # Other weights make it another package: the one that is there is seen to be old.
    (own.folder / CARD).write_text((own.folder / CARD).read_text().replace(origin.sha256, "0" * 64))
    assert package_state("default") == "outdated"


def test_answers_that_are_not_the_network_s_make_no_package(own: StoredRecipe, tmp_path: Path) -> None:
    with np.load(own.folder / ANSWERS) as arrays:
        recorded = {name: arrays[name] for name in arrays.files}
    pictures = recorded.pop("crops")
    model = computing(onnx.load_model_from_string(lzma.decompress((own.folder / f"face.onnx{PACKED}").read_bytes())))
    for name in recorded:
        wrong = recorded | {name: recorded[name] * 1.1}
        write_card(own.folder, store_network(model, pictures, wrong, own.folder / "face.onnx"))
        with pytest.raises(ParityFailure, match=f"default/face: output '{name}' differs from the original's"):
            pull_package("default", force=True, say=print)
    assert not (tmp_path / "models" / "default").exists()


def test_a_scale_that_is_not_the_training_s_shows(folder: Path) -> None:
    original = load_stored(folder, FACE)
    wrong = msgspec.structs.replace(FACE, input=msgspec.structs.replace(FACE.input, scale=1 / 255))
    with pytest.raises(ConversionError, match="answers to the inputs that were recorded alone"):
        original.run(load_stored(folder, wrong).inputs)
    answers = original.run(original.inputs)
    assert {name: values.shape for name, values in answers.items()} == {name: (12, width) for name, width in COLUMNS.items()}
    assert np.abs(run(original.to_onnx(), load_stored(folder, wrong).inputs["crop"])["seen"] - answers["seen"]).max() > 1


@pytest.mark.parametrize(("name", "file"), [("face.onnx", f"face.onnx{PACKED}"), (ANSWERS, ANSWERS)])
def test_a_file_that_is_not_the_card_s_is_refused(folder: Path, name: str, file: str) -> None:
    is_packed = file.endswith(PACKED)
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    refused = rf"expected SHA-256 {read_files(folder)[name]}, got [0-9a-f]{{64}}, for .*{name}"
    with pytest.raises(ConversionError, match=rf"{file} is damaged: " if is_packed else refused):
        load_stored(folder, FACE)
    (folder / file).write_bytes(lzma.compress(b"another network") if is_packed else b"other answers")
    with pytest.raises(ConversionError, match=refused):
        load_stored(folder, FACE)
    (folder / file).unlink()
    with pytest.raises(ConversionError, match=rf"{name} is named by its card and cannot be read \(No such file"):
        load_stored(folder, FACE)
    write_card(folder, {})
    with pytest.raises(ConversionError, match=r"card\.json names no face\.onnx, only no file at all"):
        default_recipe(folder)
    (folder / CARD).write_text("{")
    with pytest.raises(ConversionError, match=r"card\.json cannot be read as the card of a network"):
        default_recipe(folder)


def test_networks_that_take_no_crop_are_not_stored(folder: Path) -> None:
    spec = FrameInput(tensor="crop", color="gray", size_wh_px=(64, 64), resize="stretch", scale=1.0)
    with pytest.raises(ConversionError, match="stage 'face': expected a crop as its input, got FrameInput"):
        load_stored(folder, msgspec.structs.replace(FACE, input=spec))


def test_the_chain_has_a_name_of_its_own() -> None:
    assert NAMES == ("blazeface", "default", "mesh-chain")
    assert recipe("mesh-chain") is MESH_CHAIN
    assert all(recipe(name).manifest.name == name for name in NAMES)
