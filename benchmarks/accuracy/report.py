"""The whole report of `python -m benchmarks accuracy`: as JSON for the model card, and as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.accuracy.conditions import EmotionsUnder
from benchmarks.accuracy.emotions import EmotionFigures, Part
from benchmarks.accuracy.peer_networks import PeerFigures
from benchmarks.accuracy.units_on_photographs import UnitsOnPhotographs
from benchmarks.accuracy.units_on_renders import UnitsOnRenders
from benchmarks.budgets import Budget, Verdict, judge
from benchmarks.estimates import Interval


class AccuracyReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured.

    Attributes:
        schema: Of this report.
        package: Name, SHA-256 of the manifest and of every file, precision, what it says of itself.
        data: Names and SHA-256 of what it was measured on.
        machine: Where it ran.
        fer2013_private: FER2013's own labels, whole pictures as the network's input.
        ferplus_private: Clear majorities of FER+, whole pictures as the network's input.
        fer2013_private_detected: The same through detection and crop, without a face counted wrong.
        ferplus_private_detected: The same through detection and crop, without a face counted wrong.
        conditions: Emotions in bins, and on pictures made worse.
        action_units_real: None where the package gives none.
        action_units_synthetic: None without --geometry, or where the package gives none.
        peers: Other networks on the same pictures; None without --peers.
        verdicts: One for each budget of what was measured.
    """

    schema: str
    package: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any]
    fer2013_private: EmotionFigures
    ferplus_private: EmotionFigures
    fer2013_private_detected: EmotionFigures
    ferplus_private_detected: EmotionFigures
    conditions: dict[str, tuple[EmotionsUnder, ...]]
    action_units_real: UnitsOnPhotographs | None
    action_units_synthetic: UnitsOnRenders | None
    peers: tuple[PeerFigures, ...] | None
    verdicts: list[Verdict] = []

    def lines(self) -> list[str]:
        """Return the report for a person."""
        package, data = self.package, self.data
        return [
            f"package {package['name']} ({package['sha256'][:12]}), {package['precision']}, on {data['file']} ({data['sha256'][:12]})",
            "",
            *_emotion_table(self),
            *_class_tables(self),
            *_condition_lines(self.conditions),
            *([] if self.action_units_real is None else _photograph_lines(self.action_units_real)),
            *([] if self.action_units_synthetic is None else _render_lines(self.action_units_synthetic)),
            *([] if self.peers is None else _peer_lines(self)),
            "",
            *(verdict.line() for verdict in self.verdicts),
        ]


def verdicts_of(report: AccuracyReport, budgets: Mapping[str, Budget]) -> list[Verdict]:
    """Judge what was measured by the budgets `accuracy.*`."""
    return [judge(name, budgets[name], value) for name, value in _judged(report)]


def _judged(report: AccuracyReport) -> Iterator[tuple[str, float | None]]:
    yield "accuracy.fer2013", report.fer2013_private.accuracy
    yield "accuracy.ferplus", report.ferplus_private.accuracy
    if (real := report.action_units_real) is not None:
        if real.correlation:
            yield "accuracy.units_correlation", min(each.overall.pearson.estimate for each in real.correlation.values())
            within = [real.correlation[unit].within.get(name) for unit, name in (("AU12", "happy"), ("AU4", "neutral")) if unit in real.correlation]
            known = [each.pearson.estimate for each in within if each is not None]
            yield "accuracy.units_within_emotion", min(known) if len(known) == len(within) > 0 else None
        yield from (
            (f"accuracy.{check.unit}_{check.emotion}", None if check.auc is None else check.auc.estimate)
            for check in real.emotions
            if (check.unit, check.emotion) in (("AU12", "happy"), ("AU26", "surprised"), ("AU5", "surprised"), ("AU4", "angry"))
        )
    if (synthetic := report.action_units_synthetic) is not None:
        yield "accuracy.units_mean_auc", synthetic.mean_auc.estimate
        yield "accuracy.units_lowest_auc", synthetic.lowest_auc[1]
    if report.peers is not None:
        ran = [peer for peer in report.peers if peer.fer2013_private is not None and peer.ferplus_private is not None]
        best_fer2013 = max((peer.fer2013_private.accuracy for peer in ran if peer.fer2013_private is not None), default=None)
        best_ferplus = max((peer.ferplus_private.accuracy for peer in ran if peer.ferplus_private is not None), default=None)
        yield "accuracy.fer2013_above_peers", None if best_fer2013 is None else report.fer2013_private.accuracy - best_fer2013
        yield "accuracy.ferplus_above_peers", None if best_ferplus is None else report.ferplus_private.accuracy - best_ferplus


