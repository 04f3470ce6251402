"""The gate: how far a network in a lower precision is from its FP32, in the words of its package, and how far it may be.

Both networks answer the same held-out inputs, each through the engine that users run; numbers are read from the answers by the runtime's own code. A package
that was never trained says nothing that could be right or wrong: it is judged by its signal-to-noise ratio alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError
from converters.original import Array
from converters.quantization.detections import Agreement, agreement
from converters.quantization.limits import LIMITS, MetricName
from converters.training.measure import wilson_interval
from edge.activation import activated
from edge.errors import InferenceFailed
from edge.estimate import NumberRow
from edge.pose import pose_from_axes
from edge.stage import ActionUnits, Boxes, Emotions, Landmarks, Named, Output, Presence, Stage, role_of

# float32[N, ...] by tensor name: what a network answered to N inputs.
Answers = Mapping[str, Array]
Values = NDArray[np.float64]

# Stands before what was measured of INT8 with FP16 instead of FP32 around it, as GPUs run it.
AROUND = "FP16 around it: "

# float32 itself leaves about this: equal networks show it instead of an infinite ratio.
_MOST_DB = 140.0
# An action unit that varies less than this over the inputs has no correlation to speak of.
_LEAST_DEVIATION = 0.02
# A probability of nothing would make the divergence infinite.
_LEAST_PROBABILITY = 1e-6


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a comparison.

    Attributes:
        name: What was measured.
        of: The output, or the later stage and its output, that it speaks of.
        value: The number; of several parts the worst.
        unit: Of the number and its limit; empty for parts of one and counts.
        limit: Still allowed; None where the number is for information.
        ideal: What equal networks give; None stands for infinity.
        n: Inputs, or faces, that it was measured on.
        interval: 95 % interval of a proportion.
        parts: By action unit or score, where there are several.
        still: Those that vary too little over the inputs for a correlation: their errors alone are judged.
    """

    name: MetricName
    of: str
    value: float
    unit: str
    limit: float | None
    ideal: float | None
    n: int
    interval: tuple[float, float] | None = None
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    still: tuple[str, ...] = ()

    @property
    def strain(self) -> float:
        """How much of what is allowed is used up: 0 for equal networks, 1 at the limit, more beyond it."""
        if self.limit is None:
            return 0.0
        if not math.isfinite(self.value):
            return 0.0 if self.ideal is None and self.value > 0 else math.inf
        if self.ideal is None:
            return self.limit / self.value if self.value > 0 else math.inf
        off, allowed = abs(self.value - self.ideal), abs(self.limit - self.ideal)
        return off / allowed if allowed else math.inf if off else 0.0


def strain(metrics: Collection[Metric]) -> float:
    """Return the largest `Metric.strain`: the candidate passes up to 1."""
    return max(metric.strain for metric in metrics)


def failures(metrics: Collection[Metric]) -> list[str]:
    """Return what fails, each in a few words; empty where the candidate passes."""
    return [_sentence(metric) for metric in metrics if metric.strain > 1]


def compare(stage: Stage, reference: Answers, candidate: Answers, *, trained: bool, taken: Collection[str] = (), prefix: str = "") -> tuple[Metric, ...]:
    """Compare what two networks of a stage answered to the same inputs.

    Args:
        stage: What the answers mean.
        reference: Of the network in FP32.
        candidate: Of the other one.
        trained: The package's numbers mean something; otherwise the signal-to-noise ratio alone is judged.
        taken: Further tensors, which later stages take as embeddings.
        prefix: Stands before the names of the outputs.

    Returns:
        The numbers; see `strain` and `failures`.

    Raises:
        ConversionError: The network in FP32 gives numbers that are not finite: nothing can be compared with them.
    """
    tensors = sorted({*_tensors(stage), *taken})
    for tensor in tensors:
        if not np.isfinite(reference[tensor]).all():
            raise ConversionError(
                f"{stage.name}: expected finite numbers of the network in FP32, got NaN or infinity in '{tensor}'", hint="look at its weights"
            )
    broken = sum(int((~np.isfinite(candidate[tensor])).sum()) for tensor in tensors)
    finite = _metric("non-finite numbers", f"{prefix}{stage.name}", broken, n=len(next(iter(candidate.values()))))
    if broken:
        return (finite,)
    metrics = [finite, *(_signal_to_noise(f"{prefix}{tensor}", reference[tensor], candidate[tensor], judged=not trained) for tensor in tensors)]
    if trained:
        shown = _shown(stage, reference)
        for output in stage.outputs:
            metrics += _of_output(stage, output, reference, candidate, shown, prefix)
        metrics += [_cosine(f"{prefix}{tensor}", reference[tensor], candidate[tensor]) for tensor in sorted(taken)]
    return tuple(metrics)


