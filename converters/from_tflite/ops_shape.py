"""TFLite operators that move, cut, join or reduce values, and the conversions between stored types."""

from __future__ import annotations

import numpy as np

from converters.from_tflite.ops_elementwise import Function
from converters.from_tflite.tflite_model import Operator
from converters.graph_builder import DROPPED_BATCH, NCHW, GraphBuilder, Order


def reshape(graph: GraphBuilder, operator: Operator) -> None:
    """Reshape of values in TFLite's axis order; the batch stays in front."""
    source, target = operator.inputs[0], graph.shape(operator.outputs[0])
    name = graph.value(operator, source, tuple(range(len(graph.shape(source)))))
    graph.set(operator, graph.reshape(name, target[1:]), tuple(range(len(target))))


def transpose(graph: GraphBuilder, operator: Operator) -> None:
    """No node: the value stays as it is under a new axis order."""
    source = operator.inputs[0]
    permutation = [int(axis) for axis in graph.constant(operator, operator.inputs[1])]
    order = tuple(permutation.index(axis) for axis in graph.order(source))
    if order[0] != 0:
        raise operator.refuse(f"permutation {permutation} moves the batch, dimension 0")
    graph.set(operator, graph.value(operator, source, graph.order(source)), order)


def concatenation(graph: GraphBuilder, operator: Operator) -> None:
    """Concat; constants get the batch of the activations beside them."""
    rank = len(graph.shape(operator.outputs[0]))
    activations = [index for index in operator.inputs if not graph.is_constant(index)]
    axis = int(graph.option(operator, "axis")) % rank
    if axis == 0 or not activations:
        raise operator.refuse(
            f"option axis={operator.options['axis']} joins along the batch, dimension 0" if axis == 0 else "all inputs are constants, which is not supported"
        )
    order = graph.order(activations[0])
    names = [graph.value(operator, index, order) for index in operator.inputs]
    if len(activations) < len(names):
        batch = graph.add("Shape", [names[operator.inputs.index(activations[0])]], start=0, end=1)
        ones = graph.initializer(np.ones(rank - 1, np.int64), "ones")
        target = graph.add("Concat", [batch, ones], axis=0)
        names = [graph.add("Expand", [name, target]) if graph.is_constant(index) else name for index, name in zip(operator.inputs, names, strict=True)]
    graph.set(operator, graph.add("Concat", names, axis=order.index(axis)), order)


def pad(graph: GraphBuilder, operator: Operator) -> None:
    """Pad with zeros."""
    source = operator.inputs[0]
    order = graph.order(source)
    paddings = graph.constant(operator, operator.inputs[1]).astype(np.int64)
    if paddings[0].any():
        raise operator.refuse(f"paddings {paddings.tolist()} pad the batch, dimension 0")
    pads = graph.initializer(paddings[list(order)].T.reshape(-1), "pads")
    graph.set(operator, graph.add("Pad", [graph.value(operator, source, order), pads], mode="constant"), order)


def strided_slice(graph: GraphBuilder, operator: Operator) -> None:
    """Slice, then Reshape where an axis of size 1 is dropped. Dropping the batch itself is not followed: ONNX keeps it."""
    source, *bounds = operator.inputs
    shape, order = graph.shape(source), graph.order(source)
    begin, end, strides = (graph.constant(operator, index).tolist() for index in bounds)
    ignore_begin, ignore_end, drop = (int(graph.option(operator, name)) for name in ("beginMask", "endMask", "shrinkAxisMask"))
    kept: list[int] = []
    cuts: list[tuple[int, int, int, int]] = []
    for axis, size in enumerate(shape):
        start = None if ignore_begin >> axis & 1 else begin[axis]
        stop = None if ignore_end >> axis & 1 else end[axis]
        if drop >> axis & 1:
            start = (start or 0) % size
            start, stop, step = start, start + 1, 1
        else:
            kept.append(axis)
            start, stop, step = slice(start, stop, strides[axis]).indices(size)
        if step < 1 or (axis == 0 and (start, stop) != (0, 1)):
            raise operator.refuse(f"begin {begin}, end {end}, strides {strides} reverse an axis or cut the batch, dimension 0")
        if (start, stop, step) != (0, size, 1):
            cuts.append((start, stop, order.index(axis), step))
    name = graph.value(operator, source, order)
    if cuts:
        name = graph.add("Slice", [name, *(graph.initializer(np.array(values, np.int64), "slice") for values in zip(*cuts, strict=True))])
    remaining: Order = tuple(kept.index(axis) if axis in kept else DROPPED_BATCH for axis in order if axis in kept or axis == 0)
    if len(remaining) < len(order):
        sizes = graph.shape(operator.outputs[0])
        name = graph.reshape(name, [sizes[axis] for axis in remaining[1:]])
    graph.set(operator, name, remaining)


