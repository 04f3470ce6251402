"""Strongly typed FP16: every tensor of the graph says its type, so that every builder computes the same, on a device as on a workstation.

TensorRT from 10 on takes precision from the graph alone. Around INT8 the scales are FP16 too: DequantizeLinear gives the type of its scale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference, version_converter
from onnx.defs import OpSchema

from edge.engine.int8_weights import with_int8_weights
from edge.errors import EngineError

# QuantizeLinear and DequantizeLinear take FP16 from here on. Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
_QDQ_OPSET = 19
_LARGEST = float(np.finfo(np.float16).max)
_HALF, _FULL = TensorProto.FLOAT16, TensorProto.FLOAT


def to_fp16(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Return the model with its inner tensors in FP16; inputs and outputs stay float32.

    The same model and names give the same bytes. What counts (shapes, indices) is left alone, and so is what ONNX defines for float32 only. Quantised weights
    become INT8 numbers, rounded in float32 as in the given model: FP16 would round some of them to the next step.

    Args:
        model: A model in float32, with or without pairs of QuantizeLinear and DequantizeLinear; it is not modified.
        keep: Names of nodes that compute in float32.

    Returns:
        A new model: of the given opset, with such pairs of opset 19.

    Raises:
        EngineError: `keep` names no node, a node that is not in `keep` has weights that FP16 does not hold, or the network has operators that FP16 cannot go
            through: branches and loops, what ONNX does not define, what cannot be brought to opset 19.
    """
    unknown = sorted(set(keep) - {node.name for node in model.graph.node})
    if unknown:
        raise EngineError(f"expected names of nodes to keep in FP32, got {unknown}, which the network lacks", hint="make the package's precisions again")
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in model.graph.node for attribute in node.attribute):
        raise EngineError("a network with branches or loops inside (If, Loop, Scan) cannot be brought to FP16", hint="use fp32")
    try:
        return _halved(model, frozenset(keep))
    except (checker.ValidationError, shape_inference.InferenceError, version_converter.ConvertError, onnx.defs.SchemaError) as error:
        raise EngineError(f"a network cannot be brought to FP16: {error}", hint="use fp32") from error


def _halved(model: onnx.ModelProto, keep: frozenset[str]) -> onnx.ModelProto:
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    source = version_converter.convert_version(model, _QDQ_OPSET) if quantised and _opset(model) < _QDQ_OPSET else model
    halved = _Halver(with_int8_weights(source), keep).model()
    checker.check_model(halved, full_check=True)
    return halved


def _opset(model: onnx.ModelProto) -> int:
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


