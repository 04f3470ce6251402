from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import peer_environments
from benchmarks.__main__ import main
from benchmarks.accuracy import peer_networks
from benchmarks.accuracy.peer_networks import measure_peers
from benchmarks.accuracy.readings import Convention
from benchmarks.accuracy.truth import Truth, clear_majorities, fer2013_truth
from benchmarks.budgets import load_budgets
from benchmarks.peer_environments import environment_folder, npm_environment
from converters.training.fer2013 import LABELS, PRIVATE_TEST, Split, read_fer2013
from edge.errors import MissingDependency
from edge.package import load_package
from edge.result import EMOTIONS

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fer2013_ferplus.npz"
N_PUBLIC, N_PRIVATE = 40, 80


@pytest.fixture(scope="module")
def some_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures of each split of the real data set."""
    if not DATA.exists():
        pytest.skip(f"FER2013 is not at {DATA}: nothing to measure on")
    path = tmp_path_factory.mktemp("data") / "some.npz"
    with np.load(DATA) as stored:
        usage = stored["usage"]
        rows = np.concatenate([np.flatnonzero(usage == number)[:n] for number, n in enumerate((1, N_PUBLIC, N_PRIVATE))])
        np.savez(path, **{name: stored[name][rows] for name in ("images", "usage", "fer2013_label", "ferplus_votes")})
    return path


def _three_pictures() -> tuple[Split, dict[Convention, Truth]]:
    votes = np.eye(10, dtype=np.uint8)[[0, 1, 2]] * np.uint8(10)
    split = Split(PRIVATE_TEST, np.random.default_rng(1).integers(0, 255, (3, 48, 48)).astype(np.uint8), np.array([0, 3, 6]), "", votes)
    return split, {"fer2013": fer2013_truth(split), "seen": clear_majorities(split)}


def test_the_default_package_is_measured_from_end_to_end(some_faces: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plots = tmp_path / "out.json", tmp_path / "plots"
    code = main(["accuracy", "--model", "default", "--data", str(some_faces), "--json", str(out), "--plots", str(plots)])
    report: dict[str, Any] = json.loads(out.read_text())
    assert code == (0 if all(verdict["word"] == "pass" for verdict in report["verdicts"]) else 1)
    assert report["schema"] == "edge.benchmark.accuracy/1"
    assert report["package"]["sha256"] == load_package(models / "default").sha256
    labelled, seen = report["fer2013_private"], report["ferplus_private"]
    assert (labelled["n"], labelled["n_without_face"]) == (N_PRIVATE, 0)
    assert [*labelled["per_class"]] == list(EMOTIONS)
    for figures in (labelled, seen, report["fer2013_private_detected"], report["ferplus_private_detected"]):
        assert sum(map(sum, figures["confusion"])) == figures["n"]
        assert sum(each["recall"]["n"] for each in figures["per_class"].values()) == figures["n"]
        assert figures["interval"][0] < figures["accuracy"] < figures["interval"][1]
        assert figures["accuracy"] > 0.5  # chance is a seventh
    assert labelled["votes_cross_entropy"] is None
    assert seen["votes_cross_entropy"] > seen["votes_entropy"]
    for levels in report["conditions"].values():
        assert sum(each["fer2013"]["n"] for each in levels) > 0
    sizes = report["conditions"]["size of the picture (px)"]
    assert sizes[0]["fer2013"]["value"] == labelled["accuracy"]
    assert sizes[-1]["fer2013"]["value"] < labelled["accuracy"]
    real = report["action_units_real"]
    assert (real["n_pictures"], report["action_units_synthetic"], report["peers"]) == (N_PUBLIC + N_PRIVATE, None, None)
    assert 0.8 * real["n_pictures"] < real["n_both"] < real["n_pictures"]
    smile = next(check for check in real["emotions"] if check["unit"] == "AU12")
    assert smile["auc"]["estimate"] > 0.9
    assert {path.stem for path in plots.iterdir()} >= {"confusion_fer2013_private", "confusion_ferplus_private", "reliability", "action_units"}
    said = capsys.readouterr().out
    assert "FER+ clear majority, through detection" in said
    assert f"accuracy.fer2013: {labelled['accuracy']:.3g}" in said


def test_pictures_without_votes_are_refused(some_faces: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models.is_dir()
    with np.load(some_faces) as stored:
        np.savez(tmp_path / "bare.npz", **{name: stored[name] for name in ("images", "usage", "fer2013_label")})
    assert main(["accuracy", "--data", str(tmp_path / "bare.npz")]) == 2
    assert "--data holds no votes of FER+" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "none.npz", "--geometry", "/no/such/ict.npz"], "--geometry: no file at /no/such/ict.npz"),
        (["--data", "/no/such/fer2013.npz"], "no file at /no/such/fer2013.npz"),
        (["--data", "none.npz", "--json", "/no/such/folder/report.json"], "no folder /no/such/folder for --json"),
    ],
)
def test_what_is_not_there_is_said_before_anything_runs(arguments: list[str], message: str, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models.is_dir()
    assert main(["accuracy", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_accuracy_has_budgets_with_sources() -> None:
    mine = {name: budget for name, budget in load_budgets().items() if name.startswith("accuracy.")}
    assert mine["accuracy.fer2013"].limit == 0.72
    assert mine["accuracy.ferplus"].limit == 0.91
    assert all(budget.sense == "at_least" for budget in mine.values())


def test_every_npm_package_of_the_peers_is_pinned_with_its_hash() -> None:
    folder = peer_environments.REQUIREMENTS / "tfjs"
    asked = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = {path.removeprefix("node_modules/"): entry for path, entry in json.loads((folder / "package-lock.json").read_text())["packages"].items() if path}
    assert {name: locked[name]["version"] for name in asked} == asked
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())


def test_without_node_the_peers_on_npm_are_listed_with_the_reason(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.is_dir()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="no node and npm on this machine"):
        npm_environment("tfjs")
    split, truths = _three_pictures()
    peers = {peer.name: peer for peer in measure_peers(split, truths, lambda _: None)}
    assert [*peers] == ["fer", "human", "face-api"]
    assert peers["fer"].fer2013_private is not None
    assert peers["fer"].fer2013_private.n == 3
    assert not peers["fer"].not_run
    for name in ("human", "face-api"):
        assert "no node and npm on this machine" in peers[name].not_run
        assert (peers[name].fer2013_private, peers[name].ferplus_private) == (None, None)


def test_npm_packages_that_cannot_be_had_are_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(peer_environments, "REQUIREMENTS", tmp_path)
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "package.json").write_text('{"name": "toy", "private": true, "dependencies": {"left": "1.0.0"}}')
    (folder / "package-lock.json").write_text('{"name": "toy", "lockfileVersion": 3, "packages": {}}')  # lacks what package.json asks for
    for _ in range(2):
        with pytest.raises(MissingDependency, match="the environment of toy cannot be made") as caught:
            npm_environment("toy")
    assert "which registry npm asks" in caught.value.hint


_ANSWERS = "import { writeFileSync } from 'node:fs'; const out = process.argv[5]; writeFileSync(out, Buffer.from(new Float32Array(7).buffer)); "
_LABELS = f"console.log(JSON.stringify({{ labels: {json.dumps(EMOTIONS)}, file: out }}))"


@pytest.fixture(scope="module")
def bare_requirements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requirements for Node that ask for no package at all."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no Node and npm on this machine")
    folder = tmp_path_factory.mktemp("bare")
    (folder / "tfjs").mkdir()
    package = {"name": "bare", "version": "1.0.0"}
    (folder / "tfjs" / "package.json").write_text(json.dumps(package))
    (folder / "tfjs" / "package-lock.json").write_text(json.dumps({**package, "lockfileVersion": 3, "packages": {"": package}}))
    return folder


@pytest.fixture
def bare_node(bare_requirements: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script that is run instead of the peers' own, in an environment without any package."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare_requirements / "cache"))
    monkeypatch.setattr(peer_environments, "REQUIREMENTS", bare_requirements)
    monkeypatch.setattr(peer_networks, "_SCRIPT", bare_requirements / "script.mjs")
    return bare_requirements / "script.mjs"


@pytest.mark.parametrize(
    ("script", "timeout_s", "message"),
    [
        ("console.error('no such file'); process.exit(3)", 60, "human: expected answers, it ended with exit code 3: no such file"),
        ("setInterval(() => {}, 1000)", 2, "human: expected answers within 2 s, it is still running"),
        (_ANSWERS + "console.log('done')", 60, "human: expected one JSON object on its last line, got 'done'"),
        (_ANSWERS + _LABELS, 60, "human: expected 3 answers in neutral, .* got 1 in neutral"),
    ],
)
def test_a_peer_that_fails_is_listed_with_the_reason(
    script: str, timeout_s: float, message: str, bare_node: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.is_dir()
    bare_node.write_text(script)
    monkeypatch.setattr(peer_networks, "_TIMEOUT_S", timeout_s)
    split, truths = _three_pictures()
    _, human, _ = measure_peers(split, truths, lambda _: None)
    assert re.match(message, human.not_run)
    assert human.fer2013_private is None


def test_the_networks_on_npm_answer_where_they_are_installed() -> None:
    pinned = [peer_environments.REQUIREMENTS / "tfjs" / file for file in ("package.json", "package-lock.json")]
    folder = environment_folder("tfjs", b"".join(path.read_bytes() for path in pinned))
    if not (folder / "complete").exists() or shutil.which("node") is None or not DATA.exists():
        pytest.skip("python -m benchmarks accuracy --peers has not installed the npm packages here, or FER2013 is not here")
    split = read_fer2013(DATA).splits[PRIVATE_TEST]
    happy = np.flatnonzero(split.labels == LABELS.index("happy"))[:8]
    for network in ("human", "face-api"):
        answers, sha256 = peer_networks.read_with_node(network, split.pictures[happy])
        assert answers["seen"].shape == (8, 7)
        assert answers["seen"].sum(axis=1) == pytest.approx(np.ones(8), abs=1e-3)
        assert (answers["seen"].argmax(axis=1) == EMOTIONS.index("happy")).sum() >= 6
        assert len(sha256) == 64