def reduction(op_type: str) -> Function:
    """Return the function of an operator that reduces along constant axes."""

    def convert(graph: GraphBuilder, operator: Operator) -> None:
        source = operator.inputs[0]
        order, rank = graph.order(source), len(graph.shape(source))
        reduced = sorted({int(axis) % rank for axis in np.atleast_1d(graph.constant(operator, operator.inputs[1]))})
        if 0 in reduced:
            raise operator.refuse(f"axes {reduced} reduce the batch, dimension 0")
        keep = bool(graph.option(operator, "keepDims"))
        name = graph.value(operator, source, order)
        positions = sorted(order.index(axis) for axis in reduced)
        if op_type == "ReduceSum":
            name = graph.add(op_type, [name, graph.initializer(np.array(positions, np.int64), "axes")], keepdims=int(keep))
        else:
            name = graph.add(op_type, [name], axes=positions, keepdims=int(keep))
        kept = [axis for axis in range(rank) if keep or axis not in reduced]
        graph.set(operator, name, tuple(kept.index(axis) for axis in order if axis in kept))

    return convert


def resize_bilinear(graph: GraphBuilder, operator: Operator) -> None:
    """Resize by factors, not sizes: sizes would fix the batch."""
    source = operator.inputs[0]
    before, after = graph.shape(source)[1:3], graph.shape(operator.outputs[0])[1:3]
    align, half = graph.option(operator, "alignCorners"), graph.option(operator, "halfPixelCenters")
    mode = "align_corners" if align else "half_pixel" if half else "asymmetric"
    factors = np.array([1, 1, *(_factor(size, wanted) for size, wanted in zip(before, after, strict=True))], np.float32)
    inputs = [graph.value(operator, source, NCHW), "", graph.initializer(factors, "scales")]
    graph.set(operator, graph.add("Resize", inputs, mode="linear", coordinate_transformation_mode=mode), NCHW)


def _factor(before: int, after: int) -> np.float32:
    """The factor whose product with `before`, cut off as the runtimes do, is `after`: rounding may have left it a hair too small."""
    factor = np.float32(after / before)
    return factor if int(np.float32(before) * factor) == after else np.nextafter(factor, np.float32(np.inf))


def depth_to_space(graph: GraphBuilder, operator: Operator) -> None:
    """DepthToSpace in TFLite's channel order: block row, block column, channel."""
    block = int(graph.option(operator, "blockSize"))
    graph.set(operator, graph.add("DepthToSpace", [graph.value(operator, operator.inputs[0], NCHW)], blocksize=block, mode="DCR"), NCHW)


def densify(graph: GraphBuilder, operator: Operator) -> None:
    """No node: sparse constants are dense once read."""
    graph.set_constant(operator, graph.constant(operator, operator.inputs[0]))


def dequantize(graph: GraphBuilder, operator: Operator) -> None:
    """No node: values are real numbers here, constants folded and activations rounded where they were made."""
    if graph.is_constant(operator.inputs[0]):
        graph.set_constant(operator, graph.constant(operator, operator.inputs[0]))
    else:
        graph.pass_on(operator)


def quantize(graph: GraphBuilder, operator: Operator) -> None:
    """Round to the grid of the output tensor."""
    order = graph.order(operator.inputs[0])
    graph.set(operator, graph.value(operator, operator.inputs[0], order), order)
