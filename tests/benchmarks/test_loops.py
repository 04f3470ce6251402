from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.clips import open_clip
from benchmarks.loops.closed import EIGHT, SINGLE, ClosedOrder, Networks, measure_closed
from benchmarks.loops.faces import APART_FRAMES, decoded, frames_of, of_eight
from benchmarks.loops.open import judge_rate, measure_open
from benchmarks.loops.scenario import BLOCKS, WARM_UPS, Case, ask_in_turns, tail
from benchmarks.timed_process import RunFailed
from edge.engine.trt.trt_engine import TrtEngine
from edge.errors import ConfigError
from edge.package import load_package
from tests.toy import make_affect
from tests.unit.toy_gpu import ToyGpu
from tests.unit.toy_tensorrt import ToyTensorrt, toy_plan

BUDGETS = load_budgets()
FRAMES = 400  # enough for both ends of the 99th percentile's interval


def test_the_first_call_and_the_warm_up_are_apart_and_every_sample_is_kept() -> None:
    script = [500.0, *[100.0] * WARM_UPS, *[1.0] * 98, 9000.0, 1.0]
    answer = iter(script)
    (answers,) = ask_in_turns([Case("toy", "fp32", 1, None, 100, lambda: next(answer))], BUDGETS, gpu_is_warm=False).answers
    assert answers.first_ms == 500.0
    assert answers.ms == script[1 + WARM_UPS :]
    assert (answers.p50.ms, answers.max_ms) == (1.0, 9000.0)  # the slowest of all is no outlier that somebody may take away


