"""Explicit quantisation: pairs of QuantizeLinear and DequantizeLinear in a float32 graph say what computes in INT8, and on which grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from converters.errors import ConversionError
from converters.original import Array
from converters.quantization.placement import Placement, Weight, place
from converters.quantization.prepared import named, prepared
from converters.quantization.ranges import Calibrator, reaches
from edge.engine.cpu_int8 import CANONICAL, SUM_REACH

# The largest number of a signed grid whose zero is in its middle.
_LARGEST = 127


def quantize_int8(model: onnx.ModelProto, feeds: Mapping[str, Array], *, calibrator: Calibrator, skip: Collection[str] = ()) -> onnx.ModelProto:
    """Return the model with what `place` chooses in INT8: the canonical graph that every INT8 engine is derived from.

    Activations have one scale each, weights one for each output; all grids are signed and have their zero in the middle. Biases stay float32: TensorRT refuses
    quantised ones. Scales are rounded up to what FP16 holds, so that the graph in FP16 has the same grids.

    Args:
        model: A canonical model, opset 17; it is not modified.
        feeds: float32[N, ...] by input name: what the activations are measured on.
        calibrator: See `reaches`.
        skip: Names of nodes, as in `named(model)`, that compute in float.

    Returns:
        A prepared model, opset 17, standard operators only, with pairs of QuantizeLinear and DequantizeLinear. Its metadata say what `for_cpu_int8` reads.

    Raises:
        ConversionError: Nothing can be quantised, there are branches or loops inside, `skip` names no node, there are no inputs, or a tensor takes values that
            are no finite numbers.
    """
    inner = [f"'{node.name}' ({node.op_type})" for node in named(model).graph.node if any(each.type == onnx.AttributeProto.GRAPH for each in node.attribute)]
    if inner:
        raise ConversionError(f"expected a network without branches or loops inside, got {', '.join(inner)}", hint="it runs in fp32")
    unknown = sorted(set(skip) - {node.name for node in named(model).graph.node})
    if unknown:
        raise ConversionError(f"expected names of nodes to leave in float, got {unknown}", hint="the names are those of `named(model)`")
    plain = prepared(model)
    placement = place(plain, skip=skip)
    # What a sum reaches is for CPUs, which need a grid there too; nothing is cut off, for it holds the numbers of both branches.
    calibrators: dict[str, Calibrator] = {**dict.fromkeys(placement.readers, calibrator), **dict.fromkeys(placement.sums, "max")}
    found = reaches(plain, calibrators, feeds)
    scales = {name: _scales(np.array(max(found[other] for other in group))) for group in placement.groups for name in group}
    quantised = _Inserter(plain, placement, scales).model()
    quantised.metadata_props.append(onnx.StringStringEntryProto(key=CANONICAL[0], value=CANONICAL[1]))
    quantised.metadata_props.extend(onnx.StringStringEntryProto(key=f"{SUM_REACH}{name}", value=repr(found[name])) for name in placement.sums)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


class _Inserter:
    def __init__(self, model: onnx.ModelProto, placement: Placement, scales: Mapping[str, NDArray[np.float32]]) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._placement = placement
        self._scales = scales
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        self._pairs: dict[tuple[str, int | None], str] = {}  # tensor and axis: what its DequantizeLinear gives

    def model(self) -> onnx.ModelProto:
        graph = self._model.graph
        for value in graph.input:
            self._quantise_activation(value.name)
        for node in graph.node:
            for place_, name in enumerate(node.input):
                if node.name in self._placement.readers.get(name, ()):
                    node.input[place_] = self._pairs[name, None]
            weight = self._placement.weights.get(node.name)
            if weight is not None:
                node.input[1] = self._quantise_weight(weight)
            self._nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            for name in node.output:
                self._quantise_activation(name)
        del graph.node[:]
        graph.node.extend(self._nodes)
        return self._model

    def _quantise_activation(self, tensor: str) -> None:
        if tensor in self._placement.readers:
            self._add_pair(tensor, self._scales[tensor], None)

    def _quantise_weight(self, weight: Weight) -> str:
        if (weight.tensor, weight.axis) not in self._pairs:
            values = np.abs(self._constants[weight.tensor])
            others = tuple(axis for axis in range(values.ndim) if axis != weight.axis)
            self._add_pair(weight.tensor, _scales(values.max(axis=others)), weight.axis)
        return self._pairs[weight.tensor, weight.axis]

    def _add_pair(self, tensor: str, scales: NDArray[np.float32], axis: int | None) -> None:
        name = tensor if axis is None else f"{tensor}/axis{axis}"
        scale, zero, quantised, rounded = (f"{name}/{part}" for part in ("scale", "zero_point", "quantized", "dequantized"))
        self._model.graph.initializer.extend([numpy_helper.from_array(scales, scale), numpy_helper.from_array(np.zeros(scales.shape, np.int8), zero)])
        for operator, source, output in (("QuantizeLinear", tensor, quantised), ("DequantizeLinear", quantised, rounded)):
            node = helper.make_node(operator, [source, scale, zero], [output], name=f"{operator}:{name}")
            if axis is not None:
                node.attribute.append(helper.make_attribute("axis", axis))
            self._nodes.append(node)
        self._pairs[tensor, axis] = rounded


def _scales(reach: NDArray[np.floating]) -> NDArray[np.float32]:
    """float32[...], above 0: the steps of grids that reach so far, rounded up to FP16."""
    steps = np.asarray(reach, np.float32) / np.float32(_LARGEST)
    with np.errstate(over="ignore"):
        half = steps.astype(np.float16)
    half = np.where(half.astype(np.float32) < steps, np.nextafter(half, np.float16(np.inf)), half)
    if not np.isfinite(half).all():
        raise ConversionError(f"an activation reaches {float(np.max(reach)):.3g}, beyond every grid", hint="look at the network's weights")
    # What is zero throughout is zero on every grid.
    return np.asarray(np.where(steps == 0, np.float16(1), half).astype(np.float32))
