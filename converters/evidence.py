"""What stands behind the words `state: works`: a run of `edge-run` on the sample clip, kept in the package, and the hashes that tie it to it.

The folder `run` of a package holds the run's records, its summary and `evidence.json`. A state is worked out from these files each time; nothing in them says
"works".
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from converters import known_files
from converters.errors import ConversionError
from converters.make_package import PARITY, RUN
from converters.parity import ParityReport
from converters.pull import clips_dir
from converters.registry import Say
from converters.systems.system import TRAINED, System
from converters.training.card import PICTURE, read_card
from edge.errors import PackageError, PackageNotFound
from edge.package import Package, file_sha256, load_package, models_dir
from edge.stage import Named, Role, Stage, of_frame, role_of

State = Literal["works", "not run", "absent", "outdated", "damaged", "broken"]

N_FRAMES = 96  # of the sample clip: nearly four seconds, longer than any system's clip
_EVIDENCE, _RECORDS, _SUMMARY = "evidence.json", "records.jsonl", "summary.json"
_HERE = Path(__file__).parent


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a package.

    Attributes:
        package_sha256: The package that ran, in the words of its records' header: the hash of its manifest, and with it of every file.
        parity_sha256: The parity report in it.
        records_sha256: The records that the run wrote.
        summary_sha256: Its summary.
        source_sha256: The clip.
        code_sha256: The code that made the networks, see `code_sha256`.
        command: What ran, after `edge-run`, with the folders left out.
        frames: How many frames it analysed.
        with_numbers: In how many of them every output of the package gave numbers.
    """

    schema: Literal["edge.evidence/1"] = "edge.evidence/1"
    package_sha256: str
    parity_sha256: str
    records_sha256: str
    summary_sha256: str
    source_sha256: str
    code_sha256: str
    command: tuple[str, ...]
    frames: int
    with_numbers: int


