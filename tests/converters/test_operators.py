"""Each operator in a network of its own, against LiteRT: three inputs, computed by ONNX Runtime as one batch."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from converters.from_tflite.litert_run import TfliteOriginal
from converters.from_tflite.onnx_from_tflite import OPERATORS, onnx_from_tflite
from converters.original import Array
from converters.parity import check_parity
from tests.converters.small_tflite import RELU, RELU6, RELU_N1_TO_1, SAME, VALID, SmallTflite

Case = Callable[[SmallTflite], int]


def normal(*shape: int) -> Array:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


FILTER = normal(4, 3, 3, 5)
WINDOW: dict[str, Any] = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
POOL: dict[str, Any] = {"filterHeight": 3, "filterWidth": 2, "strideH": 2, "strideW": 2}


def convolution(shape: tuple[int, ...], **options: Any) -> Case:
    def build(net: SmallTflite) -> int:
        weights, bias = net.constant(FILTER), net.constant([0.1, -0.2, 0.3, 0.0])
        return net.apply("CONV_2D", [0, weights, bias], shape, **{**WINDOW, "padding": SAME, **options})

    return build


def depthwise(net: SmallTflite) -> int:
    weights = net.constant(normal(1, 3, 3, 10))
    return net.apply(
        "DEPTHWISE_CONV_2D", [0, weights, net.constant(np.arange(10) / 9)], (1, 4, 4, 10), **{**WINDOW, "strideH": 2, "strideW": 2, "depthMultiplier": 2}
    )


def padded_convolution(net: SmallTflite) -> int:
    padded = net.apply("PAD", [0, net.constant([[0, 0], [1, 2], [0, 3], [0, 0]], dtype="INT32")], (1, 10, 11, 5))
    return net.apply("CONV_2D", [padded, net.constant(FILTER), net.constant(np.zeros(4))], (1, 8, 9, 4), **WINDOW, padding=VALID)


def channels_padded_convolution(net: SmallTflite) -> int:
    padded = net.apply("PAD", [0, net.constant([[0, 0], [1, 1], [1, 1], [0, 2]], dtype="INT32")], (1, 9, 10, 7))
    return net.apply("CONV_2D", [padded, net.constant(normal(4, 3, 3, 7)), net.constant(np.zeros(4))], (1, 7, 8, 4), **WINDOW, padding=VALID)


def unary(name: str, **options: Any) -> Case:
    return lambda net: net.apply(name, [0], (1, 7, 8, 5), **options)


def on_positive(name: str) -> Case:
    return lambda net: net.apply(name, [net.apply("MUL", [0, 0], (1, 7, 8, 5))], (1, 7, 8, 5))


def with_constant(name: str, constant: Any, **options: Any) -> Case:
    return lambda net: net.apply(name, [0, net.constant(constant)], (1, 7, 8, 5), **options)


def sliced(begin: list[int], end: list[int], strides: list[int], shape: tuple[int, ...], **masks: Any) -> Case:
    def build(net: SmallTflite) -> int:
        return net.apply("STRIDED_SLICE", [0, *(net.constant(values, dtype="INT32") for values in (begin, end, strides))], shape, **masks)

    return build


def reduced(name: str, axes: list[int], shape: tuple[int, ...], *, keep: bool) -> Case:
    return lambda net: net.apply(name, [0, net.constant(axes, dtype="INT32")], shape, keepDims=keep)


def resized(size: tuple[int, int], **options: Any) -> Case:
    return lambda net: net.apply("RESIZE_BILINEAR", [0, net.constant(size, dtype="INT32")], (1, *size, 5), **options)


def joined(net: SmallTflite) -> int:
    constant = net.constant(normal(1, 7, 8, 2))
    return net.apply("CONCATENATION", [constant, 0, net.apply("NEG", [0], (1, 7, 8, 5))], (1, 7, 8, 12), axis=-1)


def dense(net: SmallTflite) -> int:
    weights = net.constant(normal(6, 280) / 17)
    return net.apply("FULLY_CONNECTED", [0, weights, net.constant(np.arange(6))], (1, 6), fusedActivationFunction=RELU6)


def dense_rows(net: SmallTflite) -> int:
    rows = net.apply("RESHAPE", [0, net.constant([1, 56, 5], dtype="INT32")], (1, 56, 5))
    return net.apply("FULLY_CONNECTED", [rows, net.constant(normal(6, 5)), net.constant(np.arange(6))], (1, 56, 6), keepNumDims=True)


def turned_pointwise(net: SmallTflite) -> int:
    """A 1x1 convolution along what a TRANSPOSE made the channels: the mixer's pattern."""
    tokens = net.apply("RESHAPE", [0, net.constant([1, 1, 56, 5], dtype="INT32")], (1, 1, 56, 5))
    turned = net.apply("TRANSPOSE", [tokens, net.constant([0, 1, 3, 2], dtype="INT32")], (1, 1, 5, 56))
    mixed = net.apply("CONV_2D", [turned, net.constant(normal(9, 1, 1, 56)), net.constant(np.arange(9))], (1, 1, 5, 9), **WINDOW)
    back = net.apply("TRANSPOSE", [mixed, net.constant([0, 1, 3, 2], dtype="INT32")], (1, 1, 9, 5))
    return net.apply("CONV_2D", [back, net.constant(normal(4, 1, 1, 5)), net.constant(np.arange(4))], (1, 1, 9, 4), **WINDOW, fusedActivationFunction=RELU)


