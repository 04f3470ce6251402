"""Reads a TFLite flatbuffer into plain tensors and operators, constants decoded, and refuses what no converter here understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.errors import ConversionError

Array = NDArray[Any]

_DTYPES: Mapping[str, type[np.generic]] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATORS = _names(schema.BuiltinOperator)
_TENSOR_TYPES = _names(schema.TensorType)
_DENSE, _SPARSE = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero_point).

    Attributes:
        scale: float32[1], or float32[C] along `axis`.
        zero_point: int64, as long as `scale`.
        axis: TFLite axis of the C scales.
    """

    scale: Array
    zero_point: Array
    axis: int

    @property
    def per_channel(self) -> bool:
        """More than one scale."""
        return len(self.scale) > 1


@dataclass(frozen=True)
class Tensor:
    """One tensor.

    Attributes:
        index: Its number in the file.
        name: Its name in the file.
        shape: Static shape in TFLite's axis order (pictures are NHWC).
        dtype: TFLite's name of the stored type, such as `INT8`.
        data: Stored values of a constant, dense, in `shape`; None for activations.
        quantization: How stored integers map to real numbers; None where they do not.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    data: Array | None
    quantization: Quantization | None

    @property
    def quantized(self) -> bool:
        """Stored as 8-bit integers that stand for real numbers."""
        return self.quantization is not None and self.dtype in ("INT8", "UINT8")

    def real(self) -> Array:
        """Return a constant's real values: float32 for floats and quantised integers, the stored integers otherwise."""
        assert self.data is not None
        if self.quantization is not None and self.dtype in ("INT8", "UINT8", "INT32"):
            spread = [1] * self.data.ndim
            if self.quantization.per_channel:
                spread[self.quantization.axis] = -1
            scale, zero = self.quantization.scale.reshape(spread or -1), self.quantization.zero_point.reshape(spread or -1)
            return ((self.data.astype(np.float64) - zero) * scale).astype(np.float32).reshape(self.shape)
        return self.data.astype(np.float32) if self.dtype in ("FLOAT16", "FLOAT32") else self.data


@dataclass(frozen=True)
class Operator:
    """One operator: TFLite's name of it, tensor numbers (-1 for an absent optional input), and options under the schema's names."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def refuse(self, problem: str, *, hint: str = "") -> ConversionError:
        """Return the error that names this operator and its first output."""
        return ConversionError(f"operator {self.index} ({self.name}, output tensor {self.outputs[0]}): {problem}", hint=hint)


@dataclass(frozen=True)
class TfliteModel:
    """One graph."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(content: bytes) -> TfliteModel:
    """Read a TFLite file.

    Args:
        content: The file's bytes.

    Returns:
        Its one graph, with sparse constants made dense.

    Raises:
        ConversionError: It is no TFLite file, or it holds a custom operator, several subgraphs, a dynamic shape other than the batch, or a
            quantisation or storage type that this converter does not know. The message names the operator or tensor.

    Source: tensorflow/lite/schema/schema.fbs (the format), as generated into `ai_edge_litert.schema_py_generated`.
    """
    if content[4:8] != b"TFL3":
        raise ConversionError(
            f"expected a TFLite file (identifier TFL3 at byte 4), got {content[4:8]!r}", hint="is it the file inside an archive, such as a .task?"
        )
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    if len(model.subgraphs) != 1:
        raise ConversionError(f"expected one subgraph, got {len(model.subgraphs)}: control flow is not supported", hint="convert the inference signature alone")
    graph = model.subgraphs[0]
    return TfliteModel(
        tensors=tuple(_tensor(index, tensor, model.buffers) for index, tensor in enumerate(graph.tensors)),
        operators=tuple(_operator(index, operator, model.operatorCodes) for index, operator in enumerate(graph.operators)),
        inputs=tuple(int(index) for index in graph.inputs),
        outputs=tuple(int(index) for index in graph.outputs),
    )


def _operator(index: int, operator: Any, codes: Any) -> Operator:
    code = codes[operator.opcodeIndex]
    # Files made before builtin_code existed carry only the deprecated byte; newer ones carry both.
    name = _OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "?")
    outputs = tuple(int(output) for output in operator.outputs)
    if name == "CUSTOM":
        name = f"custom operator '{(code.customCode or b'').decode(errors='replace')}'"
        raise ConversionError(
            f"operator {index} ({name}, output tensor {outputs[0]}) has no ONNX counterpart here", hint="export the network without custom operators"
        )
    options = {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))
    return Operator(index=index, name=name, inputs=tuple(int(number) for number in operator.inputs), outputs=outputs, options=options)


