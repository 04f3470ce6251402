"""Every layer kind: Keras and ONNX Runtime on the same inputs, odd sizes and strides included; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converters.errors import ConversionError, ParityFailure
from converters.from_keras.activation_layers import FUNCTIONS
from converters.from_keras.keras_backend import keras
from converters.from_keras.keras_original import KerasOriginal
from converters.from_keras.onnx_from_keras import LAYERS, onnx_from_keras
from converters.parity import check_parity

L = keras.layers
_LIMIT = 1e-4

_STRIDED: list[tuple[Any, tuple[int, ...]]] = [
    (kind(**settings, strides=strides, padding=padding), shape)
    for strides in (1, 2, 3)
    for padding in ("same", "valid")
    for kind, settings, shape in (
        (L.Conv1D, {"filters": 5, "kernel_size": 3}, (11, 3)),
        (L.Conv2D, {"filters": 6, "kernel_size": (3, 2), "activation": "relu"}, (9, 7, 4)),
        (L.Conv2D, {"filters": 6, "kernel_size": (2, 5), "use_bias": False}, (10, 8, 4)),
        (L.Conv3D, {"filters": 5, "kernel_size": (3, 2, 3)}, (5, 6, 7, 2)),
        (L.DepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 2}, (9, 8, 4)),
        (L.SeparableConv2D, {"filters": 5, "kernel_size": 3, "depth_multiplier": 2}, (8, 9, 4)),
        (L.Conv2DTranspose, {"filters": 6, "kernel_size": (3, 2)}, (5, 4, 3)),
        (L.Conv2DTranspose, {"filters": 6, "kernel_size": (4, 5)}, (5, 4, 3)),
        (L.MaxPooling2D, {"pool_size": 3}, (10, 7, 4)),
    )
]
_PLAIN: list[tuple[Any, tuple[int, ...]]] = [
    (L.Conv1D(5, 3, padding="causal", dilation_rate=2), (11, 3)),
    (L.Conv1DTranspose(3, 3, strides=2, padding="same"), (5, 3)),
    (L.Conv2D(8, 3, groups=2, dilation_rate=2, padding="same"), (9, 7, 4)),
    (L.Conv2DTranspose(6, 3, dilation_rate=2, padding="same"), (5, 4, 3)),
    (L.Conv3DTranspose(3, 3, strides=2), (3, 4, 5, 2)),
    (L.DepthwiseConv1D(3), (7, 3)),
    (L.SeparableConv1D(3, 3), (7, 3)),
    (L.Dense(5), (7,)),
    (L.Dense(5, activation="softmax", use_bias=False), (3, 7)),
    (L.BatchNormalization(), (5, 4, 3)),
    (L.BatchNormalization(axis=1, scale=False), (5, 4, 3)),
    (L.LayerNormalization(), (5, 4, 3)),
    (L.LayerNormalization(axis=(-2, -1)), (5, 4, 3)),
    (L.GroupNormalization(2), (5, 3, 4)),
    (L.GroupNormalization(-1, axis=1, center=False), (5, 3, 4)),
    (L.UnitNormalization(), (5, 4, 3)),
    (L.UnitNormalization(axis=1), (5, 4, 3)),
    (L.Rescaling(1 / 3, -1), (5, 4, 3)),
    (L.Rescaling([1, 2, 3], [0, 1, 0]), (5, 4, 3)),
    (L.Normalization(mean=[1, 2, 3], variance=[1, 2, 3]), (5, 4, 3)),
    (L.Normalization(mean=[1, 2, 3], variance=[1, 2, 3], invert=True), (5, 4, 3)),
    (L.ReLU(), (5, 4)),
    (L.ReLU(6.0), (5, 4)),
    (L.ReLU(negative_slope=0.2), (5, 4)),
    (L.ReLU(1.0, 0.1, 0.3), (5, 4)),
    (L.LeakyReLU(), (5, 4)),
    (L.PReLU(), (5, 4, 3)),
    (L.PReLU(shared_axes=[1, 2]), (5, 4, 3)),
    (L.ELU(0.7), (5, 4)),
    (L.Softmax(), (5, 4)),
    (L.Softmax(axis=1), (5, 4)),
    (L.Conv2D(4, 1, activation=L.LeakyReLU(0.1)), (5, 4, 3)),
    (L.AveragePooling1D(2), (7, 3)),
    (L.AveragePooling2D(3, 2), (9, 8, 3)),
    (L.AveragePooling2D(3, 1, padding="same"), (9, 8, 3)),
    (L.AveragePooling3D(2), (5, 4, 6, 2)),
    (L.MaxPooling1D(2), (7, 3)),
    (L.MaxPooling3D(2), (5, 4, 6, 2)),
    (L.GlobalAveragePooling1D(), (7, 3)),
    (L.GlobalAveragePooling2D(), (5, 4, 3)),
    (L.GlobalAveragePooling3D(keepdims=True), (3, 4, 5, 2)),
    (L.GlobalMaxPooling1D(), (7, 3)),
    (L.GlobalMaxPooling2D(keepdims=True), (5, 4, 3)),
    (L.GlobalMaxPooling3D(), (3, 4, 5, 2)),
    (L.ZeroPadding1D(2), (5, 3)),
    (L.ZeroPadding2D(((1, 2), (0, 3))), (5, 4, 3)),
    (L.ZeroPadding3D(1), (3, 4, 5, 2)),
    (L.Cropping1D((1, 2)), (7, 3)),
    (L.Cropping2D(((1, 2), (0, 3))), (6, 5, 3)),
    (L.Cropping3D(1), (3, 4, 5, 2)),
    (L.UpSampling1D(2), (5, 3)),
    (L.UpSampling2D((2, 3)), (5, 4, 3)),
    (L.UpSampling2D((2, 3), interpolation="bilinear"), (5, 4, 3)),
    (L.UpSampling3D(2), (3, 4, 5, 2)),
    (L.Resizing(5, 11), (9, 7, 3)),
    (L.Resizing(18, 14, interpolation="nearest"), (9, 7, 3)),
    (L.Flatten(), (5, 4, 3)),
    (L.Reshape((20, 3)), (5, 4, 3)),
    (L.Reshape((4, 5, 3)), (5, 4, 3)),
    (L.Reshape((3, 20)), (5, 4, 3)),
    (L.Permute((3, 1, 2)), (5, 4, 3)),
    (L.RepeatVector(3), (4,)),
    *[
        (layer, (5, 4, 3))
        for layer in (
            L.ActivityRegularization(l2=0.1),
            L.AlphaDropout(0.2),
            L.Dropout(0.5),
            L.GaussianDropout(0.2),
            L.GaussianNoise(1.0),
            L.Identity(),
            L.RandomBrightness(0.2),
            L.RandomContrast(0.2),
            L.RandomFlip(),
            L.RandomRotation(0.1),
            L.RandomTranslation(0.1, 0.1),
            L.RandomZoom(0.1),
            L.SpatialDropout2D(0.2),
        )
    ],
    (L.SpatialDropout1D(0.2), (5, 3)),
    (L.SpatialDropout3D(0.2), (3, 4, 5, 2)),
]
_ACTIVATIONS = sorted({*FUNCTIONS, "hard_swish", "swish"})


def scramble(model: Any, seed: int = 1) -> Any:
    """Give every weight a value that shows: Keras begins with zeros and ones."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.3, 1.0, weight.shape) if "variance" in weight.name else rng.normal(size=weight.shape) * 0.4)
    return model


