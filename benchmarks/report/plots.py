"""Draws a report's pictures: as SVG that takes its ink from the page around it, light or dark, and as PNG on white."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.estimates import percentile
from benchmarks.report.document import Bars, Curves, Drawing, Histograms, Stacks
from benchmarks.report.wording import number

# Readable on white and on black, and told apart by who sees no red or green.
# Source: Okabe & Ito 2008, Color Universal Design, https://jfly.uni-koeln.de/color/
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
_MARKERS = "os^Dvd*P"
_INK = "#123456"  # nobody else's colour: replaced by the page's own
_DPI = 110
_WIDTH_INCH = 8.0
_BINS = 60
_FAR = 3.0  # times the largest value
_LONG_LABEL = 45  # letters: two such would not stand side by side
_PERCENTS = {50.0: "-", 90.0: "--", 99.0: ":"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, found and printed sharply
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,  # a dollar sign in a name is no formula
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def as_svg(drawing: Drawing, name: str) -> str:
    """Return an SVG element without a size of its own: as wide as the page lets it be.

    Args:
        drawing: What to draw.
        name: Of the picture; makes the names inside it unlike those of others on the page.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = _drawn(drawing)
        written = io.StringIO()
        # No date in it: the same numbers give the same picture.
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # Groups are named alike in each picture, and nothing refers to them.
    for left_out in (r"<metadata>.*?</metadata>", r'(?<=<g) id="[^"]*"', r'(?<=") (?:width|height)="[^"]*pt"'):
        svg = re.sub(left_out, "", svg, flags=re.DOTALL)
    return svg


