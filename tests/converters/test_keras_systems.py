"""The Keras systems: the documents' counts, each system from seeded first weights to ONNX over real pictures, and weights of a user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converters.errors import ConversionError, ParityFailure
from converters.from_keras.keras_backend import keras, run
from converters.from_keras.keras_original import KerasOriginal
from converters.original import Array
from converters.parity import check_parity
from converters.real_inputs import picture_inputs
from converters.systems.keras_systems import SYSTEMS
from converters.systems.system import System
from edge.package import load_package
from edge.stage import CropInput, Emotions, FrameInput, Scores, StageInput, input_shapes

BY_ID = {system.id: system for system in SYSTEMS}
SADNESS = ["effnetv2b2-sadness", "effnetv2b2-gram2", "effnetv2b2-gram3", "effnetv2b2-gram4", "zhang-multilevel"]
IDS = [*SADNESS, "inceptionv3-5", "mobilenetv2-5"]
N = 4

# What Keras 3 itself does with NumPy 2 while it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


class Built(NamedTuple):
    original: KerasOriginal
    network: onnx.ModelProto
    inputs: Mapping[str, Array]


@pytest.fixture(scope="module")
def pictures(clip: Callable[[str], Path], models: Path) -> Callable[[System], dict[str, dict[str, Array]]]:
    """A few real crops or whole pictures for a system, far apart in time."""
    detector = load_package(models / "blazeface")
    cut: dict[StageInput, dict[str, Array]] = {}

    def of(system: System) -> dict[str, dict[str, Array]]:
        (stage,) = system.stages
        if stage.input not in cut:
            found = picture_inputs([stage], clip("WolfgangLanger_Pexels.mp4"), detector)[stage.name]
            cut[stage.input] = {tensor: np.ascontiguousarray(values[:: len(values) // N][:N]) for tensor, values in found.items()}
        return {stage.name: cut[stage.input]}

    return of


@pytest.fixture(scope="module")
def built(pictures: Callable[[System], dict[str, dict[str, Array]]]) -> Callable[[str], Built]:
    """Return a function that makes a system's only network, once."""
    made: dict[str, Built] = {}

    def of(name: str) -> Built:
        if name not in made:
            given = pictures(BY_ID[name])
            (inputs,), (original,) = given.values(), BY_ID[name].build(given, 0).values()
            assert isinstance(original, KerasOriginal)
            made[name] = Built(original, original.to_onnx(), inputs)
        return made[name]

    return of


def layers_of(model: Any, kind: Any) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, kind)]


def test_the_rows_are_those_of_the_documents() -> None:
    assert [system.id for system in SYSTEMS] == IDS
    for system in SYSTEMS:
        assert ("reconstruction" in system.description) == ("gram" in system.id or system.id == "zhang-multilevel"), system.id


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("inceptionv3-5", 22_982_437),  # document 002
        ("mobilenetv2-5", 3_409_989),  # document 002
        ("effnetv2b2-sadness", 8_769_374 + 2 * 1408 + 2),  # keras.applications' body, and a dense layer of two
    ],
)
def test_counts_of_parameters(name: str, count: int, built: Callable[[str], Built]) -> None:
    assert built(name).original.model.count_params() == count


@pytest.mark.parametrize("name", IDS)
def test_onnx_computes_what_keras_computes(name: str, built: Callable[[str], Built]) -> None:
    (stage,) = BY_ID[name].stages
    original, network, inputs = built(name)
    report = check_parity(original, network, inputs, limit=BY_ID[name].max_relative_error, where=name)
    assert [output.name for output in report.outputs] == ["probabilities"]
    probabilities = original.run(inputs)["probabilities"]
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(N), abs=1e-5)
    assert (probabilities.std(axis=0) > 0.05).all()  # every single output varies
    assert {value.name for value in network.graph.input} == set(input_shapes(stage.input))
    (output,) = stage.outputs
    assert isinstance(output, Scores | Emotions)
    assert len(output.labels) == probabilities.shape[1]


# Gram modules


