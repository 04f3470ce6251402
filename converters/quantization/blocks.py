"""The parts of a network that quantisation is switched off for, one after the other, to see what each costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import onnx

from converters.quantization.placement import quantisable

# Where branches run side by side for longer than this, or for most of the network, there is no block to speak of, and every layer is a part of its own.
_MOST_LAYERS = 10


class Block(msgspec.Struct, frozen=True):
    """Nodes that go to INT8, or back, together.

    Attributes:
        name: The first of its layers that can be quantised.
        nodes: Names of its nodes, in graph order.
    """

    name: str
    nodes: tuple[str, ...]


def blocks(model: onnx.ModelProto) -> list[Block]:
    """Return the parts of a network between the places where all its paths meet, in graph order: residual blocks, inception blocks, single layers.

    Args:
        model: A prepared model, see `prepared`.

    Returns:
        Only parts with a layer that can be quantised; none where the network has no such layer.
    """
    layers = set(quantisable(model))
    found = []
    for part in _parts(model):
        n_layers = sum(node.name in layers for node in part)
        if n_layers > min(_MOST_LAYERS, max(1, len(layers) // 2)):
            found += [Block(node.name, (node.name,)) for node in part if node.name in layers]
        elif n_layers:
            found.append(Block(next(node.name for node in part if node.name in layers), tuple(node.name for node in part)))
    return found


def _parts(model: onnx.ModelProto) -> Iterator[list[onnx.NodeProto]]:
    """Cut the list of nodes wherever one tensor alone carries everything that comes after."""
    constants = {tensor.name for tensor in model.graph.initializer}
    readings = Counter(name for node in model.graph.node for name in node.input if name and name not in constants)
    readings.update(value.name for value in model.graph.output)
    live = {value.name for value in model.graph.input if readings[value.name]}
    part: list[onnx.NodeProto] = []
    for node in model.graph.node:
        part.append(node)
        for name in node.input:
            if name in live:
                readings[name] -= 1
                live -= {name} if not readings[name] else set()
        live |= {name for name in node.output if readings[name]}
        if len(live) == 1:
            yield part
            part = []
    if part:
        yield part
