"""What cannot be converted faithfully is refused, by the name of operator, tensor and option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from tests.converters.small_tflite import SAME, TANH, Grid, SmallTflite

SHAPE = (1, 4, 6, 2)
WINDOW: dict[str, Any] = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": SAME}


def constants(net: SmallTflite, *values: Any) -> list[int]:
    return [net.constant(value, dtype="INT32") for value in values]


def convolution(net: SmallTflite, *, channels: int = 2, **options: Any) -> None:
    net.apply("CONV_2D", [0, net.constant(np.ones((3, 1, 1, channels))), net.constant(np.ones(3))], (1, 4, 6, 3), **{**WINDOW, **options})


def slice_with(net: SmallTflite, *, begin: tuple[int, ...] = (0, 0, 0, 0), strides: tuple[int, ...] = (1, 1, 1, 1), **options: Any) -> None:
    net.apply("STRIDED_SLICE", [0, *constants(net, begin, SHAPE, strides)], SHAPE, **options)


def computed_weights(net: SmallTflite) -> None:
    weights = net.apply("MEAN", [0, *constants(net, (1, 2))], (1, 1, 1, 2), keepDims=True)
    net.apply("CONV_2D", [0, weights, net.constant(np.ones(1))], (1, 4, 6, 1), **WINDOW)


def dropped_batch(net: SmallTflite) -> None:
    row = net.apply("STRIDED_SLICE", [0, *constants(net, (0, 0, 0, 0), SHAPE, (1, 1, 1, 1))], (4, 6, 2), shrinkAxisMask=1)
    net.apply("RESHAPE", [row, *constants(net, (1, 48))], (1, 48))


def set_attribute(path: Callable[[SmallTflite], Any], name: str, value: Any) -> Callable[[SmallTflite], None]:
    def build(net: SmallTflite) -> None:
        net.apply("RELU", [0], SHAPE)
        setattr(path(net), name, value)

    return build


def custom(net: SmallTflite) -> None:
    net.apply("RELU", [0], SHAPE)
    net.model.operatorCodes[0].builtinCode, net.model.operatorCodes[0].customCode = schema.BuiltinOperator.CUSTOM, b"Convolution2DTransposeBias"


def quantized_details(net: SmallTflite) -> None:
    net.apply("RELU", [0], SHAPE, grid=Grid(0.1))
    net.graph.tensors[1].quantization.detailsType = schema.QuantizationDetails.CustomQuantization
    net.graph.tensors[1].quantization.details = schema.CustomQuantizationT()


def lower_rank(net: SmallTflite) -> None:
    mean = net.apply("MEAN", [0, *constants(net, (1, 2))], (1, 2), keepDims=False)
    net.apply("ADD", [0, mean], SHAPE)


def only_constants(name: str, **options: Any) -> Callable[[SmallTflite], int]:
    return lambda net: net.apply(name, [net.constant(np.ones(SHAPE)), net.constant(np.ones(SHAPE))], SHAPE, **options)


def used_too_early(net: SmallTflite) -> None:
    later = net.tensor(SHAPE)
    net.apply("ADD", [0, later], SHAPE)


def outside_the_file(net: SmallTflite) -> None:
    net.apply("RELU", [0], SHAPE)
    net.model.buffers[0].offset = 4096


def wide_rows(net: SmallTflite) -> None:
    net.apply("FULLY_CONNECTED", [0, net.constant(np.ones((3, 2))), net.constant(np.ones(3))], (24, 3))


CASES: dict[str, tuple[Callable[[SmallTflite], Any], str]] = {
    "custom operator": (custom, r"operator 0 \(custom operator 'Convolution2DTransposeBias', output tensor 1\) has no ONNX counterpart"),
    "operator": (lambda net: net.apply("ABS", [0], SHAPE), r"operator 0 \(ABS, output tensor 1\): no conversion for this operator\n  supported: ADD, "),
    "several subgraphs": (lambda net: net.model.subgraphs.append(schema.SubGraphT()), "expected one subgraph, got 2"),
    "dynamic shape": (
        set_attribute(lambda net: net.graph.tensors[1], "shapeSignature", [-1, -1, 6, 2]),
        r"tensor 1 \('tensor_1'\) has the shape \[-1, -1, 6, 2\]: only the batch",
    ),
    "stored type": (
        lambda net: set_attribute(lambda net: net.graph.tensors[1], "type", schema.TensorType.INT16)(net),
        r"tensor 1 \('tensor_1'\) is stored as INT16",
    ),
    "variable": (set_attribute(lambda net: net.graph.tensors[1], "isVariable", True), r"tensor 1 \('tensor_1'\) is a variable"),
    "outside the file": (outside_the_file, r"tensor 0 \('tensor_0'\) lies outside the flatbuffer"),
    "quantisation": (quantized_details, "has a quantisation of kind 1; only scale and zero point are known"),
    "scales": (
        lambda net: net.apply("RELU", [0], SHAPE, grid=Grid((0.1, 0.2, 0.3), axis=3)),
        r"shape \[1, 4, 6, 2\] has 3 scales and 3 zero points along axis 3",
    ),
    "fused TANH": (
        lambda net: net.apply("ADD", [0, 0], SHAPE, fusedActivationFunction=TANH),
        r"\(ADD, output tensor 1\): option fusedActivationFunction=4 is not supported",
    ),
    "option nothing reads": (lambda net: slice_with(net, newAxisMask=2), r"\(STRIDED_SLICE, output tensor 4\): option newAxisMask=2 is not supported"),
    "padding": (lambda net: convolution(net, padding=5), "option padding=5 is not supported"),
    "groups": (lambda net: convolution(net, channels=1), r"grouped convolution \(2 channels in, 1 in the filter\)"),
    "depth multiplier": (
        lambda net: net.apply("DEPTHWISE_CONV_2D", [0, net.constant(np.ones((1, 1, 1, 6))), -1], (1, 4, 6, 6), **WINDOW, depthMultiplier=2),
        "option depthMultiplier=2 does not fit 2 channels in and 6 out",
    ),
    "weights format": (
        lambda net: net.apply("FULLY_CONNECTED", [0, net.constant(np.ones((3, 48))), -1], (1, 3), weightsFormat=1),
        "option weightsFormat=1 is not supported",
    ),
    "rows in the batch": (wide_rows, r"an input of shape \[1, 4, 6, 2\] has more than one row of 2 values"),
    "computed weights": (computed_weights, "tensor 2 must be a constant, but it is computed by the network"),
    "reshape of the batch": (lambda net: net.apply("RESHAPE", [0, *constants(net, (4, 12))], (4, 12)), r"the output has shape \[4, 12\]: it mixes the batch"),
    "transposed batch": (lambda net: net.apply("TRANSPOSE", [0, *constants(net, (1, 0, 2, 3))], (4, 1, 6, 2)), r"permutation \[1, 0, 2, 3\] moves the batch"),
    "joined batch": (lambda net: net.apply("CONCATENATION", [0, 0], (2, 4, 6, 2), axis=0), "option axis=0 joins along the batch"),
    "padded batch": (
        lambda net: net.apply("PAD", [0, *constants(net, ((1, 0), (0, 0), (0, 0), (0, 0)))], (2, 4, 6, 2)),
        r"paddings \[\[1, 0\], \[0, 0\], \[0, 0\], \[0, 0\]\] pad the batch",
    ),
    "reduced batch": (lambda net: net.apply("MEAN", [0, *constants(net, (0, 1))], (6, 2)), r"axes \[0, 1\] reduce the batch"),
    "cut batch": (lambda net: slice_with(net, begin=(1, 0, 0, 0)), r"begin \[1, 0, 0, 0\].* cut the batch"),
    "reversed axis": (lambda net: slice_with(net, strides=(1, -1, 1, 1), beginMask=2), r"strides \[1, -1, 1, 1\] reverse an axis"),
    "dropped batch": (dropped_batch, r"\(RESHAPE, output tensor 6\): tensor 4 has lost its batch axis"),
    "lower rank": (lower_rank, "tensor 2 has fewer axes than the output"),
    "only constants": (only_constants("ADD"), r"\(ADD, output tensor 3\): all inputs are constants"),
    "only constants joined": (only_constants("CONCATENATION", axis=1), r"\(CONCATENATION, output tensor 3\): all inputs are constants"),
    "order of operators": (used_too_early, "tensor 1 is used before anything computes it"),
    "idle output": (lambda net: net.constant(np.ones(SHAPE)), r"output tensor 1 \('tensor_1'\) does not depend on the network's input"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_network_is_refused(case: str) -> None:
    build, message = CASES[case]
    net = SmallTflite(SHAPE)
    build(net)
    with pytest.raises(ConversionError, match=message):
        onnx_from_tflite(net.content(), name="refused")


def test_a_batch_of_two_is_refused() -> None:
    net = SmallTflite((2, 4, 6, 2))
    net.apply("RELU", [0], (2, 4, 6, 2))
    with pytest.raises(ConversionError, match=r"input tensor 0 has shape \[2, 4, 6, 2\]: dimension 0 must be a batch of 1"):
        onnx_from_tflite(net.content(), name="refused")


def test_another_file_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"expected a TFLite file .* got b'.*'\n  is it the file inside an archive"):
        onnx_from_tflite(b"PK\x03\x04 no network", name="refused")


def test_an_unknown_output_is_refused() -> None:
    net = SmallTflite(SHAPE)
    net.apply("RELU", [0], SHAPE)
    with pytest.raises(ConversionError, match=r"the network has no output \['boxes'\]; it has \['tensor_1'\]"):
        onnx_from_tflite(net.content(), name="refused", outputs=["boxes"])