def _tensor(index: int, tensor: Any, buffers: Any) -> Tensor:
    name = (tensor.name or b"").decode(errors="replace")
    where = f"tensor {index} ('{name}')"
    shape = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
    signature = shape if tensor.shapeSignature is None else tuple(int(size) for size in tensor.shapeSignature)
    if any(size < 0 for size in signature[1:]) or any(size < 1 for size in shape):
        raise ConversionError(f"{where} has the shape {list(signature)}: only the batch, dimension 0, may be dynamic", hint="export it with a fixed size")
    dtype = _TENSOR_TYPES.get(tensor.type, str(tensor.type))
    if dtype not in _DTYPES:
        raise ConversionError(f"{where} is stored as {dtype}; supported are {', '.join(_DTYPES)}", hint="export it with float32, float16 or 8-bit weights")
    if tensor.isVariable:
        raise ConversionError(f"{where} is a variable: networks with a state of their own are not supported")
    buffer = buffers[tensor.buffer]
    if buffer.offset > 1:
        raise ConversionError(f"{where} lies outside the flatbuffer (files over 2 GB), which is not supported")
    data = None
    if buffer.data is not None and len(buffer.data):
        stored = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), _DTYPES[dtype])
        data = stored.reshape(shape) if tensor.sparsity is None else _dense(stored, shape, tensor.sparsity, where)
    return Tensor(index=index, name=name, shape=shape, dtype=dtype, data=data, quantization=_quantization(tensor.quantization, shape, where))


def _quantization(quantization: Any, shape: tuple[int, ...], where: str) -> Quantization | None:
    if quantization is None:
        return None
    if quantization.detailsType != schema.QuantizationDetails.NONE:
        raise ConversionError(f"{where} has a quantisation of kind {quantization.detailsType}; only scale and zero point are known")
    if quantization.scale is None or not len(quantization.scale):
        return None
    scale = np.asarray(quantization.scale, np.float32)
    zero = np.zeros(len(scale), np.int64) if quantization.zeroPoint is None else np.asarray(quantization.zeroPoint, np.int64)
    axis = int(quantization.quantizedDimension)
    fits = len(scale) == 1 or (axis < len(shape) and shape[axis] == len(scale))
    if not fits or len(zero) != len(scale) or not np.all(scale > 0):
        raise ConversionError(
            f"{where} of shape {list(shape)} has {len(scale)} scales and {len(zero)} zero points along axis {axis}:"
            " expected one of each, or one for each channel, and every scale above 0"
        )
    return Quantization(scale=scale, zero_point=zero, axis=axis)


def _dense(stored: Array, shape: tuple[int, ...], sparsity: Any, where: str) -> Array:
    """TACO's format: dimensions in traversal order, the blocks' inner dimensions behind the outer ones, each dense or compressed."""
    order = [int(axis) for axis in sparsity.traversalOrder]
    blocked = [] if sparsity.blockMap is None else [int(axis) for axis in sparsity.blockMap]
    sizes = list(shape) + [1] * len(blocked)
    for level, axis in enumerate(order):
        if axis >= len(shape):
            sizes[axis] = int(sparsity.dimMetadata[level].denseSize)
            sizes[blocked[axis - len(shape)]] //= sizes[axis]
    positions: Array = np.zeros((1, len(sizes)), np.int64)  # one row for each stored value, level by level
    parents: Array = np.zeros(1, np.int64)
    for level, axis in enumerate(order):
        metadata = sparsity.dimMetadata[level]
        if metadata.format == _DENSE:
            repeats = np.full(len(parents), sizes[axis])
            coordinates = np.tile(np.arange(sizes[axis]), len(parents))
            parents = np.repeat(parents * sizes[axis], sizes[axis]) + coordinates
        elif metadata.format == _SPARSE:
            segments, indices = np.asarray(metadata.arraySegments.values, np.int64), np.asarray(metadata.arrayIndices.values, np.int64)
            starts, ends = segments[parents], segments[parents + 1]
            repeats = ends - starts
            parents = np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)]) if len(starts) else starts
            coordinates = indices[parents]
        else:
            raise ConversionError(f"{where} is sparse in an unknown format {metadata.format} along axis {axis}")
        positions = np.repeat(positions, repeats, axis=0)
        positions[:, axis] = coordinates
    if len(positions) != len(stored):
        raise ConversionError(f"{where} is sparse: its index names {len(positions)} values, but {len(stored)} are stored")
    for inner, axis in enumerate(blocked):
        positions[:, axis] = positions[:, axis] * sizes[len(shape) + inner] + positions[:, len(shape) + inner]
    dense = np.zeros(shape, stored.dtype)
    dense[tuple(positions[:, : len(shape)].T)] = stored
    return dense
