"""The limits as pictures: latency over the depth of a ResNet, and bars of the networks that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.limits.depth import PERIODS_OF_FPS
from benchmarks.limits.finding import Finding, Limit, Point
from benchmarks.limits.large_networks import REAL_TIME_FPS
from edge.errors import OutputError

_DPI = 110
_COLOURS: Mapping[str, str] = {"fp32": "#1f77b4", "fp16": "#2ca02c", "int8": "#ff7f0e"}


def draw_all(findings: Sequence[Finding], folder: Path) -> None:
    """Draw what was measured, a picture for each limit and device; rows that did not run are left out.

    Args:
        findings: The rows.
        folder: Where the PNG files go; made if need be.

    Raises:
        OutputError: It cannot be written.
    """
    figures: dict[str, Figure] = {}
    for device in dict.fromkeys(finding.device for finding in findings):
        for limit in dict.fromkeys(finding.limit for finding in findings):
            rows = [finding for finding in findings if finding.points and (finding.device, finding.limit) == (device, limit)]
            if rows and limit != "L1":
                figures[f"{limit.lower()}_{device}"] = _depth(rows) if limit == "L2" else _bars(limit, rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            # No version in the file: the same numbers give the same picture.
            figure.savefig(folder / f"{name}.png", dpi=_DPI, metadata={"Software": None})
    except OSError as error:
        raise OutputError(f"cannot write the plots to {folder}: {error.strerror}") from error


def _depth(rows: Sequence[Finding]) -> Figure:
    figure, axes = _new_figure(7.5, 4.8)
    # The rows of the two rates share one curve.
    for precision, row in {row.precision: row for row in rows}.items():
        errors = [[each.ms.estimate - each.ms.low for each in row.points], [each.ms.high - each.ms.estimate for each in row.points]]
        sizes, ms = [each.size for each in row.points], [each.ms.estimate for each in row.points]
        axes.errorbar(sizes, ms, yerr=errors, marker="o", capsize=3, color=_COLOURS[precision], label=f"{precision}, {row.engine}{_mark(row)}")
    for fps in PERIODS_OF_FPS:
        axes.axhline(1e3 / fps, color="#888888", linestyle="--", linewidth=1)
        axes.annotate(f"{fps:g} frames/s", (axes.get_xlim()[0], 1e3 / fps), fontsize=8, va="bottom")
    axes.set_xlabel("residual blocks")
    axes.set_ylabel("ms, median of one run, batch 1")
    axes.set_ylim(bottom=0)
    axes.set_title(f"L2: ResNets on one gray crop of 98x80, network alone, {rows[0].device}")
    axes.legend(fontsize=8)
    return figure


def _bars(limit: Limit, rows: Sequence[Finding]) -> Figure:
    """One bar for each thing that was timed, in ms; for L5 the time of one camera's frame."""
    bars: dict[str, tuple[Point, Finding]] = {}
    for row in rows:
        for each in row.points[:1] if limit == "L5" else row.points:
            bars.setdefault(f"{row.subject if limit == 'L5' else each.name}, {row.precision}{_mark(row)}", (each, row))
    figure, axes = _new_figure(8.5, 1.5 + 0.32 * len(bars))
    names = [*bars]
    ms = [each.ms for each, _ in bars.values()]
    errors = [[each.estimate - each.low for each in ms], [each.high - each.estimate for each in ms]]
    axes.barh(names, [each.estimate for each in ms], xerr=errors, capsize=2, color=[_COLOURS[row.precision] for _, row in bars.values()])
    axes.invert_yaxis()
    if limit == "L5":
        axes.axvline(1e3 / REAL_TIME_FPS, color="#888888", linestyle="--", linewidth=1)
    titles = {"L3": "Inception and ResNet", "L4": "Inception-ResNet between the two", "L5": f"one camera, whole path; dashed: {REAL_TIME_FPS:g} frames/s"}
    axes.set_xlabel("ms, median with its 95 % interval")
    axes.set_title(f"{limit}: {titles[limit]}, {rows[0].device}")
    axes.tick_params(axis="y", labelsize=8)
    return figure


def _mark(row: Finding) -> str:
    return " (invalid run)" if row.word == "invalid" else ""


def _new_figure(width_inch: float, height_inch: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
