"""What a comparison of architectures came to: numbers, a table, and a picture of accuracy over latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from converters.quantization.latency import BATCHES, Timing

JSON, TABLE, PLOT = "candidates.json", "candidates.md", "candidates.png"

_PANEL_INCH = (4.2, 4.0)
_COLUMNS = (
    *("candidate", "what", "parameters (M)", "MACs (M)", "FER2013 (%)", "FER+ (%)", "AU AUC", "teacher r"),
    *(f"{form} ms a face, batch {batch}" for form in ("FP32", "INT8") for batch in BATCHES),
    *("INT8 FER2013 (%)", "INT8 FER+ (%)", "INT8 AU AUC", "peak rate"),
)


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A part of `n` pictures that was right, with its 95 % interval (Wilson)."""

    n: int
    value: float
    interval: tuple[float, float]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How good one form of a network is.

    Attributes:
        fer2013: PublicTest by FER2013's labels.
        ferplus: PublicTest where one emotion has more than half of the votes for the seven.
        n_renders: Rendered faces.
        unit_auc: By unit: how well it tells rendered faces with it from those without.
        mean_unit_auc: Over the units.
        n_taught: Faces of PublicTest of which the teacher is sure.
        teacher_correlation: By unit, where the teacher is sound: of the probability with the teacher's intensity.
        mean_teacher_correlation: Over those units.
    """

    fer2013: Share
    ferplus: Share
    n_renders: int
    unit_auc: dict[str, float]
    mean_unit_auc: float
    n_taught: int
    teacher_correlation: dict[str, float]
    mean_teacher_correlation: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`result.json` of a candidate: all but its latency, which is measured beside the others'.

    Attributes:
        name: Of the candidate.
        words: What it is.
        schedule: See `converters.training.affect.learning.Schedule`.
        faces: How many, by their source.
        n_parameters: Numbers that were learned.
        n_macs: Multiplications with a sum behind them, for one face.
        fp32: The network as it was exported.
        int8: In INT8, as the CPU runs it; None where there is none.
        int8_refused: Why there is none; empty where there is one.
    """

    name: str
    words: str
    schedule: dict[str, float]
    faces: dict[str, int]
    n_parameters: int
    n_macs: int
    fp32: Figures
    int8: Figures | None
    int8_refused: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate beside the others.

    Attributes:
        result: What it came to.
        fp32: Its latency by batch.
        int8: The same in INT8; empty where there is none.
    """

    result: Result
    fp32: tuple[Timing, ...]
    int8: tuple[Timing, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`candidates.json`.

    Attributes:
        rows: At least one, all trained with the same schedule but for its peak, on the same faces.
        processor: Of the machine that timed them.
        versions: Of the libraries.
    """

    rows: tuple[Row, ...]
    processor: str
    versions: dict[str, str]


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write `candidates.json`, `candidates.md` and `candidates.png` into a folder."""
    (folder / JSON).write_bytes(msgspec.json.format(msgspec.json.encode(comparison), indent=1) + b"\n")
    (folder / TABLE).write_text(table(comparison))
    draw(comparison, folder / PLOT)


def table(comparison: Comparison) -> str:
    """Return the comparison as a Markdown page."""
    first = comparison.rows[0].result
    faces = ", ".join(f"{source}: {n:,}" for source, n in first.faces.items())
    lines = [
        "# Candidates side by side",
        "",
        f"Each was trained for {first.schedule['epochs']:g} epochs on the same faces, with the same losses and the same schedule, and measured the same way:"
        " they are compared with each other, and none is trained to its end.",
        "",
        f"- Faces: {faces}. PublicTest and the validation people decide here; PrivateTest is not looked at.",
        f"- FER2013: its own label of {first.fp32.fer2013.n:,} pictures of PublicTest. FER+: the {first.fp32.ferplus.n:,} in which one emotion"
        " has more than half of the votes for the seven. Intervals of 95 % (Wilson).",
        f"- AU AUC: mean over the 15 units, on {first.fp32.n_renders:,} rendered faces (synthetic). Teacher r: mean correlation with"
        f" MediaPipe's units, where they are sound, on {first.fp32.n_taught:,} faces of PublicTest.",
        f"- Latency: median wall time in ONNX Runtime, one thread, divided by the batch; all networks in turns in one process on {comparison.processor}.",
        f"- Versions: {', '.join(f'{name} {number}' for name, number in comparison.versions.items())}.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'|'.join(' --- ' if place < 2 else ' ---: ' for place in range(len(_COLUMNS)))}|",
        *(f"| {' | '.join(_cells(row))} |" for row in comparison.rows),
    ]
    refused = [f"- {row.result.name} has no INT8 form: {row.result.int8_refused}" for row in comparison.rows if row.result.int8 is None]
    return "\n".join([*lines, *([""] if refused else []), *refused]) + "\n"


def _cells(row: Row) -> list[str]:
    result, none = row.result, "–"
    return [
        *(result.name, result.words, f"{result.n_parameters / 1e6:.2f}", f"{result.n_macs / 1e6:.0f}"),
        *_accuracies(result.fp32),
        f"{result.fp32.mean_teacher_correlation:.3f}",
        *(f"{timing.ms / timing.batch:.2f}" for timing in row.fp32),
        *([f"{timing.ms / timing.batch:.2f}" for timing in row.int8] or [none] * len(BATCHES)),
        *([none] * 3 if result.int8 is None else _accuracies(result.int8)),
        f"{result.schedule['peak']:g}",
    ]


def _accuracies(figures: Figures) -> list[str]:
    shares = [f"{100 * each.value:.1f} ({100 * each.interval[0]:.1f} to {100 * each.interval[1]:.1f})" for each in (figures.fer2013, figures.ferplus)]
    return [*shares, f"{figures.mean_unit_auc:.3f}"]


def draw(comparison: Comparison, path: Path) -> None:
    """Draw accuracy over latency: a square for FP32, joined with a dot for INT8.

    Args:
        comparison: What was measured.
        path: PNG file to be written.
    """
    figure = Figure(figsize=(_PANEL_INCH[0] * 3, _PANEL_INCH[1] + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    colors = {row.result.name: f"C{place}" for place, row in enumerate(comparison.rows)}
    first = figure.add_subplot(1, 3, 1)
    _draw_shares(first, comparison.rows, colors, "fer2013", "FER2013's label, PublicTest (% right)")
    _draw_shares(figure.add_subplot(1, 3, 2), comparison.rows, colors, "ferplus", "FER+ majority of the seven, PublicTest (% right)")
    last = figure.add_subplot(1, 3, 3)
    _dress(last, "15 action units, rendered people (mean AUC)")
    for row in comparison.rows:
        forms = [(row.fp32, row.result.fp32), *([(row.int8, row.result.int8)] if row.result.int8 is not None else [])]
        _draw_forms(last, [(_last_ms(timings), figures.mean_unit_auc) for timings, figures in forms], colors[row.result.name])
    marks = [Line2D([], [], color="black", marker=marker, linestyle="", label=label) for marker, label in (("s", "FP32"), ("o", "INT8"))]
    names = [Line2D([], [], color=color, linewidth=3, label=name) for name, color in colors.items()]
    figure.legend(handles=[*marks, *names], loc="outside lower center", ncols=5, fontsize=8)
    epochs = comparison.rows[0].result.schedule["epochs"]
    figure.suptitle(f"Candidates after {epochs:g} epochs on the same faces; batch {BATCHES[-1]}, one thread, {comparison.processor}", fontsize=9)
    # No version in the file: the same numbers give the same picture.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_shares(axes: Axes, rows: Sequence[Row], colors: dict[str, str], name: str, label: str) -> None:
    _dress(axes, label)
    for row in rows:
        shares: list[tuple[float, Share]] = [(_last_ms(row.fp32), getattr(row.result.fp32, name))]
        if row.result.int8 is not None:
            shares.append((_last_ms(row.int8), getattr(row.result.int8, name)))
        color = colors[row.result.name]
        _draw_forms(axes, [(ms, 100 * share.value) for ms, share in shares], color)
        for ms, share in shares:
            axes.vlines(ms, 100 * share.interval[0], 100 * share.interval[1], color=color, alpha=0.4, linewidth=1)


def _draw_forms(axes: Axes, places: Sequence[tuple[float, float]], color: str) -> None:
    axes.plot([x for x, _ in places], [y for _, y in places], "-", color=color, alpha=0.5, linewidth=1)
    for (x, y), marker in zip(places, "so", strict=False):  # FP32 comes first, INT8 may be missing
        axes.plot(x, y, marker, color=color, markersize=6)


def _dress(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("latency (ms a face)")
    axes.set_ylabel(label, fontsize=9)
    axes.grid(alpha=0.3)


def _last_ms(timings: Sequence[Timing]) -> float:
    """Of the largest batch, for one face."""
    return timings[-1].ms / timings[-1].batch
