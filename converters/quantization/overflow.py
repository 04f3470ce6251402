"""What FP16 cannot hold, found by running the network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from converters.original import Array
from converters.quantization.ranges import watch

# An eighth of FP16's largest number, 65504: pictures that were not measured reach further.
_LARGEST = 8188.0
# Where many numbers are added, or raised, what goes in must be smaller. Source: NVIDIA Model Optimizer, AutoCast's default for activations.
_LARGEST_ADDED = 512.0
_ADDING = (
    *("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceLogSumExp", "ReduceLogSum"),
    *("GlobalAveragePool", "AveragePool", "LpPool", "GlobalLpPool", "LayerNormalization", "InstanceNormalization", "LRN", "CumSum", "Pow", "Exp"),
)
# Of a constant's magnitude: more is lost only where its numbers are too small for FP16's smallest.
_MOST_LOST = 2.0**-8


def overflow_nodes(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> tuple[str, ...]:
    """Return the names of the nodes that must compute in float32 where the others compute in FP16, in graph order.

    Those that take or give numbers beyond an eighth of FP16's largest, that add up numbers beyond 512, or that have weights beyond FP16's largest or so small
    that FP16 loses them.

    Args:
        model: A prepared model in float32, see `prepared`.
        feeds: float32[N, ...] by input name.

    Raises:
        ConversionError: There are no inputs, or a tensor takes values that are no finite numbers.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    floats = [value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in constants]
    largest: dict[str, float] = defaultdict(float)

    def take(name: str, numbers: Array) -> None:
        largest[name] = max(largest[name], float(np.abs(numbers).max(initial=0)))

    watch(model, floats, feeds, take)
    lost = {name for name, tensor in constants.items() if tensor.data_type == TensorProto.FLOAT and _is_lost(tensor)}
    return tuple(node.name for node in model.graph.node if _overflows(node, largest, lost))


def _overflows(node: onnx.NodeProto, largest: Mapping[str, float], lost: set[str]) -> bool:
    numbers = [largest.get(name, 0.0) for name in (*node.input, *node.output)]
    if max(numbers, default=0.0) > _LARGEST or (node.op_type in _ADDING and max(numbers) > _LARGEST_ADDED):
        return True
    # Bounds that no number reaches bound nothing in FP16 either.
    return node.op_type != "Clip" and not lost.isdisjoint(node.input)


def _is_lost(tensor: TensorProto) -> bool:
    exact = numpy_helper.to_array(tensor).astype(np.float64)
    exact = exact[np.isfinite(exact)]
    with np.errstate(over="ignore"):
        half = exact.astype(np.float16).astype(np.float64)
    return bool(not np.isfinite(half).all() or np.linalg.norm(exact - half) > _MOST_LOST * np.linalg.norm(exact))
