"""Files that Keras saved, old and new, whole and damaged; and files that try to run something."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.errors import ConversionError
from converters.from_keras.keras_backend import array, keras, run
from converters.from_keras.keras_file import load_keras, load_weights_into
from converters.from_keras.keras_original import KerasOriginal
from tests.converters.keras_models import answers, legacy_file, small_model

L = keras.layers

# What Keras 3 itself does with NumPy 2 while it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def edit_config(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Rewrite the configuration inside a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    changed = path.with_name("changed.keras")
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return changed


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small_model().save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.hdf5"])
def test_a_whole_model_comes_back(tmp_path: Path, name: str) -> None:
    model = small_model()
    model.save(tmp_path / name)
    assert np.array_equal(answers(load_keras(tmp_path / name)), answers(model))


def test_the_hash_follows_the_weights() -> None:
    first, same, other = (KerasOriginal(small_model(), name="test") for _ in range(3))
    other.model.weights[0].assign(array(other.model.weights[0]) + 1)
    assert first.sha256 == same.sha256 != other.sha256
    assert KerasOriginal(small_model(), name="test", sha256="file").sha256 == "file"
    assert first.framework.startswith(f"Keras {keras.__version__} on PyTorch ")


def test_a_file_of_keras_2_is_read(tmp_path: Path) -> None:
    model = legacy_file(tmp_path / "old.h5")
    loaded = load_keras(tmp_path / "old.h5")
    assert np.allclose(answers(loaded), answers(model), atol=1e-6)
    KerasOriginal(loaded, name="old").to_onnx()


def test_a_sequential_list_of_keras_1_is_read(tmp_path: Path) -> None:
    layers = [{"class_name": "Dense", "config": {"name": "scores", "units": 2, "batch_input_shape": [None, 4], "activation": "linear"}}]
    kernel = np.arange(8, dtype=np.float32).reshape(4, 2)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"scores"]
        group.create_group("scores").attrs["weight_names"] = [b"kernel", b"bias"]
        group["scores"]["kernel"], group["scores"]["bias"] = kernel, np.ones(2, np.float32)
    (got,) = run(load_keras(tmp_path / "old.h5"), [np.eye(4, dtype=np.float32)])
    assert np.array_equal(got, kernel + 1)


def test_a_changed_definition_is_refused(tmp_path: Path) -> None:
    legacy_file(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"relu"', '"hard_sigmoid"')
    with pytest.raises(ConversionError, match=r"layer 'body/conv' \(Conv2D\): hard_sigmoid was clip\(x / 5 \+ 1/2, 0, 1\) before Keras 3"):
        load_keras(tmp_path / "old.h5")


def test_what_keras_3_cannot_read_is_named(tmp_path: Path) -> None:
    legacy_file(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"filters": 4', '"n_filters": 4')
    with pytest.raises(ConversionError, match=r"layer 'body/conv' \(Conv2D\): Keras .* cannot read its settings \(.*missing 1 required .* 'filters'"):
        load_keras(tmp_path / "old.h5")


# Files that try to run something


def test_byte_code_in_a_lambda_layer_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    proof = tmp_path / "it ran"
    picture = keras.Input((4,))
    model = keras.Model(picture, L.Lambda(lambda values: (__import__("pathlib").Path("it ran").touch(), values)[1])(picture))
    for name in ("lambda.keras", "lambda.h5"):
        model.save(tmp_path / name)
        proof.unlink(missing_ok=True)
        with pytest.raises(ConversionError, match=r"layer 'lambda\w*' \(Lambda\): it holds Python code, which is not executed"):
            load_keras(tmp_path / name)
        assert not proof.exists()
        keras.saving.load_model(tmp_path / name, safe_mode=False)
        assert proof.exists(), "the file holds nothing that runs, so that the lines above show nothing"


_SYSTEM = {"class_name": "function", "config": "system", "module": "os", "registered_name": "system"}


def _layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(layer for layer in config["config"]["layers"] if layer["name"] == name)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda config: _layer(config, "scores")["config"].update(activation=_SYSTEM), r"layer 'scores' \(Dense\): no conversion for the activation .*'os'"),
        (lambda config: _layer(config, "scores")["config"].update(units=_SYSTEM), "refers to an object of class 'function', which is not created"),
        (lambda config: _layer(config, "scores").update(module="os"), r"layer 'scores' \(Dense\): it is not one of Keras' own \(module os"),
        (lambda config: _layer(config, "scores").update(_SYSTEM, config={}), r"layer 'scores' \(function\): it is not one of Keras' own"),
        (lambda config: _layer(config, "scores").update(registered_name="mine>Dense"), "registered as mine>Dense"),
        (lambda config: _layer(config, "scores").update(class_name="TorchModuleWrapper"), r"\(TorchModuleWrapper\): no conversion for this layer"),
        (lambda config: _layer(config, "scores")["inbound_nodes"][0]["kwargs"].update(mask=_SYSTEM), "an object of class 'function'"),
        (lambda config: config.update(class_name="Mine", module="mine"), "expected a functional or sequential model, got class 'Mine' of mine"),
        (lambda config: config.update(module="mine"), r"layer 'the model' \(Functional\): it is not one of Keras' own"),
        (lambda config: config["config"].update(layers=[7]), "expected a layer in the model, got 7"),
        (lambda config: _layer(config, "scores").update(config=[7]), r"layer 'scores' \(Dense\): expected its settings, got \[7\]"),
        (lambda config: config["config"].update(layers=None), "expected a list of layers in the model"),
        (lambda config: _layer(config, "scores")["config"].update(dtype="float16"), "computes in float16, expected float32"),
        (lambda config: _layer(config, "flatten").update(inbound_nodes=[]), "Keras cannot connect the layers"),
        (lambda config: config.clear(), "expected the configuration of a Keras model"),
    ],
)
def test_a_configuration_that_names_anything_foreign_is_refused(saved: Path, change: Callable[[dict[str, Any]], object], text: str) -> None:
    with pytest.raises(ConversionError, match=text):
        load_keras(edit_config(saved, change))


def test_what_only_training_needs_is_not_even_created(saved: Path) -> None:
    changed = edit_config(saved, lambda config: _layer(config, "scores")["config"].update(kernel_initializer=_SYSTEM, bias_regularizer=_SYSTEM))
    assert np.array_equal(answers(load_keras(changed)), answers(small_model()))


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("it ran"),))


def test_a_pickle_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.h5").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ConversionError, match=r"expected a \.keras file \(zip\) or HDF5, got a file that begins with") as caught:
        load_keras(tmp_path / "model.h5")
    assert "pickles are never loaded" in str(caught.value)
    small_model().save("real.h5")
    with h5py.File("real.h5", "a") as file:
        file["model_weights"]["pickle"] = np.void(pickle.dumps(_Bomb()))
    with pytest.raises(ConversionError, match=r"'model_weights/pickle' holds \|V\d+, or what another file holds, where weights are numbers"):
        load_keras(Path("real.h5"))
    assert not Path("it ran").exists()


def test_weights_that_point_elsewhere_are_refused(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file["model_weights"]["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ConversionError, match=r"'model_weights/elsewhere' points out of its place \(ExternalLink\)"):
        load_keras(tmp_path / "model.h5")


# Files that are damaged, or not what they should be


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "only.weights.h5"])
def test_files_cut_short_are_said_to_be_damaged(tmp_path: Path, name: str) -> None:
    model, path = small_model(), tmp_path / name
    (model.save_weights if "weights" in name else model.save)(path)
    whole = path.read_bytes()
    for size in (len(whole) // 4, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(ConversionError, match="the file is damaged or cut short"):
            load_weights_into(model, path)


def test_addresses_that_lead_nowhere_are_said_to_be_damage(tmp_path: Path) -> None:
    path = tmp_path / "only.weights.h5"
    small_model().save_weights(path)
    path.write_bytes(path.read_bytes().replace(b"TREE", b"TRUE"))  # every group's index
    with pytest.raises(ConversionError, match="the file is damaged or cut short"):
        load_weights_into(small_model(), path)


def test_compressed_members_that_are_damaged(tmp_path: Path, saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    assert np.array_equal(answers(load_keras(tmp_path / "packed.keras")), answers(small_model()))
    content = bytearray((tmp_path / "packed.keras").read_bytes())
    start = content.index(b"config.json") + len("config.json")
    content[start : start + 8] = b"\xff" * 8
    (tmp_path / "packed.keras").write_bytes(content)
    with pytest.raises(ConversionError, match="the file is damaged or cut short"):
        load_keras(tmp_path / "packed.keras")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"config.json": b"{}"}, r"model\.weights\.h5 missing in"),
        ({"config.json": b"{}", "model.weights.npz": b""}, r"got model\.weights\.npz too"),
        ({"config.json": b"{", "model.weights.h5": b""}, "the file is damaged or cut short"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, members: dict[str, bytes], text: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ConversionError, match=text):
        load_keras(tmp_path / "model.keras")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"expected a \.keras or HDF5 file, got the folder"):
        load_keras(tmp_path)
    with pytest.raises(ConversionError, match="cannot be read"):
        load_keras(tmp_path / "none.keras")


def test_weights_alone_need_an_architecture(tmp_path: Path) -> None:
    small_model().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(ConversionError, match="holds weights without an architecture"):
        load_keras(tmp_path / "only.weights.h5")


def test_a_model_without_an_input_size_is_refused(saved: Path, tmp_path: Path) -> None:
    def without_size(config: dict[str, Any]) -> None:
        config.update(class_name="Sequential", module="keras", registered_name="Sequential", config={"name": "open", "layers": [_layer(config, "scores")]})

    with pytest.raises(ConversionError, match="the size of the model's input is not stored"):
        load_keras(edit_config(saved, without_size))


def test_the_users_keras_settings_decide_nothing(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "numpy", "floatx": "float64", "epsilon": 0.1, "image_data_format": "channels_first"}))
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "numpy"}
    read = "from converters.from_keras.keras_backend import keras; c = keras.config; print(c.backend(), c.floatx(), c.epsilon(), c.image_data_format())"
    done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2], check=True)
    assert done.stdout == "torch float32 1e-07 channels_last\n"
