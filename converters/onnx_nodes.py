"""The nodes and constants of an ONNX graph under construction, each with a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class OnnxNodes:
    """What the graph builders of the frameworks share.

    Attributes:
        prefix: What the names of the nodes and constants that follow begin with: the layer or operator that they stand for.
    """

    def __init__(self) -> None:
        self.prefix = ""
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._names: set[str] = set()

    def add(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        name = self.unique(op_type.lower())
        self._nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def reshape(self, name: str, sizes: Sequence[int]) -> str:
        """Append a Reshape that keeps dimension 0, the batch, and gives the others these sizes."""
        return self.add("Reshape", [name, self.initializer(np.array([0, *sizes], np.int64), "shape")])

    def initializer(self, array: NDArray[Any], role: str) -> str:
        """Add a constant and return its name."""
        name = self.unique(role)
        self._initializers[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def end(self, name: str, output: str) -> None:
        """Append the node that gives a value the name of a network output."""
        self._nodes.append(helper.make_node("Identity", [name], [output], name=f"output/{output}"))

    def reserve(self, name: str) -> None:
        """Keep a name, such as that of a network input, from being given to anything else."""
        self._names.add(name)

    def unique(self, role: str) -> str:
        """Return a name that nothing has yet."""
        name, count = f"{self.prefix}/{role}", 1
        while name in self._names:
            count += 1
            name = f"{self.prefix}/{role}.{count}"
        self._names.add(name)
        return name

    def needed(self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.GraphProto:
        """Return the graph with these inputs and outputs; what the outputs do not need is left out."""
        nodes, used = [], {output.name for output in outputs}
        for node in reversed(self._nodes):
            if used.intersection(node.output):
                nodes.append(node)
                used.update(node.input)
        return helper.make_graph(nodes[::-1], name, inputs, outputs, [tensor for key, tensor in self._initializers.items() if key in used])