def agree(model: Any, *, converted: onnx.ModelProto | None = None, n: int = 3) -> onnx.ModelProto:
    original = KerasOriginal(model, name="test")
    converted = converted or original.to_onnx()
    rng = np.random.default_rng(0)
    inputs = {
        value.name: rng.uniform(-2, 2, (n, *[dim.dim_value for dim in value.type.tensor_type.shape.dim][1:])).astype(np.float32)
        for value in converted.graph.input
    }
    check_parity(original, converted, inputs, limit=_LIMIT, where="test")
    return converted


def of_layer(layer: Any, *shapes: tuple[int, ...]) -> Any:
    inputs = [keras.Input(shape) for shape in shapes]
    return scramble(keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0])))


@pytest.mark.parametrize(("layer", "shape"), _STRIDED + _PLAIN, ids=lambda value: value.name if isinstance(value, keras.layers.Layer) else "")
def test_a_layer_computes_what_keras_computes(layer: Any, shape: tuple[int, ...]) -> None:
    agree(of_layer(layer, shape))


@pytest.mark.parametrize("name", _ACTIVATIONS)
def test_an_activation(name: str) -> None:
    agree(of_layer(L.Activation(name), (6, 5)))


@pytest.mark.parametrize("kind", [L.Add, L.Average, L.Concatenate, L.Maximum, L.Minimum, L.Multiply, L.Subtract], ids=lambda kind: kind.__name__)
def test_a_merge_of_values_that_are_held_differently(kind: Any) -> None:
    first, second = keras.Input((5, 6, 3)), keras.Input((6, 5, 3))
    agree(scramble(keras.Model([first, second], kind()([L.Conv2D(3, 1)(first), L.Permute((2, 1, 3))(second)]))))