def compare_readings(
    outputs: Collection[tuple[int, Named]], expected: list[list[Values] | None], got: list[list[Values] | None], *, prefix: str
) -> tuple[Metric, ...]:
    """Compare what a whole package said of the same moments with two sets of networks.

    Args:
        outputs: Which numbers, with their place in a reading.
        expected: For each moment, float64[K] of each output, or None where no face was seen: with FP32.
        got: The same with the candidate.
        prefix: Stands before the names of the outputs.
    """
    seen = [(one, other) for one, other in zip(expected, got, strict=True) if one is not None and other is not None]
    n_agreed = sum((one is None) == (other is None) for one, other in zip(expected, got, strict=True))
    metrics = [_proportion("presence agreement", f"{prefix}faces", n_agreed, len(expected))]
    for place, output in outputs if seen else ():
        reference, candidate = (np.stack([pair[which][place] for pair in seen]) for which in (0, 1))
        metrics += compare_numbers(output, reference, candidate, f"{prefix}{role_of(output)}")
    return tuple(metrics)


def called(output: Named) -> str:
    """Return what an output is called in metrics: its role, and its convention where it is not the one that is shown."""
    return f"emotions ({output.convention})" if isinstance(output, Emotions) and not output.shown else role_of(output)


def lost(output: Named, part: float, n: int) -> Metric:
    """Return the number that says how much of an output's accuracy is lost.

    Args:
        output: It was measured on.
        part: Of all pictures with labels that FP32 has right, less those that the candidate has right; below 0 where nothing is lost.
        n: Pictures with labels.
    """
    return _metric("accuracy lost", called(output), max(part, 0.0), n=n)


def _tensors(stage: Stage) -> Iterator[str]:
    for output in stage.outputs:
        yield output.tensor
        if isinstance(output, Boxes):
            yield output.score_tensor


def _shown(stage: Stage, reference: Answers) -> NDArray[np.bool_]:
    """bool[N]: the inputs that hold a face, as FP32 says: of the others the runtime reads no more than that."""
    shown = np.ones(len(next(iter(reference.values()))), np.bool_)
    for output in stage.outputs:
        if isinstance(output, Presence):
            shown &= _presence(output, reference) >= output.min_score
    return shown


def _of_output(stage: Stage, output: Output, reference: Answers, candidate: Answers, shown: NDArray[np.bool_], prefix: str) -> Iterator[Metric]:
    where = f"{prefix}{output.tensor}"
    if isinstance(output, Boxes):
        yield from _of_boxes(agreement(stage, reference, candidate), where)
    elif isinstance(output, Presence):
        agreed = (_presence(output, reference) >= output.min_score) == (_presence(output, candidate) >= output.min_score)
        yield _proportion("presence agreement", where, int(agreed.sum()), len(agreed))
    elif shown.any():
        expected, got = (_rows(answers[output.tensor])[shown] for answers in (reference, candidate))
        if isinstance(output, Landmarks):
            yield from _of_landmarks(output, expected, got, where)
        else:
            yield from _of_numbers(output, expected, got, f"{prefix}{called(output)}")


