"""What stands in a report, in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.report.accuracy_pages import accuracy_blocks, candidate_blocks, precision_blocks
from benchmarks.report.document import Block, Document, Section, Words
from benchmarks.report.gate_pages import gate_blocks
from benchmarks.report.history_pages import history_blocks
from benchmarks.report.latency_pages import latency_blocks
from benchmarks.report.limits_pages import limits_blocks
from benchmarks.report.overview import how_to_make, machine_blocks, not_run_blocks, verdict_blocks
from benchmarks.report.peers_pages import peers_blocks
from benchmarks.report.results import Run
from benchmarks.report.scaling_pages import scaling_blocks
from benchmarks.report.wording import counted

_TITLES = {"limits": "The documents' limits", "latency": "Latency", "peers": "Peers", "scaling": "Scaling", "gate": "The gate", "accuracy": "Accuracy"}


def make_document(runs: Sequence[Run], *, candidates: Path | None = None, card: Path | None = None) -> Document:
    """Put a report together: of each hardware the newest run in full, and all of its runs as a history.

    Args:
        runs: At least one, the oldest first.
        candidates: `candidates.json` of compared architectures.
        card: `card.json` of a package's precisions.

    Raises:
        ConfigError: One of the two files is not what it should be.
    """
    by_hardware: dict[str, list[Run]] = {}
    for run in runs:
        by_hardware.setdefault(run.hardware, []).append(run)
    sections: list[Section] = []
    for place, (hardware, of_it) in enumerate(by_hardware.items(), 1):
        several = len(by_hardware) > 1
        sections += _sections(of_it, f"{place}-" if several else "", f" ({hardware})" if several else "")
    sections.append(Section("Accuracy over latency", _cards(candidates, card)))
    newest = runs[-1]
    words = counted([verdict.word for of_it in by_hardware.values() for _, verdict in of_it[-1].verdicts]) or "no verdict"
    subtitle = f"{newest.hardware}; newest run begun {newest.began_utc}, commit {', '.join(newest.commits)}. Budgets: {words}. Generated; not edited by hand."
    return Document("facial-affect-edge: measurements", subtitle, sections)


def _sections(runs: Sequence[Run], prefix: str, of: str) -> list[Section]:
    newest = runs[-1]
    pages: dict[str, Callable[[], list[Block]]] = {
        "limits": lambda: limits_blocks(newest, prefix),
        "latency": lambda: latency_blocks(newest, prefix),
        "peers": lambda: peers_blocks(newest, prefix),
        "scaling": lambda: scaling_blocks(newest, prefix),
        "gate": lambda: gate_blocks(newest, prefix),
        "accuracy": lambda: accuracy_blocks(newest),
    }
    missing: list[Block]
    sections = [
        Section(f"Machine and versions{of}", machine_blocks(newest)),
        Section(f"Verdicts{of}", verdict_blocks(newest)),
        Section(f"Not run{of}", not_run_blocks(newest)),
    ]
    for kind, blocks in pages.items():
        missing = [Words(f"Missing in this run. {how_to_make(kind)} makes it.")]
        sections.append(Section(f"{_TITLES[kind]}{of}", missing if getattr(newest, kind) is None else blocks()))
    return [*sections, Section(f"History{of}", history_blocks(runs, prefix))]


def _cards(candidates: Path | None, card: Path | None) -> list[Block]:
    precisions: list[Block] = [Words("Precisions: missing; --card PACKAGE/card.json adds them.")] if card is None else precision_blocks(card)
    compared: list[Block] = [Words("Candidate architectures: missing; --candidates candidates.json adds them.")]
    return precisions + (compared if candidates is None else candidate_blocks(candidates))
