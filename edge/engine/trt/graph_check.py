"""What TensorRT's parser refuses in words that help nobody, or takes and computes wrong: said before it sees the network."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import numpy_helper

from edge.engine.trt.errors import BuildFailed

# Of the parser in TensorRT 10.0 to 10.3, the oldest that this program builds with; later ones take a higher number and warn of nothing.
# Source: onnx-tensorrt 10.0, docs/operators.md.
_NEWEST_OPSET = 20
_QUANTIZE_AGAIN = "quantise it again: python -m converters quantize PACKAGE --precision int8 --calibration default"


def check_graph(content: bytes, *, where: str) -> onnx.ModelProto:
    """Check that a network is one that TensorRT takes and computes as it is written.

    Args:
        content: A serialised ONNX model.
        where: The network, for messages.

    Returns:
        The model.

    Raises:
        BuildFailed: It is no ONNX network, of too new an opset, or quantised in another way than symmetrically to signed 8-bit integers.
    """
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf raises a kind of its own
        raise BuildFailed(f"{where}: this is no ONNX model ({type(error).__name__})", hint="make the package again with python -m converters") from error
    if not model.graph.node or not model.graph.output:
        raise BuildFailed(f"{where}: an ONNX model without nodes or outputs", hint="make the package again with python -m converters")
    opset = max((imported.version for imported in model.opset_import if imported.domain in ("", "ai.onnx")), default=0)
    if opset > _NEWEST_OPSET:
        raise BuildFailed(
            f"{where}: expected opset {_NEWEST_OPSET} or older, got {opset}", hint="export it with opset 17, which all of this program's packages have"
        )
    _check_quantisation(model.graph, where)
    return model


def _check_quantisation(graph: onnx.GraphProto, where: str) -> None:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        name = f"{where}: node '{node.name}' ({node.op_type})"
        if node.op_type == "DequantizeLinear" and (source := tensors.get(node.input[0])) is not None and source.data_type == onnx.TensorProto.INT32:
            raise BuildFailed(f"{name} holds a bias quantised to INT32: TensorRT takes biases in float only", hint=_QUANTIZE_AGAIN)
        if problem := _zero_point_problem(node, tensors):
            raise BuildFailed(f"{name} {problem}: TensorRT computes with signed integers and zero point 0 only", hint=_QUANTIZE_AGAIN)


def _zero_point_problem(node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]) -> str:
    if len(node.input) < 3 or not node.input[2]:
        # Without one, ONNX means uint8.
        return "has no zero point, which stands for unsigned integers"
    tensor = tensors.get(node.input[2])
    if tensor is None:
        return "has a zero point that is computed"
    if tensor.data_type != onnx.TensorProto.INT8:
        return f"quantises to {onnx.TensorProto.DataType.Name(tensor.data_type)}"
    return "has a zero point other than 0" if numpy_helper.to_array(tensor).any() else ""
