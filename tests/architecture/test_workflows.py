"""CI's workflows: each rule holds on ours and is shown to fail on one that breaks it; a linter reads them; what they run exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.__main__ import main
from tests.architecture import workflow_rules
from tests.architecture.workflow_rules import pull_request, read, starts, workflows

ROOT = Path(__file__).resolve().parents[2]
GPU = read(ROOT / ".github/workflows/gpu.yml")
CPU = read(ROOT / ".github/workflows/cpu.yml")
Rule = Callable[[Path], list[str]]

SHA = "a" * 40
SOUND = f"""\
on:
  pull_request:
    types: [labeled]
permissions:
  contents: read
jobs:
  measure:
    if: github.event.label.name == 'gpu' && github.event.pull_request.head.repo.full_name == github.repository
    runs-on: [self-hosted, gpu]
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@{SHA} # v6.1.0
"""
BROKEN: list[tuple[Rule, str, str, str]] = [
    (workflow_rules.unpinned_actions, f"@{SHA} # v6.1.0", "@v6 # v6.1.0", "actions/checkout@v6 # v6.1.0 is not pinned"),
    (workflow_rules.unpinned_actions, f"@{SHA} # v6.1.0", f"@{SHA}", f"actions/checkout@{SHA} is not pinned"),
    (workflow_rules.missing_timeouts, "    timeout-minutes: 30\n", "", "job measure has the limit None, not 1 to 240 minutes"),
    (workflow_rules.missing_timeouts, "minutes: 30", "minutes: 360", "job measure has the limit 360"),
    (workflow_rules.excessive_rights, "permissions:\n  contents: read\n", "", "the workflow has the rights None"),
    (workflow_rules.excessive_rights, "contents: read", "contents: write", "the workflow has the rights {'contents': 'write'}"),
    (workflow_rules.excessive_rights, "    timeout", "    permissions: write-all\n    timeout", "measure has the rights write-all"),
    (workflow_rules.excessive_rights, "  pull_request:", "  pull_request_target:", "runs on pull_request_target"),
    (workflow_rules.excessive_rights, "    timeout", "    env:\n      TOKEN: ${{ secrets.TOKEN }}\n    timeout", "names secrets"),
    (workflow_rules.open_to_forks, " && github.event.pull_request.head.repo.full_name == github.repository", "", "for a fork with our label"),
    (workflow_rules.open_to_forks, "'gpu' &&", "'gpu' ||", "for a fork with our label"),
    (workflow_rules.open_to_forks, "github.event.label.name == 'gpu' && ", "", "for a branch of ours with another label"),
    (workflow_rules.open_to_forks, "full_name == github.repository", "full_name != ''", "for a fork with our label"),
    (workflow_rules.open_to_forks, "    if: ", "    name: ", "for a fork that is gone"),
    (workflow_rules.open_to_forks, "  pull_request:\n    types: [labeled]\n", "  push:\n", "runs on our own machine at the event push"),
    (workflow_rules.open_to_forks, "[labeled]", "[labeled, synchronize]", "runs commits on our own machine that came after the label"),
]
RULES = sorted({rule for rule, *_ in BROKEN}, key=lambda rule: rule.__name__)


def _tree(root: Path, text: str) -> Path:
    folder = root / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "a.yml").write_text(text)
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_our_workflows_keep_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_workflow_that_keeps_the_rule_is_left_alone(rule: Rule, tmp_path: Path) -> None:
    assert rule(_tree(tmp_path, SOUND)) == []


@pytest.mark.parametrize(("rule", "old", "new", "problem"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_workflow_that_breaks_the_rule_is_named(rule: Rule, old: str, new: str, problem: str, tmp_path: Path) -> None:
    assert old in SOUND
    assert any(problem in found for found in rule(_tree(tmp_path, SOUND.replace(old, new))))


@pytest.mark.parametrize(
    "runner", ["${{ fromJSON(inputs.labels) }}", "[ubuntu-24.04, gpu]", "our-own", "${{ matrix.os }}\n    strategy: {matrix: {os: [gpu]}}"]
)
def test_a_runner_that_is_not_known_to_be_githubs_is_taken_for_ours(runner: str, tmp_path: Path) -> None:
    unguarded = SOUND.replace("    if: ", "    name: ").replace("[self-hosted, gpu]", runner)
    assert any("for a fork with our label" in found for found in workflow_rules.open_to_forks(_tree(tmp_path, unguarded)))


@pytest.mark.parametrize("job", ["gpu", "jetson"])
@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (pull_request(label="gpu", branch_of="we/ours"), True),
        ({"github.event_name": "schedule", "vars.RUNNERS": '["gpu", "jetson"]'}, True),
        ({"github.event_name": "workflow_dispatch", "vars.RUNNERS": '["gpu", "jetson"]'}, True),
        ({"github.event_name": "schedule", "vars.RUNNERS": "[]"}, False),
        ({"github.event_name": "schedule"}, False),
        *((context, False) for context in workflow_rules.STRANGERS.values()),
    ],
)
def test_who_starts_a_measurement(job: str, context: dict[str, Any], expected: bool) -> None:
    assert starts(GPU["jobs"][job], context) is expected


def test_measurements_are_for_runners_of_ours_one_at_a_time() -> None:
    assert GPU["jobs"]["gpu"]["runs-on"] == ["self-hosted", "linux", "x64", "gpu"]
    assert GPU["jobs"]["jetson"]["runs-on"] == ["self-hosted", "linux", "arm64", "jetson"]
    assert GPU["concurrency"]["cancel-in-progress"] == "false"


def test_every_python_that_the_project_allows_is_tried() -> None:
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    low, end = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups())  # type: ignore[union-attr]
    assert CPU["jobs"]["pythons"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(low, end)]


def test_the_commands_of_the_readme_are_run_on_the_systems_that_it_names() -> None:
    assert CPU["jobs"]["systems"]["strategy"]["matrix"]["os"] == ["ubuntu-22.04", "ubuntu-24.04", "ubuntu-24.04-arm"]
    for job in ("systems", "pythons"):
        assert [step["run"] for step in CPU["jobs"][job]["steps"] if "run" in step] == ["make run", ".ci/run"]
    assert "make --no-print-directory test" in (ROOT / ".ci/run").read_text()


def _benchmarks(path: Path) -> set[str]:
    return set(re.findall(r"-m benchmarks ([a-z]+ .*)", path.read_text()))


@pytest.mark.parametrize("line", sorted(line for path in workflows(ROOT).values() for line in _benchmarks(path)))
def test_benchmarks_that_workflows_run_exist(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = line.split()
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert {word for word in words if word.startswith("--")} <= known


def _lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    linter = shutil.which("jactionlint", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    assert linter is not None, "jactionlint is not installed: make test installs it (requirements/dev.lock)"
    return subprocess.run([linter, "--no-color", *paths], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing() -> None:
    """jactionlint: actionlint's checks, and those of zizmor, as a wheel for x86-64 and aarch64; actionlint itself is on no package index that carries it."""
    done = _lint()
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("timeout-minutes: 30", "timeout-mins: 30", "workflow-syntax"),
        ("github.event.label.name", "github.evnt.label.name", "undefined-property"),
        (f"@{SHA}", "@v6", "unpinned-uses"),
        (f"- uses: actions/checkout@{SHA} # v6.1.0", '- run: echo "${{ github.event.pull_request.title }}"', "template-injection"),
    ],
)
def test_the_linter_names_what_is_wrong(old: str, new: str, rule: str, tmp_path: Path) -> None:
    assert old in SOUND
    path = _tree(tmp_path, SOUND.replace(old, new)) / ".github/workflows/a.yml"
    done = _lint(path)
    assert done.returncode == 1
    assert f"[{rule}]" in done.stdout