def _of_boxes(found: Agreement, where: str) -> Iterator[Metric]:
    yield _proportion("detections agreed", where, found.n_agreed, found.n_found)
    if found.n_agreed:
        yield _metric("eye position error", where, found.eye_error, n=found.n_agreed)
        yield _metric("detection score error", where, found.score_error, n=found.n_agreed)


def _of_landmarks(output: Landmarks, reference: Array, candidate: Array, where: str) -> Iterator[Metric]:
    expected, got = (rows.reshape(len(rows), -1, 3).astype(np.float64) for rows in (reference, candidate))
    corners = expected[:, [*output.left_eye, *output.right_eye], :2]
    eyes = (corners[:, ::2] + corners[:, 1::2]) / 2
    errors = np.linalg.norm(expected[..., :2] - got[..., :2], axis=2).mean(axis=1) / np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1)
    yield _metric("landmark error", where, float(errors.mean()), n=len(errors))
    yield _metric("landmark error, 95th percentile", where, float(np.percentile(errors, 95)), n=len(errors))
    turns = np.array([_turn_deg(*(points[list(output.axes)] for points in pair)) for pair in zip(expected, got, strict=True)])
    yield _metric("head pose error", where, float(turns.mean()), n=len(turns))
    yield _metric("head pose error, 95th percentile", where, float(np.percentile(turns, 95)), n=len(turns))


def _turn_deg(expected: Values, got: Values) -> float:
    """The largest of the differences of yaw, pitch and roll, as the runtime reads them; half a turn where one of the two has no pose."""
    pose, other = pose_from_axes(expected), pose_from_axes(got)
    if pose is None or other is None:
        return 0.0 if pose is other else 180.0
    differences = (abs(pose.yaw - other.yaw), abs(pose.pitch - other.pitch), abs(pose.roll - other.roll))
    return max(min(difference, 360 - difference) for difference in differences)


def _of_numbers(output: Named, reference: Array, candidate: Array, where: str) -> Iterator[Metric]:
    numbers = NumberRow([output])
    expected = numbers.part(output, reference)
    try:
        got = numbers.part(output, candidate)
    except InferenceFailed:
        yield _metric("numbers the runtime refuses", where, len(candidate), n=len(candidate))
        return
    yield from compare_numbers(output, expected, got, where)


def compare_numbers(output: Named, expected: Values, got: Values, where: str) -> Iterator[Metric]:
    """Compare the numbers of an output as the runtime reads them.

    Args:
        output: What they are.
        expected: float64[N, K], with FP32.
        got: float64[N, K], with the candidate.
        where: Stands in the metrics.
    """
    if isinstance(output, ActionUnits):
        called: tuple[MetricName, MetricName, MetricName] = ("action unit error", "action unit error, root mean square", "action unit correlation")
        yield from _by_name(output.names, expected, got, where, called)
        return
    numbers = NumberRow([output])
    labels, other_labels = ([_top(numbers, row) for row in rows] for rows in (expected, got))
    n_agreed = sum(map(str.__eq__, labels, other_labels))
    yield _proportion("label agreement", where, n_agreed, len(labels))
    yield _metric("label agreement, lower bound", where, wilson_interval(n_agreed, len(labels))[0], n=len(labels))
    # Over one label nothing is distributed, and what does not add up to 1 has no divergence.
    if expected.shape[1] > 1 and all(np.allclose(rows.sum(axis=1), 1, atol=1e-3) for rows in (expected, got)):
        p, q = (np.maximum(rows, _LEAST_PROBABILITY) for rows in (expected, got))
        yield _metric("KL divergence", where, np.maximum((p * np.log(p / q)).sum(axis=1).mean(), 0.0), n=len(labels))
    else:
        names = output.labels if isinstance(output, Emotions) else output.names
        yield from _by_name(names, expected, got, where, ("score error", "score error, root mean square", "score correlation"))


