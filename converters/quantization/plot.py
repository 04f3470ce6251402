"""Accuracy over latency as a picture: one panel for each network of a package, one point for each precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from converters.quantization.card import Card, StageCard
from converters.quantization.gate import AROUND, Metric
from converters.quantization.limits import MetricName
from edge.package import Reduced

PLOT = "precisions.png"

# The numbers that can be drawn, and how they stand on the axis.
_SHOWN: Mapping[MetricName, tuple[str, float]] = {
    "label agreement": ("same label as FP32 (% of inputs)", 100),
    "action unit error": ("error of the worst action unit (mean, of 1)", 1),
    "landmark error": ("landmark error (% of the eyes' distance)", 100),
    "action unit correlation": ("correlation of the worst action unit", 1),
    "landmark error, 95th percentile": ("landmark error, 95th percentile (% of the eyes' distance)", 100),
    "action unit error, root mean square": ("error of the worst action unit (root mean square, of 1)", 1),
    "score error": ("error of the worst score (mean, of 1)", 1),
    "score error, root mean square": ("error of the worst score (root mean square, of 1)", 1),
    "score correlation": ("correlation of the worst score", 1),
    "head pose error": ("head pose error (degrees)", 1),
    "head pose error, 95th percentile": ("head pose error, 95th percentile (degrees)", 1),
    "KL divergence": ("KL divergence from FP32 (nat)", 1),
    "presence agreement": ("same answer whether there is a face (% of inputs)", 100),
    "detections agreed": ("faces that both find in the same place (%)", 100),
    "eye position error": ("eye position error (% of the eyes' distance)", 100),
    "detection score error": ("detection score error (mean, of 1)", 1),
    "embedding cosine": ("cosine with FP32's embedding", 1),
    "signal to noise": ("signal to noise against FP32 (dB)", 1),
}
_COLOR: Mapping[str, str] = {"fp32": "#444444", "fp16": "#1f77b4", "int8": "#d62728"}
_PANEL_INCH = (4.4, 3.6)


def draw(card: Card, path: Path) -> None:
    """Draw a card.

    Args:
        card: What was measured.
        path: PNG file to be written.
    """
    stages = list(dict.fromkeys(name for precision in card.precisions.values() for name in precision.stages))
    figure = Figure(figsize=(_PANEL_INCH[0] * len(stages), _PANEL_INCH[1] + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(stages):
        _draw_stage(figure.add_subplot(1, len(stages), place + 1), name, {key: each.stages[name] for key, each in card.precisions.items()})
    machines = sorted({precision.machine for precision in card.precisions.values()})
    lines = [f"{card.package}: accuracy over latency", *machines, *([] if card.trained else ["untrained: judged by signal to noise alone"])]
    figure.suptitle("\n".join(lines), fontsize=9)
    # No version in the file: the same numbers give the same picture.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_stage(axes: Axes, name: str, precisions: Mapping[Reduced, StageCard]) -> None:
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("latency at batch 1 (ms)")
    axes.grid(alpha=0.3)
    metrics = [metric for stage in precisions.values() for metric in stage.metrics if not metric.of.startswith(AROUND)]
    measured = [metric for metric in metrics if metric.name in _SHOWN and metric.limit is not None]
    if not measured:
        axes.set_ylabel("accuracy")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nothing could be measured", ha="center", fontsize=8)
        return
    # The number that comes nearest to its limit, or lies furthest beyond it.
    shown = max(measured, key=lambda metric: metric.strain)
    assert shown.limit is not None
    label, factor = _SHOWN[shown.name]
    axes.set_ylabel(label, fontsize=9)
    axes.axhline(factor * shown.limit, color="gray", linestyle=":", label=f"limit: {factor * shown.limit:g}")
    _draw_fp32(axes, precisions, None if shown.ideal is None else factor * shown.ideal)
    for precision, stage in precisions.items():
        metric = next((metric for metric in stage.metrics if (metric.name, metric.of) == (shown.name, shown.of)), None)
        if metric is not None:
            _draw_precision(axes, precision, stage, metric, factor)
    axes.margins(x=0.2, y=0.2)
    if any(stage.latency for stage in precisions.values()):
        axes.set_xlim(0, axes.get_xlim()[1])
    else:
        axes.set_xticks([])
        axes.set_xlabel("latency (ms): FP16 is not timed on a CPU")
    axes.legend(fontsize=7, loc="best", title=shown.of, title_fontsize=7)


def _draw_fp32(axes: Axes, precisions: Mapping[Reduced, StageCard], ideal: float | None) -> None:
    fp32_ms = next((latency.fp32_ms for stage in precisions.values() for latency in stage.latency if latency.batch == 1), None)
    if fp32_ms is not None and ideal is not None:
        axes.plot(fp32_ms, ideal, "s", color=_COLOR["fp32"], label="FP32")
    elif fp32_ms is not None:
        axes.axvline(fp32_ms, color=_COLOR["fp32"], label="FP32, without noise")


def _draw_precision(axes: Axes, precision: Reduced, stage: StageCard, metric: Metric, factor: float) -> None:
    refused = "" if stage.verdict == "kept" else ", refused"
    color = _COLOR[precision]
    latency = next((latency for latency in stage.latency if latency.batch == 1), None)
    if latency is None:
        axes.axhline(factor * metric.value, color=color, linestyle=(0, (1, 4)) if refused else "--", label=f"{precision.upper()}{refused}, not timed")
        return
    low, high = latency.interval_ms
    across = [[latency.ms - low], [high - latency.ms]]
    least, most = metric.interval or (metric.value, metric.value)
    upright = [[factor * (metric.value - least)], [factor * (most - metric.value)]]
    fill = "none" if refused else color
    axes.errorbar(latency.ms, factor * metric.value, upright, across, fmt="o", color=color, mfc=fill, capsize=3, label=f"{precision.upper()}{refused}")
