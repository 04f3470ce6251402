"""INT8 graphs in the form that ONNX Runtime's CPU kernels compute in INT8.

The canonical graph says what TensorRT needs: signed grids with zero in the middle, biases in float32, a ReLU between a convolution and its grid, one input of
an addition left in float32. ONNX Runtime computes a convolution in INT8 only where a grid follows it directly and its bias is INT32, and x86-64 multiplies
unsigned by signed numbers. The same grids written so run several times as fast.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge.engine.int8_weights import along_axis, with_int8_weights

# The largest number of the canonical grids.
_LARGEST = 127
_UNSIGNED = ("x86_64", "AMD64")
# They move numbers, or choose among them, and take 8-bit ones as well. Source: https://onnx.ai/onnx/operators/
_MOVING = ("MaxPool", "Concat", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
# In the model's metadata: its grids are placed and centred as `for_cpu_int8` takes them. Graphs of other quantisers have grids of their own.
CANONICAL = ("edge.int8", "canonical")
# Before the name of a tensor in float that a convolution gives and a quantised one is added to: the key of its largest absolute value in the model's metadata.
SUM_REACH = "edge.sum_reach/"
# A bias beyond this many of its steps could overflow the 32-bit sum.
_MOST_STEPS = 2.0**30


def for_cpu_int8(model: onnx.ModelProto, *, machine: str = "") -> onnx.ModelProto:
    """Return the model for the CPU provider; the given one is not modified.

    Every grid keeps its steps. New rounding comes in at two places, each of half a step at most: biases, to the steps of the sums that they are added to; and
    what a residual addition adds to its skip input, to a grid that just reaches as far as matters for the sum.

    Args:
        model: A canonical INT8 model, see `is_canonical_int8`: pairs of QuantizeLinear and DequantizeLinear with INT8 grids around zero, opset 17.
        machine: Processor family as `platform.machine()` names it; empty for this one. x86-64 gets unsigned activations.

    Returns:
        A new model of the same inputs and outputs.
    """
    rewriter = _Rewriter(with_int8_weights(model), unsigned=(machine or platform.machine()) in _UNSIGNED)
    return rewriter.model()


def is_canonical_int8(model: onnx.ModelProto) -> bool:
    """Whether `python -m converters quantize` made a model."""
    return any((entry.key, entry.value) == CANONICAL for entry in model.metadata_props)


class _Net:
    """A graph taken apart: nodes in order, constants by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.index()

    def index(self) -> None:
        """Look again at who makes and who reads what, after nodes have changed. Nodes that nobody reads go."""
        needed = {value.name for value in self._model.graph.output}
        kept = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self.ends = {value.name for value in self._model.graph.output}

    def made_by(self, name: str, *operators: str) -> onnx.NodeProto | None:
        node = self.producers.get(name)
        return node if node is not None and node.op_type in operators else None

    def only_reader(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, where it is one of that operator."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and readers[0].op_type == operator and name not in self.ends else None

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants[name] = value
        return name

    def insert(self, nodes: Iterable[onnx.NodeProto], *, after: onnx.NodeProto) -> None:
        place = next(number for number, node in enumerate(self.nodes) if node is after) + 1
        self.nodes[place:place] = nodes

    def model(self) -> onnx.ModelProto:
        self.index()
        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        result.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input} | self.ends
        result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in used)
        return result


