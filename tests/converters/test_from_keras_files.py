"""Files that Keras saved, old and new, whole and damaged; and files that try to run something."""

from __future__ import annotations

import json
import pickle
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

L = keras.layers

# What Keras 3 itself does with NumPy 2 while it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def small_model(n_classes: int = 3) -> Any:
    keras.utils.set_random_seed(3)
    picture = keras.Input((9, 8, 3), name="picture")
    body = keras.Sequential(
        [keras.Input((9, 8, 3)), L.Conv2D(4, 3, strides=2, activation="relu", kernel_regularizer="l2", name="conv"), L.BatchNormalization(name="bn")],
        name="body",
    )
    maps = L.Conv2D(4, 1, activation=L.LeakyReLU(0.1), name="head")(body(L.RandomFlip(name="flip")(picture)))
    return keras.Model(picture, L.Dense(n_classes, activation="softmax", name="scores")(L.Flatten(name="flatten")(maps)))


def answers(model: Any) -> Any:
    return run(model, [np.random.default_rng(0).normal(size=(4, 9, 8, 3)).astype(np.float32)])[0]


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


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "only.weights.h5"])
def test_weights_go_into_a_known_architecture(tmp_path: Path, name: str) -> None:
    model, other = small_model(), small_model()
    for weight in other.weights:
        weight.assign(array(weight) + 1)
    (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    load_weights_into(other, tmp_path / name)
    assert np.array_equal(answers(other), answers(model))


def test_the_hash_follows_the_weights() -> None:
    first, same, other = (KerasOriginal(small_model(), name="test") for _ in range(3))
    other.model.weights[0].assign(array(other.model.weights[0]) + 1)
    assert first.sha256 == same.sha256 != other.sha256
    assert KerasOriginal(small_model(), name="test", sha256="file").sha256 == "file"
    assert first.framework.startswith(f"Keras {keras.__version__} on PyTorch ")


def legacy_file(path: Path, *, version: str = "2.15.0") -> Any:
    """Write a model as Keras 2 did: a sequential model inside a functional one, sizes and options under their old names."""
    model = small_model()
    old = {"name": "conv", "batch_input_shape": [None, 9, 8, 3], "filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "activation": "relu", "groups": 1}
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 9, 8, 3], "dtype": "float32", "sparse": False, "ragged": False, "name": "picture"}},
        {
            "class_name": "Sequential",
            "config": {
                "name": "body",
                "layers": [
                    {"class_name": "Conv2D", "config": {**old, "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}}}},
                    {"class_name": "BatchNormalization", "config": {"name": "bn", "axis": [3], "epsilon": 0.001, "renorm": False}},
                ],
            },
        },
        {"class_name": "Conv2D", "config": {"name": "head", "filters": 4, "kernel_size": [1, 1], "activation": "linear"}},
        {"class_name": "LeakyReLU", "config": {"name": "leaky", "alpha": 0.1}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "scores", "units": 3, "activation": "softmax"}},
    ]
    nodes = [[], [[["picture", 0, 0, {}]]], [[["body", 1, 0, {}]]], [[["head", 0, 0, {}]]], [[["leaky", 0, 0, {}]]], [[["flatten", 0, 0, {}]]]]
    for layer, inbound in zip(layers, nodes, strict=True):
        layer |= {"name": layer["config"]["name"], "inbound_nodes": inbound}  # type: ignore[index]
    config = {"name": "model", "layers": layers, "input_layers": [["picture", 0, 0]], "output_layers": [["scores", 0, 0]]}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.attrs["keras_version"] = version
        group = file.create_group("model_weights")
        weighted = [layer for layer in model.layers if layer.weights]
        group.attrs["layer_names"] = [layer.name.encode() for layer in weighted]
        for layer in weighted:
            inner = group.create_group(layer.name)
            weights = layer.trainable_weights + layer.non_trainable_weights
            inner.attrs["weight_names"] = [f"{number}:0".encode() for number in range(len(weights))]
            for number, weight in enumerate(weights):
                inner[f"{number}:0"] = array(weight)
    return model


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
    with pytest.raises(ConversionError, match=r"layer 'body/conv' \(Conv2D\): hard_sigmoid has another slope since Keras 3"):
        load_keras(tmp_path / "old.h5")


def test_what_keras_3_cannot_read_is_named(tmp_path: Path) -> None:
    legacy_file(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"filters": 4', '"n_filters": 4')
    with pytest.raises(ConversionError, match=r"layer 'body/conv' \(Conv2D\): Keras .* cannot read its settings \(.*n_filters"):
        load_keras(tmp_path / "old.h5")


# Files that try to run something


def test_byte_code_in_a_lambda_layer_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    proof = tmp_path / "it ran"
    picture = keras.Input((4,))
    model = keras.Model(picture, L.Lambda(lambda values: (open("it ran", "w").close(), values)[1], output_shape=(4,))(picture))
    for name in ("lambda.keras", "lambda.h5"):
        model.save(tmp_path / name)
        proof.unlink(missing_ok=True)
        with pytest.raises(ConversionError, match=r"layer 'lambda\w*' \(Lambda\): it holds Python code, which is not executed"):
            load_keras(tmp_path / name)
        assert not proof.exists()
    keras.saving.load_model(tmp_path / "lambda.keras", safe_mode=False)
    assert proof.exists(), "the file did not hold what it should, so that the test above shows nothing"


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


def test_damaged_files_are_said_to_be_damaged(tmp_path: Path, saved: Path) -> None:
    small_model().save(tmp_path / "model.h5")
    for path in (saved, tmp_path / "model.h5"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ConversionError, match="the file is damaged or cut short"):
            load_keras(path)


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


def test_the_first_mismatch_is_named(tmp_path: Path) -> None:
    small_model(5).save(tmp_path / "five.keras")
    small_model(5).save_weights(tmp_path / "five.weights.h5")
    with pytest.raises(ConversionError, match=r"weight 8: expected 'scores/kernel' \[48, 3\], got 'scores/kernel' \[48, 5\]"):
        load_weights_into(small_model(), tmp_path / "five.keras")
    with pytest.raises(ConversionError, match=r"the weights do not fit the architecture: .*\(48, 3\).*\(48, 5\)"):
        load_weights_into(small_model(), tmp_path / "five.weights.h5")
    legacy_file(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        del file.attrs["model_config"]
        names = file["model_weights"].attrs["layer_names"]
        file["model_weights"].attrs["layer_names"] = [names[0], names[2], names[1]]
    with pytest.raises(ConversionError, match="layer 1 with weights: expected 'head', got 'scores'"):
        load_weights_into(small_model(), tmp_path / "old.h5")
