"""Shows that a converted network computes what the original does: both on the same real inputs, each in its own framework."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
import numpy as np
import onnx
import onnxruntime

from converters.errors import ParityFailure
from converters.original import Array, Original
from edge.engine.ort import for_cpu

# Of its mean: what varies less is float noise.
_LEAST_DEVIATION = 1e-6
# Inputs that are also run in the CPU's form of the graph.
_N_IN_RUNTIME = 4


class OutputParity(msgspec.Struct, frozen=True, kw_only=True):
    """How far one output is from the original's.

    Attributes:
        name: Name of the output.
        max_error: Largest absolute difference, in the output's unit.
        mean_error: Mean absolute difference.
        p99_error: 99th percentile of the absolute differences.
        deviation: How much the original's values vary over the inputs: root mean square, over the elements, of each one's standard deviation.
        relative_error: `max_error` over `deviation`: what is held against the limit.
        n_constant: How many of its elements are the same for all inputs: of those the agreement shows little.
    """

    name: str
    max_error: float
    mean_error: float
    p99_error: float
    deviation: float
    relative_error: float
    n_constant: int


class ParityReport(msgspec.Struct, frozen=True, kw_only=True):
    """One parity run.

    Attributes:
        original_sha256: Hash of the file, or of the weights, that ran.
        onnx_sha256: Hash of the serialised ONNX model.
        runtimes: What ran them, with versions.
        n_inputs: How many inputs were compared.
        inputs_sha256: Hash of the inputs' bytes.
        limit: Largest `relative_error` allowed.
        outputs: One entry for each output.
    """

    original_sha256: str
    onnx_sha256: str
    runtimes: dict[str, str]
    n_inputs: int
    inputs_sha256: str
    limit: float
    outputs: tuple[OutputParity, ...]


def check_parity(original: Original, model: onnx.ModelProto, inputs: Mapping[str, Array], *, limit: float, where: str) -> ParityReport:
    """Run the original and the converted network on the same inputs and compare every output.

    Args:
        original: The network in its own framework.
        model: The ONNX model made from it; its outputs may be fewer.
        inputs: float32[N, ...] by input name, as the ONNX model takes them (pictures NCHW). The more they differ, the more the run shows.
        limit: Largest difference allowed, as a fraction of the output's own deviation over the inputs.
        where: What is compared, for messages.

    Returns:
        The measured differences.

    Raises:
        ParityFailure: A difference exceeds the limit; an output holds values that are not finite, has another shape, or does not vary over the
            inputs; there are fewer than two inputs, or they are not the network's; one input alone gives other values than in a batch; `edge-run` would
            compute something else.
    """
    n_inputs = min((len(array) for array in inputs.values()), default=0)
    if n_inputs < 2:
        raise ParityFailure(f"{where}: expected at least 2 inputs that differ, got {n_inputs}", hint="take several crops of real pictures")
    originals = original.run(inputs)
    serialised = model.SerializeToString()
    session = onnxruntime.InferenceSession(serialised, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    batch = session.run(names, dict(inputs))
    outputs = tuple(_compare(name, originals[name], np.asarray(values), where) for name, values in zip(names, batch, strict=True))
    for output in outputs:
        if output.relative_error > limit:
            raise ParityFailure(
                f"{where}: output '{output.name}' differs from the original's by up to {output.max_error:.3g}, {output.relative_error:.3g} of its own"
                f" deviation over {n_inputs} inputs; allowed is {limit:.3g}",
                hint="the converted network is wrong: do not use it",
            )
    _check_free_batch(session, inputs, dict(zip(names, batch, strict=True)), outputs, limit=limit, where=where)
    _check_runtime(model, inputs, dict(zip(names, batch, strict=True)), outputs, limit=limit, where=where)
    digest = hashlib.sha256()
    for name in sorted(inputs):
        digest.update(np.ascontiguousarray(inputs[name]).tobytes())
    return ParityReport(
        original_sha256=original.sha256,
        onnx_sha256=hashlib.sha256(serialised).hexdigest(),
        runtimes={"original": original.framework, "converted": f"ONNX Runtime {onnxruntime.__version__}"},
        n_inputs=n_inputs,
        inputs_sha256=digest.hexdigest(),
        limit=limit,
        outputs=outputs,
    )


def _compare(name: str, original: Array, converted: Array, where: str) -> OutputParity:
    if original.size != converted.size:
        raise ParityFailure(f"{where}: output '{name}' has shape {list(converted.shape)}, the original's {list(original.shape)}")
    expected, got = (values.astype(np.float64).reshape(len(original), -1) for values in (original, converted))
    if not np.isfinite(expected).all() or not np.isfinite(got).all():
        raise ParityFailure(f"{where}: output '{name}' holds values that are no finite numbers", hint="look at its weights, and at the scale of its input")
    difference = np.abs(expected - got)
    deviations = np.sqrt(expected.var(axis=0))
    deviation = float(np.sqrt((deviations**2).mean()))
    least = _LEAST_DEVIATION * max(1.0, float(np.abs(expected).mean()))
    if not deviation > least:
        raise ParityFailure(
            f"{where}: output '{name}' does not vary over the inputs (deviation {deviation:.3g}), so agreement shows nothing",
            hint="take inputs that differ more; where they do, the network says the same of all: look at its weights and its scale",
        )
    return OutputParity(
        name=name,
        max_error=float(difference.max()),
        mean_error=float(difference.mean()),
        p99_error=float(np.percentile(difference, 99)),
        deviation=deviation,
        relative_error=float(difference.max()) / deviation,
        n_constant=int((deviations <= least).sum()),
    )


def _check_runtime(
    model: onnx.ModelProto, inputs: Mapping[str, Array], batch: Mapping[str, Array], outputs: tuple[OutputParity, ...], *, limit: float, where: str
) -> None:
    """What `edge-run` makes of the graph on a CPU must give the same: of a few inputs, for it is the same graph in another form."""
    session = onnxruntime.InferenceSession(for_cpu(model).SerializeToString(), providers=["CPUExecutionProvider"])
    rows = dict(zip(batch, session.run([*batch], {name: array[:_N_IN_RUNTIME] for name, array in inputs.items()}), strict=True))
    for output in outputs:
        got, expected = np.asarray(rows[output.name]), np.asarray(batch[output.name])[:_N_IN_RUNTIME]
        if got.shape != expected.shape or not np.abs(got - expected).max() <= limit * output.deviation:
            raise ParityFailure(
                f"{where}: output '{output.name}' is another one in the form in which edge-run computes the network on a CPU",
                hint="this is a bug of edge.engine: please report it with the network",
            )


def _check_free_batch(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, Array],
    batch: Mapping[str, Array],
    outputs: tuple[OutputParity, ...],
    *,
    limit: float,
    where: str,
) -> None:
    """A batch size that was frozen, or values that depend on their neighbours, show when one input runs alone."""
    hint = "the converted network is bound to one batch size: convert it with a free first dimension"
    n_inputs = len(next(iter(inputs.values())))
    for number in sorted({0, n_inputs // 2, n_inputs - 1}):
        try:
            alone = dict(zip(batch, session.run([*batch], {name: array[number : number + 1] for name, array in inputs.items()}), strict=True))
        except Exception as error:  # ONNX Runtime raises many kinds; all mean the same here
            raise ParityFailure(f"{where}: the converted network fails on one input alone: {str(error).splitlines()[0]}", hint=hint) from error
        for output in outputs:
            one, its_row = np.asarray(alone[output.name]), np.asarray(batch[output.name])[number : number + 1]
            if one.shape != its_row.shape or not np.abs(one - its_row).max() <= limit * output.deviation:
                raise ParityFailure(f"{where}: output '{output.name}' is another one when the input runs alone than in a batch of {n_inputs}", hint=hint)
