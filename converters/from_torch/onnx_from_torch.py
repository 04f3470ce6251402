"""Converts a PyTorch module to ONNX by following it through one run (a trace).

Why the exporter that PyTorch calls legacy: the newer one writes opset 18 and later and lowers it afterwards, and it needs a library of its own (onnxscript).
What a trace cannot see, Python that decides by values, is found here and refused.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch.jit._trace import TracerWarning

from converters.errors import ConversionError
from converters.from_torch.plain_graph import simplify
from converters.original import Array

OPSET = 17


def onnx_from_torch(module: torch.nn.Module, *, example: Mapping[str, Array], answers: Mapping[str, Array], name: str) -> onnx.ModelProto:
    """Convert a module.

    Args:
        module: In evaluation mode; takes one tensor for each input and returns a tensor for each output.
        example: float32[2, ...] by input name, in the order in which the module takes them.
        answers: float32[2, ...] by output name, in the module's order: what it gives for `example`.
        name: Name of the graph, also in messages.

    Returns:
        Opset 17, its first dimensions `N` and free, normalisations folded into the convolutions before them.

    Raises:
        ConversionError: An operator that opset 17 or the exporter lacks, Python code that decides by the values of a tensor, or a batch that is not free; the
            message names the layer, the place or the output.
    """
    tensors = tuple(torch.tensor(array) for array in example.values())
    file: Any = io.BytesIO()  # its annotation knows paths alone
    try:
        with warnings.catch_warnings(record=True) as caught, _quiet_exporter():
            warnings.simplefilter("always")
            torch.onnx.export(
                module,
                tensors,
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(example),
                output_names=list(answers),
                dynamic_axes={key: {0: "N"} for key in (*example, *answers)},
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise _refusal(error, module, tensors, name) from error
    frozen = [warning for warning in caught if issubclass(warning.category, TracerWarning)]
    if frozen:
        _require_no_decisions_by_values(module, tensors, frozen[0], name)
    model = onnx.load_from_string(file.getvalue())
    model.graph.name = name
    for value, array in zip((*model.graph.input, *model.graph.output), (*example.values(), *answers.values()), strict=True):
        _set_sizes(value, array.shape[1:])
    _require_free_batch(model, example, answers, name)
    simplify(model, example)
    onnx.checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # The exporter prints the whole graph to the process's standard output before it raises, and cannot be told not to: it takes a function for a flag.
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log


def _require_no_decisions_by_values(module: torch.nn.Module, tensors: Sequence[torch.Tensor], warning: warnings.WarningMessage, name: str) -> None:
    """The tracer warns alike of decisions by sizes, which are fixed but for the batch, and by values. A run without values tells them apart."""
    weights = {key: tensor.to("meta") for key, tensor in (*module.named_parameters(), *module.named_buffers())}
    try:
        with torch.no_grad(), torch.device("meta"):
            torch.func.functional_call(module, weights, tuple(tensor.to("meta") for tensor in tensors))
    except Exception as error:  # every library function has its own error for a tensor without values
        what = str(warning.message).partition(" might ")[0]
        raise ConversionError(
            f"network '{name}' decides by the values of a tensor, which one traced run cannot follow: {what}, at {warning.filename}:{warning.lineno}"
            f" ({str(error).splitlines()[0]})",
            hint="write it with tensor operations (torch.where, torch.clamp, a mask), or leave it out of the network",
        ) from error


def _refusal(error: Exception, module: torch.nn.Module, tensors: Sequence[torch.Tensor], name: str) -> ConversionError:
    message = str(error).removeprefix("Unsupported: ").partition("  [Caused by")[0]
    found = re.search(r"operator '?(?:aten::)?(\w+)", message)
    if not isinstance(error, torch.onnx.errors.OnnxExporterError) or found is None:
        return ConversionError(f"network '{name}' cannot be traced on inputs of {_shapes(tensors)}: {message.splitlines()[0]}")
    operator = found.group(1)
    layers = _layers_with(operator, module, tensors)
    where = f"in {', '.join(layers)}" if layers else "in a place that the exporter does not tell"
    reason = "the output size does not divide the input's" if "not factor of input size" in message or "not factor" in message else message.splitlines()[0]
    hint = (
        "use an output size that divides the input's, or 1 (global pooling)"
        if operator.startswith("adaptive_")
        else "replace the operator by ones that ONNX has, or leave it out of the network: https://onnx.ai/onnx/operators/"
    )
    return ConversionError(f"network '{name}': operator '{operator}' {where} cannot be written as ONNX opset {OPSET}: {reason}", hint=hint)


def _layers_with(operator: str, module: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace: Any = module if isinstance(module, torch.jit.ScriptModule) else torch.jit.trace(module, tuple(tensors), check_trace=False)  # type: ignore[no-untyped-call]
    places: dict[str, None] = {}
    graph = trace.inlined_graph  # its nodes die with it
    for node in graph.findAllNodes(f"aten::{operator}"):
        # A trace writes `__module.head/__module.head.1`, a loaded program `Classifier::/Linear::head.1`.
        path = node.scopeName().rpartition("/")[2].rpartition("::")[2].removeprefix("__module").removeprefix(".")
        places[f"layer '{path}'" if path else "the network itself"] = None
    return list(places)


def _shapes(tensors: Sequence[torch.Tensor]) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in tensors)


def _require_free_batch(model: onnx.ModelProto, example: Mapping[str, Array], answers: Mapping[str, Array], name: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    hint = "let the first dimension be x.shape[0] wherever a size is named (view, reshape, expand, zeros), and don't loop over it"
    for batch in (1, 3):
        feeds = {key: np.resize(array, (batch, *array.shape[1:])) for key, array in example.items()}
        try:
            results = session.run(list(answers), feeds)
        except Exception as error:  # ONNX Runtime raises many kinds; all mean the same here
            place = re.search(r"Name:'([^']*)'", str(error))
            where = f", at '{place.group(1)}'" if place else ""
            raise ConversionError(f"network '{name}' is bound to a batch of 2: it fails on a batch of {batch}{where}", hint=hint) from error
        for key, result in zip(answers, results, strict=True):
            if result.shape != (batch, *answers[key].shape[1:]):
                raise ConversionError(f"network '{name}' is bound to a batch of 2: output '{key}' of a batch of {batch} is {list(result.shape)}", hint=hint)


def _set_sizes(value: onnx.ValueInfoProto, sizes: Sequence[int]) -> None:
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.add(dim_param="N")
    for size in sizes:
        value.type.tensor_type.shape.dim.add(dim_value=size)