def _emotion_table(report: AccuracyReport) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("emotions of FER2013's PrivateTest", "n", "no face", "accuracy", "95 % interval", "macro F1", "calibration error", "cross-entropy (votes' own)")
    ]
    for name, figures in (
        ("FER2013's labels", report.fer2013_private),
        ("FER2013's labels, through detection", report.fer2013_private_detected),
        ("FER+ clear majority", report.ferplus_private),
        ("FER+ clear majority, through detection", report.ferplus_private_detected),
    ):
        entropy = "-" if figures.votes_cross_entropy is None else f"{figures.votes_cross_entropy:.3f} ({figures.votes_entropy:.3f})"
        numbers = (f"{figures.n:,}", str(figures.n_without_face), percent(figures.accuracy), bounds(figures.interval), f"{figures.macro_f1:.3f}")
        rows.append((name, *numbers, f"{figures.expected_calibration_error:.3f}", entropy))
    return table(rows)


def _class_tables(report: AccuracyReport) -> Iterator[str]:
    for title, figures in (("FER2013's labels", report.fer2013_private), ("FER+ clear majority", report.ferplus_private)):
        rows: list[tuple[str, ...]] = [
            (f"{title}, own pixels ({figures.output})", "n", "recall", "95 % interval", "called so", "precision", "95 % interval", "F1")
        ]
        for name, each in figures.per_class.items():
            rows.append((name, str(each.recall.n), *_part(each.recall), str(each.precision.n), *_part(each.precision), f"{each.f1:.3f}"))
        yield from ("", *table(rows))


def _condition_lines(conditions: Mapping[str, tuple[EmotionsUnder, ...]]) -> Iterator[str]:
    for kind, levels in conditions.items():
        rows: list[tuple[str, ...]] = [(kind, "FER2013: n", "accuracy", "95 % interval", "FER+: n", "accuracy", "95 % interval")]
        rows += [(each.condition, str(each.fer2013.n), *_part(each.fer2013), str(each.ferplus.n), *_part(each.ferplus)) for each in levels]
        yield from ("", *table(rows))


def _photograph_lines(units: UnitsOnPhotographs) -> Iterator[str]:
    yield from ("", f"action units on real faces, {units.n_both:,} of {units.n_pictures:,} pictures of PublicTest and PrivateTest; teacher: {units.teacher}")
    if units.not_compared:
        yield f"not compared with the teacher: {units.not_compared}"
    if units.correlation:
        classes = sorted({name for each in units.correlation.values() for name in each.within})
        rows = [
            (
                "Pearson's correlation with the teacher",
                "overall",
                "95 % interval",
                "Spearman's",
                "teacher, mirrored",
                "with its mean",
                *(f"{name} ({units.n_of_class[name]})" for name in classes),
            )
        ]
        for unit, each in units.correlation.items():
            within = [f"{each.within[name].pearson.estimate:.2f}" if name in each.within else "-" for name in classes]
            twice = [f"{agreement.pearson.estimate:.2f}" for agreement in (each.teacher_mirrored, each.with_mean)]
            rows.append((unit, *_interval(each.overall.pearson), f"{each.overall.spearman.estimate:.2f}", *twice, *within))
        yield from table(rows)
        n = next(iter(units.correlation.values())).teacher_mirrored.n
        yield f"teacher, mirrored: its readings of a picture and of the mirrored one, {n:,} pictures; with its mean: the package with the mean of both"
    areas: list[tuple[str, ...]] = [("area under the ROC curve, against neutral", "n", "of neutral", "area", "95 % interval", "teacher's", "95 % interval")]
    areas += [(f"{each.unit}, {each.emotion}", str(each.n), str(each.n_neutral), *_interval(each.auc), *_interval(each.teacher_auc)) for each in units.emotions]
    yield from table(areas)
    if units.pose_error_deg is not None:
        yield "median distance from the teacher's pose: " + ", ".join(f"{name} {value:.1f} degrees" for name, value in units.pose_error_deg.items())


