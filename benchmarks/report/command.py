"""`python -m benchmarks report`: what is read, what is written."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.budgets import Verdict
from benchmarks.report.contents import make_document
from benchmarks.report.document import Document
from benchmarks.report.history_pages import history_figures
from benchmarks.report.page import as_html
from benchmarks.report.readme import NAMES, filled
from benchmarks.report.results import OWN, Run, keep, read_runs
from benchmarks.report.summary_text import as_markdown
from benchmarks.report.wording import counted
from edge.errors import ConfigError, OutputError, require

HTML, MARKDOWN = "report.html", "report.md"
_OUT = Path("out") / "report"


class RunSummary(msgspec.Struct, frozen=True):
    """What a run came to, for those who draw histories of their own.

    Attributes:
        name: Of its folder.
        began_utc: When.
        commits: What was measured.
        hardware: On what.
        figures: Those that the history follows.
        verdicts: By the kind of report.
    """

    name: str
    began_utc: str
    commits: list[str]
    hardware: str
    figures: dict[str, float]
    verdicts: dict[str, list[Verdict]]


class ReportReport(msgspec.Struct, frozen=True):
    """What was read and written.

    Attributes:
        schema: Of this report.
        runs: The oldest first.
        written: Files.
    """

    schema: str
    runs: list[RunSummary]
    written: list[str]


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add `report` to the benchmarks' commands.

    Args:
        commands: What `add_subparsers` returned.
        shared: Flags of every command.
    """
    parser = commands.add_parser(
        "report",
        parents=[shared],
        help="one page of what the other commands measured",
        description=f"Reads the JSON files that the other commands wrote with --json and writes {HTML} (one file, pictures inside) and {MARKDOWN} (pictures "
        "beside it). Of each hardware the newest run is shown in full, all its runs as a history. The exit code is that of the newest runs' verdicts.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="a folder with one run's reports, or with folders of runs, such as history/")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help=f"folder for the page (default: {_OUT}; none where only --keep or --readme is asked for)"
    )
    parser.add_argument("--candidates", type=Path, metavar="FILE", help="candidates.json of `python -m converters train candidates`: accuracy over latency")
    parser.add_argument("--card", type=Path, metavar="FILE", help="card.json of a package's precisions: accuracy over latency")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="write the run's reports into DIR, every sample with four digits: small enough for a repository"
    )
    parser.add_argument("--readme", type=Path, metavar="FILE", help=f"write the blocks '<!-- report: NAME -->' of FILE from the newest run: {', '.join(NAMES)}")


def command(arguments: argparse.Namespace) -> tuple[ReportReport, list[str], list[Verdict]]:
    """Read the runs, and write what was asked for.

    Returns:
        What was read and written, its lines for a person, and the verdicts of each hardware's newest run.

    Raises:
        ConfigError: A folder or file is not what it should be, or the README asks for what is not there.
        MissingDependency: A page was asked for without matplotlib.
        OutputError: Something cannot be written.
    """
    runs = read_runs(arguments.runs)
    written: list[Path] = []
    if arguments.keep is not None:
        if len(arguments.runs) != 1:
            raise ConfigError(f"--keep: expected one RUN_DIR, got {len(arguments.runs)}")
        written += keep(arguments.runs[0], arguments.keep)
    if arguments.readme is not None:
        written.append(_write_readme(arguments.readme, runs[-1]))
    if arguments.output is not None or (arguments.keep is None and arguments.readme is None):
        require("matplotlib", install="pip install matplotlib   or: make frameworks", why="drawing the report")
        document = make_document(runs, candidates=arguments.candidates, card=arguments.card)
        written += write_document(document, arguments.output or _OUT)
    newest = [*{run.hardware: run for run in runs}.values()]
    report = ReportReport(OWN, [_summary(run) for run in runs], [str(path) for path in written])
    return report, [*map(_line, runs), *(f"wrote {path}" for path in written)], [verdict for run in newest for _, verdict in run.verdicts]


def write_document(document: Document, folder: Path) -> list[Path]:
    """Write a report as HTML, and as Markdown with its pictures.

    Args:
        document: What to write.
        folder: Where; made if need be.

    Returns:
        The page and the Markdown file.

    Raises:
        OutputError: It cannot be written.
    """
    from benchmarks.report.plots import as_png, as_svg

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in document.pictures():
            (folder / f"{picture.name}.png").write_bytes(as_png(picture.drawing))
        (folder / MARKDOWN).write_text(as_markdown(document), encoding="utf-8")
        (folder / HTML).write_text(as_html(document, lambda picture: as_svg(picture.drawing, picture.name)), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the report to {folder}: {error.strerror}") from error
    return [folder / HTML, folder / MARKDOWN]


def _write_readme(path: Path, run: Run) -> Path:
    try:
        path.write_text(filled(path.read_text(encoding="utf-8"), run), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot read and write {path}: {error.strerror}") from error
    return path


def _summary(run: Run) -> RunSummary:
    verdicts: dict[str, list[Verdict]] = {}
    for kind, verdict in run.verdicts:
        verdicts.setdefault(kind, []).append(verdict)
    return RunSummary(run.name, run.began_utc, run.commits, run.hardware, history_figures(run), verdicts)


def _line(run: Run) -> str:
    words: Sequence[str] = [verdict.word for _, verdict in run.verdicts]
    return f"{run.name}: {', '.join(run.machines)} of {run.began_utc} on {run.hardware}; {counted(words) or 'no verdict'}"
