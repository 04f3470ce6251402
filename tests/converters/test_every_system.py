"""Every system of the documents: exported, compared, run; its state follows from what these leave behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from converters.__main__ import main
from converters.evidence import evidence_dir, system_state
from converters.systems.known import KNOWN
from edge.package import load_package

ROOT = Path(__file__).resolve().parents[2]

# The ids, in the documents' order.
SYSTEMS = (
    *("effnetv2b2-sadness", "effnetv2b2-gram2", "effnetv2b2-gram3", "effnetv2b2-gram4", "zhang-multilevel"),
    *("resnet18-5", "efficientnet-b0-5", "inceptionv3-5", "mobilenetv2-5", "random-forest-5", "hmm-5"),
    "embedding-mlp-7",
    *("ar1-22", "ar2-22", "ar3-22", "ar4", "ar5-av", "resnet18-22", "inceptionv4-22", "inception-resnet-22"),
    *("resnet18-au-mlp", "inceptionv4-au-mlp", "inception-resnet-au-mlp", "pca-mlp"),
)
TRAINED = ("random-forest-5", "hmm-5", "embedding-mlp-7", "pca-mlp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models: Path, clip: Callable[[str], Path]) -> Path:
    """A folder for packages that has the face detector and, beside it, the sample clip."""
    folder = tmp_path_factory.mktemp("home") / "models"
    shutil.copytree(models / "blazeface", folder / "blazeface")
    (folder.parent / "clips").mkdir()
    sample = clip("WolfgangLanger_Pexels.mp4")
    (folder.parent / "clips" / sample.name).symlink_to(sample)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_MODELS", str(folder))
    return folder


def test_the_table_has_every_system_and_no_other() -> None:
    assert sorted(KNOWN) == sorted(SYSTEMS)
    assert sorted(name for name, system in KNOWN.items() if system.trained) == sorted(TRAINED)


# In a process of its own, as a user does it: the frameworks' threads and caches stay apart.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SYSTEMS)
def test_it_is_exported_compared_and_run(name: str, here: Path) -> None:
    untrained = [] if name in TRAINED else ["--untrained"]
    command = [sys.executable, "-m", "converters", "export", name, *untrained]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "EDGE_MODELS": str(here)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{here / name}\n"
    assert f"parity {name}/" in done.stderr
    assert system_state(KNOWN[name])[0] == "works", system_state(KNOWN[name])
    package = load_package(name, allow_untrained=True)
    assert package.manifest.trained == (name in TRAINED)
    assert (f"{name}: accuracy " in done.stderr) == (name in TRAINED)
    if name not in TRAINED:
        refused = subprocess.run(
            [sys.executable, "-m", "edge.cli", "--model", str(here / name), "--source", "sample", "--frames", "1"],
            env={**os.environ, "EDGE_MODELS": str(here)},
            capture_output=True,
            text=True,
        )
        assert refused.returncode == 4
        assert "was never trained: its numbers mean nothing" in refused.stderr


def test_list_says_what_the_evidence_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [name for name in SYSTEMS if (here / name).exists()]
    if not made:
        pytest.skip("no system was exported in this run")
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["systems"]
    assert list(rows) == list(KNOWN)
    assert {name: row["state"] for name, row in rows.items()} == {name: "works" if name in made else "absent" for name in rows}
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in set(made) & set(TRAINED):
        assert rows[name]["measured"]["n"] > 500
        line = next(line for line in text.splitlines() if line.startswith(f"  {name} "))
        assert f"accuracy {rows[name]['measured']['accuracy']:.1%}" in line
        assert rows[name]["reported"] in line


@pytest.fixture
def made(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one small system's package and evidence, to be damaged."""
    if system_state(KNOWN["ar1-22"])[0] != "works":
        assert main(["export", "ar1-22", "--untrained"]) == 0
    copy = tmp_path / "models"
    shutil.copytree(here / "ar1-22", copy / "ar1-22")
    shutil.copytree(evidence_dir() / "ar1-22", tmp_path / "evidence" / "ar1-22")
    monkeypatch.setenv("EDGE_MODELS", str(copy))
    assert system_state(KNOWN["ar1-22"])[0] == "works"
    return copy / "ar1-22"


def repack(package: Path, **changes: object) -> None:
    """Write the manifest anew, with the hashes of the files as they are now: a forger's package, whole in itself."""
    manifest = load_package(package, allow_untrained=True).manifest
    (package / "package.toml").write_bytes(msgspec.toml.encode(msgspec.structs.replace(manifest, **changes)))


def test_a_state_cannot_be_written_by_hand(made: Path) -> None:
    system, evidence = KNOWN["ar1-22"], made.parent.parent / "evidence" / "ar1-22"

    kept = (evidence / "records.jsonl").read_bytes()
    (evidence / "records.jsonl").write_bytes(kept.replace(b"0.5", b"0.6", 1))
    assert system_state(system) == ("not run", "what the run wrote was changed since: run it again: python -m converters export ar1-22")
    (evidence / "records.jsonl").write_bytes(kept)

    report = json.loads((made / "parity.json").read_text())
    stage = next(iter(report))
    report[stage]["outputs"][0]["relative_error"] = 0.5
    (made / "parity.json").write_text(json.dumps(report))
    assert system_state(system)[0] == "damaged"

    (evidence / "evidence.json").unlink()
    shutil.rmtree(made)
    assert system_state(system) == ("absent", "python -m converters export ar1-22 --untrained")


def test_a_run_of_another_package_does_not_count(made: Path) -> None:
    system = KNOWN["ar1-22"]
    repack(made, files=dict(reversed(load_package(made, allow_untrained=True).manifest.files.items())))
    assert system_state(system) == ("not run", "the run that is kept was made with another package: run it again: python -m converters export ar1-22")
    repack(made, description="another")
    assert system_state(system)[0] == "outdated"


def test_a_package_without_a_passed_parity_run_is_broken(made: Path) -> None:
    system = KNOWN["ar1-22"]
    repack(made, evidence={})
    assert system_state(system) == ("broken", "the package holds no parity report")
