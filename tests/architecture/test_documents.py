"""Documents that stay true: their tree is the tree, their commands exist, their sessions run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import document_rules
from tests.architecture.document_rules import Block

ROOT = Path(__file__).resolve().parents[2]
_DEFAULT = ROOT / "converters/trained/default"
_FIGURES = ("fer2013_private", "ferplus_private")
SESSIONS = [block for path in document_rules.documents(ROOT) for block in document_rules.blocks(path) if block.language == "console"]


@pytest.fixture(scope="module")
def help_of() -> dict[str, str]:
    bin_folder = Path(sys.executable).parent
    return {name: subprocess.run([bin_folder / name, "--help"], capture_output=True, text=True, check=True).stdout for name in document_rules.OURS}


def test_architecture_draws_the_real_tree() -> None:
    assert document_rules.tree_differences(ROOT) == []


def test_a_missing_and_an_invented_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge/__init__.py").touch()
    (tmp_path / "edge/real.py").touch()
    (tmp_path / "ARCHITECTURE.md").write_text("edge/real.py in prose does not count\n\n```\nedge/gone.py   what it was\n```\n")
    assert document_rules.tree_differences(tmp_path) == [
        "ARCHITECTURE.md does not draw edge/real.py",
        "ARCHITECTURE.md draws edge/gone.py, which does not exist",
    ]


@pytest.mark.parametrize("card", sorted(set(ROOT.glob("converters/trained/*/card.json")) - {_DEFAULT / "card.json"}), ids=lambda path: path.parent.name)
def test_accuracies_in_the_readme_are_those_of_the_cards(card: Path) -> None:
    test = json.loads(card.read_text())["test"]
    low, high = test["interval"]
    figures = f"| {test['accuracy']:.1%} [{low:.1%}, {high:.1%}] of {test['n']:,} | {test['macro_f1']:.3f} |"
    assert f"| `{card.parent.name}` ({len(test['confusion'])} emotions) {figures}" in (ROOT / "README.md").read_text()


def test_accuracies_of_the_default_package_in_the_readme_are_those_that_were_measured() -> None:
    measured = json.loads((_DEFAULT / "accuracy.json").read_text())
    rows = [row.strip("|").split(" | ") for row in (ROOT / "README.md").read_text().splitlines() if row.startswith("| ")]
    cells = {row[0].strip(" *").split(" ")[0]: [cell.strip(" *").replace("**", "") for cell in row[1:]] for row in rows if len(row) == 3}
    figures = [measured[key] for key in _FIGURES]
    assert cells["default"] == [f"{_percent(each['accuracy'])} % [{', '.join(map(_percent, each['interval']))}]" for each in figures]
    for peer in measured["peers"]:
        assert cells[peer["name"]] == [f"{_percent(peer[key]['accuracy'])} %" for key in _FIGURES]
    through_detection = [measured[f"{key}_detected"] for key in _FIGURES]
    assert "it is right on " + " and ".join(f"{_percent(each['accuracy'])} %" for each in through_detection) in (ROOT / "README.md").read_text()


def test_what_precisions_lose_in_the_readme_is_what_their_card_says() -> None:
    precisions = json.loads((_DEFAULT / "precisions/card.json").read_text())["precisions"]
    fp16, int8 = (precisions[name] for name in ("fp16", "int8"))
    whose = {"emotions": "clear majorities of FER+", "emotions (fer2013)": "FER2013's PrivateTest"}
    rows = []
    for half, eighth in zip(fp16["accuracy"], int8["accuracy"], strict=True):
        right = [f"{_percent(each)} %" for each in (half["fp32"], half["value"], eighth["value"])]
        rows.append(f"| {whose[half['output']]}, right | {' | '.join(right)} |")
    for name, of, text in (("landmark error", "points", "points off by, in eye distances"), ("action unit error", "action_units", "action units off by, of 1")):
        metrics = [card["stages"]["face"]["metrics"] for card in (fp16, int8)]
        off = [next(f"{each['value']:.1g}" for each in of_one if (each["name"], each["of"]) == (name, of)) for of_one in metrics]
        rows.append(f"| {text} | - | {' | '.join(off)} |")
    machine = int8["machine"].split(",")[0]
    for each, text in zip(int8["stages"]["face"]["latency"], ("one face", "a face, of eight"), strict=True):
        fp32_ms, int8_ms = (f"{each[key] / each['batch']:.2f} ms" for key in ("fp32_ms", "ms"))
        rows.append(f"| {text}, one thread of an {machine} | {fp32_ms} | - | {int8_ms} |")
    readme = (ROOT / "README.md").read_text()
    assert [row for row in rows if row not in readme] == []


def _percent(share: float) -> str:
    return f"{share:.1%}".removesuffix("%")


def test_changelog_begins_with_the_version_of_the_project() -> None:
    assert document_rules.version_differences(ROOT) == []


def test_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n")
    assert document_rules.version_differences(tmp_path) == ["pyproject.toml says 0.2.0, CHANGELOG.md begins with 0.1.0"]


def test_the_last_hardware_run_is_stated() -> None:
    assert document_rules.hardware_run_problems(ROOT) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "expected one line 'Last hardware run: ...', got 0"),
        ("Last hardware run: never.\nLast hardware run: never.", "got 2"),
        ("Last hardware run: last week, on a Jetson.", "got 'last week, on a Jetson.'"),
        ("Last hardware run: 2026-11-21, Jetson Orin NX, commit 0123456789.", "names commit 0123456789, which the history does not have"),
    ],
)
def test_a_hardware_run_that_is_not_stated_so(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "README.md").write_text(f"# Name\n\n{line}\n")
    assert any(problem in found for found in document_rules.hardware_run_problems(tmp_path))


def test_commands_in_documents_exist(help_of: dict[str, str]) -> None:
    assert (ROOT / "README.md").exists()
    assert document_rules.unparsable_blocks(ROOT) == []
    assert document_rules.unknown_commands(ROOT, help_of) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("make nonsense", "README.md:1: make has no nonsense"),
        ("echo x && PYTHON=python3 make PYTHON=python3 tset", "README.md:1: make has no tset"),
        ("edge-run --sourse clip.mp4", "README.md:1: edge-run has no --sourse"),
        (".venv/bin/edge-run --out x | jq .", "README.md:1: edge-run has no --out"),
        ("python -m deploy plan", "README.md:1: python has no deploy"),
    ],
)
def test_an_unknown_command_is_named(line: str, problem: str, help_of: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("test:\n\ttrue\n")
    (tmp_path / "README.md").write_text(f"```bash\n{line}   # a comment\n```\n")
    assert document_rules.unknown_commands(tmp_path, help_of) == [problem]


def test_a_block_that_bash_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("text\n\n```bash\nfor x in (\n```\n")
    assert document_rules.unparsable_blocks(tmp_path)[0].startswith("README.md:3: bash: line 1: syntax error")


@pytest.mark.parametrize("block", SESSIONS, ids=lambda block: block.where)
def test_sessions_in_documents_run(block: Block, tmp_path: Path, models: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "EDGE_MODELS": str(models)}
    assert document_rules.failed_session(block, tmp_path, environment) == []


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("$ false",), "'false' ended with 1"),
        (("$ echo 3 frames", "4 frames"), "'echo 3 frames' printed '3 frames"),
        (("$ printf 'a\\nb\\nc\\n'", "a", "c", "..."), "printed 'a"),
    ],
)
def test_a_session_that_goes_otherwise_is_named(lines: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    (found,) = document_rules.failed_session(Block("README.md:1", "console", lines), tmp_path, os.environ)
    assert problem in found


def test_dots_in_a_session_stand_for_anything(tmp_path: Path) -> None:
    block = Block("README.md:1", "console", ("$ printf 'a 12 ms\\nb\\nc\\n'", "a ... ms", "...", "c"))
    assert document_rules.failed_session(block, tmp_path, os.environ) == []


def test_a_session_begins_with_a_command() -> None:
    with pytest.raises(ValueError, match="a console block begins with"):
        document_rules.session(Block("README.md:1", "console", ("output first",)))