class _Halver:
    def __init__(self, model: onnx.ModelProto, keep: frozenset[str]) -> None:
        self._source = model
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
        types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.input, *inferred.value_info, *inferred.output)}
        types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
        self._taken = {*types, *(name for node in model.graph.node for name in node.output)}
        self._floats = {name for name, kind in types.items() if kind == _FULL}
        self._keep = self._with_dequantizers(keep)
        self._types: dict[str, TensorProto.DataType] = {value.name: _FULL for value in model.graph.input if value.name in self._floats}
        self._nodes: list[onnx.NodeProto] = []
        self._cast: dict[tuple[str, int], str] = {}

    def model(self) -> onnx.ModelProto:
        ends = {value.name for value in self._source.graph.output} & self._floats
        for node in self._source.graph.node:
            self._halve(node, ends)
        result = onnx.ModelProto()
        result.CopyFrom(self._source)
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        result.graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | {value.name for value in self._source.graph.output}
        for tensor in self._source.graph.initializer:
            if tensor.name in used:
                result.graph.initializer.append(tensor)
            if (tensor.name, _HALF) in self._cast:
                result.graph.initializer.append(_half(tensor, self._cast[tensor.name, _HALF]))
        return result

    def _with_dequantizers(self, keep: frozenset[str]) -> frozenset[str]:
        """A pair whose numbers only float32 nodes read gives float32: a cast behind it would keep TensorRT from fusing it."""
        readers: dict[str, list[str]] = {}
        for node in self._source.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node.name)
        added: set[str] = set()
        for node in reversed(self._source.graph.node):
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and {*readers.get(node.output[0], ["?"])} <= keep | added:
                added.add(node.name)
        return keep | added

    def _halve(self, node: onnx.NodeProto, ends: Collection[str]) -> None:
        schema = onnx.defs.get_schema(node.op_type, self._opsets[node.domain], node.domain)
        full = _full_variables(schema, node) | ({"*"} if node.name in self._keep else set())
        halved = onnx.NodeProto()
        halved.CopyFrom(node)
        _give_constants_types(halved)
        for place, name in enumerate(node.input):
            if name in self._floats:
                halved.input[place] = self._as(name, _type_of(_formal(schema.inputs, place), full), node)
        for attribute in halved.attribute:
            if _type_of(_formal(schema.outputs, 0), full) == _HALF:
                _halve_attribute(node, attribute)
        casts = []
        for place, name in enumerate(node.output):
            if name in self._floats:
                self._types[name] = _type_of(_formal(schema.outputs, place), full)
                if name in ends and self._types[name] == _HALF:
                    halved.output[place] = self._cast[name, _HALF] = self._new_name(f"{name}/fp16")
                    casts.append(helper.make_node("Cast", [halved.output[place]], [name], name=f"Cast:{name}", to=_FULL))
                    self._types[name] = _FULL
        self._nodes += [halved, *casts]

    def _as(self, name: str, kind: TensorProto.DataType, reader: onnx.NodeProto) -> str:
        """The tensor in a type: itself, a constant of its own, or what a Cast gives."""
        own = _FULL if name in self._constants else self._types[name]
        if own == kind:
            return name
        if (name, kind) not in self._cast:
            self._cast[name, kind] = self._new_name(f"{name}/{'fp16' if kind == _HALF else 'fp32'}")
            if name in self._constants:
                _check_weights(self._constants[name], reader)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [self._cast[name, kind]], name=f"Cast:{self._cast[name, kind]}", to=kind))
        return self._cast[name, kind]

    def _new_name(self, name: str) -> str:
        while name in self._taken:
            name += "'"
        self._taken.add(name)
        return name


def _give_constants_types(node: onnx.NodeProto) -> None:
    """Turn the forms of constants that are float32 without saying so into tensors, which have a type."""
    for attribute in node.attribute:
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            values = np.array(helper.get_attribute_value(attribute), np.float32)
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float32))))


def _full_variables(schema: OpSchema, node: onnx.NodeProto) -> set[str]:
    """Type variables of an operator that FP16 cannot stand for."""
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    variables = {_formal(schema.inputs, place).type_str for place in range(len(node.input))}
    variables |= {_formal(schema.outputs, place).type_str for place in range(len(node.output))}
    return {variable for variable in variables if "tensor(float16)" not in allowed.get(variable, [variable])}


def _formal(formals: Iterable[OpSchema.FormalParameter], place: int) -> OpSchema.FormalParameter:
    formals = list(formals)
    return formals[min(place, len(formals) - 1)]  # the last may stand for several


def _type_of(formal: OpSchema.FormalParameter, full: Collection[str]) -> TensorProto.DataType:
    return _FULL if "*" in full or formal.type_str in full else _HALF


def _halve_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    if attribute.name in ("to", "dtype") and attribute.i == _FULL:
        attribute.i = _HALF
    elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == _FULL:
        _check_weights(attribute.t, node)
        attribute.t.CopyFrom(_half(attribute.t, attribute.t.name))


def _check_weights(tensor: TensorProto, node: onnx.NodeProto) -> None:
    values = numpy_helper.to_array(tensor)
    half = _half_values(tensor)
    if (np.isfinite(values) & ~np.isfinite(half)).any() and node.op_type != "Clip":
        problem = f"{np.abs(values[np.isfinite(values)]).max():.3g}, beyond FP16's {_LARGEST:g}"
    elif values.any() and not half.any():
        problem = f"at most {np.abs(values).max():.3g}, which is zero in FP16"
    else:
        return
    raise EngineError(f"node '{node.name}' ({node.op_type}): expected weights that FP16 holds, '{tensor.name}' has {problem}", hint="keep the node in FP32")


def _half(tensor: TensorProto, name: str) -> TensorProto:
    return numpy_helper.from_array(_half_values(tensor), name)


def _half_values(tensor: TensorProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    with np.errstate(over="ignore"):
        return np.asarray(numpy_helper.to_array(tensor)).astype(np.float16)
