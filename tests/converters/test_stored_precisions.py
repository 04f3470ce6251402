"""The precisions that lie in the repository: what is put together of them is what was judged, or it is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import numpy_helper

from converters import known_packages
from converters.default_network import FACE, FOLDER, default_recipe
from converters.errors import ConversionError, ParityFailure
from converters.pull import package_state, pull_package
from converters.quantization.card import CARD, read_card
from converters.quantization.sensitivity import quantised_nodes
from converters.stored_network import load_stored
from converters.stored_precisions import FOLDER as PRECISIONS
from converters.stored_precisions import load_precisions, store_precisions, with_weights, without_weights
from edge.engine import choose, close_engines, open_engines
from edge.errors import PackageRefused
from edge.package import MANIFEST, Manifest, file_sha256, load_package


@pytest.fixture
def stored(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the repository holds of `default`, which `pull` makes the package of, among packages of its own."""
    folder = Path(shutil.copytree(FOLDER, tmp_path / "trained"))
    shutil.copytree(models / "blazeface", tmp_path / "models" / "blazeface")
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(known_packages, "default_recipe", lambda: default_recipe(folder))
    return folder


def _fp32() -> dict[str, onnx.ModelProto]:
    return {"face": load_stored(FOLDER, FACE).to_onnx()}


def test_pull_makes_them_as_they_were_judged(stored: Path) -> None:
    said: list[str] = []
    package = load_package(pull_package("default", force=False, say=said.append))
    assert package.offers == ("fp32", "fp16", "int8")
    assert any(line.startswith("face.int8.onnx: signal to noise ") for line in said)
    card = read_card(package.path)
    assert card is not None
    for precision in ("fp16", "int8"):
        judged = card.precisions[precision].stages["face"]
        assert judged.sha256 == file_sha256(package.path / judged.file) == package.manifest.files[judged.file]
        assert judged.fp32_sha256 == package.manifest.files["face.onnx"]
    assert set(package.manifest.evidence) == {"parity.json", CARD}
    assert package_state("default") == "installed"
    pull_package("default", force=True, say=said.append)
    assert f"{package.path} is replaced whole, with its fp16 and int8, by stored ones: python -m converters quantize makes them again" in said
    assert len(quantised_nodes(onnx.load(package.path / "face.int8.onnx"))) == card.precisions["int8"].stages["face"].n_quantised > 10
    choice = choose("onnxruntime", "int8", package)
    engines = open_engines(package, choice)
    close_engines(engines)
    # A package of an earlier version, in FP32 alone, is not up to date; one whose user made other precisions is.
    manifest = msgspec.toml.decode((package.path / MANIFEST).read_bytes(), type=Manifest)
    for precisions, state in (({"int8": {"face": "int8"}}, "installed"), ({}, "outdated")):
        (package.path / MANIFEST).write_bytes(msgspec.toml.encode(msgspec.structs.replace(manifest, precisions=precisions)))
        assert package_state("default") == state


def test_storing_and_loading_give_the_same(stored: Path, tmp_path: Path) -> None:
    package = load_package(pull_package("default", force=False, say=print))
    folder = store_precisions(package, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {path.name: path.read_bytes() for path in (stored / PRECISIONS).iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) < package.path.joinpath("face.int8.onnx").stat().st_size / 50
    with pytest.raises(PackageRefused, match="offers no precision beside fp32"):
        store_precisions(load_package(tmp_path / "models" / "blazeface"), tmp_path / "again")
    assert folder.exists()


def test_what_follows_from_no_weight_stays() -> None:
    model = _fp32()["face"]
    other = onnx.ModelProto()
    other.CopyFrom(model)
    largest = max(other.graph.initializer, key=lambda tensor: tensor.ByteSize())
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) + 1, largest.name))
    stripped = without_weights(other, model)
    assert largest.ByteSize() < stripped.ByteSize() < model.ByteSize() / 3
    assert with_weights(stripped, model) == other
    assert without_weights(model, model).ByteSize() < 50_000


def _other_weights(folder: Path) -> None:
    path = folder / PRECISIONS / CARD
    card = json.loads(path.read_text())
    card["precisions"]["int8"]["stages"]["face"]["fp32_sha256"] = "0" * 64
    path.write_text(json.dumps(card))


def _scaled(folder: Path, factor: float) -> onnx.ModelProto:
    """Let one grid of the stored INT8 network have other steps."""
    path = folder / PRECISIONS / "face.int8.onnx"
    model = onnx.load(path)
    first = next(tensor for tensor in model.graph.initializer if tensor.name == "crop/scale")
    first.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(first) * factor, first.name))
    path.write_bytes(model.SerializeToString())
    return model


def _other_grid(folder: Path) -> None:
    _scaled(folder, 1.01)


def _cut_off(folder: Path) -> None:
    path = folder / PRECISIONS / "face.int8.onnx"
    path.write_bytes(path.read_bytes()[:-100])


def _gone(folder: Path) -> None:
    (folder / PRECISIONS / "keep_fp32.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_weights, r"face\.int8\.onnx was made from another network in FP32: expected SHA-256 0{64}, got "),
        (_other_grid, r"face\.int8\.onnx is not the network that was judged: expected SHA-256 "),
        (_cut_off, r"the precisions in .* cannot be read"),
        (_gone, r"the precisions in .* cannot be read: .*keep_fp32"),
    ],
)
def test_what_was_not_judged_makes_no_package(spoil: Callable[[Path], None], message: str, stored: Path, tmp_path: Path) -> None:
    spoil(stored)
    with pytest.raises(ConversionError, match=message):
        pull_package("default", force=False, say=print)
    assert not (tmp_path / "models" / "default").exists()


def test_a_network_that_computes_something_else_here_makes_no_package(stored: Path, tmp_path: Path) -> None:
    """As on a processor whose kernels are wrong: the hashes are right, the answers are not."""
    content = with_weights(_scaled(stored, 0.25), _fp32()["face"]).SerializeToString()
    path = stored / PRECISIONS / CARD
    card = json.loads(path.read_text())
    card["precisions"]["int8"]["stages"]["face"]["sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(card))
    with pytest.raises(ParityFailure, match=r"face\.int8\.onnx on this machine: signal to noise"):
        pull_package("default", force=False, say=print)
    assert not (tmp_path / "models" / "default").exists()


def test_without_them_the_package_runs_in_fp32(stored: Path) -> None:
    shutil.rmtree(stored / PRECISIONS)
    assert load_precisions(stored, _fp32()) is None
    assert known_packages.recipe("default").manifest.precisions == {}
    said: list[str] = []
    assert load_package(pull_package("default", force=False, say=said.append)).offers == ("fp32",)
    assert f"no FP16 or INT8 lies in {stored}: the package runs in FP32 alone" in said
    assert package_state("default") == "installed"