def as_png(drawing: Drawing) -> bytes:
    """Return a PNG file, dark on white."""
    with mpl.rc_context({name: "#222222" if value == _INK else value for name, value in _STYLE.items()}):
        written = io.BytesIO()
        _drawn(drawing).savefig(written, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return written.getvalue()


def _drawn(drawing: Drawing) -> Figure:
    if isinstance(drawing, Curves):
        return _curves(drawing)
    if isinstance(drawing, Bars):
        return _bars(drawing)
    return _stacks(drawing) if isinstance(drawing, Stacks) else _histograms(drawing)


def _new_figure(height_inch: float) -> Figure:
    figure = Figure(figsize=(_WIDTH_INCH, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _curves(drawing: Curves) -> Figure:
    columns = 1 if max(len(each.label) for each in drawing.series) > _LONG_LABEL else 2
    below = math.ceil(len(drawing.series) / columns)  # rows of the legend
    figure = _new_figure(3.8 + 0.19 * below)
    axes = figure.subplots()
    for place, each in enumerate(drawing.series):
        errors = None if each.ends is None else _errors(each.y, each.ends)
        mark = f"{_MARKERS[place % len(_MARKERS)]}{'-' * each.joined}"
        axes.errorbar(each.x, each.y, yerr=errors, fmt=mark, markersize=5, linewidth=1.4, capsize=2.5, color=_colour(place), label=each.label)
        for name, x, y in zip(each.point_names, each.x, each.y, strict=bool(each.point_names)):
            axes.annotate(name, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8)
    if drawing.x_log:
        axes.set_xscale("log")
    if drawing.y_log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if _is_from_zero(drawing) else None)
    _levels(axes, drawing)
    if drawing.x_names:
        axes.set_xticks([*drawing.x_names], [*drawing.x_names.values()], fontsize=8)
    elif drawing.x_log:
        _number_log_axis(axes, "x")
    if drawing.y_log:
        _number_log_axis(axes, "y")
    axes.set_xlabel(drawing.x_label)
    axes.set_ylabel(drawing.y_label)
    figure.legend(loc="outside lower left", ncols=columns)
    return figure


def _levels(axes: Axes, drawing: Curves) -> None:
    """Lines to hold the values against; one that is far above them all is named at the upper edge, for drawn it would flatten the curves."""
    highest = max(max(each.y) for each in drawing.series)
    for place, (label, value) in enumerate(drawing.levels.items()):
        if value <= _FAR * highest:
            axes.axhline(value, color=_ink(), linestyle="--", linewidth=1, alpha=0.6)
            axes.annotate(label, (0.995, value), xycoords=("axes fraction", "data"), fontsize=8, va="bottom", ha="right", in_layout=False)
        else:
            axes.annotate(f"{label}: at {value:.3g}, above", (0.995, 0.98 - 0.06 * place), xycoords="axes fraction", fontsize=8, va="top", ha="right")


def _is_from_zero(drawing: Curves) -> bool:
    """Times are drawn from zero: else a small difference looks like a large one. Shares of over a half would lose theirs."""
    return "%" not in drawing.y_label and "AUC" not in drawing.y_label


def _bars(drawing: Bars) -> Figure:
    figure = _new_figure(1.1 + 0.3 * len(drawing.bars))
    axes = figure.subplots()
    groups = [*dict.fromkeys(bar.group for bar in drawing.bars)]
    values = [bar.value for bar in drawing.bars]
    ends = [bar.ends or (bar.value, bar.value) for bar in drawing.bars]
    axes.barh(
        range(len(values)), values, xerr=_errors(values, ends), capsize=2.5, color=[_colour(groups.index(bar.group)) for bar in drawing.bars], ecolor=_ink()
    )
    axes.set_yticks(range(len(values)), [bar.label for bar in drawing.bars], fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    for label, value in drawing.levels.items():
        axes.axvline(value, color=_ink(), linestyle="--", linewidth=1, alpha=0.6)
        axes.annotate(label, (value, 1.0), xycoords=("data", "axes fraction"), fontsize=8, va="bottom", ha="center")
    axes.set_xlabel(drawing.x_label)
    return figure


def _stacks(drawing: Stacks) -> Figure:
    names = [*dict.fromkeys(name for parts in drawing.stacks.values() for name in parts)]
    figure = _new_figure(1.3 + 0.36 * len(drawing.stacks) + 0.1 * len(names))
    axes = figure.subplots()
    left = np.zeros(len(drawing.stacks))
    for place, name in enumerate(names):
        widths = np.array([parts.get(name, 0.0) for parts in drawing.stacks.values()])
        axes.barh(range(len(widths)), widths, left=left, color=_colour(place), label=f"{name}, {widths[0]:.3g}" if len(widths) == 1 else name)
        left += widths
    axes.set_yticks(range(len(left)), [*drawing.stacks], fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(drawing.x_label)
    figure.legend(loc="outside lower left", ncols=4)
    return figure


def _histograms(drawing: Histograms) -> Figure:
    """One panel for each set of samples, all on the same axis. The counts are logarithmic too, so that one slow frame in a thousand is seen."""
    figure = _new_figure(0.7 + 1.25 * len(drawing.samples))
    panels = figure.subplots(len(drawing.samples), 1, sharex=True, squeeze=False)[:, 0]
    low = min(min(samples) for samples in drawing.samples.values())
    high = max(max(samples) for samples in drawing.samples.values())
    edges = np.geomspace(low * 0.98, high * 1.02, _BINS + 1)
    for place, (axes, (name, samples)) in enumerate(zip(panels, drawing.samples.items(), strict=True)):
        axes.hist(samples, bins=edges, color=_colour(place), alpha=0.75)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        for percent, style in _PERCENTS.items():
            axes.axvline(percentile(samples, percent), color=_ink(), linestyle=style, linewidth=1)
        shown = ", ".join(f"p{percent:g} {number(percentile(samples, percent))}" for percent in _PERCENTS)
        axes.set_title(f"{name}: {shown}; n = {len(samples):,}", fontsize=8, loc="left")
        axes.set_ylabel("count", fontsize=8)
        for which in ("x", "y"):
            _number_log_axis(axes, which)
    panels[-1].set_xlabel(drawing.x_label)
    return figure


def _errors(values: Sequence[float], ends: Sequence[tuple[float, float]]) -> list[list[float]]:
    """How far each interval reaches below and above its value, which lies within, or a rounding beyond it."""
    pairs = [*zip(values, ends, strict=True)]
    return [[max(value - low, 0.0) for value, (low, _) in pairs], [max(high - value, 0.0) for value, (_, high) in pairs]]


def _number_log_axis(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    few = high / low < 300  # over more decades, 2 and 5 would crowd
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _ink() -> str:
    return str(mpl.rcParams["text.color"])