def run_on_sample(package: Package, *, say: Say) -> Evidence:
    """Run `edge-run` with a package on the sample clip and keep what it wrote, in the package's folder.

    Args:
        package: Any affect package.
        say: Takes progress lines.

    Returns:
        The evidence.

    Raises:
        ConversionError: The command failed, or some of its networks never gave a number.
    """
    source = clips_dir() / known_files.SAMPLE.name
    folder = package.path / RUN
    folder.mkdir()
    flags = ["--frames", str(N_FRAMES), "--engine", "onnxruntime", *([] if package.manifest.trained else ["--allow-untrained"])]
    files = ["--output", str(folder / _RECORDS), "--summary", str(folder / _SUMMARY)]
    command = [sys.executable, "-m", "edge.cli", "--quiet", "--model", str(package.path.absolute()), "--source", str(source), *flags, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ConversionError(f"edge-run --model {package.name} ended with {done.returncode} on {source.name}: {done.stderr.strip()}")
    header, results = _read_records(folder)
    evidence = Evidence(
        package_sha256=header["package"]["sha256"],
        parity_sha256=package.manifest.evidence.get(PARITY, ""),
        records_sha256=file_sha256(folder / _RECORDS),
        summary_sha256=file_sha256(folder / _SUMMARY),
        source_sha256=file_sha256(source),
        code_sha256=code_sha256(),
        command=("--model", package.name, "--source", source.name, *flags),
        frames=len(results),
        with_numbers=_count_with_numbers(results, package.manifest.stages),
    )
    if not evidence.with_numbers:
        wanted = ", ".join(sorted({role for roles in _roles(package.manifest.stages) for role in roles}))
        raise ConversionError(f"edge-run --model {package.name} never gave {wanted} in {evidence.frames} frames of {source.name}")
    (folder / _EVIDENCE).write_bytes(msgspec.json.format(msgspec.json.encode(evidence), indent=1))
    say(f"edge-run --model {package.name} on {source.name}: numbers in {evidence.with_numbers} of {evidence.frames} frames")
    return evidence


def system_state(system: System) -> tuple[State, str]:
    """Work out the state of a system from what lies on the disk.

    Args:
        system: A row of the table.

    Returns:
        The state, and why it is not `works` (or what the run gave).
    """
    again = f"python -m converters export {system.id}{'' if system.trained else ' --untrained'}"
    try:
        package = load_package(models_dir() / system.id, allow_untrained=True)
    except PackageNotFound:
        return "absent", again
    except PackageError as error:
        return "damaged", f"{str(error).splitlines()[0]}: {again}"
    if msgspec.structs.replace(package.manifest, files={}, precisions={}, keep_fp32={}, evidence={}) != system.manifest():
        return "outdated", f"the package was made from another description of the system: {again}"
    try:
        reports = msgspec.json.decode((package.path / PARITY).read_bytes(), type=dict[str, ParityReport])
    except (OSError, msgspec.MsgspecError) as error:
        return "broken", f"no parity report can be read ({type(error).__name__}): {again}"
    if problem := _parity_problem(package, reports, limit=system.max_relative_error):
        return "broken", f"{problem}: {again}"
    if system.trained and (problem := card_problem(system, reports.values())):
        return "outdated", f"{problem}: {again}"
    state, detail = _run_state(package)
    return state, detail if state == "works" else f"{detail}: {again}"


def card_problem(system: System, reports: Iterable[ParityReport] | None = None) -> str:
    """Return what is wrong between a system that we trained, its card and its package; empty where they belong together.

    Args:
        system: One that is `trained`.
        reports: Those of its package; None where there is none yet.
    """
    card = read_card(TRAINED / system.id)
    weights = {name: sha256 for name, sha256 in card.files.items() if name != PICTURE}
    for name, sha256 in weights.items():
        if file_sha256(TRAINED / system.id / name) != sha256:
            return f"{name} is not the file whose accuracy {system.id}'s card holds"
    if reports is not None and not set(weights.values()) <= {report.original_sha256 for report in reports}:
        return "the package was made of other weights than those whose accuracy the card holds"
    return ""


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Return the hash of the code that defines and converts networks: `systems` and the converters, with the names of their files."""
    digest = hashlib.sha256()
    for folder in sorted([_HERE / "systems", *_HERE.glob("from_*")]):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(_HERE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _parity_problem(package: Package, reports: Mapping[str, ParityReport], *, limit: float) -> str:
    """What is wrong with the parity report in a package; empty where it stands behind every network."""
    if package.manifest.evidence.get(PARITY) != file_sha256(package.path / PARITY):
        return "the parity report is not the one that the package names"
    for stage in package.manifest.stages:
        report = reports.get(stage.name)
        if report is None or report.onnx_sha256 != package.manifest.files[stage.model]:
            return f"no parity run was made with {stage.model} as it is"
        for output in report.outputs:
            if not output.relative_error <= limit:
                return f"{stage.model}: output '{output.name}' is off by {output.relative_error:.3g} of its deviation, the limit is {limit:.3g}"
    return ""


def _run_state(package: Package) -> tuple[State, str]:
    folder = package.path / RUN
    try:
        evidence = msgspec.json.decode((folder / _EVIDENCE).read_bytes(), type=Evidence)
        header, results = _read_records(folder)
        summary = json.loads((folder / _SUMMARY).read_text())
        ran = header["package"]["sha256"]
        with_numbers = _count_with_numbers(results, package.manifest.stages)
    except (OSError, ValueError, KeyError, TypeError, IndexError, msgspec.MsgspecError) as error:
        return "not run", f"no run on the sample clip is kept ({type(error).__name__})"
    if {ran, evidence.package_sha256} != {package.sha256} or evidence.parity_sha256 != package.manifest.evidence[PARITY]:
        return "not run", "the run that is kept was made with another package"
    if (file_sha256(folder / _RECORDS), file_sha256(folder / _SUMMARY)) != (evidence.records_sha256, evidence.summary_sha256):
        return "not run", "what the run wrote was changed since"
    if evidence.source_sha256 != known_files.SAMPLE.sha256:
        return "not run", "the run that is kept was made on another clip"
    if evidence.code_sha256 != code_sha256():
        return "outdated", "the code that makes networks was changed since"
    if summary.get("exit") != "done" or not len(results) == evidence.frames == N_FRAMES or not with_numbers == evidence.with_numbers > 0:
        return "broken", f"the run on the sample clip ended '{summary.get('exit')}', with numbers in {with_numbers} of {len(results)} frames"
    return "works", f"numbers in {with_numbers} of {len(results)} frames"


def _read_records(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header, *results = (json.loads(line) for line in (folder / _RECORDS).read_text().splitlines())
    return header, results


def _count_with_numbers(results: Iterable[Mapping[str, Any]], stages: tuple[Stage, ...]) -> int:
    """In how many frames every output of the package gave numbers: those of pictures, and those of faces in one face at least."""
    of_pictures, of_faces = _roles(stages)
    return sum(_says(result.get("frame") or {}, of_pictures) and (not of_faces or any(_says(face, of_faces) for face in result["faces"])) for result in results)


def _roles(stages: tuple[Stage, ...]) -> tuple[set[Role], set[Role]]:
    """What a package says of pictures, and what of faces."""
    whole = of_frame(stages)
    of_pictures: set[Role] = set()
    of_faces: set[Role] = set()
    for stage in stages:
        for output in stage.shown:
            if isinstance(output, Named):
                (of_pictures if stage.name in whole else of_faces).add(role_of(output))
    return of_pictures, of_faces


def _says(subject: Mapping[str, Any], roles: set[Role]) -> bool:
    return all(subject.get(role) for role in roles)
