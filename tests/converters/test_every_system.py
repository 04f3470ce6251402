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
from converters.evidence import card_problem, system_state
from converters.parity import ParityReport
from converters.systems.known import KNOWN
from converters.systems.system import TRAINED as TRAINED_FOLDER
from edge.package import Manifest, file_sha256, load_package

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
    report = json.loads((package.path / "parity.json").read_text())
    assert [output["name"] for run in report.values() for output in run["outputs"] if output["n_constant"]] == []
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
    """A copy of one small system's package, to be damaged."""
    if system_state(KNOWN["ar1-22"])[0] != "works":
        assert main(["export", "ar1-22", "--untrained"]) == 0
    copy = tmp_path / "models"
    shutil.copytree(here / "ar1-22", copy / "ar1-22")
    shutil.copytree(here / "blazeface", copy / "blazeface")
    (tmp_path / "clips").symlink_to(here.parent / "clips")
    monkeypatch.setenv("EDGE_MODELS", str(copy))
    assert system_state(KNOWN["ar1-22"])[0] == "works"
    return copy / "ar1-22"


AGAIN = "python -m converters export ar1-22 --untrained"


def repack(package: Path, **changes: object) -> None:
    """Write the manifest anew, with the hashes of the files as they are now: a forger's package, whole in itself."""
    manifest = load_package(package, allow_untrained=True).manifest
    (package / "package.toml").write_bytes(msgspec.toml.encode(msgspec.structs.replace(manifest, **changes)))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def state() -> tuple[str, str]:
    return system_state(KNOWN["ar1-22"])


def test_a_state_cannot_be_written_by_hand(made: Path) -> None:
    run = made / "run"
    kept = (run / "records.jsonl").read_bytes()
    (run / "records.jsonl").write_bytes(kept.replace(b"0.5", b"0.6", 1))
    assert state() == ("not run", f"what the run wrote was changed since: {AGAIN}")
    (run / "records.jsonl").write_bytes(kept)
    assert state()[0] == "works"

    evidence = (run / "evidence.json").read_text()
    for values, expected in (
        ({"frames": 95}, ("broken", "the run on the sample clip ended 'done', with numbers in 96 of 96 frames")),
        ({"with_numbers": 95}, ("broken", "the run on the sample clip ended 'done', with numbers in 96 of 96 frames")),
        ({"source_sha256": "0" * 64}, ("not run", "the run that is kept was made on another clip")),
        ({"code_sha256": "0" * 64}, ("outdated", "the code that makes networks was changed since")),
        ({"parity_sha256": "0" * 64}, ("not run", "the run that is kept was made with another package")),
        ({"schema": "edge.evidence/2"}, ("not run", "no run on the sample clip is kept (ValidationError)")),
    ):
        change(run / "evidence.json", **values)
        assert state() == (expected[0], f"{expected[1]}: {AGAIN}"), values
        (run / "evidence.json").write_text(evidence)

    report = json.loads((made / "parity.json").read_text())
    report["network"]["outputs"][0]["relative_error"] = 0.5
    (made / "parity.json").write_text(json.dumps(report))
    assert state()[0] == "damaged"

    shutil.rmtree(run)
    repackable = {**load_manifest(made).files, "parity.json": file_sha256(made / "parity.json")}
    (made / "package.toml").write_bytes(
        msgspec.toml.encode(msgspec.structs.replace(load_manifest(made), files=repackable, evidence={"parity.json": repackable["parity.json"]}))
    )
    assert state() == ("broken", f"network.onnx: output 'logits' is off by 0.5 of its deviation, the limit is 0.001: {AGAIN}")
    shutil.rmtree(made)
    assert state() == ("absent", AGAIN)


def load_manifest(package: Path) -> Manifest:
    return msgspec.toml.decode((package / "package.toml").read_bytes(), type=Manifest)


def test_a_run_of_another_package_does_not_count(made: Path) -> None:
    repack(made, files=dict(reversed(load_package(made, allow_untrained=True).manifest.files.items())))
    assert state() == ("not run", f"the run that is kept was made with another package: {AGAIN}")
    # Nor where the evidence is made to say so: the records name the package that ran.
    change(made / "run" / "evidence.json", package_sha256=load_package(made, allow_untrained=True).sha256)
    assert state() == ("not run", f"the run that is kept was made with another package: {AGAIN}")
    repack(made, description="another")
    assert state()[0] == "outdated"


