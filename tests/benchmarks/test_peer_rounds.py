from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.estimates import percentile
from benchmarks.peer_rounds import PeersReport, compare, turn_rates, why_invalid
from benchmarks.peer_run import Peer, PeerRun, rate_of_turn, run_peer
from benchmarks.timed_process import RunFailed, machine_busy_s, run_timed
from tests.benchmarks.toy_peers import absent_peer, program_peer, toy_peer


@pytest.fixture
def any_clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.bin"
    path.write_bytes(b"toy peers do not look at it")
    return path


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Other people's work: as many busy processes as the machine has cores."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    yield
    for other in others:
        other.kill()
        other.wait()


def _run(peer: str, rate_fps: float, *, others_cpu: float = 0.0, frames: int = 472, number: int = 0) -> PeerRun:
    return PeerRun(
        peer=peer,
        round=number,
        frames=frames,
        frames_with_face=frames,
        rate_fps=rate_fps,
        interval_ms=[1.0] * (frames - 1),
        load_s=0.8,
        first_result_s=1.0,
        wall_s=2.0,
        cpu_s=1.0,
        others_cpu=others_cpu,
        flips_per_100=None,
    )


def test_a_slower_peer_is_found_slower_in_turns(any_clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "order"
    peers = [toy_peer(name, log, frame_ms=frame_ms, frames=6) for name, frame_ms in (("edge", 20), ("fer", 240), ("mediapipe", 20))]
    report = compare(peers, any_clip, rounds=3, turn_s=0)
    assert len(report.ratios["fer"]) == 3
    # twelve, twice its budget: a busy machine does not make it pass or fail
    assert min(report.ratios["fer"]) > 8.0
    assert 0.5 < sorted(report.ratios["mediapipe"])[1] < 2.0
    # every round begins with the next one
    assert log.read_text().split() == ["edge", "fer", "mediapipe", "fer", "mediapipe", "edge", "mediapipe", "edge", "fer"]
    fer = next(verdict for verdict in report.verdicts if verdict.name == "peers.fer")
    assert fer.word == ("invalid" if why_invalid({name: report.runs[name] for name in ("edge", "fer")}, load_budgets()) else "pass")
    assert len(report.runs["fer"][0].interval_ms) == 5
    assert percentile(report.runs["fer"][0].interval_ms, 50) == pytest.approx(240, rel=0.2)
    times = report.times_as_fast["fer"]
    assert min(report.ratios["fer"]) <= times.low <= times.estimate <= times.high <= max(report.ratios["fer"])
    assert f"edge over fer: {times.estimate:.2f} [{times.low:.2f}, {times.high:.2f}] times its rate" in report.lines()
    assert report.runs["fer"][0].flips_per_100 == 100.0
    assert "not run" not in "\n".join(report.lines())
    assert msgspec.json.decode(msgspec.json.encode(report), type=PeersReport) == report


def test_a_turn_lasts_until_its_passes_fill_it(any_clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "order"
    # 19 intervals of 20 ms are .38 s a pass
    report = compare([toy_peer("edge", log, frame_ms=20), toy_peer("fer", log, frame_ms=200)], any_clip, rounds=2, turn_s=1.0)
    assert log.read_text().split() == ["edge", "edge", "edge", "fer", "fer", "edge", "edge", "edge"]
    assert [run.round for run in report.runs["edge"]] == [0, 0, 0, 1, 1, 1]
    assert len(report.ratios["fer"]) == 2


def test_the_rate_of_a_turn_is_its_frames_over_its_time() -> None:
    # 100 intervals in 1 s and 100 in 4 s: 200 in 5 s, not the mean of 100 and 25
    assert rate_of_turn([_run("edge", 100, frames=101), _run("edge", 25, frames=101)]) == pytest.approx(40)
    assert turn_rates([_run("edge", 100), _run("edge", 100), _run("edge", 50, number=1)]) == pytest.approx([100, 50])
    # a slow pass beside fast ones of its turn does not make the rounds incomparable
    assert why_invalid({"edge": [_run("edge", rate, number=number) for number in (0, 1) for rate in (100, 60)]}, load_budgets()) == []


def test_the_rate_leaves_out_loading_and_the_first_frame(any_clip: Path) -> None:
    program = """
import json, time
time.sleep(0.5)
opened, done = time.monotonic_ns(), []
for number in range(10):
    time.sleep(0.3 if number == 0 else 0.02)
    done.append(time.monotonic_ns())
time.sleep(0.2)
print(json.dumps({"schema": "edge.peer/1", "t_open_ns": opened, "t_done_ns": done, "faces": [0] * 10, "top": [None] * 10}))
"""
    run = run_peer(program_peer("toy", program), any_clip, 0)
    assert run.rate_fps == pytest.approx(50, rel=0.15)
    assert run.load_s is not None
    assert 0.5 < run.load_s < run.first_result_s - 0.3
    assert run.wall_s > run.first_result_s + 9 * 0.02 + 0.2
    assert (run.frames, run.frames_with_face, run.flips_per_100) == (10, 0, None)


def test_the_tail_of_one_pass_is_in_the_tail_of_all(any_clip: Path, tmp_path: Path) -> None:
    stalls = """
import json, sys, time
done = []
for number in range(40):
    time.sleep(0.5 if number == 20 and sys.argv[1] == "1" else 0.01)
    done.append(time.monotonic_ns())
print(json.dumps({"schema": "edge.peer/1", "t_open_ns": None, "t_done_ns": done, "faces": [1] * 40, "top": [None] * 40}))
"""
    report = compare([program_peer("edge", stalls, "1")], any_clip, rounds=2, turn_s=0)
    (line,) = (line for line in report.lines() if line.startswith("edge"))
    assert float(re.findall(r"p99 ([\d.]+) ms", line)[0]) > 100
    assert float(re.findall(r"p50 ([\d.]+) ", line)[0]) < 100


def test_nobody_on_the_clip_is_no_error(any_clip: Path) -> None:
    report = compare([], any_clip, rounds=2)
    assert (report.runs, report.times_as_fast, report.invalid, report.verdicts) == ({}, {}, [], [])


def test_load_of_others_makes_a_run_invalid(any_clip: Path, tmp_path: Path, busy_machine: None) -> None:
    log = tmp_path / "order"
    report = compare([toy_peer("edge", log, frame_ms=5), toy_peer("fer", log, frame_ms=25)], any_clip, rounds=2, turn_s=0)
    assert any("other processes used" in reason for reason in report.invalid)
    assert {verdict.word for verdict in report.verdicts} == {"invalid"}
    assert any(line.startswith("invalid: other processes used") for line in report.lines())


def test_own_work_is_not_load_of_others() -> None:
    burn = "import time\nwhile time.process_time() < 1.0: pass"
    busy_before_s = machine_busy_s()
    process = run_timed([sys.executable, "-c", burn], name="burn", timeout_s=60)
    busy_s = machine_busy_s() - busy_before_s
    others_s = process.others_cpu * process.wall_s * (os.cpu_count() or 1)
    assert process.cpu_s >= 1.0
    assert busy_s - others_s > 0.9  # whatever else ran, our own second is not in it


def test_what_makes_runs_incomparable() -> None:
    budgets = load_budgets()
    steady = {"edge": [_run("edge", 100), _run("edge", 104, number=1)], "fer": [_run("fer", 20), _run("fer", 21, number=1)]}
    assert why_invalid(steady, budgets) == []
    wide = steady | {"fer": [_run("fer", 20), _run("fer", 30, number=1)]}
    assert why_invalid(wide, budgets) == ["the rates of fer spread over 40% of their median (limit 25%)"]
    loud = steady | {"fer": [_run("fer", 20), _run("fer", 21, others_cpu=0.11, number=1)]}
    assert why_invalid(loud, budgets) == ["other processes used 11% of the CPU while fer ran in round 2 (limit 10%)"]
    short = steady | {"fer": [_run("fer", 20), _run("fer", 21, frames=471, number=1)]}
    assert why_invalid(short, budgets) == ["the peers did not see the same frames: edge [472], fer [471, 472]"]


def test_one_rivals_bad_run_says_nothing_against_another(any_clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "order"
    peers = [toy_peer("edge", log, frame_ms=2), toy_peer("fer", log, frame_ms=4), toy_peer("mediapipe", log, frame_ms=4, frames=18)]
    report = compare(peers, any_clip, rounds=2, turn_s=0)
    fer, mediapipe = report.verdicts
    assert "the peers did not see the same frames: edge [20], mediapipe [18]" in mediapipe.reason
    assert "the same frames" not in fer.reason
    assert "mediapipe" not in fer.reason
    assert "the peers did not see the same frames: edge [20], fer [20], mediapipe [18]" in report.invalid


def test_a_missing_environment_is_not_run_and_has_no_number(any_clip: Path, tmp_path: Path) -> None:
    report = compare([toy_peer("edge", tmp_path / "order", frame_ms=2), absent_peer("fer")], any_clip, rounds=2, turn_s=0)
    assert report.runs.keys() == {"edge"}
    assert report.ratios == {}
    (verdict,) = report.verdicts
    assert (verdict.word, verdict.value) == ("not run", None)
    assert "no wheel for this machine" in verdict.reason
    assert any(line.startswith("fer") and "not run" in line for line in report.lines())


def test_a_rival_that_crashes_is_not_run_and_ours_is_an_error(any_clip: Path, tmp_path: Path) -> None:
    crash = "import sys; sys.stderr.write('no model file'); sys.exit(4)"
    report = compare([toy_peer("edge", tmp_path / "order", frame_ms=2), program_peer("fer", crash)], any_clip, rounds=2, turn_s=0)
    assert "no model file" in report.not_run["fer"]
    assert report.verdicts[0].word == "not run"
    with pytest.raises(RunFailed, match="edge: expected exit code 0, got 4") as caught:
        compare([program_peer("edge", crash)], any_clip, rounds=2, turn_s=0)
    assert caught.value.exit_code == 4


def _says(**changes: object) -> str:
    """Return a program that prints a report, wrong in what `changes` says."""
    report = {"schema": "edge.peer/1", "t_open_ns": 0, "t_done_ns": [1, 2], "faces": [1, 1], "top": [None, None]} | changes
    return f"print({json.dumps(json.dumps(report))})"


_TWO_RESULTS_ONE_FACE = """
import json, time
t = time.monotonic_ns()
print(json.dumps({"schema": "edge.peer/1", "t_open_ns": 0, "t_done_ns": [t, t + 1], "faces": [1], "top": []}))
"""


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("pass", "expected one JSON object of schema edge.peer/1 on its last line, got 'nothing'"),
        ("print('{}')", "expected one JSON object of schema edge.peer/1"),
        ("print('frames: 12')", "got 'frames: 12'"),
        (_says(schema="edge.peer/2"), "Invalid enum value 'edge.peer/2'"),
        (_says(fps=12), "unknown field `fps`"),
        (_says(t_done_ns=[]), "at least 2 results at increasing times, got 0"),
        (_says(t_done_ns=[2, 1]), "at increasing times, got 2"),
        (_says(), "its clock is not CLOCK_MONOTONIC"),
        (_TWO_RESULTS_ONE_FACE, "as many times as faces and labels, got 2, 1 and 0"),
    ],
)
def test_malformed_output_is_a_clear_error(any_clip: Path, program: str, message: str) -> None:
    with pytest.raises(RunFailed, match=message):
        run_peer(program_peer("toy", program), any_clip, 0)


def test_records_of_edge_run_that_cannot_be_read(any_clip: Path) -> None:
    def peer(program: str) -> Peer:
        return Peer("edge", "toy", lambda: None, lambda _clip, folder: [sys.executable, "-c", program, str(folder)], "edge.result")

    with pytest.raises(RunFailed, match=r"expected result records of edge-run in results.jsonl: .*No such file"):
        run_peer(peer("pass"), any_clip, 0)
    broken = "import sys, pathlib; pathlib.Path(sys.argv[1], 'results.jsonl').write_text('{\"schema\": ')"
    with pytest.raises(RunFailed, match="expected result records of edge-run"):
        run_peer(peer(broken), any_clip, 0)


def test_a_run_that_hangs_or_cannot_start_is_named() -> None:
    with pytest.raises(RunFailed, match=r"sleeper: expected an end within 0.3 s, killed it"):
        run_timed([sys.executable, "-c", "import time; time.sleep(60)"], name="sleeper", timeout_s=0.3)
    with pytest.raises(RunFailed, match="nobody cannot be started"):
        run_timed(["/no/such/program"], name="nobody", timeout_s=1)
