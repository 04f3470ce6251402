"""The report as pictures: confusion matrices, a reliability diagram, action units as bars with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.accuracy.emotions import NO_FACE, EmotionFigures
from benchmarks.accuracy.report import AccuracyReport
from benchmarks.estimates import Interval
from edge.errors import OutputError

_DPI = 110
_OURS, _OTHER = "#1f77b4", "#999999"


def draw_all(report: AccuracyReport, folder: Path) -> None:
    """Draw a report.

    Args:
        report: What to draw.
        folder: Where the PNG files go; made if need be.

    Raises:
        OutputError: It cannot be written.
    """
    named = {
        "fer2013_private": report.fer2013_private,
        "ferplus_private": report.ferplus_private,
        "fer2013_private_detected": report.fer2013_private_detected,
        "ferplus_private_detected": report.ferplus_private_detected,
    }
    figures = {f"confusion_{name}": _confusion(name, each) for name, each in named.items()}
    figures["reliability"] = _reliability(report)
    if report.action_units_real is not None or report.action_units_synthetic is not None:
        figures["action_units"] = _action_units(report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            # No version in the file: the same numbers give the same picture.
            figure.savefig(folder / f"{name}.png", dpi=_DPI, metadata={"Software": None})
    except OSError as error:
        raise OutputError(f"cannot write the plots to {folder}: {error.strerror}") from error


def _new_figure(width_inch: float, height_inch: float) -> Figure:
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _confusion(name: str, figures: EmotionFigures) -> Figure:
    counts = np.array(figures.confusion, np.float64)
    labels = [*figures.per_class]
    columns = [*labels, NO_FACE] if figures.n_without_face else labels
    counts = counts[:, : len(columns)]
    totals = np.array(figures.confusion).sum(axis=1, keepdims=True)
    parts = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    figure = _new_figure(2.6 + 0.62 * len(columns), 2.0 + 0.6 * len(labels))
    axes = figure.add_subplot()
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), [f"{label} ({int(total)})" for label, total in zip(labels, totals.ravel(), strict=True)])
    axes.set_xlabel("answer")
    axes.set_ylabel("truth (pictures)")
    low, high = figures.interval
    axes.set_title(f"{name}: {100 * figures.accuracy:.1f} % of {figures.n:,} ({100 * low:.1f} to {100 * high:.1f})", fontsize=10)
    for (row, column), part in np.ndenumerate(parts):
        axes.text(column, row, f"{100 * part:.0f}", ha="center", va="center", color="white" if part > 0.5 else "black")
    figure.supxlabel("per cent of each true class", fontsize=8, color="gray")
    return figure


def _reliability(report: AccuracyReport) -> Figure:
    figure = _new_figure(9.0, 4.6)
    for place, (name, each) in enumerate((("FER+ clear majority", report.ferplus_private), ("FER2013's labels", report.fer2013_private)), 1):
        axes = figure.add_subplot(1, 2, place)
        confidence, right = ([getattr(one, key) for one in each.reliability] for key in ("confidence", "accuracy"))
        spread = _spread(right, [one.interval for one in each.reliability])
        axes.plot([0, 1], [0, 1], color="gray", linestyle=":", label="calibrated")
        axes.errorbar(confidence, right, spread, fmt="o-", color=_OURS, capsize=3, markersize=4, label="bins, 95 % interval")
        n = max((one.n for one in each.reliability), default=1)
        axes.bar(confidence, [0.25 * one.n / n for one in each.reliability], width=0.03, color=_OTHER, alpha=0.6, label="pictures")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("probability of the most likely class")
        axes.set_ylabel("part that is right")
        axes.set_title(f"{name}: expected calibration error {each.expected_calibration_error:.3f}, n = {each.n:,}", fontsize=9)
        axes.legend(fontsize=8, loc="upper left")
    return figure


def _action_units(report: AccuracyReport) -> Figure:
    real, synthetic = report.action_units_real, report.action_units_synthetic
    panels: list[tuple[str, list[str], list[Interval], float | None]] = []
    if synthetic is not None:
        units = synthetic.per_unit
        panels.append(
            (f"rendered faces (synthetic), area under the ROC curve, n = {synthetic.n_found:,}", [*units], [each.auc for each in units.values()], 0.9)
        )
    if real is not None and real.correlation:
        taught = real.correlation
        panels.append(
            (f"real faces, Pearson's correlation with the teacher, n = {real.n_both:,}", [*taught], [each.overall.pearson for each in taught.values()], 0.8)
        )
    if real is not None:
        areas = {f"{each.unit}\n{each.emotion}": each.auc for each in real.emotions if each.auc is not None}
        panels.append(("real faces, area under the ROC curve against neutral (diamonds: the teacher's)", [*areas], [*areas.values()], None))
    figure = _new_figure(9.0, 3.0 * len(panels))
    for place, (title, labels, intervals, goal) in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, place)
        _bars(axes, title, labels, intervals, goal)
    if real is not None:
        # The last panel has one bar for each check that the package answers.
        marks = [each.teacher_auc for each in real.emotions if each.auc is not None]
        axes.plot([place for place, area in enumerate(marks) if area is not None], [area.estimate for area in marks if area is not None], "kD", markersize=5)
    return figure


def _bars(axes: Axes, title: str, labels: Sequence[str], intervals: Sequence[Interval], goal: float | None) -> None:
    values = [each.estimate for each in intervals]
    spread = _spread(values, [(each.low, each.high) for each in intervals])
    axes.bar(range(len(values)), values, yerr=spread, color=_OURS, ecolor="black", capsize=3, width=0.7)
    for place, value in enumerate(values):
        axes.text(place, 0.04, f"{value:.2f}", ha="center", fontsize=8, color="white")
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(min([0.0, *values]), 1.02)
    axes.set_title(title if goal is None else f"{title} (dotted: goal {goal:g})", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    if goal is not None:
        axes.axhline(goal, color="black", linestyle=":")


def _spread(values: Sequence[float], intervals: Sequence[tuple[float, float]]) -> list[list[float]]:
    """How far each interval reaches below and above its value. A value of 0 or 1 lies at its interval's end, or a rounding beyond it."""
    return [
        [max(value - low, 0.0) for value, (low, _) in zip(values, intervals, strict=True)],
        [max(high - value, 0.0) for value, (_, high) in zip(values, intervals, strict=True)],
    ]
