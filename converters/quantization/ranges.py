"""How far a tensor's numbers reach: what the scale of its grid follows from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from converters.errors import ConversionError
from converters.original import Array

Calibrator = Literal["max", "entropy", "percentile"]

# Inner tensors of so many bytes at a time: what calibration needs does not grow with the number of pictures.
_BATCH_BYTES = 192 * 1024**2
_N_BINS = 2048
# The levels of one sign of an INT8 grid.
_N_LEVELS = 128
_PERCENTILE = 99.99


def reaches(model: onnx.ModelProto, calibrators: Mapping[str, Calibrator], feeds: Mapping[str, Array]) -> dict[str, float]:
    """Return for each tensor how far from zero its grid shall reach.

    Args:
        model: A model in float32.
        calibrators: By the name of a float32 tensor in it. `max` takes the largest absolute value; `percentile` the one that 99.99 % of the absolute values do
            not exceed; `entropy` the one where the quantised distribution tells most of the true one (least Kullback-Leibler divergence), which cuts off rare
            large values.
        feeds: float32[N, ...] by input name.

    Returns:
        At least 0, by the name of the tensor; 0 where a tensor is zero throughout.

    Raises:
        ConversionError: There are no inputs, or a tensor takes values that are no finite numbers.

    Source: Migacz 2017, 8-bit inference with TensorRT (NVIDIA GTC, S7310), for `entropy`.
    """
    histograms = {name: _Histogram() for name in calibrators}

    def take(name: str, values: Array) -> None:
        histograms[name].add(np.abs(values).ravel())

    watch(model, list(calibrators), feeds, take)
    return {name: histograms[name].reach(calibrator) for name, calibrator in calibrators.items()}


def watch(model: onnx.ModelProto, tensors: Sequence[str], feeds: Mapping[str, Array], take: Callable[[str, Array], None]) -> None:
    """Run a network on inputs, some at a time, and hand over its inner tensors.

    Args:
        model: The network.
        tensors: Names of float32 tensors in it.
        feeds: float32[N, ...] by input name.
        take: Called with a tensor's name and its values for some of the inputs.

    Raises:
        ConversionError: There are no inputs, or a tensor takes values that are no finite numbers.
    """
    n_inputs = min((len(values) for values in feeds.values()), default=0)
    if not n_inputs:
        raise ConversionError("expected pictures to measure the network on, got none", hint="calibration sets: python -m calibration build --help")
    given = {value.name for value in model.graph.input}
    session = _session(model, [name for name in tensors if name not in given])
    names = [output.name for output in session.get_outputs()]
    start, size = 0, 1
    while start < n_inputs:
        batch = {name: values[start : start + size] for name, values in feeds.items()}
        results = {**batch, **dict(zip(names, session.run(names, batch), strict=True))}
        for name in tensors:
            values = np.asarray(results[name], np.float32)
            if not np.isfinite(values).all():
                raise ConversionError(f"'{name}' takes values that are no finite numbers", hint="look at the network's weights, and at the scale of its input")
            take(name, values)
        start += size
        # Two of every tensor: the session's own and NumPy's absolute values.
        size = max(1, _BATCH_BYTES // max(1, 2 * sum(values.nbytes for values in results.values()) // size))


def _session(model: onnx.ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    own = {value.name for value in model.graph.output}
    # What a value is follows from the graph; ONNX Runtime infers it.
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in own)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Every tensor must be there, with the numbers of the plain graph.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])


class _Histogram:
    """Absolute values counted in bins of one width; twice as wide where larger values come, so that their number stays."""

    def __init__(self) -> None:
        self._counts = np.zeros(_N_BINS, np.int64)
        self._width = 0.0
        self._largest = 0.0

    def add(self, values: Array) -> None:
        """Count float32[n], at least 0."""
        largest = float(values.max(initial=0.0))
        self._largest = max(self._largest, largest)
        if self._width == 0.0:
            self._counts[0] += len(values) if largest == 0.0 else 0
            if largest == 0.0:
                return
            self._width = largest / _N_BINS
        while largest > self._width * _N_BINS:
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(axis=1), np.zeros(_N_BINS // 2, np.int64)])
            self._width *= 2
        places = np.minimum((values / np.float32(self._width)).astype(np.int64), _N_BINS - 1)
        self._counts += np.bincount(places, minlength=_N_BINS)

    def reach(self, calibrator: Calibrator) -> float:
        if calibrator == "max" or self._width == 0.0:
            return self._largest
        if calibrator == "percentile":
            share = np.cumsum(self._counts) / self._counts.sum()
            n_bins = int(np.searchsorted(share, _PERCENTILE / 100)) + 1
        else:
            n_bins = _most_telling(self._counts)
        return min(self._largest, n_bins * self._width)


def _most_telling(counts: NDArray[np.int64]) -> int:
    """How many bins of int64[n_bins] the grid shall span."""
    # Zeros are exact on every grid, and after a ReLU so many that nothing else would count.
    shares = counts.astype(np.float64)
    shares[0] = shares[1]
    last = int(np.flatnonzero(counts)[-1]) + 1
    if last <= _N_LEVELS:
        return last
    outside = shares.sum() - np.cumsum(shares)
    divergences = {n_bins: _divergence(shares[:n_bins], outside[n_bins - 1]) for n_bins in range(_N_LEVELS, last + 1)}
    return min(divergences, key=lambda n_bins: divergences[n_bins])


def _divergence(inside: NDArray[np.float64], outside: float) -> float:
    """Kullback-Leibler divergence of the quantised distribution from the true one, whose values outside lie at the grid's end."""
    levels = np.arange(len(inside)) * _N_LEVELS // len(inside)
    there = inside > 0
    totals = np.bincount(levels, inside, _N_LEVELS)
    n_there = np.bincount(levels, there, _N_LEVELS)
    quantised = np.where(there, (totals / np.maximum(n_there, 1))[levels], 0.0)
    true = inside.copy()
    true[-1] += outside
    if not there.any():
        return float("inf")
    if not there[-1] and outside:
        # The true distribution has weight where the quantised one has none: as small as a single count stands for.
        quantised[-1] = 1e-3
    true, quantised = true / true.sum(), quantised / quantised.sum()
    there = true > 0
    return float((true[there] * np.log(true[there] / quantised[there])).sum())
