"""Builds an ONNX graph from Keras layers while keeping track of the axis order of every value.

Keras' pictures are NHWC; ONNX's are NCHW. Each value remembers in which order it holds the Keras axes, and a layer asks for the order it needs: a
Transpose appears only where two orders truly differ. A flattened picture stays as NCHW gives it; the value remembers where each column went, and the
weights of the next dense layer are permuted instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from converters.errors import ConversionError
from converters.onnx_nodes import OnnxNodes

Order = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """An ONNX value that stands for a Keras tensor.

    Attributes:
        name: Its name in the graph.
        shape: The tensor's shape as Keras has it, without the batch.
        order: The Keras axes (0 is the batch) in the order in which the ONNX value holds them.
        columns: For vectors whose elements are not where Keras has them: the Keras index of each element.
    """

    name: str
    shape: tuple[int, ...]
    order: Order
    columns: NDArray[np.int64] | None = None

    @property
    def rank(self) -> int:
        """Number of axes, the batch included."""
        return len(self.shape) + 1

    @property
    def held_shape(self) -> tuple[int, ...]:
        """Shape of the ONNX value without the batch."""
        return tuple(self.shape[axis - 1] for axis in self.order[1:])

    def position(self, axis: int) -> int:
        """Return where the ONNX value holds a Keras axis."""
        return self.order.index(axis % self.rank)


@dataclass(frozen=True)
class Call:
    """One use of a layer.

    Attributes:
        layer: The Keras layer or operation.
        where: Its name, behind the names of the models that hold it.
        inputs: What it is called on.
        shape: Shape of its output as Keras has it, without the batch.
    """

    layer: Any
    where: str
    inputs: tuple[Value, ...]
    shape: tuple[int, ...]

    @property
    def value(self) -> Value:
        """The first input."""
        return self.inputs[0]

    def picture_order(self) -> Order:
        """Return the order that has the channels behind the batch."""
        return natural(self.value.rank) if getattr(self.layer, "data_format", "") == "channels_first" else channels_first(self.value.rank)

    def refuse(self, problem: str, *, hint: str = "") -> ConversionError:
        """Return an error that names the layer, its class and where it stands."""
        return ConversionError(f"layer '{self.where}' ({type(self.layer).__name__}): {problem}", hint=hint)


def natural(rank: int) -> Order:
    """Return Keras' own order."""
    return tuple(range(rank))


def channels_first(rank: int) -> Order:
    """Return the order that moves Keras' last axis behind the batch."""
    return (0, rank - 1, *range(1, rank - 1))


class LayerGraph(OnnxNodes):
    """The graph under construction."""

    def __init__(self) -> None:
        super().__init__()
        self._reordered: dict[tuple[str, Order], str] = {}

    def held(self, value: Value, order: Order) -> str:
        """Return the name of a value that holds the tensor in the wanted order and its columns where Keras has them."""
        if value.columns is not None:
            value = self._columns_in_place(value)
        if value.order == order:
            return value.name
        if (value.name, order) not in self._reordered:
            sizes = [value.shape[axis - 1] for axis in order[1:]]
            if _moves(value, order):
                name = self.add("Transpose", [value.name], perm=[value.order.index(axis) for axis in order])
            else:
                name = self.reshape(value.name, sizes)
            self._reordered[value.name, order] = name
        return self._reordered[value.name, order]

    def like(self, value: Value, constant: NDArray[Any], role: str) -> str:
        """Add a constant that broadcasts against a value; its last axes are the value's last axes as Keras has them."""
        whole = np.asarray(constant, np.float32).reshape((1,) * (value.rank - np.ndim(constant)) + np.shape(constant)).transpose(value.order)
        if value.columns is not None and whole.shape[1] > 1:
            whole = whole[:, value.columns]
        return self.initializer(whole, role)

    def scalar(self, number: float) -> str:
        """Add a number."""
        return self.initializer(np.array(number, np.float32), "number")

    def integers(self, numbers: Sequence[int], role: str) -> str:
        """Add a list of integers."""
        return self.initializer(np.array(numbers, np.int64), role)

    def add_input(self, name: str, shape: tuple[int, ...], order: Order) -> tuple[Value, onnx.ValueInfoProto]:
        """Declare a network input, the batch free."""
        self.reserve(name)
        value = Value(name, shape, order)
        return value, helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *value.held_shape])

    def add_output(self, name: str, value: Value, order: Order) -> onnx.ValueInfoProto:
        """Declare a network output, the batch free."""
        self.prefix = "output"
        self.end(self.held(value, order), name)
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *replace(value, order=order).held_shape])

    def _columns_in_place(self, value: Value) -> Value:
        assert value.columns is not None
        index = self.integers(np.argsort(value.columns).tolist(), "columns")
        return Value(self.add("Gather", [value.name, index], axis=1), value.shape, value.order)


def reshaped(graph: LayerGraph, call: Call) -> Value:
    """Give a value the shape of the call's output; nothing moves where only the axes in front of the channels change."""
    value, shape = call.value, call.shape
    if math.prod(shape) != math.prod(value.shape):
        raise call.refuse(f"cannot reshape {list(value.shape)} to {list(shape)}")
    order = channels_first(len(shape) + 1)
    if value.columns is None and value.order == channels_first(value.rank) and value.shape and value.shape[-1] == shape[-1]:
        return Value(graph.reshape(value.name, [shape[axis - 1] for axis in order[1:]]), shape, order)
    return Value(graph.reshape(graph.held(value, natural(value.rank)), shape), shape, natural(len(shape) + 1))


def flattened(graph: LayerGraph, call: Call) -> Value:
    """Flatten a value as it is held, and remember which column is where."""
    value = call.value
    if value.rank == 2:
        return value
    axes = natural(value.rank)
    if getattr(call.layer, "data_format", "") == "channels_first":  # Keras flattens those as if the channels were last
        axes = (0, *axes[2:], 1)
    numbers = np.arange(math.prod(value.shape)).reshape([value.shape[axis - 1] for axis in axes[1:]])
    columns = numbers.transpose([axes.index(axis) - 1 for axis in value.order[1:]]).reshape(-1)
    in_place = bool((np.diff(columns) == 1).all())
    return Value(graph.reshape(value.name, [len(columns)]), call.shape, (0, 1), None if in_place else columns)


def _moves(value: Value, order: Order) -> bool:
    return [axis for axis in value.order[1:] if value.shape[axis - 1] != 1] != [axis for axis in order[1:] if value.shape[axis - 1] != 1]