def test_a_package_without_a_passed_parity_run_is_broken(made: Path) -> None:
    repack(made, evidence={})
    assert state() == ("broken", f"the parity report is not the one that the package names: {AGAIN}")


def test_numbers_count_where_every_output_gave_some(made: Path) -> None:
    """A network of which one output never answers does not work."""
    records = [json.loads(line) for line in (made / "run" / "records.jsonl").read_text().splitlines()]
    for record in records[1:]:
        for face in record["faces"]:
            face["emotions"] = None
    text = "\n".join(map(json.dumps, records))
    (made / "run" / "records.jsonl").write_text(text)
    change(made / "run" / "evidence.json", records_sha256=file_sha256(made / "run" / "records.jsonl"), with_numbers=0)
    assert state() == ("broken", f"the run on the sample clip ended 'done', with numbers in 0 of 96 frames: {AGAIN}")


def test_a_package_that_does_not_run_leaves_the_former_one(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_package(made, allow_untrained=True).sha256
    monkeypatch.setenv("GST_PLUGIN_SYSTEM_PATH", str(tmp_path))  # edge-run finds no decoder
    monkeypatch.setenv("GST_PLUGIN_SYSTEM_PATH_1_0", str(tmp_path))
    monkeypatch.setenv("GST_REGISTRY", str(tmp_path / "registry"))
    assert main(["export", "ar1-22", "--untrained", "--seed", "1"]) == 4
    assert "edge-run --model ar1-22 ended with 3 on WolfgangLanger_Pexels.mp4: " in capsys.readouterr().err
    assert load_package(made, allow_untrained=True).sha256 == before
    assert state()[0] == "works"
    assert sorted(path.name for path in made.parent.iterdir()) == ["ar1-22", "blazeface"]


def test_accuracy_is_that_of_the_weights_in_the_package(tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = KNOWN["hmm-5"]
    assert card_problem(system) == ""
    trained = tmp_path / "trained"
    shutil.copytree(TRAINED_FOLDER / "hmm-5", trained / "hmm-5")
    monkeypatch.setattr("converters.evidence.TRAINED", trained)
    (trained / "hmm-5" / "hmm.safetensors").write_bytes(b"other weights")
    assert card_problem(system) == "hmm.safetensors is not the file whose accuracy hmm-5's card holds"
    assert main(["export", "hmm-5", "-o", str(tmp_path / "other")]) == 4
    if (here / "hmm-5").exists():
        assert system_state(system)[0] == "outdated"
    shutil.copy(TRAINED_FOLDER / "hmm-5" / "hmm.safetensors", trained / "hmm-5")
    card = json.loads((trained / "hmm-5" / "card.json").read_text())
    other = ParityReport(original_sha256="0" * 64, onnx_sha256="", runtimes={}, n_inputs=2, inputs_sha256="", limit=1e-3, outputs=())
    assert card_problem(system, [other]) == "the package was made of other weights than those whose accuracy the card holds"
    assert card_problem(system, [msgspec.structs.replace(other, original_sha256=card["files"]["hmm.safetensors"])]) == ""


def test_what_training_wrote_becomes_a_package_of_one_s_own(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(TRAINED_FOLDER / "hmm-5", tmp_path / "mine")
    assert main(["export", str(tmp_path / "mine"), "--system", "hmm-5", "-o", str(tmp_path / "my-hmm")]) == 0
    package = load_package(tmp_path / "my-hmm")
    assert (package.name, package.manifest.stages) == ("my-hmm", KNOWN["hmm-5"].stages)
    assert main(["export", str(TRAINED_FOLDER / "hmm-5"), "--system", "hmm-5"]) == 2
    assert "'hmm-5' is the name of another package" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--system", "ar1-22", "-o", str(tmp_path / "my-ar1")]) == 4
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hmm-5", "--untrained"], "--untrained and --seed: 'hmm-5' has weights that we trained"),
        (["hmm-5", "--seed", "3"], "--untrained and --seed: 'hmm-5' has weights that we trained"),
        (["ar1-22"], "nobody has trained weights of 'ar1-22'"),
        (["all", "-o", "x"], "--output is for one system"),
        (["ar1-22", "--trusted"], "--trusted: for a checkpoint; 'ar1-22' is a system"),
        (["resnet-22-blocks61", "--untrained"], "8 to 60"),
        (["ar1-22-e2", "--untrained"], "--untrained and --seed are for systems; ar1-22-e2 is none"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["export", "ar1-22", "--untrained", "--seed", "-1"])
