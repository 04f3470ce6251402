"""The first pages of a report: on what it was measured, what each budget says, and what was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.budgets import Verdict
from benchmarks.report.document import Block, Table, Words
from benchmarks.report.results import KINDS, Run, hardware
from benchmarks.report.wording import counted, limit, measured, number, one_line

_MACHINE = {
    "board": "board",
    "cpu": "processor",
    "cores": "cores",
    "usable_cores": "cores that may be used",
    "governor": "governor",
    "max_khz": "highest clock (kHz)",
    "power_mode": "power mode",
    "memory": "memory",
    "memory_available": "memory free at the start",
    "system": "system",
    "python": "Python",
}
_GPU = {"driver": "driver", "pstate": "state", "sm_mhz": "MHz", "memory_mhz": "memory MHz", "temperature_c": "°C", "power_w": "W"}
_NOT_TOLD = "not told"
_MAKES = {
    "accuracy": "python -m benchmarks accuracy --data fer2013_ferplus.npz --json RUN/accuracy.json",
    "gate": "python -m benchmarks gate --base main --json RUN/gate.json",
}


def machine_blocks(run: Run) -> list[Block]:
    """Return what is known of a run: each report with its commit and load, and the machine with its versions."""
    machines = run.machines
    reports = Table(
        ("report", "begun (UTC)", "commit", "load before", "load after", "fixed piece of work (ms)"),
        [
            (kind, str(machine["utc"]), _commit(machine), _load(machine), _load_after(run, kind), number(machine.get("probe_ms")))
            for kind, machine in machines.items()
        ],
    )
    blocks: list[Block] = [Words(f"{run.name}: {run.hardware}."), reports]
    if len({hardware(machine) for machine in machines.values()}) > 1:
        blocks.append(Words(f"Put together from several machines: {'; '.join(dict.fromkeys(hardware(machine) for machine in machines.values()))}."))
    if len(run.commits) > 1:
        blocks.append(Words(f"Put together from several commits: {', '.join(run.commits)} (+: with files changed beside the commit)."))
    first = next(iter(machines.values()))
    rows = [(title, _NOT_TOLD if first.get(key) is None else str(first[key])) for key, title in _MACHINE.items()]
    rows += [(f"GPU {gpu['name']}", _gpu(gpu)) for gpu in first.get("gpus", [])]
    rows += [(f"temperature of {name}", f"{degrees:g} °C") for name, degrees in first.get("temperature_c", {}).items()]
    rows += [(name, "not installed" if version is None else version) for name, version in first.get("versions", {}).items()]
    return [*blocks, Table(("machine", "told at the start"), rows)]


def verdict_blocks(run: Run) -> list[Block]:
    """Return every verdict with its budget and the budget's source."""
    verdicts = run.verdicts
    if not verdicts:
        return [Words("No verdict in this run.")]
    rows = [_verdict_row(kind, verdict) for kind, verdict in verdicts]
    words = counted([verdict.word for _, verdict in verdicts])
    return [Words(f"{len(verdicts)} budgets: {words}."), Table(("verdict", "of", "budget", "measured", "allowed", "why so", "source of the budget"), rows)]


def _verdict_row(kind: str, verdict: Verdict) -> tuple[str, ...]:
    reason = one_line(verdict.reason) or "-"
    return (verdict.word, kind, verdict.name, measured(verdict), limit(verdict.budget), reason, verdict.budget.source)


def not_run_blocks(run: Run) -> list[Block]:
    """Return what was not measured, with the reason: whole reports, and what is not in those that there are."""
    why: dict[tuple[str, str], dict[str, None]] = {}
    for kind, what, reason in [*_missing(run), *_left_out(run)]:
        why.setdefault((kind, one_line(reason)), {})[what] = None
    rows = [(kind, "; ".join(whats), reason) for (kind, reason), whats in why.items()]
    return [Table(("report", "what", "why not"), rows)] if rows else [Words("Nothing was left out.")]


def _missing(run: Run) -> Iterator[tuple[str, str, str]]:
    yield from ((kind, "everything", f"no {kind}.json in this run: {how_to_make(kind)}") for kind in KINDS if kind not in run.machines)


def how_to_make(kind: str) -> str:
    """Return the command that makes a kind of report."""
    return _MAKES.get(kind, f"python -m benchmarks {kind} --json RUN/{kind}.json")


def _left_out(run: Run) -> Iterator[tuple[str, str, str]]:
    yield from ((kind, verdict.name, verdict.reason) for kind, verdict in run.verdicts if verdict.word == "not run")
    if run.latency is not None:
        for part in run.latency.parts:
            yield from (("latency", *reason.partition(": not run: ")[::2]) for reason in part.numbers.get("not_run", []))
    if run.limits is not None:
        for finding in run.limits.findings:
            if finding.word == "not run":
                yield "limits", f"{finding.limit} {finding.device} {finding.precision}: {finding.subject}", finding.reason
    if run.peers is not None:
        yield from (("peers", name, reason) for name, reason in run.peers.not_run.items())
        yield from (("peers", part.name, part.numbers["not_run"]) for part in run.peers.stages if part.numbers.get("not_run"))
    if run.gate is not None:
        yield from (("gate", count.name, count.not_run) for count in run.gate.counts if count.not_run)
    if run.accuracy is not None:
        yield from (("accuracy", peer.name, peer.not_run) for peer in run.accuracy.peers or () if peer.not_run)
    if run.scaling is not None:
        curves = {"faces": run.scaling.faces, "streams": run.scaling.streams, "frame sizes": run.scaling.frame_sizes, "model sizes": run.scaling.model_sizes}
        absent = [name for name, curve in {**curves, "floor": run.scaling.floor}.items() if curve is None]
        yield from (("scaling", name, "not asked for, or see the next lines") for name in absent)
        yield from (("scaling", "a curve", reason) for reason in run.scaling.not_run)
        if run.scaling.streams is not None and run.scaling.streams.not_run:
            yield "scaling", "more streams", run.scaling.streams.not_run
        if run.scaling.model_sizes is not None:
            yield from (("scaling", "a network", reason) for reason in run.scaling.model_sizes.not_run)


def _commit(machine: Mapping[str, Any]) -> str:
    return f"{(machine.get('commit') or 'unknown')[:9]}{' and changed files' if machine.get('dirty') else ''}"


def _load(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{each:g}" for each in machine.get("load", [])) or "-"


def _load_after(run: Run, kind: str) -> str:
    return ", ".join(f"{each:g}" for each in getattr(getattr(run, kind), "load_after", [])) or "-"


def _gpu(gpu: Mapping[str, Any]) -> str:
    told = [f"{title} {gpu[key]}" for key, title in _GPU.items() if gpu.get(key) is not None]
    return ", ".join([*told, *(f"slowed by {why}" for why in gpu.get("slowed_by", []))]) or _NOT_TOLD
