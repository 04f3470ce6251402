from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import COMMANDS, main
from benchmarks.environment import describe_machine
from benchmarks.latency_command import LatencyReport


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["peers", "--rounds", "1"], "--rounds: expected at least 2"),
        (["latency", "--frames", "1"], "expected --frames and --queries of at least 2 and --runs of at least 1, got 1, 1024 and 5"),
        (["latency", "--queries", "1"], "got 1000, 1 and 5"),
        (["latency", "--runs", "0"], "got 1000, 1024 and 0"),
        (["gate"], "expected --base"),
        (["peers", "--json", "/no/such/folder/report.json"], "no folder /no/such/folder for --json"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_runs(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [("peers",), ("latency",), ("limits",), ("gate", "--base", "HEAD")])
def test_a_missing_clip_is_exit_5(command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--clip", str(tmp_path / "none.mp4")]) == 5
    assert "no clip at" in capsys.readouterr().err


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert all(f"python -m benchmarks {command} " in said for command in COMMANDS)
    assert "exit codes: 0 every budget is kept; 1" in said


@pytest.mark.timeout(600)
def test_what_was_asked_for_is_measured_and_written(clip: Callable[[str], Path], models: Path, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    code = main(["latency", "--start", "--runs", "1", "--clip", str(clip("single_face.mp4")), "--json", str(path)])
    report = msgspec.json.decode(path.read_bytes(), type=LatencyReport)
    assert (report.schema, report.clip, [part.name for part in report.parts]) == ("edge.benchmark.latency/1", "single_face.mp4", ["start"])
    assert report.parts[0].numbers["machine"]["after"]["probe_ms"] > 0
    assert code == (0 if report.parts[0].verdicts[0].word == "pass" else 1)


def test_the_machine_is_described_in_json() -> None:
    machine = json.loads(json.dumps(describe_machine()))
    assert machine["cores"] >= 1
    assert machine["memory"].endswith("kB")
    assert machine["versions"]["numpy"]
    assert len(machine["load"]) == 3
    assert machine["commit"] is None or len(machine["commit"]) == 40
