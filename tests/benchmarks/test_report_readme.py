"""The blocks that a report writes into a README."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.report.command import command
from benchmarks.report.readme import NAMES, block, filled
from benchmarks.report.results import Run, keep, read_runs
from edge.errors import ConfigError, OutputError
from tests.benchmarks.report_runs import LOUD, machine, write, write_run
from tests.benchmarks.report_scaling_run import scaling_report
from tests.benchmarks.test_report_pages import arguments

README = "# Name\n\n<!-- report: machine -->\nold\n<!-- /report -->\n\nText.\n\n<!-- report: peers -->\n<!-- /report -->\nThe end.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run"), invalid=LOUD)
    write(folder / "scaling.json", scaling_report(machine()))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_runs([folder])[0]


def readme_order(folder: Path, readme: Path) -> argparse.Namespace:
    return arguments(folder, "--readme", readme)


def test_blocks_are_replaced_and_the_rest_stays(run: Run) -> None:
    text = filled(README, run)
    assert text.startswith("# Name\n\n<!-- report: machine -->\n\nMeasured 2026-11-22 at commit 012345678 on Example 9000, 4 cores, no NVIDIA GPU; ")
    assert "old" not in text
    assert text.endswith("<!-- /report -->\nThe end.\n")
    assert "| fer | 20.2 | " in text
    assert filled(text, run) == text, "written twice, it is the same"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("machine", "onnxruntime 1.23.2, numpy 2.2.6"),
        ("peers", "| 10.0 [10.0, 10.0] | 0.6 |"),
        ("peers", "mediapipe did not run: no wheel for this machine"),
        ("latency", "| 30 | 1 of 200 |"),
        ("latency", "latency.overhead is invalid"),
        ("scaling", "A frame costs 2.00 [1.80, 2.20] ms and 2.00 [1.80, 2.20] ms for each face; 25 frames/s are lost at 19.0 [17.1, 20.9] faces (off the line"),
        ("scaling", f"1 lost 0 of 250, 2 lost 0 of 500, 4 lost 7 of 1000 frames. The command calls this run invalid: {LOUD}."),
    ],
)
def test_each_block_says_what_was_measured_and_what_it_is_worth(run: Run, name: str, said: str) -> None:
    assert said in block(name, run)


def test_blocks_of_what_is_kept_are_those_of_the_run(folder: Path, tmp_path: Path) -> None:
    keep(folder, tmp_path / "kept")
    (kept,) = read_runs([tmp_path / "kept"])
    assert {name: block(name, kept) for name in NAMES} == {name: block(name, read_runs([folder])[0]) for name in NAMES}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# Name\n", "expected '<!-- report: NAME -->' .* got no such block"),
        ("<!-- report: speed -->\n<!-- /report -->\n", "expected a block of machine, .*, got 'speed'"),
        (f"{README}<!-- report: scaling -->\n", "expected '<!-- /report -->' after each"),
    ],
)
def test_a_readme_that_cannot_be_filled_is_refused(run: Run, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        filled(text, run)


def test_a_block_without_its_report_is_refused_and_nothing_written(folder: Path, tmp_path: Path) -> None:
    for name in ("latency", "scaling"):
        (tmp_path / f"run/{name}.json").parent.mkdir(exist_ok=True)
        (tmp_path / f"run/{name}.json").write_bytes((folder / f"{name}.json").read_bytes())
    (tmp_path / "README.md").write_text(README)
    with pytest.raises(ConfigError, match=r"the block 'peers' needs peers\.json, which run does not have"):
        command(readme_order(tmp_path / "run", tmp_path / "README.md"))
    assert (tmp_path / "README.md").read_text() == README


def test_the_command_writes_the_readme_and_no_page(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README)
    report, _, _ = command(readme_order(folder, tmp_path / "README.md"))
    assert report.written == [str(tmp_path / "README.md")]
    assert (tmp_path / "README.md").read_text() == filled(README, read_runs([folder])[0])


def test_a_readme_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot read and write .*gone\.md"):
        command(readme_order(folder, tmp_path / "gone.md"))