class _Rewriter:
    def __init__(self, model: onnx.ModelProto, *, unsigned: bool) -> None:
        self._net = _Net(model)
        self._reaches = {entry.key: float(entry.value) for entry in model.metadata_props if entry.key.startswith(SUM_REACH)}
        self._dtype = np.dtype(np.uint8 if unsigned else np.int8)
        # Grids are counted from 0 to 255 here; signed numbers are 128 less.
        self._shift = 0 if unsigned else -128
        self._zeros: dict[str, int] = {}  # by what QuantizeLinear gives, counted so

    def model(self) -> onnx.ModelProto:
        self._move_grids()
        self._clamp_numbers()
        self._move_numbers()
        self._quantise_sums()
        for node in list(self._net.nodes):
            if node.op_type in ("Conv", "Gemm", "MatMul") and self._is_quantised(node):
                if self._net.only_reader(node.output[0], "QuantizeLinear"):
                    self._quantise_bias(node)
                else:
                    node.input[1] = self._float_weight(node)
        return self._net.model()

    def _move_grids(self) -> None:
        """Give each activation's grid the numbers of the machine: from zero up where a ReLU comes before it, around the middle elsewhere."""
        net = self._net
        quantizers = [node for node in net.nodes if node.op_type == "QuantizeLinear"]
        leader: dict[str, str] = {}

        def lead(name: str) -> str:
            while leader.get(name, name) != name:
                name = leader[name]
            return name

        moved = set()
        for node in quantizers:
            sources = self._moved_from(node)
            moved.update([node.output[0]] if sources else [])
            for source in sources:
                leader[lead(source)] = lead(node.output[0])
        signed = {lead(node.output[0]) for node in quantizers if node.output[0] not in moved and self._lower(node) < 0}
        for node in quantizers:
            quantised = node.output[0]
            self._zeros[quantised] = 128 if lead(quantised) in signed else 0
            zero = net.constant(f"{quantised}/zero", np.array(self._zeros[quantised] + self._shift, self._dtype))
            for user in (node, *net.readers[quantised]):
                user.input[2] = zero

    def _moved_from(self, quantizer: onnx.NodeProto) -> list[str]:
        """What is quantised already, on the same steps, and only moved before this; empty where anything else comes before it."""
        node = self._net.made_by(quantizer.input[0], *_MOVING)
        if node is None or self._net.only_reader(node.output[0], "QuantizeLinear") is None:
            return []
        sources = [self._net.made_by(name, "DequantizeLinear") for name in (node.input if node.op_type == "Concat" else node.input[:1])]
        found = [source.input[0] for source in sources if source is not None and np.array_equal(self._net.constants[source.input[1]], self._scale(quantizer))]
        return found if len(found) == len(sources) else []

    def _lower(self, quantizer: onnx.NodeProto) -> float:
        """The least value that can come, where a ReLU or a Clip that nothing else reads says it."""
        return self._bounds(self._net.made_by(quantizer.input[0], "Relu", "Clip"))[0] if self._is_alone(quantizer) else -np.inf

    def _is_alone(self, quantizer: onnx.NodeProto) -> bool:
        return self._net.only_reader(quantizer.input[0], "QuantizeLinear") is not None

    def _bounds(self, node: onnx.NodeProto | None) -> tuple[float, float]:
        if node is None:
            return -np.inf, np.inf
        if node.op_type == "Relu":
            return 0.0, np.inf
        low, high = [*node.input[1:], "", ""][:2]
        if not self._net.constants.keys() >= {low, high} - {""}:
            return -np.inf, np.inf
        return float(self._net.constants[low]) if low else -np.inf, float(self._net.constants[high]) if high else np.inf

    def _clamp_numbers(self) -> None:
        """Clamp 8-bit numbers behind the grid instead of values before it: the grid then follows the convolution."""
        net = self._net
        for node in [node for node in net.nodes if node.op_type == "QuantizeLinear" and self._is_alone(node)]:
            clamp = net.made_by(node.input[0], "Relu", "Clip")
            bounds = self._bounds(clamp)
            if clamp is None or bounds == (-np.inf, np.inf):
                continue
            zero = self._zeros[node.output[0]]
            low, high = (zero + int(np.clip(np.rint(bound / self._scale(node)), -_LARGEST - 1, _LARGEST)) for bound in bounds)
            node.input[0] = clamp.input[0]
            if (max(low, 0), high) != (0, 255):
                quantised = node.output[0]
                node.output[0] = f"{quantised}/unclamped"
                limits = [
                    net.constant(f"{quantised}/{word}", np.array(limit + self._shift, self._dtype)) for word, limit in (("low", max(low, 0)), ("high", high))
                ]
                net.insert([helper.make_node("Clip", [node.output[0], *limits], [quantised], name=f"Clip:{quantised}")], after=node)
        net.index()

    def _move_numbers(self) -> None:
        """Let what only moves numbers move 8-bit ones."""
        net = self._net
        for node in [node for node in net.nodes if node.op_type == "QuantizeLinear"]:
            sources = self._moved_from(node)
            if sources:
                mover = net.producers[node.input[0]]
                for place, source in enumerate(sources):
                    mover.input[place] = source
                mover.output[0] = node.output[0]
                net.nodes.remove(node)
        net.index()

    def _quantise_sums(self) -> None:
        """Put what a convolution adds to a quantised skip input on a grid of its own.

        It reaches as far as the numbers did where the network was quantised, and, where a grid follows the sum, no further than where that would be saturated.
        """
        net = self._net
        for node in [node for node in net.nodes if node.op_type == "Add"]:
            mains = [place for place, name in enumerate(node.input) if net.made_by(name, "Conv") and self._is_quantised(net.producers[name])]
            skips = [source for name in node.input if (source := net.made_by(name, "DequantizeLinear")) is not None]
            if len(mains) != 1 or len(skips) != 1 or len(net.readers[node.input[mains[0]]]) > 1:
                continue
            main = node.input[mains[0]]
            # Zero throughout, as behind a block that died in training: nothing says how far it would reach, and zero is zero on every grid.
            reach = self._reaches.get(f"{SUM_REACH}{main}", 0.0) or np.inf
            low, high = -reach, reach
            if after := net.only_reader(node.output[0], "QuantizeLinear"):
                (sum_low, sum_high), (skip_low, skip_high) = self._reach(after.output[0], after), self._reach(skips[0].input[0], skips[0])
                low, high = max(sum_low - skip_high, low), min(sum_high - skip_low, high)
            if not np.isfinite((low, high)).all():
                continue
            step = np.float32((high - low) / 255)
            scale = net.constant(f"{main}/scale", np.array(step))
            zero = net.constant(f"{main}/zero", np.array(int(np.rint(-low / step)) + self._shift, self._dtype))
            quantised, rounded = f"{main}/quantized", f"{main}/dequantized"
            pair = [
                helper.make_node("QuantizeLinear", [main, scale, zero], [quantised], name=f"QuantizeLinear:{main}"),
                helper.make_node("DequantizeLinear", [quantised, scale, zero], [rounded], name=f"DequantizeLinear:{main}"),
            ]
            net.insert(pair, after=net.producers[main])
            node.input[mains[0]] = rounded
        net.index()

    def _reach(self, quantised: str, node: onnx.NodeProto) -> tuple[float, float]:
        """The least and the largest value of a grid, given one of its nodes."""
        clip = self._net.made_by(quantised, "Clip") or self._net.only_reader(quantised, "Clip")
        low, high = (int(self._net.constants[name]) for name in clip.input[1:]) if clip is not None else (self._shift, 255 + self._shift)
        zero = int(self._net.constants[node.input[2]])
        return (low - zero) * self._scale(node), (high - zero) * self._scale(node)

    def _is_quantised(self, node: onnx.NodeProto) -> bool:
        return (
            all(self._net.made_by(name, "DequantizeLinear") for name in node.input[:2]) and self._net.producers[node.input[1]].input[0] in self._net.constants
        )

    def _scale(self, node: onnx.NodeProto) -> float:
        return float(self._net.constants[node.input[1]])

    def _quantise_bias(self, node: onnx.NodeProto) -> None:
        """Put the bias on the steps of the sums: INT32, as ONNX Runtime fuses it."""
        net = self._net
        if len(node.input) < 3 or not node.input[2]:
            return
        bias = net.constants[node.input[2]].astype(np.float64)
        weight = net.producers[node.input[1]]
        steps = net.constants[weight.input[1]].astype(np.float64)
        activation = self._scale(net.producers[node.input[0]])
        least = np.abs(bias) / (activation * _MOST_STEPS)
        if (steps < least).any():
            # An output that is nearly nothing but its bias: its weights on a coarser grid, which this bias drowns.
            values = net.constants[weight.input[0]]
            coarser = np.maximum(steps, least).astype(np.float32)
            factors = along_axis((steps / coarser), weight, values.ndim)
            name = f"{node.name}/coarser"
            changed = onnx.NodeProto()
            changed.CopyFrom(weight)
            changed.input[0] = net.constant(f"{name}_weight", np.rint(values * factors).astype(np.int8))
            changed.input[1] = net.constant(f"{name}_scale", coarser)
            changed.output[0], changed.name = f"{name}_dequantized", name
            net.insert([changed], after=weight)
            node.input[1], steps = changed.output[0], coarser.astype(np.float64)
        steps = (np.float32(activation) * steps.astype(np.float32)).astype(np.float32)
        number = net.constant(f"{node.name}/bias", np.rint(bias / steps).astype(np.int32))
        scale = net.constant(f"{node.name}/bias_scale", steps)
        zero = net.constant(f"{node.name}/bias_zero", np.zeros(len(steps), np.int32))
        rounded = helper.make_node("DequantizeLinear", [number, scale, zero], [f"{node.name}/bias_dequantized"], name=f"{node.name}/bias", axis=0)
        node.input[2] = rounded.output[0]
        net.nodes.insert(0, rounded)

    def _float_weight(self, node: onnx.NodeProto) -> str:
        """The weight's rounded values: what computes in float32 need not work them out for each picture."""
        weight = self._net.producers[node.input[1]]
        values, scale = (self._net.constants[name] for name in weight.input[:2])
        return self._net.constant(f"{weight.output[0]}/values", values.astype(np.float32) * along_axis(scale, weight, values.ndim).astype(np.float32))
