"""`card.json`: what each precision of a package was measured to lose and to gain, beside what it may lose; and the same as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from converters.quantization.gate import Metric
from converters.quantization.latency import Latency
from converters.quantization.limits import LIMITS
from converters.quantization.sensitivity import Sensitivity
from edge.package import Precision, Reduced

CARD = "card.json"


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """The calibration set, and how much of it a package could read.

    Attributes:
        name: Of the set.
        sha256: Of its manifest, and with it of every file.
        n_calibration: Pictures, or moments of clips, that ranges were taken from.
        n_held_out: Others that the precisions were judged by.
        n_left_out: Of both: those in which the package found no face.
        n_unread: Of both: pictures beyond those that are read for one package, or that fit into memory as inputs of its networks.
        sound: Where the sound came from that a network hears; empty where none does.
    """

    name: str
    sha256: str
    n_calibration: int
    n_held_out: int
    n_left_out: int
    n_unread: int = 0
    sound: str = ""


class StageCard(msgspec.Struct, frozen=True, kw_only=True):
    """One network in one precision.

    Attributes:
        precision: In which it runs: `fp32` where it is refused.
        verdict: Whether the gate let it through.
        reason: Why not; empty where it did.
        metrics: What was measured against FP32 on the held-out part of the set, with the limits; of INT8 also with FP16 instead of FP32 around it, as GPUs
            run it.
        file: The network; empty where it is refused.
        sha256: Of that file.
        fp32_sha256: Of the network in FP32 that it was made from and compared with.
        calibrator: What chose INT8's ranges.
        harms: Of each calibrator that was tried: what a few inputs of the calibration part lose, see `Trial.harm`.
        back_in_float: Blocks that lost too much, in the order in which they went back.
        n_blocks: Of how many.
        n_quantised: Convolutions and matrix products in INT8.
        keep_fp32: How many nodes compute in FP32 where the others compute in FP16.
        latency: Against FP32 on `machine`, one thread; none for FP16, which CPUs compute as FP32.
        faster_here: Whether it is faster on that machine; None where that was not measured.
    """

    precision: Precision
    verdict: Literal["kept", "refused"]
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    file: str = ""
    sha256: str = ""
    fp32_sha256: str
    calibrator: str = ""
    harms: dict[str, float | None] = msgspec.field(default_factory=dict)
    back_in_float: tuple[Sensitivity, ...] = ()
    n_blocks: int = 0
    n_quantised: int = 0
    keep_fp32: int = 0
    latency: tuple[Latency, ...] = ()
    faster_here: bool | None = None


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How often an emotion network is right on pictures with labels.

    Attributes:
        stage: Of the package.
        output: Which of its emotions, see `gate.called`.
        data: File and split, and whose labels.
        n: Pictures.
        fp32: Part of them that FP32 has right.
        fp32_interval: 95 % interval.
        value: Part of them that this precision has right.
        interval: 95 % interval.
        agreement: Part of them of which both say the same.
    """

    stage: str
    output: str = ""
    data: str
    n: int
    fp32: float
    fp32_interval: tuple[float, float]
    value: float
    interval: tuple[float, float]
    agreement: float


class PrecisionCard(msgspec.Struct, frozen=True, kw_only=True):
    """One precision of a package.

    Attributes:
        calibration: What it was made and judged by.
        stages: Its networks.
        together: The whole package in that precision against FP32, through the runtime; empty where one network alone is in it.
        machine: Where latencies were measured: processor, engine, threads.
        versions: Of the libraries.
        accuracy: On pictures with labels, where some were given.
    """

    calibration: Calibrated
    stages: dict[str, StageCard]
    together: tuple[Metric, ...] = ()
    machine: str
    versions: dict[str, str]
    accuracy: tuple[Accuracy, ...] = ()


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`card.json`.

    Attributes:
        package: Its name.
        trained: Where it is False, numbers mean nothing, and the signal-to-noise ratio alone was judged.
        judged_by: The same in words.
        limits: Why each limit is what it is.
        precisions: What was tried, kept or not.
    """

    schema: Literal["edge.card/1"] = "edge.card/1"
    package: str
    trained: bool
    judged_by: str
    limits: dict[str, str]
    precisions: dict[Reduced, PrecisionCard]


def make_card(package: str, precisions: Mapping[Reduced, PrecisionCard], *, trained: bool) -> Card:
    """Put a card together."""
    by_numbers = "what the package says, as the runtime reads it, against FP32 on held-out pictures"
    by_noise = "the signal-to-noise ratio alone: the package was never trained, its numbers mean nothing"
    names = sorted({metric.name for each in precisions.values() for metric in _every_metric(each) if metric.limit is not None})
    limits: dict[str, str] = {name: LIMITS[name].why for name in names}
    return Card(package=package, trained=trained, judged_by=by_numbers if trained else by_noise, limits=limits, precisions=dict(precisions))


def read_card(folder: Path) -> Card | None:
    """Read a package's card; None where it has none that can be read."""
    try:
        return msgspec.json.decode((folder / CARD).read_bytes(), type=Card)
    except (OSError, msgspec.MsgspecError):
        return None


