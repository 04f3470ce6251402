"""The gate's blocks in real processes: toy checkouts for what can go wrong, our own for the whole way."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.gate.blocks import Measured, Side, WorkerReport, Workload, check_same_frames, measure, run_worker
from benchmarks.gate.checkouts import Checkout, open_checkout
from benchmarks.gate.command import PROFILES, GateReport, add_parser, command
from benchmarks.gate.counts import NO_VALGRIND, Count, count_both, judge_counts, marked_instructions
from benchmarks.gate.judgement import MIN_QUADS, judge_gate
from benchmarks.gate.proof import Trial, judge_proof, prove, summary
from benchmarks.timed_process import REPOSITORY, RunFailed
from edge.errors import ConfigError, SourceNotFound
from tests.benchmarks.toy_checkouts import toy_checkout

WORKLOAD = Workload(Path(__file__), frames=20, warm_up=2)
# The machine that tests may be loud: these tests are of what a run says, not of whether the machine is fit for it.
BUDGETS = load_budgets()
PATIENT = BUDGETS | {name: msgspec.structs.replace(BUDGETS[name], limit=1000.0) for name in ("validity.others_cpu", "gate.drift")}


def _side(root: Path, name: str = "base", slow: float = 1.0) -> Side:
    return Side(name, Checkout(root, str(root)), slow)


def _arguments(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(), argparse.ArgumentParser(add_help=False))
    return parser.parse_args(["gate", *line])


def test_each_side_runs_its_own_edge(tmp_path: Path) -> None:
    for name in ("one", "two"):
        root = toy_checkout(tmp_path / name)
        report, (wall_s, others_cpu) = run_worker(_side(root), WORKLOAD)
        assert Path(report.edge_file) == root / "edge" / "__init__.py"
        assert wall_s > 0
        assert 0 <= others_cpu <= 1
        assert report.frame_ns is not None
        assert len(report.frame_ns) == 20
        assert len(report.seen) == 22
        assert min(report.frame_ns) >= 1e6


def test_another_edge_than_the_sides_own_is_an_error(tmp_path: Path) -> None:
    other = toy_checkout(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "edge").symlink_to(other / "edge")
    with pytest.raises(RunFailed, match=r"base: expected edge of .*empty, but .*other/edge/__init__.py ran"):
        run_worker(_side(tmp_path / "empty"), WORKLOAD)


def test_a_worker_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    root = toy_checkout(tmp_path / "broken")
    (root / "edge" / "__init__.py").write_text("raise RuntimeError('out of order')\n")
    with pytest.raises(RunFailed, match=r"(?s)expected exit code 0, got 1.*RuntimeError: out of order"):
        run_worker(_side(root), WORKLOAD)
    (root / "edge" / "__init__.py").write_text("import sys\nprint('no numbers')\nsys.exit(0)\n")
    with pytest.raises(RunFailed, match=r"base: expected one JSON object of schema edge.gate.block/1"):
        run_worker(_side(root), WORKLOAD)


def test_too_few_frames_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"base: expected 22 frames, got 7 from .*test_gate_blocks.py"):
        run_worker(_side(toy_checkout(tmp_path / "short", last=7)), WORKLOAD)


def test_sides_that_analyse_other_frames_are_an_error(tmp_path: Path) -> None:
    base, other = _side(toy_checkout(tmp_path / "base")), toy_checkout(tmp_path / "wide", width=16)
    with pytest.raises(RunFailed, match=r"expected the same frames, got in place 0 8x4 at 0.000 ms \(base\) and 16x4 at 0.000 ms \(head\)"):
        measure(base, _side(other, "head"), WORKLOAD, 2, PATIENT)
    half = toy_checkout(tmp_path / "half", precision="fp16")
    with pytest.raises(RunFailed, match=r"expected the same engine and precision on both sides, got onnxruntime fp32 \(base\) and onnxruntime fp16 \(head\)"):
        measure(base, _side(half, "head"), WORKLOAD, 2, PATIENT)


def test_a_head_without_faces_is_invalid(tmp_path: Path) -> None:
    base, head = _side(toy_checkout(tmp_path / "base", busy_ms=0.1)), _side(toy_checkout(tmp_path / "blind", busy_ms=0.1, faces=0), "head")
    measured = measure(base, head, WORKLOAD, 2, PATIENT)
    assert measured.differing_faces == 1.0
    assert [verdict.word for verdict in judge_gate(measured, PATIENT)] == ["invalid", "invalid"]


def test_a_planted_slowdown_of_three_times_fails(tmp_path: Path) -> None:
    checkout = Checkout(toy_checkout(tmp_path / "toy"), "toy")
    measured = measure(Side("base", checkout), Side("head", checkout, slow=3.0), WORKLOAD, 3, PATIENT)
    assert [block.side for block in measured.quads[0].blocks] == ["base", "head", "head", "base"]
    verdict = judge_gate(measured, PATIENT)[0]
    assert verdict.word == "fail", verdict.line()


def test_a_slower_head_fails(tmp_path: Path) -> None:
    base, head = toy_checkout(tmp_path / "base", busy_ms=1), toy_checkout(tmp_path / "head", busy_ms=3)
    verdict = judge_gate(measure(_side(base), _side(head, "head"), WORKLOAD, 2, PATIENT), PATIENT)[0]
    assert verdict.word == "fail", verdict.line()


def test_a_machine_that_is_always_loud_is_given_up_early(tmp_path: Path) -> None:
    never = BUDGETS | {"validity.others_cpu": msgspec.structs.replace(BUDGETS["validity.others_cpu"], limit=-1.0)}
    side = _side(toy_checkout(tmp_path / "toy", busy_ms=0.1))
    measured = measure(side, side, WORKLOAD, 2, never)
    assert [quad.loud for quad in measured.quads] == [True, True]
    assert {verdict.word for verdict in judge_gate(measured, never)} == {"invalid"}


def test_the_proof_runs_the_gate_with_and_without_the_planted_slowdown(tmp_path: Path) -> None:
    checkout = Checkout(toy_checkout(tmp_path / "toy"), "toy")
    trials = prove(checkout, WORKLOAD, quads=2, runs=1, budgets=PATIENT)
    assert [trial.slow for trial in trials] == [1.05, 1.0]
    assert [verdict.name for verdict in judge_proof(trials, PATIENT)] == ["gate.planted_found", "gate.false_alarms"]


def test_the_proof_needs_the_slowdown_found_and_at_most_one_false_alarm() -> None:
    def trial(slow: float, low: float, *, invalid: str = "") -> Trial:
        from benchmarks.estimates import Interval
        from benchmarks.gate.judgement import judge_ratio

        verdicts = [judge_ratio(name, BUDGETS, Interval(low + 0.01, low, low + 0.02), invalid=invalid) for name in ("gate.median", "gate.p99")]
        return Trial(slow, Measured(2, [], 0.0, {}), verdicts)

    def words(*trials: Trial) -> list[str]:
        return [verdict.word for verdict in judge_proof(trials, BUDGETS)]

    found, missed, quiet, alarm = trial(1.05, 1.04), trial(1.05, 1.02), trial(1.0, 0.99), trial(1.0, 1.2)
    assert words(found, *[quiet] * 19, alarm) == ["pass", "pass"]
    assert words(found, *[quiet] * 18, alarm, alarm) == ["pass", "fail"]
    assert words(missed, *[quiet] * 20) == ["fail", "pass"]
    loud = trial(1.0, 0.99, invalid="other processes used 40% of the CPU")
    assert words(found, quiet, loud) == ["pass", "invalid"]
    assert "1 of 2 runs were invalid: other processes used 40%" in judge_proof([found, quiet, loud], BUDGETS)[1].reason
    assert summary([found, quiet, quiet, alarm]) == "planted: 1 fail; against itself: 2 pass, 1 fail"


def test_counts_tell_one_more_copy_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = _side(toy_checkout(tmp_path / "one", busy_ms=0)), _side(toy_checkout(tmp_path / "two", busy_ms=0, copies=2), "head")
    # A machine without valgrind: only what the worker is started with can be found.
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "env").symlink_to(str(shutil.which("env")))
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path / "programs"))
    same, more = count_both(one, one, WORKLOAD), count_both(one, two, WORKLOAD)
    by_name = {count.name: count for count in more}
    assert by_name["new_bytes"].exact
    assert by_name["new_bytes"].head[0] - by_name["new_bytes"].base[0] == pytest.approx(100_000, rel=0.01)
    assert {verdict.name: verdict.word for verdict in judge_counts(same, BUDGETS)} == {
        "gate.instructions": "not run",
        "gate.calls": "pass",
        "gate.new_bytes": "pass",
    }
    verdicts = {verdict.name: verdict for verdict in judge_counts(more, BUDGETS)}
    assert verdicts["gate.new_bytes"].word == "fail"
    assert verdicts["gate.instructions"].reason == NO_VALGRIND
    assert "instructions  not run: valgrind is not installed" in more[0].line()


def test_counts_that_do_not_repeat_are_judged_by_their_range() -> None:
    shaky = Count("calls", base=[100.0, 101.0], head=[101.0, 104.0])
    assert not shaky.exact
    assert "not exactly repeatable" in shaky.line()
    assert [verdict.word for verdict in judge_counts([shaky], BUDGETS)] == ["unclear"]
    assert [verdict.word for verdict in judge_counts([Count("calls", [100.0, 100.0], [102.0, 102.0])], BUDGETS)] == ["pass"]
    assert [verdict.word for verdict in judge_counts([Count("calls", [100.0, 100.0], [103.0, 103.0])], BUDGETS)] == ["fail"]


def test_instructions_are_those_between_the_marks(tmp_path: Path) -> None:
    (tmp_path / "out.1-01").write_text("part: 1\n\ntotals: 27490891\n")
    with pytest.raises(RunFailed, match=r"expected callgrind's counts between two marks in out.2-01, got the files out.1-01"):
        marked_instructions(tmp_path)
    (tmp_path / "out.2-01").write_text("part: 2\nfn=(1) totals\n\ntotals: 17778055\n")
    assert marked_instructions(tmp_path) == 17778055


def test_the_command_compares_two_checkouts(clip: Callable[[str], Path], tmp_path: Path) -> None:
    base, head = toy_checkout(tmp_path / "base", busy_ms=0.5), toy_checkout(tmp_path / "head", busy_ms=2)
    line = ["--base", str(base), "--head", str(head), "--clip", str(clip("single_face.mp4")), "--quads", str(MIN_QUADS), "--frames", "8"]
    report, lines, verdicts = command(_arguments(*line))
    assert [verdict.name for verdict in verdicts] == ["gate.median", "gate.p99"]
    assert {verdict.word for verdict in verdicts} <= {"fail", "invalid"}, "four times as slow, on a machine that may be loud"
    assert verdicts[0].value is not None
    assert verdicts[0].value > 2
    assert (report.base, report.head) == (str(base), str(head))
    assert report.measured is not None
    assert len(report.measured.quads) >= MIN_QUADS or verdicts[0].word == "invalid"
    assert all(len(block.frame_ns) == 8 for quad in report.measured.quads for block in quad.blocks)
    assert lines[0] == f"base {base}, head {head}"
    assert msgspec.json.decode(msgspec.json.encode(report), type=GateReport) == report


@pytest.mark.timeout(600)
def test_a_revision_and_the_working_tree_on_our_own_path(clip: Callable[[str], Path], models: Path) -> None:
    workload = Workload(clip("single_face.mp4"), frames=8, warm_up=30)
    with open_checkout("HEAD") as base, open_checkout(str(REPOSITORY)) as head:
        measured = measure(Side("base", base), Side("head", head), workload, 2, BUDGETS)
    assert (len(base.what), head.what) == (40, "the working tree")
    assert all(len(block.frame_ns) == 8 for quad in measured.quads for block in quad.blocks)
    assert all("onnxruntime" in description for description in measured.engine_description.values())
    assert {verdict.word for verdict in judge_gate(measured, BUDGETS)} <= {"pass", "fail", "unclear", "invalid"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "expected --base"),
        (["--prove", "--base", "HEAD"], "expected no --base with --prove"),
        (["--prove", "--counts"], "--prove and --counts: expected one of them"),
        (["--base", "HEAD", "--runs", "3"], "--runs: expected --prove with it"),
        (["--base", "HEAD", "--quads", "5"], "expected --quads of at least 6, --runs and --frames of at least 1, got 5, 5 and 270"),
    ],
)
def test_arguments_that_cannot_be_are_refused(line: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        command(_arguments(*line))


def test_a_clip_that_is_missing_or_too_short_is_refused(clip: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no clip at"):
        command(_arguments("--base", "HEAD", "--clip", str(tmp_path / "none.mp4")))
    with pytest.raises(ConfigError, match=r"--frames: expected at most 42 of single_face.mp4, for 30 come before, got 270"):
        command(_arguments("--base", "HEAD", "--clip", str(clip("single_face.mp4"))))


def test_help_says_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _arguments("--help")
    said = " ".join(capsys.readouterr().out.split())
    full = PROFILES["full"]
    assert full.minutes(proof=True) == pytest.approx(21 * 82 * 3.3 / 60)
    assert f"the proof {PROFILES['quick'].minutes(proof=True):.0f} and {full.minutes(proof=True):.0f}." in said


def test_blocks_are_compared_by_frames_and_not_by_faces() -> None:
    report = WorkerReport("edge.gate.block/1", "e", "onnxruntime", "fp32", "toy", [(0, 8, 4, 1), (10, 8, 4, 1)])
    check_same_frames("base", report, "head", msgspec.structs.replace(report, seen=[(0, 8, 4, 0), (10, 8, 4, 2)]))
    with pytest.raises(RunFailed, match=r"in place 1 8x4 at 0.000 ms \(base\) and 8x4 at 2.000 ms \(head\)"):
        check_same_frames("base", report, "head", msgspec.structs.replace(report, seen=[(0, 8, 4, 1), (2_000_000, 8, 4, 1)]))
