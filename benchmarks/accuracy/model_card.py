"""The model card of weights that this project trained: figures beside them, and in the card's text."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from benchmarks.accuracy.report import AccuracyReport
from edge.errors import ConfigError

TEXT, FIGURES, TRAINING = "CARD.md", "accuracy.json", "card.json"
_START = "<!-- figures: written by `python -m benchmarks accuracy --card`, not by hand -->"
_END = "<!-- end of figures -->"


def write_card(report: AccuracyReport, folder: Path) -> None:
    """Write a report beside the weights that it is of, and its figures into the text of their card.

    Args:
        report: Of a package that was made from the weights.
        folder: With `CARD.md`, `card.json` and the weights that this names.

    Raises:
        ConfigError: The folder has no such files, or the report is of other weights.
    """
    text = _read(folder / TEXT).decode()
    _require_weights(report, folder)
    (folder / FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    (folder / TEXT).write_text(with_figures(text, report, where=folder / TEXT))


def with_figures(text: str, report: AccuracyReport, *, where: Path) -> str:
    """Return the text of a card with a report's figures between its two marks.

    Raises:
        ConfigError: The marks are not there.
    """
    if text.count(_START) != 1 or text.count(_END) != 1:
        raise ConfigError(f"{where}: expected the marks '{_START}' and '{_END}', each once", hint="restore the file from the repository")
    before, after = text[: text.index(_START)], text[text.index(_END) :]
    machine = ", ".join(str(report.machine[name]) for name in ("cpu", "system") if name in report.machine)
    lines = ["", "## Figures", "", f"Measured {report.machine.get('date', '')} on {machine}.".replace("  ", " "), "", "```text", *report.lines(), "```", ""]
    return f"{before}{_START}\n" + "\n".join(lines) + f"\n{after}"


def _require_weights(report: AccuracyReport, folder: Path) -> None:
    trained = json.loads(_read(folder / TRAINING))["files"]
    origins = {origin["sha256"] for origin in report.package["origins"]}
    if not origins & set(trained.values()):
        raise ConfigError(
            f"the report is of the package '{report.package['name']}', which was not made from the weights in {folder}", hint="pull it again with --force"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--card: {path} cannot be read ({error.strerror})", hint="name the folder of the weights: converters/trained/default") from error