def offered(card: Card) -> dict[Reduced, dict[str, Precision]]:
    """Return the precisions that a package with this card offers beside FP32, and in each the precision of every stage's network."""
    return {
        precision: {name: stage.precision for name, stage in each.stages.items()}
        for precision, each in card.precisions.items()
        if any(stage.verdict == "kept" for stage in each.stages.values())
    }


def not_faster(name: str, stage: StageCard) -> str:
    """Return a line that says with its numbers that a network gains nothing on the machine where it was made; empty where it does, or was not timed."""
    if stage.faster_here is not False:
        return ""
    timed = ", ".join(f"batch {each.batch}: {each.ms:.3g} ms, fp32 {each.fp32_ms:.3g}" for each in stage.latency)
    return f"{name}: int8 is NOT faster on this machine ({timed}){': it is for other devices' if stage.verdict == 'kept' else ''}"


def table(card: Card) -> list[str]:
    """Return the lines of a table, a line for each number of each network in each precision; below it what was refused, and why."""
    rows: list[tuple[str, ...]] = [("network", "precision", "", "measured", "value", "limit", "over")]
    refusals, slow = [], []
    for precision, of_precision in card.precisions.items():
        for name, stage in of_precision.stages.items():
            rows += [(name, precision, stage.verdict, *cells) for cells in _stage_cells(stage)]
            if stage.verdict == "refused":
                refusals.append(f"{name} stays fp32 where the package runs in {precision}: {stage.reason}")
            if line := not_faster(name, stage):
                slow.append(line)
        rows += [("together", precision, "", *_cells(metric)) for metric in of_precision.together]
        for each in of_precision.accuracy:
            value = f"{each.value:.1%} (fp32 {each.fp32:.1%}; same answer {each.agreement:.1%})"
            rows.append((each.stage, precision, "", f"accuracy, {each.output}, {each.data}", value, "-", str(each.n)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    machines = sorted({precision.machine for precision in card.precisions.values()})
    return [*lines, *(f"latency: {machine}" for machine in machines), *slow, *refusals]


def _stage_cells(stage: StageCard) -> Iterator[tuple[str, str, str, str]]:
    for metric in stage.metrics:
        yield _cells(metric)
    if stage.back_in_float:
        yield ("blocks back in float", f"{len(stage.back_in_float)} of {stage.n_blocks}", "-", "")
    if stage.keep_fp32:
        yield ("nodes that compute in FP32, not FP16", str(stage.keep_fp32), "-", "")
    for latency in stage.latency:
        value = f"{latency.ms:.3g} ms (fp32 {latency.fp32_ms:.3g}: {latency.times:.1f} times)"
        yield (f"latency, batch {latency.batch}", value, "-", f"{latency.n_rounds} runs")
    if not stage.metrics and not stage.latency:
        yield ("nothing", "-", "-", "")


def _cells(metric: Metric) -> tuple[str, str, str, str]:
    unit = f" {metric.unit}" if metric.unit else ""
    interval = f" [{metric.interval[0]:.3f}, {metric.interval[1]:.3f}]" if metric.interval else ""
    limit = "-" if metric.limit is None else f"{'<=' if metric.ideal is not None and metric.limit >= metric.ideal else '>='} {metric.limit:.3g}{unit}"
    still = f"; hardly vary, no correlation: {', '.join(metric.still)}" if metric.still and metric.name in ("action unit error", "score error") else ""
    return f"{metric.name}, {metric.of}{still}", f"{metric.value:.4g}{unit}{interval}", limit, str(metric.n)


def _every_metric(precision: PrecisionCard) -> Iterator[Metric]:
    for stage in precision.stages.values():
        yield from stage.metrics
    yield from precision.together
