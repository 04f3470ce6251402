"""Builds an ONNX graph from TFLite tensors while keeping track of the axis order of every value.

TFLite's pictures are NHWC; ONNX's are NCHW. Each value remembers in which order it holds the TFLite axes, and an operator asks for the order it
needs: a Transpose appears only where two orders truly differ, and where they differ only in axes of size 1 a Reshape does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from converters.errors import ConversionError
from converters.from_tflite.tflite_model import Array, Operator, Quantization, Tensor, TfliteModel
from converters.onnx_nodes import OnnxNodes

Order = tuple[int, ...]

NCHW: Order = (0, 3, 1, 2)
DROPPED_BATCH = -1  # in an order: the batch axis that a TFLite slice removed and ONNX keeps

_DONT_MATTER = frozenset(
    {
        "newShape",  # the output tensor has a shape of its own
        "potScaleInt16",  # 16-bit activations only
        "asymmetricQuantizeInputs",  # how LiteRT rounds activations at run time in front of 8-bit weights
    }
)


@dataclass(frozen=True)
class Value:
    """An ONNX value that stands for a TFLite tensor, and the TFLite axes in its order."""

    name: str
    order: Order


class GraphBuilder(OnnxNodes):
    """The graph under construction; one operator of the source at a time."""

    def __init__(self, model: TfliteModel) -> None:
        super().__init__()
        self.model = model
        self.producers = {output: operator for operator in model.operators for output in operator.outputs}
        self._constants: dict[int, Array] = {tensor.index: tensor.real() for tensor in model.tensors if tensor.data is not None}
        self._values: dict[int, Value] = {}
        self._reordered: dict[tuple[int, Order], str] = {}
        self._taken: set[str] = set()

    # What the operator functions ask

    def tensor(self, index: int) -> Tensor:
        """Return a tensor of the source."""
        return self.model.tensors[index]

    def shape(self, index: int) -> tuple[int, ...]:
        """Return a tensor's shape in TFLite's axis order."""
        return self.model.tensors[index].shape

    def is_constant(self, index: int) -> bool:
        """Return whether the value is known at conversion time."""
        return index in self._constants

    def constant(self, operator: Operator, index: int) -> Array:
        """Return a constant's real values in TFLite's axis order.

        Raises:
            ConversionError: It is computed at run time.
        """
        if index not in self._constants:
            raise operator.refuse(f"tensor {index} must be a constant, but it is computed by the network")
        return self._constants[index]

    def option(self, operator: Operator, name: str) -> Any:
        """Return an option of the operator and note that it is honoured."""
        self._taken.add(name)
        return operator.options[name]

    def order(self, index: int) -> Order:
        """Return the order in which an activation currently holds its axes."""
        return self._values[index].order

    def moves(self, index: int, order: Order) -> bool:
        """Return whether bringing an activation to this order moves data, and not only axes of size 1."""
        shape = self.shape(index)
        return [axis for axis in self._values[index].order if shape[axis] != 1] != [axis for axis in order if shape[axis] != 1]

    def value(self, operator: Operator, index: int, order: Order) -> str:
        """Return the name of a value that holds the tensor in the wanted order, reordering it once where necessary.

        Raises:
            ConversionError: The tensor has lost its batch axis, or is not there yet.
        """
        if index in self._constants:
            return self._constant_value(index, order)
        if index not in self._values:
            raise operator.refuse(f"tensor {index} is used before anything computes it")
        current = self._values[index]
        if current.order == order:
            return current.name
        if DROPPED_BATCH in (current.order[0], order[0]):
            raise operator.refuse(f"tensor {index} has lost its batch axis; only the network's output may")
        if (index, order) not in self._reordered:
            if self.moves(index, order):
                name = self.add("Transpose", [current.name], perm=[current.order.index(axis) for axis in order])
            else:
                name = self.reshape(current.name, [self.shape(index)[axis] for axis in order[1:]])
            self._reordered[index, order] = name
        return self._reordered[index, order]

    def weight(self, operator: Operator, index: int, order: Order, *, quantized: bool) -> str:
        """Return the name of a constant weight in the wanted order; axes that `order` leaves out have size 1 and vanish.

        Args:
            operator: The operator whose weight it is.
            index: Tensor number.
            order: TFLite axes in ONNX order.
            quantized: Keep 8-bit weights as they are stored, behind a DequantizeLinear, as the activations beside them are.

        Raises:
            ConversionError: It is not a constant.
        """
        tensor = self.tensor(index)
        real = self.constant(operator, index)
        if not (quantized and tensor.quantized):
            return self.initializer(_arranged(real, order), "weight")
        assert tensor.data is not None
        assert tensor.quantization is not None
        stored = self.initializer(_arranged(tensor.data, order), "weight")
        scale, zero = self._grid(tensor.quantization, tensor.data.dtype)
        if not tensor.quantization.per_channel:
            return self.add("DequantizeLinear", [stored, scale, zero])
        return self.add("DequantizeLinear", [stored, scale, zero], axis=order.index(tensor.quantization.axis))

    # What the operator functions do

    def set(self, operator: Operator, name: str, order: Order) -> None:
        """Say that a value is the operator's output; a quantised output is rounded to its grid here.

        Raises:
            ConversionError: Dimension 0 is not the batch any more, or activations have a scale per channel.
        """
        index = operator.outputs[0]
        tensor = self.tensor(index)
        if order[0] == 0 and tensor.shape[0] != 1:
            raise operator.refuse(f"the output has shape {list(tensor.shape)}: it mixes the batch, dimension 0, with other axes")
        if tensor.quantized:
            assert tensor.quantization is not None
            if tensor.quantization.per_channel:
                raise operator.refuse("activations with a scale for each channel are not supported")
            grid = self._grid(tensor.quantization, np.dtype(np.int8 if tensor.dtype == "INT8" else np.uint8))
            name = self.add("DequantizeLinear", [self.add("QuantizeLinear", [name, *grid]), *grid])
        self._values[index] = Value(name, order)

    def set_constant(self, operator: Operator, array: Array) -> None:
        """Say that the operator's output is known at conversion time."""
        self._constants[operator.outputs[0]] = array

    def pass_on(self, operator: Operator) -> None:
        """Say that the operator's output is its first input, unchanged."""
        self._values[operator.outputs[0]] = self._values[operator.inputs[0]]

    # The frame around them

    def add_input(self, index: int) -> None:
        """Declare a network input: pictures NCHW, anything else as it is, the batch free."""
        tensor = self.tensor(index)
        order = NCHW if len(tensor.shape) == 4 else tuple(range(len(tensor.shape)))
        self.reserve(tensor.name)
        self.set(Operator(index=-1, name="INPUT", inputs=(), outputs=(index,)), tensor.name, order)

    @contextmanager
    def converting(self, operator: Operator) -> Iterator[None]:
        """Name what is added after the operator, and refuse options that its function did not honour.

        Raises:
            ConversionError: An option differs from its default and nothing read it.
        """
        self.prefix, self._taken = f"{operator.name.lower()}_{operator.index}", set()
        yield
        for name, value in operator.options.items():
            if name not in self._taken | _DONT_MATTER and value is not None and np.any(value):
                raise operator.refuse(f"option {name}={value} is not supported")

    def finish(self, *, name: str, outputs: Sequence[int]) -> onnx.GraphProto:
        """Return the graph with these tensors as outputs, under the source's names; what they do not need is left out.

        Raises:
            ConversionError: An output does not depend on the inputs.
        """
        inputs = [self._info(self.tensor(index), self.order_of_input(index)) for index in self.model.inputs]
        self.prefix = "output"
        described = [self._output(index) for index in outputs]
        return self.needed(name, inputs, described)

    def order_of_input(self, index: int) -> Order:
        """Return the axis order of a network input."""
        return NCHW if len(self.shape(index)) == 4 else tuple(range(len(self.shape(index))))

    def _output(self, index: int) -> onnx.ValueInfoProto:
        tensor = self.tensor(index)
        if index not in self._values:
            raise ConversionError(f"output tensor {index} ('{tensor.name}') does not depend on the network's input")
        value = self._values[index]
        where = Operator(index=-1, name="OUTPUT", inputs=(index,), outputs=(index,))
        if value.order[0] == DROPPED_BATCH:
            name, sizes = value.name, [tensor.shape[axis] for axis in value.order[1:]]
        elif len(tensor.shape) == 4 and tensor.shape[1:3] == (1, 1):  # one vector for each picture
            sizes = [tensor.shape[3]]
            name = self.reshape(value.name, sizes)
        else:
            order = self.order_of_input(index)
            name, sizes = self.value(where, index, order), [tensor.shape[axis] for axis in order[1:]]
        self.end(name, tensor.name)
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, ["N", *sizes])

    def _info(self, tensor: Tensor, order: Order) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, ["N", *(tensor.shape[axis] for axis in order[1:])])

    def _constant_value(self, index: int, order: Order) -> str:
        if (index, order) not in self._reordered:
            self._reordered[index, order] = self.initializer(_arranged(self._constants[index], order), "constant")
        return self._reordered[index, order]

    def _grid(self, quantization: Quantization, dtype: np.dtype[Any]) -> tuple[str, str]:
        scale, zero = quantization.scale, quantization.zero_point.astype(dtype)
        if not quantization.per_channel:
            scale, zero = scale.reshape(()), zero.reshape(())
        return self.initializer(scale, "scale"), self.initializer(zero, "zero_point")


def _arranged(array: Array, order: Order) -> Array:
    """Permute axes, dropping those of size 1 that `order` leaves out, and prepending axes of size 1 where it has more than the array."""
    full = array.reshape((1,) * (max(order, default=0) + 1 - array.ndim) + array.shape)
    left_out = tuple(axis for axis in range(full.ndim) if axis not in order)
    assert all(full.shape[axis] == 1 for axis in left_out)
    return full.transpose(*order, *left_out).reshape([full.shape[axis] for axis in order])
