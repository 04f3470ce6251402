"""Written-out layer normalisation becomes one node, and nothing else does."""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np
import pytest

from converters.from_tflite.litert_run import TfliteOriginal
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.parity import check_parity
from tests.converters.small_tflite import SmallTflite

SHAPE, COLUMN = (1, 1, 9, 16), (1, 1, 9, 1)


def network(*, axis: int = 3, read_twice: bool = False, other_shift: bool = False) -> bytes:
    net = SmallTflite(SHAPE)
    tokens = net.apply("RESHAPE", [0, net.constant(SHAPE, dtype="INT32")], SHAPE)
    reduced = COLUMN if axis == 3 else (1, 1, 1, 16)
    mean = net.apply("MEAN", [tokens, net.constant([axis], dtype="INT32")], reduced, keepDims=True)
    negated = net.apply("NEG", [mean], reduced)
    squares = net.apply("SQUARED_DIFFERENCE", [tokens, mean], SHAPE)
    variance = net.apply("MEAN", [squares, net.constant([axis], dtype="INT32")], reduced, keepDims=True)
    inverse = net.apply("RSQRT", [net.apply("ADD", [variance, net.constant(np.float32(1e-3))], reduced)], reduced)
    scale = net.apply("MUL", [inverse, net.constant(np.linspace(0.5, 2, 16))], SHAPE)
    scaled = net.apply("MUL", [tokens, scale], SHAPE)
    shift = net.apply("MUL", [inverse if other_shift else negated, scale], SHAPE)
    total = net.apply("ADD", [scaled, shift], SHAPE)
    return net.content(net.apply("MUL", [total, scale], SHAPE) if read_twice else total)


@pytest.mark.parametrize(
    ("make", "fused"),
    [
        (network, 1),
        (lambda: network(axis=2), 0),
        (lambda: network(read_twice=True), 0),
        (lambda: network(other_shift=True), 0),
    ],
    ids=["layer norm", "along another axis", "a step is read elsewhere", "another shift"],
)
def test_only_layer_norms_are_fused(make: Callable[[], bytes], fused: int) -> None:
    content = make()
    model = onnx_from_tflite(content, name="norm")
    assert collections.Counter(node.op_type for node in model.graph.node)["LayerNormalization"] == fused
    inputs = np.random.default_rng(0).normal(size=(3, 16, 1, 9)).astype(np.float32)
    check_parity(TfliteOriginal(content), model, {"tensor_0": inputs}, limit=1e-5, where="norm")