@pytest.mark.parametrize("axes", [1, -1, (2, 1), (1, 2)])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_dot_product(axes: Any, normalize: bool) -> None:
    agree(of_layer(L.Dot(axes=axes, normalize=normalize), (4, 4), (4, 4)))


def test_a_dot_product_of_vectors() -> None:
    agree(of_layer(L.Dot(axes=1, normalize=True), (4,), (4,)))


def test_every_layer_class_of_the_table_is_tested() -> None:
    tested = {type(layer) for layer, _ in _STRIDED + _PLAIN} | {L.Activation, L.Dot}
    tested |= {L.Add, L.Average, L.Concatenate, L.Maximum, L.Minimum, L.Multiply, L.Subtract}
    assert set(LAYERS) == tested


def nested() -> Any:
    """Two branches, a nested model, a shared layer, a squeezed gate and a flattened picture in front of dense layers; two outputs."""
    inner_in = keras.Input((9, 7, 4))
    inner = keras.Model(inner_in, L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", strides=2, name="conv")(inner_in))), name="inner")
    tail = keras.Sequential([L.Conv2D(6, 3, padding="same"), L.MaxPooling2D(2)], name="tail")
    picture, extra = keras.Input((9, 7, 4), name="picture"), keras.Input((6,), name="extra")
    shared = L.Conv2D(4, 1)
    maps = inner(shared(picture))
    gate = L.Reshape((1, 1, 4))(L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D()(maps)))
    maps = tail(L.Multiply()([maps, gate]))
    vector = L.BatchNormalization()(L.Dropout(0.5)(L.Flatten()(maps)))
    joined = L.Concatenate()([vector, extra])
    return scramble(keras.Model([picture, extra], [L.Dense(3, name="scores")(joined), L.Conv2D(2, 1, name="maps")(shared(picture))]))


def test_a_model_of_many_parts_has_names_sizes_and_a_free_batch() -> None:
    converted = agree(nested(), n=5)
    ends = [(value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]) for value in converted.graph.input]
    ends += [(value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]) for value in converted.graph.output]
    assert ends == [("picture", ["N", 4, 9, 7]), ("extra", ["N", 6]), ("scores", ["N", 3]), ("maps", ["N", 2, 9, 7])]
    assert "Transpose" not in {node.op_type for node in converted.graph.node}
    assert converted.opset_import[0].version == 17
    assert converted.ir_version == 8


def test_a_flattened_picture_permutes_weights_and_moves_no_data() -> None:
    model = keras.Sequential([keras.Input((5, 4, 3)), L.Conv2D(6, 2), L.Flatten(), L.BatchNormalization(), L.Dense(7)])
    assert [node.op_type for node in agree(scramble(model)).graph.node] == ["Conv", "Reshape", "BatchNormalization", "Gemm", "Identity"]


def test_a_flattened_picture_is_put_in_order_where_something_else_reads_it() -> None:
    model = keras.Sequential([keras.Input((5, 4, 3)), L.Conv2D(6, 2), L.Flatten(), L.Reshape((9, 8)), L.Conv1D(2, 3)])
    agree(scramble(model))


def test_a_model_with_the_channels_first() -> None:
    picture = keras.Input((3, 8, 6))
    maps = L.Conv2D(4, 3, strides=2, padding="same", data_format="channels_first")(picture)
    maps = L.BatchNormalization(axis=1)(L.MaxPooling2D(2, data_format="channels_first")(maps))
    model = scramble(keras.Model(picture, L.Dense(2)(L.Flatten(data_format="channels_first")(maps))))
    assert [dim.dim_value for dim in agree(model).graph.input[0].type.tensor_type.shape.dim] == [0, 3, 8, 6]