def _top(numbers: NumberRow, row: Values) -> str:
    ranked = numbers.estimate(row).ranked
    return max(ranked, key=ranked.__getitem__)


def _by_name(names: Sequence[str], expected: Values, got: Values, where: str, called: tuple[MetricName, MetricName, MetricName]) -> Iterator[Metric]:
    """Compare numbers that each stand for themselves: mean error, root of the mean squared error, correlation."""
    n, varies = len(expected), expected.std(axis=0) >= _LEAST_DEVIATION
    still = tuple(name for name, each in zip(names, varies, strict=True) if not each)
    for metric, errors in zip(called, (np.abs(expected - got).mean(axis=0), np.sqrt(((expected - got) ** 2).mean(axis=0))), strict=False):
        yield _metric(metric, where, errors.max(), n=n, parts=dict(zip(names, errors.tolist(), strict=True)), still=still)
    correlations: dict[str, float] = {}
    for name, reference, candidate, each in zip(names, expected.T, got.T, varies, strict=True):
        if each:
            correlations[name] = float(np.corrcoef(reference, candidate)[0, 1]) if candidate.std() > 0 else 0.0
    if correlations:
        yield _metric(called[2], where, np.min([*correlations.values()]), n=n, parts=correlations)


def _signal_to_noise(where: str, reference: Array, candidate: Array, *, judged: bool) -> Metric:
    expected, got = _rows(reference).astype(np.float64), _rows(candidate).astype(np.float64)
    # What an output says is how it varies over the inputs: a constant would count as signal otherwise.
    signal, noise = ((expected - expected.mean(axis=0)) ** 2).mean(), ((expected - got) ** 2).mean()
    ratio_db = _MOST_DB if noise == 0 else np.minimum(10 * np.log10(np.maximum(signal, 1e-30) / noise), _MOST_DB)
    return _metric("signal to noise", where, ratio_db, n=len(expected), judged=judged)


def _cosine(where: str, reference: Array, candidate: Array) -> Metric:
    expected, got = _rows(reference).astype(np.float64), _rows(candidate).astype(np.float64)
    lengths = np.maximum(np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1), 1e-30)
    return _metric("embedding cosine", where, float(((expected * got).sum(axis=1) / lengths).mean()), n=len(expected))


def _presence(output: Presence, answers: Answers) -> Values:
    return activated(_rows(answers[output.tensor]), output.activation)[:, 0]


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _proportion(name: MetricName, where: str, n_right: int, n: int) -> Metric:
    return _metric(name, where, n_right / n if n else 0.0, n=n, interval=wilson_interval(n_right, n) if n else (0.0, 1.0))


def _metric(
    name: MetricName,
    where: str,
    value: float,
    *,
    n: int,
    judged: bool = True,
    interval: tuple[float, float] | None = None,
    parts: dict[str, float] | None = None,
    still: tuple[str, ...] = (),
) -> Metric:
    limit = LIMITS[name]
    return Metric(
        name=name,
        of=where,
        value=float(value),
        unit=limit.unit,
        limit=limit.value if judged else None,
        ideal=limit.ideal if math.isfinite(limit.ideal) else None,
        n=n,
        interval=interval,
        parts=parts or {},
        still=still,
    )


def _sentence(metric: Metric) -> str:
    assert metric.limit is not None
    worst = ""
    if metric.parts:
        worst = f" ({max(metric.parts, key=lambda part: abs(metric.parts[part] - (metric.ideal or 0.0)))})"
    unit = f" {metric.unit}" if metric.unit else ""
    rule = "at most" if metric.ideal is not None and metric.limit >= metric.ideal else "at least"
    interval = f" [{metric.interval[0]:.3g}, {metric.interval[1]:.3g}]" if metric.interval else ""
    return f"{metric.name} of {metric.of}{worst} is {metric.value:.3g}{unit}{interval} over {metric.n}, {rule} {metric.limit:.3g}{unit} is allowed"
