"""Weights into a known architecture: all of them or none, and only where the file's own model computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.errors import ConversionError
from converters.from_keras.keras_backend import array, keras
from converters.from_keras.keras_file import load_keras, load_weights_into
from tests.converters.keras_models import answers, legacy_file, small_model

L = keras.layers

# What Keras 3 itself does with NumPy 2 while it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "only.weights.h5"])
def test_weights_go_into_a_known_architecture(tmp_path: Path, name: str) -> None:
    model, other = small_model(), small_model()
    for weight in other.weights:
        weight.assign(array(weight) + 1)
    (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    load_weights_into(other, tmp_path / name)
    assert np.array_equal(answers(other), answers(model))


def test_the_first_mismatch_is_named(tmp_path: Path) -> None:
    small_model(5).save(tmp_path / "five.keras")
    small_model(5).save_weights(tmp_path / "five.weights.h5")
    with pytest.raises(ConversionError, match=r"weight 8: expected 'scores/kernel' \[48, 3\], got 'scores/kernel' \[48, 5\]"):
        load_weights_into(small_model(), tmp_path / "five.keras")
    with pytest.raises(ConversionError, match=r"weight 8, 'scores/kernel' \[48, 3\], cannot be filled: <Dense name=scores.*\(48, 3\).*\[48, 5\]"):
        load_weights_into(small_model(), tmp_path / "five.weights.h5")
    legacy_file(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        del file.attrs["model_config"]
        names = file["model_weights"].attrs["layer_names"]
        file["model_weights"].attrs["layer_names"] = [names[0], names[2], names[1]]
    with pytest.raises(ConversionError, match="layer 1 with weights: expected 'head', got 'scores'"):
        load_weights_into(small_model(), tmp_path / "old.h5")


def edit_weights(path: Path, change: Callable[[h5py.File], object]) -> Path:
    small_model().save_weights(path)
    with h5py.File(path, "a") as file:
        change(file)
    return path


def _one_layer_more(file: h5py.File) -> None:
    file.copy(file["layers/dense"], "layers/dense_1")


def _no_number(file: h5py.File) -> None:
    file["layers/dense/vars/1"][2] = np.nan


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda file: file.pop("layers/conv2d"), r"weight 6, 'head/kernel' \[1, 1, 4, 4\], cannot be filled: .*expected 2 variables, but received 0"),
        (lambda file: file.pop("layers/sequential/layers/batch_normalization"), r"weight 2, 'body/bn/gamma' \[4\], cannot be filled"),
        (lambda file: file.move("layers", "_layers"), r"weight 0, 'body/conv/kernel' \[3, 3, 3, 4\], cannot be filled"),
        (_no_number, r"weight 9, 'scores/bias' \[3\], cannot be filled: the file holds nothing for it, or values that are no finite numbers"),
        (_one_layer_more, "the file holds 12 arrays of weights, the architecture takes 10"),
    ],
)
def test_weights_are_filled_all_or_none(tmp_path: Path, change: Callable[[h5py.File], object], text: str) -> None:
    with pytest.raises(ConversionError, match=text):
        load_weights_into(small_model(), edit_weights(tmp_path / "only.weights.h5", change))


def test_legacy_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    legacy_file(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        del file.attrs["model_config"]
    with pytest.raises(ConversionError, match=r"layer 'scores', weight 0: expected 'scores/kernel' \[48, 5\], got '0:0' \[48, 3\]"):
        load_weights_into(small_model(5), tmp_path / "old.h5")


def test_a_frozen_body_is_read_with_its_model_and_refused_without(tmp_path: Path) -> None:
    """The old layout has frozen weights behind the others, and nothing beside the model's configuration says so."""

    def network(*, frozen: bool) -> Any:
        body = keras.Sequential([keras.Input((9, 8, 3)), L.BatchNormalization(name="one"), L.BatchNormalization(name="two")], name="body")
        body.trainable = not frozen
        model = keras.Sequential([keras.Input((9, 8, 3)), body, L.Flatten(), L.Dense(3, name="scores")])
        for number, weight in enumerate(model.weights):
            weight.assign(np.full(weight.shape, 0.1 * (number + 1), np.float32))
        return model

    frozen, model = network(frozen=True), network(frozen=False)
    frozen.save(tmp_path / "frozen.h5")
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape, np.float32))
    load_weights_into(model, tmp_path / "frozen.h5")
    assert np.array_equal(answers(model), answers(frozen))
    with h5py.File(tmp_path / "frozen.h5", "a") as file:
        del file.attrs["model_config"]
    with pytest.raises(ConversionError, match=r"layer 'body', weight 2: expected 'body/two/gamma' \[3\], got 'body/one/moving_mean' \[3\].*\n.*were frozen"):
        load_weights_into(model, tmp_path / "frozen.h5")


def test_names_that_fill_several_attributes_are_put_together(tmp_path: Path) -> None:
    model = legacy_file(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "a") as file:
        for group, key in ((file["model_weights"], "layer_names"), (file["model_weights/body"], "weight_names")):
            names = group.attrs.pop(key)
            group.attrs[f"{key}0"], group.attrs[f"{key}1"] = names[:2], names[2:]
    assert np.allclose(answers(load_keras(tmp_path / "old.h5")), answers(model), atol=1e-6)


@pytest.mark.parametrize(
    ("scaled", "activation", "text"),
    [(True, "softmax", "the first layer that differs: expected Conv2D relu, got Rescaling"), (False, "sigmoid", "expected Dense softmax, got Dense sigmoid")],
)
def test_a_network_that_computes_something_else_from_the_same_weights(tmp_path: Path, scaled: bool, activation: str, text: str) -> None:
    model = small_model()
    picture = keras.Input((9, 8, 3), name="picture")
    first = L.Rescaling(1 / 255)(picture) if scaled else model.get_layer("flip")(picture)
    maps = model.get_layer("head")(model.get_layer("body")(first))
    last = L.Dense(3, activation=activation, name="scores")
    other = keras.Model(picture, last(L.Flatten()(maps)))
    last.set_weights(model.get_layer("scores").get_weights())
    other.save(tmp_path / "other.keras")
    with pytest.raises(ConversionError, match=rf"the weights fit, but output 0 is another one than the file's own model gives.*\n.*{text}"):
        load_weights_into(model, tmp_path / "other.keras")


def test_another_input_size_is_refused_and_an_open_one_taken(tmp_path: Path) -> None:
    def pooled(size: int | None) -> Any:
        return keras.Sequential([keras.Input((size, size, 3)), L.Conv2D(2, 1, bias_initializer="ones"), L.GlobalAveragePooling2D()])

    pooled(9).save(tmp_path / "nine.keras")
    with pytest.raises(ConversionError, match=r"expected inputs \[\(8, 8, 3\)\], got \[\(9, 9, 3\)\]"):
        load_weights_into(pooled(8), tmp_path / "nine.keras")
    source, mine = pooled(None), pooled(8)
    source.save(tmp_path / "open.keras")
    load_weights_into(mine, tmp_path / "open.keras")
    assert np.array_equal(array(mine.weights[0]), array(source.weights[0]))
