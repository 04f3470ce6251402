"""Brings what the exporter of PyTorch writes to a plain graph: no Constant or Identity nodes, no arithmetic on sizes that are known, nothing unused.

The exporter computes every size at run time as soon as one dimension is free. What depends on sizes alone is measured here for several batches: a value that
stays the same is a constant; of a shape in which only the batch changes, the batch alone is read at run time. The rest stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from converters.original import Array

_BATCHES = (2, 3, 5)
_RECURRENT = {"LSTM", "GRU", "RNN"}
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}

# What one value is for each of the batches.
_Measured = tuple[NDArray[np.generic], ...]


def simplify(model: onnx.ModelProto, example: Mapping[str, Array]) -> None:
    """Simplify a model in place.

    Args:
        model: As exported, its first dimensions free.
        example: float32[2, ...] by input name.
    """
    graph = model.graph
    _constants_to_initializers(graph)
    _drop_identities(graph)
    _fix_targets(model, example)
    measured: dict[str, _Measured] = {}
    opaque: set[str] = set()
    # What is no constant and no shape may still be computed from such: a vector repeated for each of the batch, say.
    while names := [name for name in _known_by_sizes(graph, opaque) if name not in measured]:
        measured.update(zip(names, _measure(model, example, names), strict=True))
        opaque.update(name for name in names if not _understood(measured[name]))
    _drop_initial_zeros(graph, measured)
    constants = {name: values[0] for name, values in measured.items() if _same(values)}
    shapes = {name: shape for name, values in measured.items() if (shape := _shape_with_batch(values)) is not None}
    # A node with several outputs goes with one of them: they all follow from the same sizes, so those that are read are measured too.
    kept = [node for node in graph.node if not {*constants, *shapes} & set(node.output)]
    _set_nodes(graph, [*(node for name in shapes for node in _read_batch(name, graph.input[0].name)), *kept])
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items())
    for name, shape in shapes.items():
        place = int(np.argmin(shape))
        graph.initializer.append(numpy_helper.from_array(shape[:place], f"{name}/before"))
        graph.initializer.append(numpy_helper.from_array(shape[place + 1 :], f"{name}/after"))
    _drop_unused(graph)
    del graph.value_info[:]
    for node in graph.node:
        node.ClearField("doc_string")  # it holds paths of the machine that exported
        del node.metadata_props[:]


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            node.attribute[0].t.name = node.output[0]
            graph.initializer.append(node.attribute[0].t)
        else:
            kept.append(node)
    _set_nodes(graph, kept)


def _drop_identities(graph: onnx.GraphProto) -> None:
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        _rename(node, renamed)
        if node.op_type == "Identity" and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    _set_nodes(graph, kept)


def _rename(node: onnx.NodeProto, renamed: Mapping[str, str]) -> None:
    for position, name in enumerate(node.input):
        node.input[position] = renamed.get(name, name)
    for graph in _subgraphs(node):
        for inner in graph.node:
            _rename(inner, renamed)
        for output in graph.output:
            output.name = renamed.get(output.name, output.name)


def _known_by_sizes(graph: onnx.GraphProto, opaque: set[str]) -> list[str]:
    """Values that follow from sizes alone and are read by a node whose own output does not, or is among `opaque`."""
    known = {tensor.name for tensor in graph.initializer} | {""}
    computed: set[str] = set()
    wanted: dict[str, None] = {}
    for node in graph.node:
        by_sizes = node.op_type == "Shape" or (known.issuperset(node.input) and node.op_type not in _RANDOM and not any(_subgraphs(node)))
        if by_sizes and not opaque & set(node.output):
            known.update(node.output)
            computed.update(node.output)
        else:
            wanted.update(dict.fromkeys(name for name in _reads(node) if name in computed))
    return list(wanted)


def _fix_targets(model: onnx.ModelProto, example: Mapping[str, Array]) -> None:
    """Gives each Reshape the sizes that its output has, -1 where they follow the batch."""
    reshapes = [node for node in model.graph.node if node.op_type == "Reshape"]
    for node, shapes in zip(reshapes, _measure(model, example, [node.output[0] for node in reshapes], sizes=True), strict=True):
        target = _with_free_place(shapes)
        if _same(shapes) or target is not None:
            node.input[1] = f"{node.output[0]}/sizes"
            model.graph.initializer.append(numpy_helper.from_array(shapes[0] if target is None else target, node.input[1]))


def _measure(model: onnx.ModelProto, example: Mapping[str, Array], names: list[str], *, sizes: bool = False) -> list[_Measured]:
    """What these values, or their sizes, are for each of the batches."""
    if not names:
        return []
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    if sizes:
        probe.graph.node.extend(onnx.helper.make_node("Shape", [name], [f"{name}/measured"]) for name in names)
        names = [f"{name}/measured" for name in names]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    runs = []
    for batch in _BATCHES:
        feeds = {key: np.resize(array, (batch, *array.shape[1:])) for key, array in example.items()}
        runs.append([np.asarray(value) for value in session.run(names, feeds)])
    return list(zip(*runs, strict=True))


def _understood(values: _Measured) -> bool:
    return _same(values) or _shape_with_batch(values) is not None or _all_zeros(values)


def _same(values: _Measured) -> bool:
    return all(np.array_equal(values[0], other) for other in values[1:])


def _all_zeros(values: _Measured) -> bool:
    return not any(value.any() for value in values)


def _with_free_place(shapes: _Measured) -> NDArray[np.int64] | None:
    """Sizes with -1 where they change with the batch; None if they don't, or in more than one place."""
    if any(shape.shape != shapes[0].shape or shape.dtype != np.int64 or shape.ndim != 1 for shape in shapes):
        return None
    stacked = np.stack([np.asarray(shape, np.int64) for shape in shapes])
    varying = np.any(stacked != stacked[0], axis=0)
    if varying.sum() != 1 or (stacked[0, ~varying] < 1).any():
        return None
    return np.where(varying, -1, stacked[0])


def _shape_with_batch(values: _Measured) -> NDArray[np.int64] | None:
    """The same where the batch itself stands in that place."""
    shape = _with_free_place(values)
    if shape is None or [int(value[np.argmin(shape)]) for value in values] != list(_BATCHES):
        return None
    return shape


def _read_batch(name: str, first_input: str) -> list[onnx.NodeProto]:
    """Nodes that give a shape with the first input's batch in its place, for operators that have no -1."""
    batch = f"{name}/batch"
    return [
        onnx.helper.make_node("Shape", [first_input], [batch], name=batch, start=0, end=1),
        onnx.helper.make_node("Concat", [f"{name}/before", batch, f"{name}/after"], [name], name=name, axis=0),
    ]


def _drop_initial_zeros(graph: onnx.GraphProto, measured: Mapping[str, _Measured]) -> None:
    """An initial state of zeros is what recurrent operators take where none is given."""
    for node in graph.node:
        for position in range(5, len(node.input) if node.op_type in _RECURRENT else 0):
            if node.input[position] in measured and _all_zeros(measured[node.input[position]]):
                node.input[position] = ""


def _drop_unused(graph: onnx.GraphProto) -> None:
    read = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read & set(node.output):
            kept.append(node)
            read.update(_reads(node))
    _set_nodes(graph, kept[::-1])
    used = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(used)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from (name for name in node.input if name)
    for graph in _subgraphs(node):
        yield from (name for inner in graph.node for name in _reads(inner))
        yield from (output.name for output in graph.output)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    yield from (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH)


def _set_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
