"""scripts/bench.sh: which commands run, and what their exit codes do. An interpreter that only writes down what it was asked stands in for the hours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(folder: Path, *words: str, codes: str = "", **variables: str) -> tuple[int, list[str], str]:
    """Run the script; `codes` is shell that sets `code` by the name of the command in `$3`."""
    python = folder / "python"
    python.write_text(f'#!/bin/bash\necho "$*" >>"{folder}/asked"\ncode=0\n{codes}\nexit $code\n')
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "EDGE_PYTHON": str(python), **variables}
    done = subprocess.run([ROOT / "scripts/bench.sh", *words], env=environment, capture_output=True, text=True, timeout=60)
    asked = (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []
    return done.returncode, [line.split()[2] for line in asked], done.stderr


def test_the_quick_profile_measures_four_things_and_reports_them(tmp_path: Path) -> None:
    code, asked, said = bench(tmp_path, "quick", str(tmp_path / "out"))
    assert (code, asked) == (0, ["latency", "peers", "limits", "scaling", "report"])
    assert "bench: limits: every budget kept, 0 s" in said


def test_a_broken_budget_keeps_no_other_measurement_from_being_made(tmp_path: Path) -> None:
    code, asked, said = bench(tmp_path, "quick", str(tmp_path / "out"), codes="[[ $3 == latency || $3 == report ]] && code=1")
    assert (code, asked) == (1, ["latency", "peers", "limits", "scaling", "report"])
    assert "bench: latency: not every budget kept, or invalid" in said


def test_an_error_ends_it_with_its_own_code(tmp_path: Path) -> None:
    code, asked, said = bench(tmp_path, "quick", str(tmp_path / "out"), codes="[[ $3 == peers ]] && { echo what went wrong >&2; code=5; }")
    assert (code, asked) == (5, ["latency", "peers"])
    assert "what went wrong\nbench: peers failed with 5" in said


def test_the_full_profile_proves_the_gate_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    code, asked, said = bench(tmp_path, "full", str(tmp_path / "out"))
    assert (code, asked) == (0, ["latency", "peers", "limits", "scaling", "gate", "report"])
    assert "accuracy: not run: EDGE_FER2013 names no" in said
    _, asked, _ = bench(tmp_path, "full", str(tmp_path / "out"), EDGE_FER2013="a.npz", EDGE_FACE_GEOMETRY="b.npz")
    assert asked[-2:] == ["accuracy", "report"]
    assert "--data a.npz --peers --geometry b.npz" in (tmp_path / "asked").read_text()


def test_figures_of_another_run_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/gate.json").touch()
    bench(tmp_path, "quick", str(tmp_path / "out"))
    assert not (tmp_path / "out/gate.json").exists()


@pytest.mark.parametrize("words", [(), ("quicker",)])
def test_another_profile_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, asked, said = bench(tmp_path, *words)
    assert (code, asked) == (2, [])
    assert "bench: expected quick or full, got" in said
