from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.environment import describe_machine


@pytest.mark.parametrize("command", ["limits", "gate", "report"])
def test_reserved_names_are_refused_by_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 2
    assert f"not yet: python -m benchmarks {command}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["peers", "--rounds", "1"], "--rounds: expected at least 2"),
        (["latency", "--frames", "1"], "expected --frames of at least 2 and --runs of at least 1, got 1 and 5"),
        (["peers", "--json", "/no/such/folder/report.json"], "no folder /no/such/folder for --json"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_runs(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_missing_clip_is_exit_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--clip", str(tmp_path / "none.mp4")]) == 5
    assert "no clip at" in capsys.readouterr().err


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "python -m benchmarks peers --json" in said
    assert "exit codes: 0 every budget is kept; 1" in said


def test_the_machine_is_described_in_json() -> None:
    machine = json.loads(json.dumps(describe_machine()))
    assert machine["cores"] >= 1
    assert machine["memory"].endswith("kB")
    assert machine["versions"]["numpy"]
    assert len(machine["load"]) == 3
    assert machine["commit"] is None or len(machine["commit"]) == 40