def test_cases_take_turns() -> None:
    asked: list[str] = []

    def ask(name: str) -> Callable[[], float]:
        def once() -> float:
            asked.append(name)
            return 1.0

        return once

    ask_in_turns([Case(name, "fp32", 1, None, queries, ask(name)) for name, queries in (("a", 16), ("b", 11))], BUDGETS, gpu_is_warm=False)
    timed = asked[2 + 2 * WARM_UPS :]
    turns = [name for name, _ in itertools.groupby(timed)]
    assert (timed.count("a"), timed.count("b")) == (16, 11)
    assert turns == ["a", *["b", "a"] * (BLOCKS // 2)], "the order turns round from one turn to the next"


def test_a_tail_is_between_two_samples() -> None:
    values = [float(value) for value in range(1, 1001)]
    p90 = tail(values[::-1], 90)
    assert p90.ms == pytest.approx(900.1)
    assert (p90.low, p90.high) == (881.0, 919.0)
    assert str(p90) == "900.10 [881.00, 919.00]"
    with pytest.raises(ValueError, match="expected at least one value for a percentile, got none"):
        tail([], 90)


def test_too_few_samples_have_no_upper_end() -> None:
    assert tail(range(100), 99).high is None
    assert "?]" in str(tail(range(100), 99))
    assert tail(range(1024), 99).high is not None


def test_the_interval_of_a_tail_holds_the_true_one_in_19_of_20_runs() -> None:
    random = np.random.default_rng(5)
    true_p90 = np.log(10)
    tails = [tail(random.exponential(size=256).tolist(), 90) for _ in range(500)]
    assert 0.93 < np.mean([each.low <= true_p90 <= each.high for each in tails if each.high is not None]) < 0.98


def _records(fps: int = 30, **changes: Any) -> list[dict[str, Any]]:
    """A run in which nothing went wrong, from its first frame to half a second after the last that is judged."""
    ends = fps + FRAMES + fps // 2
    return [{"seq": seq, "age_ms": 8.0, "faces": [{}], "t_capture_ns": round(seq * 1e9 / fps)} | changes for seq in range(ends)]


def _words(records: list[dict[str, Any]], fps: int = 30) -> list[str]:
    return [verdict.word for verdict in judge_rate(records, FRAMES, fps, BUDGETS).verdicts]


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_an_open_loop_without_fault_passes(fps: int) -> None:
    part = judge_rate(_records(fps), FRAMES, fps, BUDGETS)
    assert [(verdict.name, verdict.word) for verdict in part.verdicts] == [(f"loops.drops_{fps}", "pass"), (f"loops.age_{fps}", "pass")]
    assert part.numbers["ages_ms"] == [8.0] * FRAMES


@pytest.mark.parametrize("seq", [30, 77, 29 + FRAMES])
def test_one_frame_without_a_record_was_dropped(seq: int) -> None:
    records = _records()
    del records[seq]
    part = judge_rate(records, FRAMES, 30, BUDGETS)
    assert (part.numbers["dropped"], _words(records)) == (1, ["fail", "pass"])


@pytest.mark.parametrize("seq", [29, 30 + FRAMES])
def test_a_frame_outside_of_what_is_judged_may_be_dropped(seq: int) -> None:
    records = _records()
    del records[seq]
    assert _words(records) == ["pass", "pass"]


def test_a_run_that_drops_half_of_its_frames_fails_and_is_not_invalid() -> None:
    part = judge_rate(_records(60)[::2], FRAMES, 60, BUDGETS)
    assert [verdict.word for verdict in part.verdicts] == ["fail", "unclear"]
    assert part.numbers["dropped"] == FRAMES // 2


@pytest.mark.parametrize(("age_ms", "late", "word"), [(8.0, 0, "unclear"), (50.0, 0, "fail"), (8.0, 3, "unclear")])
def test_too_few_ages_pass_nothing_and_may_still_fail(age_ms: float, late: int, word: str) -> None:
    records = _records(age_ms=age_ms)
    for record in records[40 : 40 + late]:
        record["age_ms"] = 90.0
    verdict = judge_rate(records, 100, 30, BUDGETS).verdicts[1]
    assert verdict.word == word
    assert ("100 samples are too few for the upper end of its interval" in verdict.reason) is (word == "unclear")


def test_an_age_of_more_than_a_frame_fails() -> None:
    assert _words(_records(age_ms=20.0), 30) == ["pass", "pass"]
    assert _words(_records(60, age_ms=20.0), 60) == ["pass", "fail"]


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (_records()[:120], f"expected a source of {30 + FRAMES} frames, got 120"),
        (_records()[:31], "expected at least 2 results, got 1"),
        (_records(age_ms=None), f"expected an age of each of {FRAMES} results, got 0"),
        (_records(faces=[]), f"a face in only 0 of {FRAMES} frames"),
        ([record | {"t_capture_ns": record["t_capture_ns"] * 2} for record in _records()], "the source ran at 15.00 frames/s, not at 30"),
        (_records(t_capture_ns=5), "the source ran at inf frames/s"),
    ],
)
def test_an_open_loop_that_was_not_what_it_should_be_is_invalid(records: list[dict[str, Any]], reason: str) -> None:
    verdicts = judge_rate(records, FRAMES, 30, BUDGETS).verdicts
    assert reason in verdicts[0].reason
    assert not {"pass", "fail"} & {verdict.word for verdict in verdicts}


def test_what_the_machine_did_makes_an_open_loop_invalid() -> None:
    part = judge_rate(_records(), FRAMES, 30, BUDGETS, "other processes used 40% of the CPU")
    assert [(verdict.word, verdict.reason) for verdict in part.verdicts] == [("invalid", "other processes used 40% of the CPU")] * 2


def test_a_clip_is_played_back_and_forth() -> None:
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]
    frames = list(itertools.islice(frames_of(pictures, fps=25.0), 7))
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [0, 1, 2, 1, 0, 1, 2]
    assert [frame.t_media_ns for frame in frames[:3]] == [0, 40_000_000, 80_000_000]
    assert [frame.seq for frame in frames] == list(range(7))


def test_eight_faces_are_tiles_of_other_moments_around_the_face() -> None:
    pictures = [np.full((4, 10, 3), value, np.uint8) for value in range(60)]
    for picture in pictures:
        picture[:, 6:] = 200
    first = of_eight(pictures, (9.0, 2.0))[0]
    assert first.shape == (8, 16, 3)
    assert (first == 200).all()  # four columns up to the right edge
    first = of_eight(pictures, (1.0, 2.0))[0]
    assert [int(first[row, column, 0]) for row in (0, 4) for column in (0, 4, 8, 12)] == [APART_FRAMES * place for place in range(8)]


