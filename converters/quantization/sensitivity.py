"""Which blocks of a network lose too much in a lower precision: those that do most harm go back one by one, until the gate passes the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec
import onnx

from converters.quantization.blocks import Block
from converters.quantization.gate import Metric, failures, strain
from converters.quantization.trial import Trial
from converters.registry import Say

# With more than this part of its blocks back, a network is no network of the lower precision any more.
_MOST_BACK = 0.5
_MOST_RUNS = 24
_PROBABILITIES = ("Sigmoid", "Softmax")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """A block that went back.

    Attributes:
        block: Its name.
        harm: What the network loses where it alone is in the lower precision, see `Trial.harm`; None where it overflows.
    """

    block: str
    harm: float | None


@dataclass(frozen=True)
class Found:
    """What the search came to.

    Attributes:
        model: The network that passes; the last one that was tried where none does.
        kept: Nodes that went back.
        metrics: Of the model.
        back: Their blocks, in the order in which they went back.
        n_blocks: How many blocks there are that have anything in the lower precision.
        reason: Why nothing passes; empty where it does.
    """

    model: onnx.ModelProto
    kept: frozenset[str]
    metrics: tuple[Metric, ...]
    back: tuple[Sensitivity, ...] = ()
    n_blocks: int = 0
    reason: str = ""


Judge = Callable[[onnx.ModelProto], tuple[Metric, ...]]
Make = Callable[[Collection[str]], onnx.ModelProto]


def search(blocks: Sequence[Block], make: Make, trial: Trial, *, judge: Judge | None = None, start: Collection[str] = (), say: Say) -> Found:
    """Find the network that passes the gate with as few blocks in higher precision as need be.

    Args:
        blocks: Units of the search.
        make: Gives the network in the lower precision with the nodes of these names in the higher one.
        trial: Where candidates are ranked, and judged.
        judge: Judges instead of the trial.
        start: Nodes in the higher precision from the start.
        say: Takes progress lines.

    Returns:
        What passes, or why nothing does.

    Raises:
        EngineError: A candidate cannot be loaded.
    """
    judge = judge or trial.judge
    kept = frozenset(start)
    model = make(kept)
    metrics = judge(model)
    if strain(metrics) <= 1:
        return Found(model, kept, metrics)
    problems = "; ".join(failures(metrics))
    say(f"{trial.stage.name}: {problems}: looking for the blocks that lose most, of {len(blocks)}")
    every = {name for block in blocks for name in block.nodes}
    harms = [(trial.harm(make(kept | (every - set(block.nodes)))), block) for block in blocks]
    ranked = sorted(((harm, block) for harm, block in harms if harm > 0), key=lambda entry: -entry[0])
    most = ranked[: math.floor(_MOST_BACK * len(ranked))]
    # The last resort first: where it does not pass, none of the others need be tried.
    last = frozenset(kept.union(*(block.nodes for _, block in most)))
    model = make(last)
    metrics = judge(model)
    back = tuple(Sensitivity(block=block.name, harm=harm if math.isfinite(harm) else None) for harm, block in most)
    if strain(metrics) > 1:
        reason = f"{problems}; with {len(most)} of {len(ranked)} blocks back in float: {'; '.join(failures(metrics))}" if most else problems
        return Found(model, last, metrics, back, len(ranked), reason)
    for n, (_, block) in enumerate(most, 1):
        kept |= set(block.nodes)
        model = make(kept)
        metrics = judge(model)
        say(f"{trial.stage.name}: without {block.name}: {'; '.join(failures(metrics)) or 'passes'}")
        if strain(metrics) <= 1:
            return Found(model, kept, metrics, back[:n], len(ranked))
    raise AssertionError("the last one is the last resort, which passed")


def runs(model: onnx.ModelProto) -> list[Block]:
    """Return all nodes of a network as blocks of neighbours: the last ones, which make probabilities, on their own, the others in at most 24 runs."""
    ends = {value.name for value in model.graph.output}
    last = [node.name for node in model.graph.node if node.op_type in _PROBABILITIES and ends & set(node.output)]
    others = [node.name for node in model.graph.node if node.name not in last]
    length = max(1, math.ceil(len(others) / _MOST_RUNS))
    return [Block(names[0], tuple(names)) for names in [*([name] for name in last), *(others[i : i + length] for i in range(0, len(others), length))]]


def without_quantisation(model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
    """Return a quantised network in which some nodes compute in float: what they read is no longer rounded.

    Args:
        model: With Q/DQ pairs in front of what is quantised; it is not modified.
        nodes: Names of nodes.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    made_by = {name: node for node in result.graph.node for name in node.output}
    for node in result.graph.node:
        if node.name not in nodes:
            continue
        for place, name in enumerate(node.input):
            dequantise = made_by.get(name)
            if dequantise is not None and dequantise.op_type == "DequantizeLinear":
                quantise = made_by.get(dequantise.input[0])
                if quantise is not None and quantise.op_type == "QuantizeLinear":
                    node.input[place] = quantise.input[0]
    _drop_dead(result.graph)
    return result


def quantised_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions and matrix products that read quantised values."""
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return [node.name for node in model.graph.node if node.op_type in _PRODUCTS and dequantised & set(node.input[:2])]


def _drop_dead(graph: onnx.GraphProto) -> None:
    while True:
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        alive = [node for node in graph.node if used & set(node.output)]
        if len(alive) == len(graph.node):
            break
        alive = [onnx.NodeProto.FromString(node.SerializeToString()) for node in alive]
        del graph.node[:]
        graph.node.extend(alive)
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
