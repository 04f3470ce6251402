from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.budgets import load_budgets
from benchmarks.latency import Part
from benchmarks.limits.camera_rate import CameraRate, judge_camera_rate
from benchmarks.limits.depth import crossing, judge_depth
from benchmarks.limits.devices import Place
from benchmarks.limits.finding import Finding, Point, Ran, found, not_run, point
from benchmarks.limits.inception import judge_between, judge_times
from benchmarks.limits.large_networks import count_streams, judge_streams
from benchmarks.limits.plots import draw_all
from benchmarks.limits.turns import in_turns
from benchmarks.loops.open import judge_rate
from edge.errors import OutputError

CPU = Place("cpu", "onnxruntime")
RAN = Ran("cpu", "int8", "onnxruntime 0 CPU, 1 thread", {"others_cpu": 0.0}, "")
LOUD = Ran("cpu", "int8", "onnxruntime 0 CPU, 1 thread", {"others_cpu": 0.5}, "other processes used 50% of the CPU (limit 10%)")
FRAMES = 500


def timed(name: str, size: float, ms: float, spread_ms: float = 0.1) -> Point:
    return point(name, size, [ms - spread_ms, ms, ms + spread_ms] * 4, None)


def depths(*ms: float, spread_ms: float = 0.1) -> list[Point]:
    return [timed(f"{blocks} blocks", blocks, each, spread_ms) for blocks, each in zip((8, 16, 33, 50, 60, 80), ms, strict=False)]


def test_the_crossing_lies_on_the_line_between_two_measured_depths() -> None:
    sizes = [8, 16, 33, 50, 60]
    assert crossing(sizes, [5, 10, 20, 30, 50], 40) == 55
    assert crossing(sizes, [5, 10, 20, 30, 50], 12) == pytest.approx(16 + 17 * 0.2)
    assert crossing(sizes, [5, 10, 20, 30, 50], 50) is None, "not over it"


@pytest.mark.parametrize("limit_ms", [4.9, 50.1, 1000.0])
def test_nothing_is_extrapolated(limit_ms: float) -> None:
    assert crossing([8, 16, 60], [5, 10, 50], limit_ms) is None


@pytest.mark.parametrize(("sizes", "ms"), [([], []), ([8, 16], [1.0]), ([16, 8], [1.0, 2.0]), ([8, 8], [1.0, 2.0])])
def test_a_curve_that_is_none_is_refused(sizes: list[float], ms: list[float]) -> None:
    with pytest.raises(ValueError, match="expected one time for each of some ascending sizes"):
        crossing(sizes, ms, 40)


def test_the_depth_that_leaves_real_time_comes_with_its_interval() -> None:
    finding = judge_depth(depths(5, 10, 20, 30, 50, spread_ms=1), 25.0, "ResNets", RAN)
    assert finding.word == "holds", "more than 50 blocks are not real time"
    assert finding.value == 55
    assert finding.interval is not None
    low, high = finding.interval
    assert low is not None
    assert high is not None
    assert low < 55 < high
    assert "the period of 40.0 ms is exceeded at 55 blocks [" in finding.figure


def test_a_fast_device_proves_the_document_wrong_and_claims_no_crossing() -> None:
    finding = judge_depth(depths(1, 2, 3, 4, 5, 7), 25.0, "ResNets", RAN)
    assert (finding.word, finding.value, finding.interval) == ("does not hold", None, None)
    assert "not exceeded up to 80 blocks; 8 blocks 1.00 ms, 60 blocks 5.00 ms" in finding.figure


def test_a_slow_device_leaves_real_time_before_the_first_depth() -> None:
    finding = judge_depth(depths(50, 60, 70, 80, 90), 25.0, "ResNets", RAN)
    assert (finding.word, finding.value) == ("holds", None)
    assert "exceeded by every network measured, from 8 blocks on" in finding.figure


def test_an_end_of_the_crossing_that_was_not_met_is_said() -> None:
    finding = judge_depth(depths(5, 10, 20, 30, 40.5, spread_ms=2), 25.0, "ResNets", RAN)
    assert finding.word == "unclear"
    assert finding.interval is not None
    assert finding.interval[1] is None
    assert ", over 60]" in finding.figure


def test_a_loud_machine_makes_every_row_invalid() -> None:
    fast, slow = depths(1, 2, 3, 4, 5), depths(10, 20, 30, 40, 50)
    rows = [
        judge_depth(fast, 25.0, "ResNets", LOUD),
        judge_depth(slow, 25.0, "ResNets", LOUD),
        *judge_times(fast[0], fast[1], LOUD),
        *judge_between(fast[0], fast[2], fast[1], LOUD),
        judge_streams(count_streams(lambda n: timed(f"{n}", n, 10.0 * n), 8), "toy", LOUD),
    ]
    assert {row.word for row in rows} == {"invalid"}
    assert {row.reason for row in rows} == {LOUD.invalid}