def test_clips_that_have_no_frames_or_no_face_are_refused(clip: Callable[[str], Path], models: Path) -> None:
    faceless = open_clip(clip("no_face.mp4"))
    with pytest.raises(RunFailed, match="expected at least 2 frames, got 1 from"):
        decoded(faceless, 1)
    with pytest.raises(RunFailed, match="expected a face in the clip's first frame, got none"):
        measure_closed(faceless, ClosedOrder(precision="fp32", queries=2), BUDGETS)


@pytest.mark.parametrize("order", [ClosedOrder(queries=1), ClosedOrder(threads=(0,)), ClosedOrder(batches=(4, 0))])
def test_orders_that_cannot_be_are_refused(order: ClosedOrder, clip: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="expected at least 2 queries, 1 thread and 1 face, got"):
        measure_closed(open_clip(clip("single_face.mp4")), order, BUDGETS)


def test_a_real_closed_loop(clip: Callable[[str], Path], models: Path) -> None:
    order = ClosedOrder(precision="fp32", queries=4, threads=(1,), batches=(1,))
    part = measure_closed(open_clip(clip("single_face.mp4")), order, BUDGETS)
    numbers = part.numbers
    assert [(answers.batch, len(answers.ms)) for answers in numbers["path"].answers] == [(SINGLE, 4), (EIGHT, 4)]
    assert numbers["frames_with_all_faces"] == {SINGLE: 1.0, EIGHT: 1.0}
    assert "single stream p90" in part.lines[0]
    networks = {(answers.what, answers.precision, answers.batch) for answers in numbers["networks"].answers}
    assert {("default/face", "fp32", SINGLE), ("default/face", "int8", EIGHT), ("blazeface/full", "fp32", SINGLE)} <= networks
    assert ("blazeface/full", "fp32", EIGHT) not in networks
    assert all(0 < answers.p50.ms <= answers.max_ms for answers in numbers["networks"].answers)
    assert any("default fp16: not run: fp16 is for GPUs" in line for line in part.lines)
    assert any("H2D, compute and D2H apart: not run" in line for line in part.lines)
    (verdict,) = part.verdicts
    assert (verdict.name, verdict.value) == ("loops.single_stream", numbers["path"].answers[0].p90.ms)
    assert msgspec.json.decode(msgspec.json.encode(part))["numbers"]["path"]["answers"][0]["ms"]


def test_a_real_open_loop(clip: Callable[[str], Path], models: Path) -> None:
    frames = 72
    part = measure_open(open_clip(clip("single_face.mp4")), BUDGETS, frames, rates_fps=(24,), settings=("--precision", "fp32"))
    numbers = part.numbers["24"]
    assert numbers["results"] + numbers["dropped"] <= frames
    assert len(numbers["ages_ms"]) == numbers["results"] > 0
    assert min(numbers["ages_ms"]) > 0
    assert numbers["machine"]["after"].probe_ms > 0
    assert [verdict.name for verdict in part.verdicts] == ["loops.drops_24", "loops.age_24"]


def test_a_gpu_s_copies_and_network_are_cases_of_their_own(tmp_path: Path) -> None:
    package = load_package(make_affect(tmp_path / "toy-affect"))
    toy = ToyTensorrt(ToyGpu())
    engine = TrtEngine(toy_plan(tmp_path, package.path / "brightness.onnx"), library=toy.library, device=toy.gpu)
    networks = Networks(ClosedOrder(batches=(1, 16), queries=16))
    networks.add_engines(package, "fp32", [engine], None)
    # the stand-in's clock counts a millisecond for each copy and each network
    asked = [(case.what.partition(", ")[2], case.batch, case.ask()) for case in networks.cases if "alone" in case.what]
    assert asked == [(f"{part} alone", batch, ms) for batch in (1, 8) for part, ms in (("h2d", 1), ("compute", 1), ("d2h", 2))]
    assert [case.batch for case in networks.cases if "alone" not in case.what] == [1, 8, 16]
    assert networks.are_parted
    engine.close()
