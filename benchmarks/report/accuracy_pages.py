"""`accuracy` in a report, and accuracy over latency from the cards of those who measured both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.accuracy.emotions import EmotionFigures
from benchmarks.report.document import Block, Curves, Picture, Series, Table, Words
from benchmarks.report.results import Run, as_type, read_json
from benchmarks.report.wording import bounds, interval, number, percent
from converters.quantization.card import Card

if TYPE_CHECKING:
    from converters.training.affect.comparison_report import Comparison, Figures, Row, Share

_MS_A_FACE = "ms a face"


def accuracy_blocks(run: Run) -> list[Block]:
    """Return how right a package and its peers are; the whole report is in the package's model card.

    Args:
        run: With an accuracy report.
    """
    report = run.accuracy
    assert report is not None
    sets = {
        "FER2013's labels": report.fer2013_private,
        "FER2013's labels, through detection": report.fer2013_private_detected,
        "FER+ clear majority": report.ferplus_private,
        "FER+ clear majority, through detection": report.ferplus_private_detected,
    }
    package = report.package
    blocks: list[Block] = [
        Words(f"Package {package['name']}, {package['precision']}, on {report.data['file']}; pictures without a found face count as wrong."),
        Table(("emotions of PrivateTest", "pictures", "without a face", "right", "macro F1", "calibration error"), [_emotions(*each) for each in sets.items()]),
    ]
    if report.peers:
        ours = (package["name"], report.fer2013_private, report.ferplus_private)
        ran = [ours, *((peer.name, peer.fer2013_private, peer.ferplus_private) for peer in report.peers if not peer.not_run)]
        rows = [(name, *("-" if each is None else _right(each) for each in figures)) for name, *figures in ran]
        blocks.append(Table(("network, the same pictures", "FER2013's labels", "FER+ clear majority"), rows))
    units: dict[str, list[str]] = {}
    if report.action_units_real is not None:
        units = {unit: [interval(each.overall.pearson), "-"] for unit, each in report.action_units_real.correlation.items()}
    if report.action_units_synthetic is not None:
        for unit, each in report.action_units_synthetic.per_unit.items():
            units.setdefault(unit, ["-", "-"])[1] = interval(each.auc)
    if units:
        head = ("action unit", "correlation with the teacher, real faces", "area under the ROC curve, rendered faces (synthetic)")
        blocks.append(Table(head, [(unit, *cells) for unit, cells in units.items()]))
    return blocks


def precision_blocks(path: Path) -> list[Block]:
    """Return accuracy over latency of a package's precisions.

    Args:
        path: Its `card.json`, as `python -m converters quantize` writes it.

    Raises:
        ConfigError: It is no such card.
    """
    card = as_type(read_json(path), Card, path)
    rows, series = [], []
    for precision, of in card.precisions.items():
        for each in of.accuracy:
            latency = of.stages[each.stage].latency
            shown = [f"{number(one.fp32_ms / one.batch)} and {number(one.ms / one.batch)} (batch {one.batch})" for one in latency]
            fp32, value = (
                f"{percent(share)} {bounds(100 * ends[0], 100 * ends[1])}" for share, ends in ((each.fp32, each.fp32_interval), (each.value, each.interval))
            )
            rows.append((precision, each.data, f"{each.n:,}", fp32, value, percent(each.agreement), "; ".join(shown) or "not timed"))
            series += [
                Series(
                    f"{each.data}, batch {one.batch}",
                    [one.fp32_ms / one.batch, one.ms / one.batch],
                    [100 * each.fp32, 100 * each.value],
                    [(100 * low, 100 * high) for low, high in (each.fp32_interval, each.interval)],
                    point_names=("FP32", precision.upper()),
                )
                for one in latency[-1:]
            ]
    if not rows:
        return [Words(f"{card.package}: its card has no accuracy, for no labelled pictures were given when its precisions were made.")]
    machines = "; ".join(dict.fromkeys(of.machine for of in card.precisions.values()))
    blocks: list[Block] = [
        Words(f"Precisions of {card.package}, timed on {machines}, FP32 beside each."),
        Table(("precision", "data", "pictures", "FP32 right", "right", "same answers", f"FP32 and it, {_MS_A_FACE}"), rows),
    ]
    if series:
        caption = f"Accuracy over latency: what {card.package} gains and loses from FP32, with 95 % intervals."
        blocks.append(Picture("accuracy-precisions", caption, Curves(series, _MS_A_FACE, "% right", x_log=True)))
    return blocks


def candidate_blocks(path: Path) -> list[Block]:
    """Return accuracy over latency of the architectures that were compared.

    Args:
        path: `candidates.json`, as `python -m converters train candidates` writes it.

    Raises:
        ConfigError: It is no such file.
    """
    from converters.training.affect.comparison_report import Comparison

    comparison = as_type(read_json(path), Comparison, path)
    head = ("candidate", "form", "FER2013's labels", "FER+ majority", "action units, mean AUC", f"{_MS_A_FACE}, batch {_last_batch(comparison)}")
    rows = [
        (f"{row.result.name}: {row.result.words}", form, _share(figures.fer2013), _share(figures.ferplus), f"{figures.mean_unit_auc:.3f}", number(ms))
        for row in comparison.rows
        for form, figures, ms in _forms(row)
    ]
    refused = [Words(f"{row.result.name} has no INT8: {row.result.int8_refused}.") for row in comparison.rows if row.result.int8 is None]
    epochs = comparison.rows[0].result.schedule["epochs"]
    said = Words(f"Architectures after {epochs:g} epochs on the same faces; one thread, {comparison.processor}. Pictures of PublicTest; rendered people.")
    pictures = [
        Picture(
            f"candidates-{key}",
            f"Accuracy over latency, FP32 joined with INT8: {label}.",
            Curves(
                [Series(row.result.name, [ms for _, _, ms in _forms(row)], [_value(figures, key) for _, figures, _ in _forms(row)]) for row in comparison.rows],
                _MS_A_FACE,
                label,
                x_log=True,
            ),
        )
        for key, label in (("fer2013", "FER2013's labels, % right"), ("ferplus", "FER+ majority, % right"), ("units", "action units, mean AUC"))
    ]
    return [said, Table(head, rows), *pictures, *refused]


def _emotions(name: str, figures: EmotionFigures) -> tuple[str, ...]:
    calibration = number(figures.expected_calibration_error)
    return (name, f"{figures.n:,}", str(figures.n_without_face), _right(figures), f"{figures.macro_f1:.3f}", calibration)


def _right(figures: EmotionFigures) -> str:
    return f"{percent(figures.accuracy)} {bounds(*(100 * end for end in figures.interval))}"


def _forms(row: Row) -> list[tuple[str, Figures, float]]:
    forms = [("FP32", row.result.fp32, row.fp32[-1].ms / row.fp32[-1].batch)]
    return forms + ([] if row.result.int8 is None else [("INT8", row.result.int8, row.int8[-1].ms / row.int8[-1].batch)])


def _last_batch(comparison: Comparison) -> int:
    return comparison.rows[0].fp32[-1].batch


def _share(share: Share) -> str:
    return f"{percent(share.value)} {bounds(*(100 * end for end in share.interval))}"


def _value(figures: Figures, key: str) -> float:
    return figures.mean_unit_auc if key == "units" else 100 * (figures.fer2013 if key == "fer2013" else figures.ferplus).value
