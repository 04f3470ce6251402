"""README's figures of speed are those of benchmarks/results: blocks that the report writes, and nothing beside them that nobody measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from benchmarks.report.contents import make_document
from benchmarks.report.readme import BLOCK, filled
from benchmarks.report.results import KEPT_BYTES, Run, read_runs
from benchmarks.report.summary_text import as_markdown
from tests.benchmarks.report_runs import machine, write, write_run
from tests.benchmarks.report_scaling_run import scaling_report

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"
HOW = "make bench-full; python -m benchmarks report out/bench --keep benchmarks/results; python -m benchmarks report benchmarks/results --readme README.md"
CARDS = (ROOT / "converters/trained/default/precisions/card.json",)

# A number, or some in a row ("262 and 257", "3.5 to 4.4"), before a unit of speed. Sizes of pictures have no unit, or none of these.
_UNIT = r"(?P<unit>ms\b|µs\b|us\b|frames/s\b|frames a second\b|fps\b|times\b|×(?!\s*\d)|x\b(?!\s*\d))"
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_BETWEEN = r"(?:[\s\[\],]|and|or|to)+"
_FIGURE = re.compile(rf"(?P<numbers>(?<![\w.]){_NUMBER.pattern}(?:{_BETWEEN}{_NUMBER.pattern})*)\]?\s?{_UNIT}")

_SAME = {"frames a second": "frames/s", "fps": "frames/s", "×": "times", "x": "times", "us": "µs"}

# What is no measurement of ours, or is held elsewhere: the text around the figure, and why it may stand.
ALLOWED: Mapping[str, str] = {
    '"age_ms":12.3': "an example of a record",
    "21 to 23 ms late": "a property of AAC and MP3 files, tested in tests/capture",
    "one thread of an AMD EPYC |": "a row of the precisions' card, held by test_documents.py",
}


def stray_figures(readme: str, held: str) -> list[str]:
    """Figures of speed outside the report's blocks that are neither in `held` nor allowed."""
    problems = []
    for number, line in enumerate(BLOCK.sub(lambda found: "\n" * found[0].count("\n"), readme).splitlines(), 1):
        if any(allowed in line for allowed in ALLOWED):
            line = _without_allowed(line)
        problems += [f"README.md:{number}: {figure} {unit}" for figure, unit in _figures(line) if not _is_held(figure, unit, held)]
    return problems


def _without_allowed(line: str) -> str:
    if line.startswith("|"):
        return ""
    for allowed in ALLOWED:
        line = line.replace(allowed, "")
    return line


def _figures(line: str) -> Iterator[tuple[str, str]]:
    for found in _FIGURE.finditer(line):
        yield from ((figure, found["unit"]) for figure in _NUMBER.findall(found["numbers"]))


def _is_held(figure: str, unit: str, held: str) -> bool:
    """Whether the figure stands in `held` with its unit: in a sentence close before it; in a table, where row, column or the first column's head names it."""
    number = rf"(?<![\d.,]){re.escape(figure)}(?!\w|[.,]\d)"
    word = rf"(?<!\w){re.escape(_SAME.get(unit, unit))}(?!\w)"
    for part in held.split("\n\n"):
        if not part.startswith("| "):
            if re.search(rf"{number}[^.;]{{0,60}}{word}", part):
                return True
            continue
        head, _, *rows = (line.strip("| ").split(" | ") for line in part.splitlines())
        for row in rows:
            names = [f"{name} {head[0]} {' '.join(row)}" for name in head]
            if any(re.search(number, cell) and re.search(word, name) for cell, name in zip(row, names, strict=False)):
                return True
    return False


def held_figures(run: Run) -> str:
    """Everything that the report and the budgets say, in paragraphs."""
    budgets = msgspec.toml.decode((ROOT / "benchmarks/budgets.toml").read_bytes(), type=dict[str, dict[str, dict[str, str | float]]])
    limits = [f"{each['limit']:g} {each['unit']} ({each['source']})" for table in budgets.values() for each in table.values()]
    return "\n\n".join([as_markdown(make_document([run], card=CARDS[0])), *limits])


@pytest.fixture(scope="module")
def results() -> Run:
    if not RESULTS.is_dir():
        pytest.fail(f"benchmarks/results is missing: README's figures come from a run that lies there. {HOW}")
    (run,) = read_runs([RESULTS])
    return run


def test_the_readmes_blocks_are_what_the_report_makes_of_the_results(results: Run) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert filled(readme, results) == readme, f"README's blocks are not of benchmarks/results: {HOW}"


def test_no_figure_stands_in_the_readme_that_the_report_does_not_hold(results: Run) -> None:
    assert stray_figures((ROOT / "README.md").read_text(encoding="utf-8"), held_figures(results)) == []


def test_the_results_are_small_enough_and_of_one_run(results: Run) -> None:
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) <= KEPT_BYTES
    assert {"latency", "peers", "limits", "scaling"} <= results.machines.keys()


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = write_run(tmp_path_factory.mktemp("run"))
    write(folder / "scaling.json", scaling_report(machine()))
    return read_runs([folder])[0]


def test_a_figure_that_nobody_measured_is_found_and_one_that_was_is_not(small_run: Run) -> None:
    readme = "# Name\n\nEdge makes {} frames a second, {} times as many as fer.\n"
    held = held_figures(small_run)
    assert stray_figures(readme.format("202", "10.0"), held) == []
    assert stray_figures(readme.format("999", "10.0"), held) == ["README.md:3: 999 frames a second"]
    assert stray_figures(readme.format("202", "11 and 10.0"), held) == ["README.md:3: 11 times"]


@pytest.mark.parametrize(
    ("line", "strays"),
    [
        ("in 77.7 ms", ["77.7 ms"]),
        ("77.7 and 88.8 ms", ["77.7 ms", "88.8 ms"]),
        ("between 3.77 to 4.88 times as fast", ["3.77 times", "4.88 times"]),
        ("77.7 [70.1, 88.8] ms", ["77.7 ms", "70.1 ms", "88.8 ms"]),
        ("is 7.77× as fast, 8.88x as fast", ["7.77 ×", "8.88 x"]),
        ("1,234 fps and 77777 frames/s, 555 µs", ["1,234 fps", "77777 frames/s", "555 µs"]),
        ("| a table | 77.7 ms |", ["77.7 ms"]),
        ("a clip of 640 × 360 and of 640x360, 472 frames, 3,573 pictures, 12 systems", []),
        ("at 25 frames/s or 30 frames/s", []),
        ("files come 21 to 23 ms late, and 99 ms more", ["99 ms"]),
        ("| one face, one thread of an AMD EPYC | 9.99 ms | - | 1.48 ms |", []),
        ("<!-- report: peers -->\n77.7 ms\n<!-- /report -->", []),
    ],
)
def test_what_counts_as_a_figure_of_speed(line: str, strays: list[str], small_run: Run) -> None:
    assert [problem.partition(": ")[2] for problem in stray_figures(line, held_figures(small_run))] == strays


def test_every_exception_still_has_its_figure() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [allowed for allowed in ALLOWED if allowed not in readme] == []
