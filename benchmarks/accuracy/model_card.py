"""The model card of weights that this project trained: figures beside them, and in the card's text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.accuracy.report import AccuracyReport
from converters.default_network import FACE
from converters.stored_network import stored_sha256
from edge.errors import ConfigError, OutputError
from edge.package import Package

TEXT, FIGURES = "CARD.md", "accuracy.json"
_START = "<!-- figures: written by `python -m benchmarks accuracy --card`, not by hand -->"
_END = "<!-- end of figures -->"


def require_card(package: Package, folder: Path) -> None:
    """Make sure that a package's figures can go into the card in a folder: asked before they are measured, which takes minutes.

    Args:
        package: What will be measured.
        folder: With `CARD.md`, `card.json` and the weights that this names.

    Raises:
        ConfigError: There is no such text, its marks are not there, or the package was made from other weights.
        ConversionError: `card.json` cannot be read, or names no network.
    """
    _around_figures(_text(folder), where=folder / TEXT)
    _require_weights(package.name, (origin.sha256 for origin in package.manifest.origins), folder)


def write_card(report: AccuracyReport, folder: Path) -> None:
    """Write a report beside the weights that it is of, and its figures into the text of their card.

    Args:
        report: Of a package that was made from the weights.
        folder: As `require_card` wants it.

    Raises:
        ConfigError: There is no such text, its marks are not there, or the report is of other weights.
        ConversionError: `card.json` cannot be read, or names no network.
        OutputError: A file cannot be written.
    """
    text = with_figures(_text(folder), report, where=folder / TEXT)
    _require_weights(report.package["name"], (origin["sha256"] for origin in report.package["origins"]), folder)
    try:
        (folder / FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        (folder / TEXT).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}") from error


def with_figures(text: str, report: AccuracyReport, *, where: Path) -> str:
    """Return the text of a card with a report's figures between its two marks.

    Args:
        text: The card's.
        report: What was measured.
        where: The text's file, for the message.

    Raises:
        ConfigError: The marks are not there, each once and in their order.
    """
    before, after = _around_figures(text, where=where)
    machine = ", ".join(report.machine[name] for name in ("cpu", "system") if report.machine[name])
    lines = [_START, "", "## Figures", "", f"Measured on {report.machine['utc'][:10]} by {machine}.", "", "```text", *report.lines(), "```", "", _END]
    return before + "\n".join(lines) + after


def _around_figures(text: str, *, where: Path) -> tuple[str, str]:
    if text.count(_START) != 1 or text.count(_END) != 1 or text.index(_START) > text.index(_END):
        raise ConfigError(f"{where}: expected the marks '{_START}' and '{_END}', each once and in this order", hint="restore the file from the repository")
    before, rest = text.split(_START)
    return before, rest.split(_END)[1]


def _require_weights(name: str, origins: Iterable[str], folder: Path) -> None:
    expected = stored_sha256(folder, FACE)
    if expected not in (found := list(origins)):
        raise ConfigError(
            f"--card: expected a package made from {folder / FACE.model} (SHA-256 {expected}), got '{name}', made from {', '.join(found) or 'nothing'}",
            hint="python -m converters pull default --force; then --model default",
        )


def _text(folder: Path) -> str:
    try:
        return (folder / TEXT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--card: {folder / TEXT} cannot be read: {error}", hint="name the folder of the weights: converters/trained/default") from error