def test_depth_needs_a_network_beyond_the_document_s_fifty() -> None:
    with pytest.raises(ValueError, match="expected a ResNet of more than 50 blocks among those measured"):
        judge_depth(depths(5, 10, 20, 30), 25.0, "ResNets", RAN)


@pytest.mark.parametrize(
    ("inception_ms", "words"),
    [
        (15.0, ["holds", "does not hold"]),
        (22.5, ["does not hold", "holds"]),
        (40.0, ["does not hold", "does not hold"]),
        (9.0, ["does not hold", "does not hold"]),
    ],
)
def test_both_of_the_document_s_ratios_are_judged(inception_ms: float, words: list[str]) -> None:
    rows = judge_times(timed("resnet18-22", 1, 10.0), timed("inceptionv4-22", 1, inception_ms), RAN)
    assert [row.word for row in rows] == words
    assert rows[0].value == pytest.approx(inception_ms / 10.0, rel=0.01)
    assert "about 1.5 times" in rows[0].stated
    assert "2.25 times" in rows[1].stated


def test_a_ratio_that_no_one_can_tell_is_unclear() -> None:
    resnet = point("resnet18-22", 1, [10.0] * 8, None)
    wild = point("inceptionv4-22", 1, [5.0, 30.0] * 4, None)
    assert [row.word for row in judge_times(resnet, wild, RAN)] == ["unclear", "unclear"]


@pytest.mark.parametrize(
    ("resnet_ms", "between_ms", "inception_ms", "word", "order"),
    [
        (10, 15, 20, "holds", "resnet < between < inception"),
        (10, 25, 20, "does not hold", "resnet < inception < between"),
        (20, 15, 30, "does not hold", "between < resnet < inception"),
        (10, 15, 15, "unclear", ""),
    ],
)
def test_inception_resnet_stands_between_or_not(resnet_ms: float, between_ms: float, inception_ms: float, word: str, order: str) -> None:
    row, in_time = judge_between(timed("resnet", 1, resnet_ms), timed("inception", 1, inception_ms), timed("between", 1, between_ms), RAN)
    assert row.word == word
    if order:
        assert [part.split()[0] for part in row.figure.partition(";")[0].split(" < ")] == order.split(" < ")
    assert in_time.word == "holds"
    assert len(judge_between(timed("resnet", 8, 10), timed("inception", 8, 20), timed("between", 8, 15), RAN)) == 1, "a batch is no frame"


@pytest.mark.parametrize(
    ("ms_of_one", "most", "found_most", "next_measured", "measured"),
    [
        (50.0, 16, 0, 1, [1]),
        (39.0, 16, 1, 2, [1, 2]),
        (7.0, 16, 5, 6, [1, 2, 4, 5, 6, 8]),
        (1.0, 16, 16, None, [1, 2, 4, 8, 16]),
        (1.0, 6, 6, None, [1, 2, 4, 6]),
    ],
)
def test_streams_are_measured_and_not_divided(ms_of_one: float, most: int, found_most: int, next_measured: int | None, measured: list[int]) -> None:
    count = count_streams(lambda n: timed(f"{n} cameras", n, ms_of_one * n), most)
    assert (count.most, count.next_measured) == (found_most, next_measured)
    assert [each.size for each in count.points] == measured


@pytest.mark.parametrize(
    ("ms_of_one", "word", "said"),
    [
        (50.0, "does not hold", "not one camera at 25 frames/s"),
        (7.0, "holds", "5 cameras at 25 frames/s, not 6"),
        (1.0, "holds", "16 cameras at 25 frames/s, more were not tried"),
    ],
)
def test_a_large_network_s_row_says_how_many_cameras(ms_of_one: float, word: str, said: str) -> None:
    finding = judge_streams(count_streams(lambda n: timed(f"{n} cameras", n, ms_of_one * n), 16), "toy", RAN)
    assert finding.word == word
    assert finding.value == pytest.approx(1e3 / ms_of_one)
    assert said in finding.figure


def records(**changes: Any) -> list[dict[str, Any]]:
    """A paced run in which nothing went wrong, from its settling second to one frame after the last that is judged."""
    return [{"seq": seq, "age_ms": 8.0, "dropped": 0, "faces": [{}], "t_capture_ns": round(seq * 1e9 / 30)} | changes for seq in range(30 + FRAMES + 1)]


