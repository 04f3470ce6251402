"""TFLite networks of a few operators, made from the schema itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.from_tflite.float_weights import tflite_bytes

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6, TANH = 0, 1, 2, 3, 4

_DTYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32}
_OPTIONS = {
    "ADD": "Add",
    "AVERAGE_POOL_2D": "Pool2D",
    "CONCATENATION": "Concatenation",
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "DEPTH_TO_SPACE": "DepthToSpace",
    "DIV": "Div",
    "FULLY_CONNECTED": "FullyConnected",
    "LEAKY_RELU": "LeakyRelu",
    "MAX_POOL_2D": "Pool2D",
    "MEAN": "Reducer",
    "MUL": "Mul",
    "RESHAPE": "Reshape",
    "RESIZE_BILINEAR": "ResizeBilinear",
    "SOFTMAX": "Softmax",
    "STRIDED_SLICE": "StridedSlice",
    "SUB": "Sub",
    "SUM": "Reducer",
}


@dataclass(frozen=True)
class Grid:
    """real = scale * (stored - zero); one scale, or one for each index along `axis`."""

    scale: float | tuple[float, ...]
    zero: int = 0
    axis: int = 0


class SmallTflite:
    """Tensors and operators in the order in which they are added; the first tensor is the input, the last operator's output the output."""

    def __init__(self, shape: tuple[int, ...], *, dtype: str = "FLOAT32", grid: Grid | None = None) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, "small"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.tensor(shape, dtype=dtype, grid=grid)

    def tensor(self, shape: tuple[int, ...], *, dtype: str = "FLOAT32", grid: Grid | None = None) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), getattr(schema.TensorType, dtype), 0
        tensor.name = f"tensor_{len(self.graph.tensors)}".encode()
        if grid is not None:
            scales = grid.scale if isinstance(grid.scale, tuple) else (grid.scale,)
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), [grid.zero] * len(scales)
            tensor.quantization.quantizedDimension = grid.axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: Any, *, dtype: str = "FLOAT32", grid: Grid | None = None) -> int:
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(values, _DTYPES[dtype]))
        index = self.tensor(array.shape, dtype=dtype, grid=grid)
        self.model.buffers.append(schema.BufferT())
        self.model.buffers[-1].data = np.frombuffer(array.tobytes(), np.uint8)
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        return index

    def apply(self, name: str, inputs: list[int], shape: tuple[int, ...], *, dtype: str = "FLOAT32", grid: Grid | None = None, **options: Any) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        output = self.tensor(shape, dtype=dtype, grid=grid)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes) - 1, inputs, [output]
        if name in _OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{_OPTIONS[name]}Options")
            operator.builtinOptions = getattr(schema, f"{_OPTIONS[name]}OptionsT")()
            for option, value in options.items():
                assert hasattr(operator.builtinOptions, option), option
                setattr(operator.builtinOptions, option, value)
        self.graph.operators.append(operator)
        return output

    def content(self, *outputs: int) -> bytes:
        self.graph.inputs = [0]
        self.graph.outputs = list(outputs) or [len(self.graph.tensors) - 1]
        return tflite_bytes(self.model)