CASES: dict[str, Case] = {
    "CONV_2D same": convolution((1, 7, 8, 4)),
    "CONV_2D same, stride 2": convolution((1, 4, 4, 4), strideH=2, strideW=2, fusedActivationFunction=RELU),
    "CONV_2D same, stride 3 by 2": convolution((1, 3, 4, 4), strideH=3, strideW=2, fusedActivationFunction=RELU6),
    "CONV_2D valid": convolution((1, 5, 6, 4), padding=VALID, fusedActivationFunction=RELU_N1_TO_1),
    "CONV_2D dilated": convolution((1, 7, 8, 4), dilationHFactor=2, dilationWFactor=3),
    "CONV_2D behind a PAD": padded_convolution,
    "CONV_2D behind a PAD of channels too": channels_padded_convolution,
    "CONV_2D along turned axes": turned_pointwise,
    "DEPTHWISE_CONV_2D two for each channel": depthwise,
    "MAX_POOL_2D same": lambda net: net.apply("MAX_POOL_2D", [0], (1, 4, 4, 5), **POOL, padding=SAME),
    "MAX_POOL_2D valid": lambda net: net.apply("MAX_POOL_2D", [0], (1, 3, 4, 5), **POOL, padding=VALID),
    "AVERAGE_POOL_2D same": lambda net: net.apply("AVERAGE_POOL_2D", [0], (1, 4, 4, 5), **POOL, padding=SAME),
    "FULLY_CONNECTED flattening": dense,
    "FULLY_CONNECTED row by row": dense_rows,
    "ADD": with_constant("ADD", normal(5), fusedActivationFunction=RELU),
    "SUB": with_constant("SUB", normal(1, 1, 8, 5)),
    "MUL": with_constant("MUL", normal(7, 1, 1)),
    "DIV": with_constant("DIV", np.float32(3.5)),
    "SQUARED_DIFFERENCE": with_constant("SQUARED_DIFFERENCE", normal(5)),
    "PRELU": with_constant("PRELU", np.abs(normal(1, 1, 5)) / 3),
    "PRELU a slope for each place": with_constant("PRELU", np.abs(normal(7, 8, 5)) / 3),
    "RELU": unary("RELU"),
    "RELU6": unary("RELU6"),
    "LEAKY_RELU": unary("LEAKY_RELU", alpha=0.3),
    "HARD_SWISH": unary("HARD_SWISH"),
    "LOGISTIC": unary("LOGISTIC"),
    "TANH": unary("TANH"),
    "NEG": unary("NEG"),
    "SQRT": on_positive("SQRT"),
    "RSQRT": on_positive("RSQRT"),
    "SOFTMAX": unary("SOFTMAX", beta=1.0),
    "SOFTMAX beta": unary("SOFTMAX", beta=0.25),
    "MEAN over a picture": reduced("MEAN", [1, 2], (1, 5), keep=False),
    "MEAN over channels": reduced("MEAN", [-1], (1, 7, 8, 1), keep=True),
    "MEAN over rows": reduced("MEAN", [1], (1, 8, 5), keep=False),
    "SUM": reduced("SUM", [2], (1, 7, 1, 5), keep=True),
    "RESHAPE": lambda net: net.apply("RESHAPE", [0, net.constant([1, 56, 5], dtype="INT32")], (1, 56, 5)),
    "TRANSPOSE": lambda net: net.apply("TRANSPOSE", [0, net.constant([0, 2, 3, 1], dtype="INT32")], (1, 8, 5, 7)),
    "PAD": lambda net: net.apply("PAD", [0, net.constant([[0, 0], [1, 0], [0, 2], [3, 1]], dtype="INT32")], (1, 8, 10, 9)),
    "CONCATENATION with a constant": joined,
    "STRIDED_SLICE": sliced([0, 1, 0, -3], [1, 6, 0, 5], [1, 2, 3, 1], (1, 3, 3, 3), endMask=0b0100),
    "STRIDED_SLICE dropping an axis": sliced([0, 0, 2, 0], [1, 0, 3, 0], [1, 1, 1, 1], (1, 7, 5), beginMask=0b1010, endMask=0b1010, shrinkAxisMask=0b0100),
    "RESIZE_BILINEAR half pixel": resized((14, 16), halfPixelCenters=True),
    "RESIZE_BILINEAR by a factor that float32 rounds down": resized((31, 16), halfPixelCenters=True),
    "RESIZE_BILINEAR aligned corners": resized((10, 9), alignCorners=True),
    "RESIZE_BILINEAR from the corner": resized((14, 24)),
    "DEPTH_TO_SPACE": lambda net: net.apply(
        "DEPTH_TO_SPACE", [net.apply("PAD", [0, net.constant([[0, 0], [0, 0], [0, 0], [0, 3]], dtype="INT32")], (1, 7, 8, 8))], (1, 14, 16, 2), blockSize=2
    ),
}
TRANSPOSES = {
    "RESHAPE": 1,
    "FULLY_CONNECTED flattening": 1,
    "FULLY_CONNECTED row by row": 1,
    "MEAN over rows": 1,
    "STRIDED_SLICE dropping an axis": 1,
    "TRANSPOSE": 1,
}


def convert(build: Case) -> tuple[bytes, onnx.ModelProto]:
    net = SmallTflite((1, 7, 8, 5))
    content = net.content(build(net))
    return content, onnx_from_tflite(content, name="small")


@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_litert_computes(case: str) -> None:
    content, model = convert(CASES[case])
    inputs = np.random.default_rng(1).normal(size=(3, 5, 7, 8)).astype(np.float32)
    check_parity(TfliteOriginal(content), model, {"tensor_0": inputs}, limit=1e-5, where=case)
    assert model.opset_import[0].version == 17
    assert model.ir_version == 8
    assert all(value.type.tensor_type.shape.dim[0].dim_param == "N" for value in (*model.graph.input, *model.graph.output))
    found = collections.Counter(node.op_type for node in model.graph.node)
    expected = TRANSPOSES.get(case, 2 if case == "CONV_2D along turned axes" else 0)
    assert found["Transpose"] == expected, dict(found)


def test_every_operator_of_the_table_is_tested() -> None:
    tested = {case.split()[0] for case in CASES}
    elsewhere = {"DENSIFY", "DEQUANTIZE", "QUANTIZE"}  # test_weights.py, test_full_integer.py
    assert tested | elsewhere == set(OPERATORS)
