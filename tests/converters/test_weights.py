"""How weights are stored: half precision, sparse, 8 bits in front of float activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError
from converters.from_tflite.float_weights import with_float_weights
from converters.from_tflite.litert_run import TfliteOriginal
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.original import Array
from converters.parity import check_parity
from tests.converters.small_tflite import Grid, SmallTflite

MATRIX = np.array([[0, 0, 0, 0, 1, 2, 3, 4], [0, 0, 0, 0, 0, 0, 0, 0], [5, 6, 7, 8, 0, 0, 0, 0], [9, 10, 11, 12, 13, 14, 15, 16]], np.float32)


def inputs(*shape: int) -> Array:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def level(size: int = 0, *, segments: list[int] | None = None, indices: list[int] | None = None) -> Any:
    metadata = schema.DimensionMetadataT()
    metadata.format, metadata.denseSize = schema.DimensionType.DENSE, size
    if segments is not None and indices is not None:
        metadata.format = schema.DimensionType.SPARSE_CSR
        metadata.arraySegmentsType = metadata.arrayIndicesType = schema.SparseIndexVector.Uint8Vector
        metadata.arraySegments, metadata.arrayIndices = schema.Uint8VectorT(), schema.Uint8VectorT()
        metadata.arraySegments.values, metadata.arrayIndices.values = segments, indices
    return metadata


def sparse_network(stored: list[float], levels: list[Any], order: list[int], blocks: list[int], dtype: str = "FLOAT32") -> SmallTflite:
    net = SmallTflite((1, 4, 8))
    weights = net.constant(stored, dtype=dtype)
    net.graph.tensors[weights].shape = [4, 8]
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap, sparsity.dimMetadata = order, blocks, levels
    net.graph.tensors[weights].sparsity = sparsity
    weights = net.apply("DENSIFY", [weights], (4, 8), dtype=dtype)
    if dtype == "FLOAT16":
        weights = net.apply("DEQUANTIZE", [weights], (4, 8))
    net.apply("ADD", [0, weights], (1, 4, 8))
    return net


def rows(dtype: str = "FLOAT32") -> SmallTflite:
    segments, indices = [0, 4, 4, 8, 16], [4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7]
    return sparse_network(MATRIX[MATRIX != 0].tolist(), [level(4), level(segments=segments, indices=indices)], [0, 1], [], dtype)


def columns() -> SmallTflite:
    stored, segments, indices = [], [0], []
    for column in MATRIX.T:
        (nonzero,) = np.nonzero(column)
        stored += column[nonzero].tolist()
        indices += nonzero.tolist()
        segments.append(len(stored))
    return sparse_network(stored, [level(8), level(segments=segments, indices=indices)], [1, 0], [])


def blocks_of_four() -> SmallTflite:
    levels = [level(4), level(segments=[0, 1, 1, 2, 4], indices=[1, 0, 0, 1]), level(4)]
    return sparse_network(MATRIX[MATRIX != 0].tolist(), levels, [0, 1, 2], [1])


@pytest.mark.parametrize("net", [rows(), rows("FLOAT16"), columns(), blocks_of_four()], ids=["rows", "half precision", "columns", "blocks"])
def test_sparse_weights_are_what_litert_makes_of_them(net: SmallTflite) -> None:
    content = net.content()
    model = onnx_from_tflite(content, name="sparse")
    check_parity(TfliteOriginal(content), model, {"tensor_0": inputs(3, 4, 8)}, limit=1e-6, where="sparse")
    (weights,) = model.graph.initializer
    np.testing.assert_array_equal(np.frombuffer(weights.raw_data, np.float32).reshape(4, 8), MATRIX)


def test_an_index_that_does_not_fit_the_stored_values_is_refused() -> None:
    net = sparse_network(MATRIX[MATRIX != 0].tolist()[:-1], [level(4), level(segments=[0, 0, 0, 0, 2], indices=[0, 1])], [0, 1], [])
    with pytest.raises(ConversionError, match=r"tensor 1 \('tensor_1'\) is sparse: its index names 2 values, but 15 are stored"):
        onnx_from_tflite(net.content(), name="sparse")


def test_an_unknown_sparse_format_is_refused() -> None:
    levels = [level(4), level(8)]
    levels[1].format = 7
    with pytest.raises(ConversionError, match="sparse in an unknown format 7 along axis 1"):
        onnx_from_tflite(sparse_network([1.0], levels, [0, 1], []).content(), name="sparse")


def hybrid() -> bytes:
    """Enough weights that rounding the activations shows, as LiteRT's kernels do in front of 8-bit weights."""
    net = SmallTflite((1, 6, 6, 8))
    stored = np.random.default_rng(4).integers(-127, 128, size=(16, 3, 3, 8))
    weights = net.constant(stored, dtype="INT8", grid=Grid(tuple((0.001 + 0.0002 * np.arange(16)).tolist())))
    bias = net.constant(np.linspace(-1, 1, 16))
    window: dict[str, Any] = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    return net.content(net.apply("CONV_2D", [0, weights, bias], (1, 6, 6, 16), **window))


def test_8_bit_weights_of_a_float_network_become_the_floats_they_stand_for() -> None:
    content = hybrid()
    model = onnx_from_tflite(content, name="hybrid")
    assert [node.op_type for node in model.graph.node] == ["Conv", "Identity"]
    values = {"tensor_0": inputs(4, 8, 6, 6)}
    exact = check_parity(TfliteOriginal(with_float_weights(content)), model, values, limit=1e-5, where="hybrid").outputs[0]
    rounded = check_parity(TfliteOriginal(content), model, values, limit=0.1, where="hybrid").outputs[0]
    assert rounded.max_error > 100 * exact.max_error  # LiteRT's rounding of the activations, not the converter's doing


def test_networks_without_8_bit_weights_are_left_alone() -> None:
    content = rows().content()
    assert with_float_weights(content) is content