def _render_lines(units: UnitsOnRenders) -> Iterator[str]:
    yield from ("", f"SYNTHETIC: {units.what}; {units.n_found:,} of {units.n:,} faces found, {units.n_people} people")
    rows: list[tuple[str, ...]] = [("synthetic, area under the ROC curve", "drawn in", "area", "95 % interval", "correlation", "95 % interval")]
    rows += [(unit, str(each.n_present), *_interval(each.auc), *_interval(each.pearson)) for unit, each in units.per_unit.items()]
    rows.append(("mean", "", *_interval(units.mean_auc), f"{units.mean_pearson:.3f}", ""))
    rows.append((f"lowest ({units.lowest_auc[0]})", "", f"{units.lowest_auc[1]:.3f}", "", "", ""))
    yield from table(rows)
    if units.pose_error_deg is not None:
        yield "pose, median and 90th percentile of the error in degrees: " + ", ".join(
            f"{name} {half:.1f} and {most:.1f}" for name, (half, most) in units.pose_error_deg.items()
        )
    for kind, bins in units.bins.items():
        by_bin: list[tuple[str, ...]] = [(f"synthetic, by {kind}", "found", "of", "mean area", "95 % interval", "lowest", "pose error (degrees)")]
        for each in bins:
            lowest = "-" if each.lowest is None else f"{each.lowest[0]} {each.lowest[1]:.2f}"
            pose = "-" if each.pose_error_deg is None else f"{each.pose_error_deg:.1f}"
            by_bin.append((each.bin, str(each.n), str(each.of), *_interval(each.mean_auc), lowest, pose))
        yield from ("", *table(by_bin))


def _peer_lines(report: AccuracyReport) -> Iterator[str]:
    assert report.peers is not None
    rows: list[tuple[str, ...]] = [
        ("networks on the same pictures, own pixels", "FER2013", "95 % interval", "macro F1", "FER+ clear", "95 % interval", "macro F1")
    ]
    ours = (report.package["name"], report.fer2013_private, report.ferplus_private)
    for name, fer2013, ferplus in (ours, *((peer.name, peer.fer2013_private, peer.ferplus_private) for peer in report.peers)):
        if fer2013 is not None and ferplus is not None:
            numbers = [(percent(each.accuracy), bounds(each.interval), f"{each.macro_f1:.3f}") for each in (fer2013, ferplus)]
            rows.append((name, *numbers[0], *numbers[1]))
    yield from ("", *table(rows))
    yield from (f"{peer.name} did not run: {' '.join(peer.not_run.split())}; published: {peer.published}" for peer in report.peers if peer.not_run)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of the same length as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))]).rstrip() for first, *rest in rows]


def percent(value: float) -> str:
    """Return a part as `65.8 %`."""
    return f"{100 * value:.1f} %"


def bounds(interval: tuple[float, float]) -> str:
    """Return bounds of a part as `64.2 to 67.3`."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _part(part: Part) -> tuple[str, str]:
    return ("-", "-") if part.value is None or part.interval is None else (percent(part.value), bounds(part.interval))


def _interval(interval: Interval | None) -> tuple[str, str]:
    return ("-", "-") if interval is None else (f"{interval.estimate:.3f}", f"{interval.low:.3f} to {interval.high:.3f}")
