"""Reads what the commands wrote with `--json`, each report into its own type, and keeps it small enough for a repository."""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from benchmarks.accuracy.report import AccuracyReport
from benchmarks.budgets import Verdict
from benchmarks.gate.command import GateReport
from benchmarks.latency_command import LatencyReport
from benchmarks.limits.command import LimitsReport
from benchmarks.peer_rounds import PeersReport
from benchmarks.scaling.finding import ScalingReport
from edge.errors import ConfigError, OutputError

KINDS: Mapping[str, type] = {
    "latency": LatencyReport,
    "limits": LimitsReport,
    "peers": PeersReport,
    "gate": GateReport,
    "scaling": ScalingReport,
    "accuracy": AccuracyReport,
}
OWN = "edge.benchmark.report/1"  # of this command's own JSON, which may lie beside what it was made from
KEPT_DIGITS = 4  # significant ones of a sample: the clock and the machine are not good for more
KEPT_BYTES = 1_000_000  # of a whole run, so that a repository can hold some
_PACKED_ABOVE_BYTES = 300_000
_SAMPLES_FROM = 9  # shorter lists are figures, not samples
_ENDINGS = (".json", ".json.xz")
Report = TypeVar("Report")


@dataclass(frozen=True)
class Run:
    """What was measured on one machine in one go; None for what was not.

    Attributes:
        name: Of its folder.
    """

    name: str
    latency: LatencyReport | None = None
    limits: LimitsReport | None = None
    peers: PeersReport | None = None
    gate: GateReport | None = None
    scaling: ScalingReport | None = None
    accuracy: AccuracyReport | None = None

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """The machine of each report, as `describe_machine` told it."""
        return {kind: report.machine for kind in KINDS if (report := getattr(self, kind)) is not None}

    @property
    def began_utc(self) -> str:
        """When the first of its reports was begun."""
        return min(str(machine["utc"]) for machine in self.machines.values())

    @property
    def commits(self) -> list[str]:
        """The commits that were measured, shortened, with `+` where files were changed beside; more than one where the run is put together."""
        told = [(machine.get("commit"), machine.get("dirty")) for machine in self.machines.values()]
        return [*dict.fromkeys(f"{(commit or 'unknown')[:9]}{'+' * bool(dirty)}" for commit, dirty in told)]

    @property
    def hardware(self) -> str:
        """What the run was made on; runs of the same hardware are drawn as one history."""
        return hardware(next(iter(self.machines.values())))

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Every verdict with the kind of its report."""
        parts = [] if self.latency is None else [("latency", verdict) for part in self.latency.parts for verdict in part.verdicts]
        others = [(kind, report.verdicts) for kind in KINDS if kind != "latency" and (report := getattr(self, kind)) is not None]
        return parts + [(kind, verdict) for kind, verdicts in others for verdict in verdicts]


def hardware(machine: Mapping[str, Any]) -> str:
    """Return board or processor, usable cores and GPUs of a machine in one line."""
    gpus = [gpu["name"] for gpu in machine.get("gpus", [])]
    cores = f"{machine.get('usable_cores')} cores"
    return ", ".join([machine.get("board") or machine.get("cpu") or "unknown processor", cores, *(gpus or ["no NVIDIA GPU"])])


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs, the oldest first.

    Args:
        folders: Each a run with reports in it, or a folder of such folders, at whatever depth, as a history is.

    Raises:
        ConfigError: A folder has no report, or a file is no report that this version knows.
    """
    runs = []
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}", hint="each command writes its report with --json FOLDER/COMMAND.json")
        holders = sorted({path.parent for ending in _ENDINGS for path in folder.rglob(f"*{ending}")})
        read = [run for holder in holders if (run := _read_run(holder, folder)) is not None]
        if not read:
            expected = ", ".join(f"{kind}.json" for kind in KINDS)
            raise ConfigError(f"expected some of {expected} in {folder} or below, got none", hint="each command writes its report with --json FILE")
        runs += read
    return sorted(runs, key=lambda run: run.began_utc)


def _read_run(folder: Path, given: Path) -> Run | None:
    found: dict[str, tuple[Path, Any]] = {}
    for path in _report_files(folder):
        raw = read_json(path)
        if raw.get("schema") == OWN:
            continue
        kind = _kind_of(raw, path)
        if kind in found:
            raise ConfigError(f"expected one report of {kind} in {folder}, got {found[kind][0].name} and {path.name}", hint="a folder for each run")
        found[kind] = path, as_type(raw, KINDS[kind], path)
    name = folder.name if folder == given else f"{given.name}/{folder.relative_to(given).as_posix()}"
    return Run(name, **{kind: report for kind, (_, report) in found.items()}) if found else None