def camera_run(run: list[dict[str, Any]], invalid: str = "") -> CameraRate:
    budgets = load_budgets()
    part = judge_rate(run, FRAMES, 30, budgets, invalid)
    return judge_camera_rate(Part("open", {"30": {**part.numbers, "machine": {"others_cpu": 0.0}}}, part.verdicts, []), CPU, "int8", 30)


@pytest.mark.parametrize(
    ("run", "word", "drops", "age"),
    [
        (records(), "holds", "pass", "pass"),
        ([*records()[:50], *records()[51:]], "does not hold", "fail", "pass"),
        (records(age_ms=40.0), "does not hold", "pass", "fail"),
        ([*records()[:-6], *records(age_ms=60.0)[-6:]], "unclear", "pass", "unclear"),
    ],
)
def test_a_camera_s_run_is_judged_by_drops_and_age(run: list[dict[str, Any]], word: str, drops: str, age: str) -> None:
    judged = camera_run(run)
    assert judged.finding.word == word
    assert [verdict.word for verdict in judged.verdicts] == [drops, age]
    assert [verdict.name for verdict in judged.verdicts] == ["loops.drops_30 (cpu int8)", "loops.age_30 (cpu int8)"]
    assert len(judged.finding.points[0].samples_ms) == len([each for each in run if 30 <= each["seq"] < 30 + FRAMES]), "no tail is cut off"


def test_a_camera_s_run_on_a_loud_machine_is_invalid() -> None:
    judged = camera_run(records(age_ms=90.0), LOUD.invalid)
    assert (judged.finding.word, judged.finding.reason) == ("invalid", LOUD.invalid)


def test_a_run_without_ages_is_not_run() -> None:
    judged = camera_run(records(age_ms=None))
    assert judged.finding.word == "not run"
    assert "expected an age of each of 500 results, got 0" in judged.finding.reason


def test_every_sample_of_every_turn_is_kept() -> None:
    order: list[str] = []
    turns = in_turns({name: lambda name=name: order.append(name) for name in "ab"}, 4, "cpu", load_budgets())  # type: ignore[misc]
    assert [len(samples) for samples in turns.samples_ms.values()] == [4, 4]
    assert "".join(order[-8:]) == "abbaabba", "neither always runs after the other"
    assert turns.first_ms.keys() == {"a", "b"}
    with pytest.raises(ValueError, match="expected at least 2 rounds, got 1"):
        in_turns({"a": lambda: None}, 1, "cpu", load_budgets())


def test_a_device_says_what_it_lacks() -> None:
    cpu = Place("cpu", "onnxruntime", path_problem="takes the GPU")
    assert cpu.lacks("fp32") == ""
    assert cpu.lacks("fp16") == "FP16 is for GPUs: a CPU computes it as FP32, and slower"
    assert cpu.lacks("int8", whole_path=True) == "takes the GPU"
    gpu = Place("gpu", "onnxruntime", problem="no GPU")
    assert [gpu.lacks(precision) for precision in gpu.precisions] == ["no GPU"] * 3


def test_a_row_is_a_line_and_needs_something_to_judge_by() -> None:
    row = not_run("L3", "gpu", "fp16", "networks", "stated here", "no\n  GPU")
    assert row.line() == "L3 gpu fp16 not run       networks. Stated: stated here; no GPU"
    with pytest.raises(ValueError, match="expected at least one side to judge a statement by, got none"):
        found("L3", RAN, "networks", "stated", figure="", value=None, interval=None, sides=[], points=[])


def rows() -> Sequence[Finding]:
    slow = depths(10, 20, 30, 40, 50)
    return [
        judge_depth(slow, 25.0, "ResNets", RAN),
        judge_depth(slow, 30.0, "ResNets", RAN),
        *judge_times(slow[0], slow[1], RAN),
        *judge_between(slow[0], slow[2], slow[1], LOUD),
        judge_streams(count_streams(lambda n: timed(f"{n} cameras", n, 10.0 * n), 8), "toy", RAN),
        not_run("L5", "gpu", "fp16", "toy", "stated", "no GPU"),
    ]


def test_what_was_measured_is_drawn_and_nothing_else(tmp_path: Path) -> None:
    draw_all(rows(), tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["l2_cpu.png", "l3_cpu.png", "l4_cpu.png", "l5_cpu.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the plots to"):
        draw_all(rows(), tmp_path / "file")


def test_one_sample_is_no_point() -> None:
    with pytest.raises(ValueError, match="expected at least 2 values for an interval, got 1"):
        point("x", 1, [1.0], None)