@pytest.mark.parametrize(("name", "n"), [("effnetv2b2-sadness", 0), ("effnetv2b2-gram2", 2), ("effnetv2b2-gram3", 3), ("effnetv2b2-gram4", 4)])
def test_each_network_has_as_many_gram_modules_as_its_name_says(name: str, n: int, built: Callable[[str], Built]) -> None:
    original, network, _ = built(name)
    products = layers_of(original.model, keras.layers.Dot)
    assert [layer.name for layer in products] == [f"gram{number}_product" for number in range(1, n + 1)]
    taps = [original.model.get_layer(f"gram{number}_conv").input for number in range(1, n + 1)]
    assert len({tap._keras_history.operation.name for tap in taps}) == n
    assert [tap.shape[1] for tap in taps] == sorted((tap.shape[1] for tap in taps), reverse=True)  # shallow to deep
    assert n == 0 or taps[0].shape[1] > taps[-1].shape[1]
    kinds = Counter(node.op_type for node in network.graph.node)
    assert (kinds["MatMul"], kinds["Transpose"]) == (n, n)  # a matrix times its transpose; nothing else moves
    (scores,) = [layer for layer in original.model.layers if layer.name == "probabilities"]
    assert scores.kernel.shape == (1408 + 64 * n, 2)  # the deep features, and every module's


def test_the_network_compared_with_takes_the_gram_matrices_of_shallow_layers_as_they_are(built: Callable[[str], Built]) -> None:
    model = built("zhang-multilevel").original.model
    assert [layer.name for layer in layers_of(model, keras.layers.Dot)] == ["level1_product", "level2_product"]
    assert [tuple(layer.input[0].shape[1:]) for layer in layers_of(model, keras.layers.Dot)] == [(64 * 64, 32), (32 * 32, 56)]


def test_a_gram_module_takes_the_product_of_the_feature_maps_with_each_other(built: Callable[[str], Built]) -> None:
    original, _, inputs = built("effnetv2b2-gram2")
    model = original.model
    ends = [model.get_layer("gram1_swish").output, model.get_layer("gram1_mean").output]
    maps, gram = run(keras.Model(model.inputs, ends), [inputs["picture"].transpose(0, 2, 3, 1)])
    flat = maps.reshape(N, -1, maps.shape[-1])
    assert gram == pytest.approx(np.einsum("npi,npj->nij", flat, flat) / flat.shape[1], rel=1e-4, abs=1e-5)


# What the networks are fed


def test_the_packages_prepare_pictures_as_keras_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    whole, face = BY_ID["effnetv2b2-sadness"].stages[0].input, BY_ID["inceptionv3-5"].stages[0].input
    assert isinstance(whole, FrameInput)
    body = keras.applications.EfficientNetV2B2(include_top=False, weights=None, input_shape=(32, 32, 3))
    names = [layer.name for layer in body.layers[1:3]]
    assert [name.split("_")[0] for name in names] == ["rescaling", "normalization"]
    (expected,) = run(keras.Model(body.inputs, body.get_layer(names[1]).output), [pixels])
    assert pixels * np.asarray(whole.scale, np.float32) + np.asarray(whole.offset, np.float32) == pytest.approx(expected, abs=1e-5)
    assert isinstance(face, CropInput)
    assert face == BY_ID["mobilenetv2-5"].stages[0].input
    for preprocess in (keras.applications.inception_v3.preprocess_input, keras.applications.mobilenet_v2.preprocess_input):
        assert pixels * np.asarray(face.scale, np.float32) + np.asarray(face.offset, np.float32) == pytest.approx(preprocess(pixels.copy()), abs=1e-5)


# The check can fail


def _swap_channels(weight: Array, node: onnx.NodeProto) -> Array:
    return weight[:, ::-1]


def _shift_pad(weight: Array, node: onnx.NodeProto) -> Array:
    pads = next(attribute for attribute in node.attribute if attribute.name == "pads").ints
    assert list(pads) == [0, 0, 1, 1]  # TensorFlow's, where the larger half comes after
    pads[:] = [1, 1, 0, 0]
    return weight


def _change_scale(weight: Array, node: onnx.NodeProto) -> Array:
    return weight * np.float32(1.02)


