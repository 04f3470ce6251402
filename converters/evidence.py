"""What stands behind the words `state: works`: a run of `edge-run` on the sample clip, kept beside the packages, and the hashes that tie it to one package.

`<models>/../evidence/<system>/` holds the run's records, its summary and `evidence.json`. A state is worked out from these files each time; nothing in them
says "works".
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from converters import known_files
from converters.errors import ConversionError
from converters.export import manifest_of
from converters.make_package import PARITY
from converters.parity import ParityReport
from converters.pull import clips_dir
from converters.registry import Say
from converters.systems.system import System
from edge.errors import PackageError, PackageNotFound
from edge.package import Package, file_sha256, load_package, models_dir

State = Literal["works", "not run", "absent", "outdated", "damaged", "broken"]

N_FRAMES = 96  # of the sample clip: nearly four seconds, longer than any system's clip
_EVIDENCE, _RECORDS, _SUMMARY = "evidence.json", "records.jsonl", "summary.json"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a package.

    Attributes:
        package_sha256: The package that ran: the hash of its manifest, and with it of every file.
        parity_sha256: The parity report in it.
        records_sha256: The records that the run wrote.
        summary_sha256: Its summary.
        source_sha256: The clip.
        command: What ran, after `edge-run`, with the folders left out.
        frames: How many frames it analysed.
        with_numbers: In how many of them the networks gave numbers.
    """

    schema: Literal["edge.evidence/1"] = "edge.evidence/1"
    package_sha256: str
    parity_sha256: str
    records_sha256: str
    summary_sha256: str
    source_sha256: str
    command: tuple[str, ...]
    frames: int
    with_numbers: int


def evidence_dir() -> Path:
    """Return the folder of all evidence: `evidence` beside the packages."""
    return models_dir().parent / "evidence"


def run_on_sample(package: Package, *, say: Say) -> Evidence:
    """Run `edge-run` with a package on the sample clip and keep what it wrote.

    Args:
        package: Any affect package.
        say: Takes progress lines.

    Returns:
        The evidence, also written to `evidence_dir()`.

    Raises:
        ConversionError: The command failed, or its networks never gave a number.
    """
    source = clips_dir() / known_files.SAMPLE.name
    folder = evidence_dir() / package.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{package.name}-"))
    try:
        flags = ["--frames", str(N_FRAMES), "--engine", "onnxruntime", *([] if package.manifest.trained else ["--allow-untrained"])]
        files = ["--output", str(temporary / _RECORDS), "--summary", str(temporary / _SUMMARY)]
        command = [sys.executable, "-m", "edge.cli", "--quiet", "--model", str(package.path.absolute()), "--source", str(source), *flags, *files]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise ConversionError(f"edge-run --model {package.name} ended with {done.returncode} on {source.name}: {done.stderr.strip()}")
        results = [json.loads(line) for line in (temporary / _RECORDS).read_text().splitlines()[1:]]
        evidence = Evidence(
            package_sha256=package.sha256,
            parity_sha256=package.manifest.evidence.get(PARITY, ""),
            records_sha256=file_sha256(temporary / _RECORDS),
            summary_sha256=file_sha256(temporary / _SUMMARY),
            source_sha256=file_sha256(source),
            command=("--model", package.name, "--source", source.name, *flags),
            frames=len(results),
            with_numbers=sum(map(_has_numbers, results)),
        )
        if not evidence.with_numbers:
            raise ConversionError(f"edge-run --model {package.name} gave no number in {evidence.frames} frames of {source.name}")
        (temporary / _EVIDENCE).write_bytes(msgspec.json.format(msgspec.json.encode(evidence), indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say(f"edge-run --model {package.name} on {source.name}: numbers in {evidence.with_numbers} of {evidence.frames} frames")
    return evidence


def system_state(system: System) -> tuple[State, str]:
    """Work out the state of a system from what lies on the disk.

    Args:
        system: A row of the table.

    Returns:
        The state, and why it is not `works` (or what the run gave).
    """
    try:
        package = load_package(models_dir() / system.id, allow_untrained=True)
    except PackageNotFound:
        return "absent", f"python -m converters export {system.id}{'' if system.trained else ' --untrained'}"
    except PackageError as error:
        return "damaged", str(error).splitlines()[0]
    manifest = msgspec.structs.replace(package.manifest, files={}, evidence={})
    if manifest != manifest_of(system):
        return "outdated", "the package was made from another description of the system: export it again"
    if problem := _parity_problem(package):
        return "broken", problem
    return _run_state(package)


def _parity_problem(package: Package) -> str:
    """What is wrong with the parity report in a package; empty where it stands behind every network."""
    path = package.path / PARITY
    if PARITY not in package.manifest.evidence or not path.exists():
        return "the package holds no parity report"
    try:
        reports = msgspec.json.decode(path.read_bytes(), type=dict[str, ParityReport])
    except msgspec.MsgspecError as error:
        return f"{PARITY} cannot be read: {error}"
    for stage in package.manifest.stages:
        report = reports.get(stage.name)
        if report is None or report.onnx_sha256 != package.manifest.files[stage.model]:
            return f"no parity run was made with {stage.model} as it is"
        for output in report.outputs:
            if not output.relative_error <= report.limit:
                return f"{stage.model}: output '{output.name}' is off by {output.relative_error:.3g} of its deviation, the limit is {report.limit:.3g}"
    return ""


def _run_state(package: Package) -> tuple[State, str]:
    folder = evidence_dir() / package.name
    again = f"run it again: python -m converters export {package.name}"
    try:
        evidence = msgspec.json.decode((folder / _EVIDENCE).read_bytes(), type=Evidence)
        results = [json.loads(line) for line in (folder / _RECORDS).read_text().splitlines()[1:]]
        summary = json.loads((folder / _SUMMARY).read_text())
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        return "not run", f"no run on the sample clip is kept ({type(error).__name__}): {again}"
    if evidence.package_sha256 != package.sha256 or evidence.parity_sha256 != package.manifest.evidence[PARITY]:
        return "not run", f"the run that is kept was made with another package: {again}"
    if (file_sha256(folder / _RECORDS), file_sha256(folder / _SUMMARY)) != (evidence.records_sha256, evidence.summary_sha256):
        return "not run", f"what the run wrote was changed since: {again}"
    with_numbers = sum(map(_has_numbers, results))
    if summary.get("exit") != "done" or not with_numbers:
        return "broken", f"the run on the sample clip ended '{summary.get('exit')}', with numbers in {with_numbers} frames"
    return "works", f"numbers in {with_numbers} of {len(results)} frames"


def _has_numbers(record: Mapping[str, Any]) -> bool:
    """Whether a frame's record, or a face in it, holds what a network gave."""
    spoken = [*record["faces"], *([record["frame"]] if record.get("frame") else [])]
    return any(one.get(kind) for one in spoken for kind in ("emotions", "action_units", "scores"))