def _swap_channels(converted: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in converted.graph.initializer if tensor.name == "inner/conv/weight")
    values = numpy_helper.to_array(weight)[:, [1, 0, 2, 3]]
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def _shift_padding(converted: onnx.ModelProto) -> None:
    node = next(node for node in converted.graph.node if node.name == "inner/conv/conv")
    pads = next(attribute for attribute in node.attribute if attribute.name == "pads")
    assert list(pads.ints) == [1, 1, 1, 1]
    pads.ints[:] = [0, 1, 2, 1]


def _change_scale(converted: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in converted.graph.initializer if tensor.name.endswith("/scale"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))


@pytest.mark.parametrize("spoil", [_swap_channels, _shift_padding, _change_scale])
def test_parity_goes_red_when_the_network_is_spoilt(spoil: Any) -> None:
    model = nested()
    converted = onnx_from_keras(model, name="test")
    agree(model, converted=converted)
    spoil(converted)
    with pytest.raises(ParityFailure, match="differs from the original's"):
        agree(model, converted=converted)


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (L.AveragePooling2D(3, 2, padding="same"), (8, 8, 3), r"layer 'outer/refused' \(AveragePooling2D\): Keras on PyTorch repeats the edge"),
        (L.Conv2DTranspose(2, 3, strides=2, output_padding=1), (5, 4, 3), "output_padding is not supported"),
        (L.LSTM(3), (5, 4), r"layer 'outer/refused' \(LSTM\): no conversion for this layer"),
        (L.Conv2D(2, 1, dtype="mixed_float16"), (5, 4, 3), "it computes in float16, expected float32"),
        (L.LayerNormalization(axis=1), (5, 4, 3), r"axes \[1\] of 4: only the last ones"),
        (L.Resizing(5, 11, interpolation="nearest"), (9, 7, 3), r"nearest interpolation to \[5, 11\] is not supported"),
        (L.Resizing(5, 11, crop_to_aspect_ratio=True), (9, 7, 3), "crop_to_aspect_ratio=True is not supported"),
        (L.Softmax(axis=(1, 2)), (5, 4, 3), r"softmax over several axes, \[1, 2\]"),
        (L.Dense(3, activation="hard_tanh"), (4,), "no conversion for the activation 'hard_tanh'"),
        (L.Activation(L.Dropout(0.5)), (4,), "no conversion for the activation Dropout"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else "",
)
def test_what_cannot_be_converted_is_named_with_its_place(layer: Any, shape: tuple[int, ...], text: str) -> None:
    layer.name = "refused"
    inner = keras.Input(shape)
    picture = keras.Input(shape)
    model = keras.Model(picture, keras.Model(inner, layer(inner), name="outer")(picture))
    with pytest.raises(ConversionError, match=text):
        onnx_from_keras(model, name="test")


def test_rms_scaling_is_refused() -> None:
    with pytest.warns(UserWarning, match="incorrectly scales"):
        layer = L.LayerNormalization(rms_scaling=True)
    with pytest.raises(ConversionError, match="rms_scaling is not supported"):
        onnx_from_keras(of_layer(layer, (5, 4)), name="test")


def test_merges_of_different_ranks_are_refused() -> None:
    with pytest.raises(ConversionError, match="inputs of different rank"):
        onnx_from_keras(of_layer(L.Add(), (5, 4), (4,)), name="test")
    with pytest.raises(ConversionError, match="only two vectors or two matrices are supported"):
        onnx_from_keras(of_layer(L.Dot(axes=(1, 1)), (4, 3, 2), (4, 3, 2)), name="test")


def test_a_call_with_more_than_its_input_is_refused() -> None:
    first, second = keras.Input((4, 3)), keras.Input((4, 3))
    with pytest.raises(ConversionError, match="it is called with"):
        onnx_from_keras(keras.Model([first, second], L.Softmax()(first, mask=second > 0)), name="test")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (L.Dense(3), "expected a built functional or sequential model, got Dense"),
        (keras.Sequential([L.Dense(3)]), "expected a built functional or sequential model, got Sequential"),
        (keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(2, 1)]), "with every size but the batch fixed"),
        (keras.Sequential([keras.Input((4,), dtype="int32"), L.Identity()]), "is int32"),
    ],
    ids=["layer", "unbuilt", "free size", "integers"],
)
def test_what_is_no_model_of_one_size_is_refused(model: Any, text: str) -> None:
    with pytest.raises(ConversionError, match=text):
        onnx_from_keras(model, name="test")