@pytest.mark.parametrize("change", [_swap_channels, _shift_pad, _change_scale])
def test_a_changed_network_fails(change: Callable[[Array, onnx.NodeProto], Array], built: Callable[[str], Built]) -> None:
    original, right, inputs = built("effnetv2b2-sadness")
    wrong = onnx.ModelProto()
    wrong.CopyFrom(right)
    node = next(node for node in wrong.graph.node if node.op_type == "Conv")  # on the picture itself: 3x3, by strides of 2
    (weight,) = (tensor for tensor in wrong.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(weight), node)), weight.name))
    with pytest.raises(ParityFailure, match="differs from the original's"):
        check_parity(original, wrong, inputs, limit=BY_ID["effnetv2b2-sadness"].max_relative_error, where="wrong")


# First weights


def test_the_seed_decides(built: Callable[[str], Built], pictures: Callable[[System], dict[str, dict[str, Array]]]) -> None:
    system = BY_ID["mobilenetv2-5"]
    again, other = (system.build(pictures(system), seed)["emotions"].sha256 for seed in (0, 1))
    assert again == built(system.id).original.sha256
    assert other != again


def test_first_weights_need_pictures_that_differ(pictures: Callable[[System], dict[str, dict[str, Array]]]) -> None:
    system = BY_ID["mobilenetv2-5"]
    crops = pictures(system)["emotions"]["crop"]
    with pytest.raises(ConversionError, match="'crop' of the stage 'emotions' is missing"):
        system.build({}, 0)
    with pytest.raises(ConversionError, match="at least 2 real inputs to set its statistics from, got 1"):
        system.build({"emotions": {"crop": crops[:1]}}, 0)
    with pytest.raises(ConversionError, match="outputs do not differ over the 2 inputs"):
        system.build({"emotions": {"crop": crops[[0, 0]]}}, 0)


# A user's own weights


@pytest.mark.parametrize(
    ("name", "file"),
    [("mobilenetv2-5", "own.keras"), ("mobilenetv2-5", "own.h5"), ("mobilenetv2-5", "own.weights.h5"), ("effnetv2b2-gram2", "own.h5")],
)
def test_weights_run_in_their_place(name: str, file: str, tmp_path: Path, built: Callable[[str], Built]) -> None:
    system, (original, _, inputs) = BY_ID[name], built(name)
    (original.model.save_weights if "weights" in file else original.model.save)(tmp_path / file)
    assert system.load is not None
    loaded = system.load(tmp_path / file)[system.stages[0].name]
    assert loaded.sha256 != original.sha256  # the file's
    first = {tensor: values[:2] for tensor, values in inputs.items()}
    assert np.array_equal(loaded.run(first)["probabilities"], original.run(first)["probabilities"])


def _of_seven(model: Any) -> Any:
    """The same network with seven emotions."""
    return keras.Model(model.input, keras.layers.Dense(7, activation="softmax", name="probabilities")(model.layers[-1].input))


def _with_scale_inside(model: Any) -> Any:
    """The same network over pixels: it scales them itself."""
    crop = keras.Input((299, 299, 3), name="crop")
    value = keras.layers.Rescaling(1 / 127.5, -1)(crop)
    for layer in model.layers[1:]:
        value = layer(value)
    return keras.Model(crop, value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_of_seven, r"weight 264: expected 'probabilities/kernel' \[128000, 5\], got 'probabilities/kernel' \[128000, 7\]"),
        (
            _with_scale_inside,
            r"output 0 is another one than the file's own model gives.*\n.*the first layer that differs: expected Conv2D linear, got Rescaling",
        ),
    ],
)
def test_weights_of_another_network_are_refused(change: Callable[[Any], Any], text: str, tmp_path: Path, built: Callable[[str], Built]) -> None:
    change(built("mobilenetv2-5").original.model).save(tmp_path / "other.keras")
    load = BY_ID["mobilenetv2-5"].load
    assert load is not None
    with pytest.raises(ConversionError, match=text):
        load(tmp_path / "other.keras")


def test_weights_of_another_system_are_refused(tmp_path: Path, built: Callable[[str], Built]) -> None:
    built("effnetv2b2-gram2").original.model.save_weights(tmp_path / "gram2.weights.h5")
    load = BY_ID["effnetv2b2-gram3"].load
    assert load is not None
    with pytest.raises(ConversionError, match=r"weight \d+, 'gram\d_\w+/\w+' \[.*\], cannot be filled"):
        load(tmp_path / "gram2.weights.h5")