def _report_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(_ENDINGS))


def _kind_of(raw: Mapping[str, Any], path: Path) -> str:
    schemas = {f"edge.benchmark.{kind}/1": kind for kind in KINDS}
    schema = raw.get("schema")
    if schema not in schemas:
        raise ConfigError(f"{path}: expected a schema of {', '.join(schemas)}, got {schema!r}", hint="a newer report needs the benchmarks that wrote it")
    return schemas[schema]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, packed with xz where the file's name says so.

    Raises:
        ConfigError: It cannot be read, or is none.
    """
    try:
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        return msgspec.json.decode(content, type=dict[str, Any])
    except (OSError, lzma.LZMAError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: expected a report in JSON: {error}") from error


def as_type(raw: Mapping[str, Any], type_: type[Report], path: Path) -> Report:
    """Return a report in its type; nothing that is in the file is passed over.

    Args:
        raw: As it was read.
        type_: Of the report.
        path: Of the file, for messages.

    Raises:
        ConfigError: A field is missing, is of another kind, or is not known here.
    """
    try:
        report = msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: expected {raw.get('schema', type_.__name__)}: {error}", hint="measure again with these benchmarks") from error
    unknown = next(_unknown(raw, msgspec.to_builtins(report), "$"), None)
    if unknown is not None:
        raise ConfigError(f"{path}: a field that is not known here: {unknown}", hint="a newer report needs the benchmarks that wrote it")
    return report


def _unknown(raw: Any, known: Any, where: str) -> Iterator[str]:
    """Places of fields that were read and are not in the type."""
    if isinstance(raw, dict):
        for name, value in raw.items():
            if name not in known:
                yield f"{where}.{name}"
            else:
                yield from _unknown(value, known[name], f"{where}.{name}")
    elif isinstance(raw, list) and any(isinstance(value, dict | list) for value in raw):
        for place, (value, other) in enumerate(zip(raw, known, strict=True)):
            yield from _unknown(value, other, f"{where}[{place}]")


def keep(folder: Path, kept: Path, most_bytes: int = KEPT_BYTES) -> list[Path]:
    """Write a run's reports small enough for a repository: samples with four significant digits, every one of them; long files packed with xz.

    Args:
        folder: Of one run.
        kept: Where they go; made if need be. Reports that lie there are replaced.
        most_bytes: All of them together, at most.

    Returns:
        What was written.

    Raises:
        ConfigError: The folder is not one run, or what is to be kept is too long.
        OutputError: It cannot be written.
    """
    if len(read_runs([folder])) != 1 or not _report_files(folder):
        raise ConfigError(f"--keep: expected the folder of one run, got {folder}")
    contents: dict[str, bytes] = {}
    for path in _report_files(folder):
        raw = read_json(path)
        if raw["schema"] == OWN:
            continue
        content = msgspec.json.encode(rounded(raw)) + b"\n"
        is_long = len(content) > _PACKED_ABOVE_BYTES
        contents[f"{_kind_of(raw, path)}.json{'.xz' * is_long}"] = lzma.compress(content, preset=9) if is_long else content
    total = sum(map(len, contents.values()))
    if total > most_bytes:
        sizes = ", ".join(f"{name} {len(content):,}" for name, content in contents.items())
        raise ConfigError(f"--keep: expected at most {most_bytes:,} bytes in all, got {total:,}: {sizes}", hint="leave the longest out")
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for old in _report_files(kept):
            old.unlink()
        for name, content in contents.items():
            (kept / name).write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {kept}: {error.strerror}") from error
    return [kept / name for name in contents]


def rounded(raw: Any) -> Any:
    """Return JSON values with their lists of samples rounded to four significant digits, and the user's home folder as `~`; single figures stay as they are."""
    if isinstance(raw, dict):
        return {name: rounded(value) for name, value in raw.items()}
    if isinstance(raw, str):
        return raw.replace(str(Path.home()), "~")
    if not isinstance(raw, list):
        return raw
    is_samples = len(raw) >= _SAMPLES_FROM and all(isinstance(value, int | float) and not isinstance(value, bool) for value in raw)
    return [_rounded(value) for value in raw] if is_samples else [rounded(value) for value in raw]


def _rounded(value: float) -> float:
    short = float(f"{value:.{KEPT_DIGITS}g}")
    return int(short) if isinstance(value, int) else short
