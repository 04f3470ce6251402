"""The FP16 and the INT8 form of one network: made, judged, and mended block by block where they lose too much."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.errors import ConversionError
from converters.quantization.blocks import blocks
from converters.quantization.gate import AROUND, Metric, strain
from converters.quantization.int8 import quantize_int8
from converters.quantization.overflow import overflow_nodes
from converters.quantization.ranges import Calibrator
from converters.quantization.sensitivity import Found, Sensitivity, quantised_nodes, runs, search, without_quantisation
from converters.quantization.trial import Trial
from converters.registry import Say
from edge.engine.fp16 import to_fp16
from edge.errors import EngineError

CALIBRATORS: tuple[Calibrator, ...] = ("max", "entropy", "percentile")
# The first pictures of a set cover it best; what the others overflow, the gate sees.
_N_FOR_OVERFLOW = 128
CalibratorChoice = Literal["auto", "max", "entropy", "percentile"]


@dataclass(frozen=True)
class Candidate:
    """What became of one network in one precision.

    Attributes:
        model: The network, or the last one that was tried; None where none could be made.
        reason: Why it is refused; empty where it passes.
        metrics: Of the network; of INT8 also with FP16 instead of FP32 around it, as GPUs run it.
        full: INT8 before any block went back.
        keep_fp32: Nodes that compute in FP32 where the others compute in FP16.
        back: Blocks that went back to float, in that order.
        n_blocks: Of how many.
        calibrator: What chose the ranges; empty for FP16.
        harms: Of each calibrator that was tried, see `Trial.harm`.
        n_quantised: Convolutions and matrix products in INT8.
    """

    model: onnx.ModelProto | None
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    full: onnx.ModelProto | None = None
    keep_fp32: tuple[str, ...] = ()
    back: tuple[Sensitivity, ...] = ()
    n_blocks: int = 0
    calibrator: str = ""
    harms: dict[str, float] = field(default_factory=dict)
    n_quantised: int = 0


def fp16_candidate(trial: Trial, base: onnx.ModelProto, *, say: Say) -> Candidate:
    """Make the FP16 form of a network, and find what must stay in FP32.

    Args:
        trial: Where it is judged.
        base: The network in FP32, prepared.
        say: Takes progress lines.
    """
    try:
        start = overflow_nodes(base, {name: values[:_N_FOR_OVERFLOW] for name, values in trial.feeds.items()})
        found = search(runs(base), lambda kept: to_fp16(base, kept), trial, start=start, say=say)
    except (ConversionError, EngineError) as error:
        return Candidate(None, reason=str(error.args[0]))
    return Candidate(
        found.model,
        reason=found.reason,
        metrics=found.metrics,
        keep_fp32=tuple(node.name for node in base.graph.node if node.name in found.kept),
        back=found.back,
        n_blocks=found.n_blocks,
    )


def int8_candidate(trial: Trial, base: onnx.ModelProto, *, calibrator: CalibratorChoice, keep_fp32: Collection[str], say: Say) -> Candidate:
    """Quantise a network, and find what must stay in float.

    Args:
        trial: Where it is judged; its feeds are what the ranges are taken from.
        base: The network in FP32, prepared.
        calibrator: `auto` tries them all and keeps the one that does least harm.
        keep_fp32: As found for FP16: on GPUs what is around INT8 computes in FP16.
        say: Takes progress lines.
    """
    tried: dict[str, tuple[float, onnx.ModelProto]] = {}
    try:
        for each in CALIBRATORS if calibrator == "auto" else (calibrator,):
            model = quantize_int8(base, trial.feeds, calibrator=each)
            tried[each] = trial.harm(model), model
            say(f"{trial.stage.name}: int8, calibrator {each}: harm {tried[each][0]:.3g}")
        best = min(tried, key=lambda name: tried[name][0])
        return _mended(trial, base, tried[best][1], best, {name: harm for name, (harm, _) in tried.items()}, keep_fp32, say)
    except (ConversionError, EngineError) as error:
        return Candidate(None, reason=str(error.args[0]))


def _mended(
    trial: Trial, base: onnx.ModelProto, full: onnx.ModelProto, calibrator: str, harms: dict[str, float], keep_fp32: Collection[str], say: Say
) -> Candidate:
    def judge(model: onnx.ModelProto) -> tuple[Metric, ...]:
        metrics = trial.judge(model)
        if strain(metrics) > 1:
            return metrics
        # On GPUs what is around INT8 computes in FP16.
        around = trial.judge(_with_right_rounding(to_fp16(model, keep_fp32)))
        return metrics + tuple(msgspec.structs.replace(metric, of=f"{AROUND}{metric.of}") for metric in around)

    found: Found = search(blocks(base), lambda kept: without_quantisation(full, kept), trial, judge=judge, say=say)
    quantised = quantised_nodes(found.model)
    return Candidate(
        found.model,
        reason=found.reason or ("" if quantised else "no convolution and no matrix product is left in INT8"),
        metrics=found.metrics,
        full=full,
        keep_fp32=tuple(keep_fp32),
        back=found.back,
        n_blocks=found.n_blocks,
        calibrator=calibrator,
        harms=harms,
        n_quantised=len(quantised),
    )


def _with_right_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, whose FP16 numbers are quantised by float32 kernels: ONNX Runtime 1.23's for FP16 cut off where the operator rounds."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    halves = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[1] in halves:
            scale = numpy_helper.to_array(halves[node.input[1]]).astype(np.float32)
            full, full_scale = f"{node.output[0]}/full", f"{node.output[0]}/full_scale"
            result.graph.initializer.append(numpy_helper.from_array(scale, full_scale))
            nodes.append(helper.make_node("Cast", [node.input[0]], [full], name=full, to=TensorProto.FLOAT))
            node.input[0], node.input[1] = full, full_scale
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
