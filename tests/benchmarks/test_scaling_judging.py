from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.estimates import Interval
from benchmarks.limits.finding import Device
from benchmarks.scaling.command import judge_faces
from benchmarks.scaling.face_pictures import MOST_FACES, pictures_of, read_faces
from benchmarks.scaling.faces import Lines, face_scaling
from benchmarks.scaling.finding import Copied, FacePoint, FaceScaling, Kind, Multiplied, Ran, Stream, StreamPoint, sampled
from benchmarks.scaling.floor import Work, floor_stage, require_cpu
from benchmarks.scaling.followed_path import FPS, FRAMES_A_LOOK, few_faces
from benchmarks.scaling.lines import face_lines, stream_lines
from benchmarks.scaling.peaks import fastest_product
from benchmarks.scaling.sized_clips import resized
from benchmarks.scaling.streams import judge_stream, stream_point, stream_scaling
from benchmarks.timed_process import RunFailed
from edge import analyzer
from edge.errors import ConfigError

BUDGETS = load_budgets()
QUIET = Ran("engine", "int8", {"others_cpu": 0.01}, "")
LOUD = Ran("engine", "int8", {"others_cpu": 0.5}, "other processes used 50% of the CPU (limit 10%)")
START_NS = 10_000_000_000
WINDOW_S = 4.0
PERIOD_NS = 40_000_000


def test_a_turn_holds_one_look_of_the_analyzer_for_each_view() -> None:
    assert FRAMES_A_LOOK * 1e9 / FPS == analyzer._LOOK_EVERY_NS


def _samples(ms: float, *, spread: float = 0.02, seed: int = 0) -> list[float]:
    return [float(ms * (1 + spread * noise)) for noise in np.random.default_rng(seed).standard_normal(25)]


def _points(fixed_ms: float, each_ms: float, drawn: tuple[int, ...] = (0, 1, 4, 16), found: tuple[float, ...] | None = None) -> list[FacePoint]:
    points = []
    for n, seen in zip(drawn, found or drawn, strict=True):
        # Without faces the whole picture is searched: far above the line.
        whole = sampled(_samples(fixed_ms + each_ms * seen if n else 5 * fixed_ms, seed=n))
        points.append(FacePoint(drawn=n, found=float(seen), whole=whole, stages={"infer": whole}, slowest_frame_ms=99.0))
    return points


def _scaling(fixed_ms: float, each_ms: float, ran: Ran = QUIET, **changes: Any) -> FaceScaling:
    return face_scaling(_points(fixed_ms, each_ms, **changes), 15, ran)


def test_the_line_is_that_of_the_pictures_with_faces() -> None:
    scaling = _scaling(4.0, 2.0)
    whole = scaling.fits["whole"]
    assert whole.fixed_ms.low < 4.0 < whole.fixed_ms.high
    assert whole.each_ms.low < 2.0 < whole.each_ms.high
    assert whole.each_ms.estimate == pytest.approx(2.0, rel=0.03)
    assert scaling.lost_at is not None
    assert scaling.lost_at.low < 18.0 < scaling.lost_at.high, "(40 - 4) / 2"
    assert scaling.fits["infer"] == whole
    assert "25 frames/s are lost at" in face_lines(scaling)[-1]
    assert "read off the line: 16 were measured" in face_lines(scaling)[-1]


def test_the_abscissa_is_what_was_found_not_what_was_drawn() -> None:
    assert _scaling(4.0, 2.0, found=(0, 1, 3, 9)).fits["whole"].each_ms.estimate == pytest.approx(2.0, rel=0.03)
    assert _scaling(4.0, 2.0, found=(0, 1, 3, 9)).largest_measured == 9


def test_a_bent_curve_shows_beside_its_line() -> None:
    straight = Lines([1, 4, 16], [[6.0] * 9, [12.0] * 9, [36.0] * 9]).fit()
    bent = Lines([1, 4, 16], [[6.0] * 9, [20.0] * 9, [36.0] * 9]).fit()
    assert straight.worst_ms == pytest.approx(0, abs=1e-9)
    assert bent.worst_ms > 3


def test_a_line_that_does_not_surely_rise_reaches_nothing() -> None:
    assert Lines([1, 4], [[5.0] * 9, [5.0] * 9]).reaches(40) is None
    assert Lines([1, 2], [_samples(5, spread=0.5), _samples(5.2, spread=0.5, seed=1)]).reaches(40) is None
    flat = _scaling(5.0, 0.0)
    assert flat.lost_at is None
    assert face_lines(flat)[-1] == "25 frames/s: not to be said, for the line does not surely rise"
    assert judge_faces(flat, "", BUDGETS).word == "not run"


def test_what_is_over_the_period_without_a_face_is_lost_at_none() -> None:
    crossing = Lines([1, 4], [[51.0] * 9, [54.0] * 9]).reaches(40)
    assert crossing == Interval(0, 0, 0)


def test_pictures_without_faces_have_no_line() -> None:
    with pytest.raises(RunFailed, match=r"expected at least 2 numbers of faces, got pictures in which \[0\.0, 0\.0\] were found"):
        face_scaling(_points(4.0, 2.0, drawn=(0, 1, 4), found=(0, 0, 0)), 15, QUIET)


@pytest.mark.parametrize(
    ("each_ms", "ran", "word"),
    [(1.0, QUIET, "pass"), (9.0, QUIET, "fail"), (1.0, LOUD, "invalid")],
)
def test_as_many_faces_as_are_followed_by_default_stay_in_real_time(each_ms: float, ran: Ran, word: str) -> None:
    assert judge_faces(_scaling(4.0, each_ms, ran), "", BUDGETS).word == word


def test_without_a_measurement_of_faces_the_reason_is_told() -> None:
    verdict = judge_faces(None, "no package", BUDGETS)
    assert (verdict.word, verdict.reason) == ("not run", "no package")


def test_no_more_faces_than_there_is_room_for() -> None:
    with pytest.raises(ValueError, match="expected at most 32 faces in a picture, got 33"):
        read_faces(MOST_FACES + 1)


def test_every_face_has_a_place_of_its_own() -> None:
    tone = [np.full((160, 160, 3), value + 1, np.uint8) for value in range(MOST_FACES)]
    first, *others = pictures_of(tone)
    assert first.shape == (720, 1280, 3)
    assert len(others) == 3
    for value in range(MOST_FACES):
        assert (first[..., 0] == value + 1).sum() == 160 * 160
    assert not (pictures_of([])[0] != 118).any()
    assert (pictures_of(tone[:1])[0] != pictures_of(tone[:1])[1]).any(), "a camera that does not move is served from caches"


def _records(**changes: Any) -> list[dict[str, Any]]:
    """Seconds before and after the window as well."""
    return [{"seq": seq, "t_capture_ns": START_NS + (seq - 25) * PERIOD_NS + 7, "age_ms": 9.0, "faces": [{}]} | changes for seq in range(25 + 100 + 25)]


def _stream(records: list[dict[str, Any]]) -> Stream:
    return judge_stream(records, START_NS, WINDOW_S, pss_mb=100.0, cpu_share=0.3)


def test_a_stream_without_loss() -> None:
    stream = _stream(_records())
    assert (stream.due, stream.results, stream.dropped, stream.late, stream.with_face) == (100, 100, 0, 0, 100)
    assert len(stream.ages_ms) == 100
    assert (stream.p50_ms, stream.p99_ms) == (9.0, 9.0)


@pytest.mark.parametrize("seq", [25, 60, 124])
def test_an_overwritten_frame_is_dropped(seq: int) -> None:
    records = _records()
    del records[seq]
    stream = _stream(records)
    assert (stream.results, stream.dropped, stream.late) == (99, 1, 0)


@pytest.mark.parametrize("seq", [0, 24, 125, 149])
def test_what_happens_outside_of_the_window_does_not_count(seq: int) -> None:
    records = _records()
    del records[seq]
    stream = _stream(records)
    assert (stream.results, stream.dropped, stream.late) == (100, 0, 0)


def test_frames_that_never_came_are_late() -> None:
    stream = _stream(_records()[:90])
    assert (stream.results, stream.dropped, stream.late) == (65, 0, 35)


def test_a_stream_without_a_result_has_no_age() -> None:
    stream = _stream([])
    assert (stream.results, stream.late, stream.p50_ms, stream.p99_ms) == (0, 100, None, None)
    assert "no result" in stream_lines(stream_scaling([stream_point([stream], QUIET)], WINDOW_S, ""))[1]


def _point(n: int, lost: int) -> StreamPoint:
    records = _records()
    del records[40 : 40 + lost]
    return stream_point([_stream(records), *[_stream(_records())] * (n - 1)], QUIET)


def test_streams_add_up() -> None:
    point = _point(4, 3)
    assert (point.n, point.lost, point.pss_mb) == (4, 3, 400.0)
    assert point.age_p99_ms == 9.0
    assert not point.ran.invalid


def test_the_most_streams_without_loss_have_none_with_loss_below_them() -> None:
    scaling = stream_scaling([_point(1, 0), _point(2, 0), _point(4, 1), _point(8, 0)], WINDOW_S, "")
    assert (scaling.most_without_loss, scaling.first_with_loss) == (2, 4)
    assert stream_lines(scaling)[-1] == "2 streams without a lost frame; 4 lost some"
    unharmed = stream_scaling([_point(1, 0), _point(2, 0)], WINDOW_S, "4 not tried")
    assert (unharmed.most_without_loss, unharmed.first_with_loss) == (2, None)
    assert stream_lines(unharmed)[-2:] == ["2 streams without a lost frame; none that was tried lost any", "4 not tried"]
    assert stream_scaling([_point(1, 2)], WINDOW_S, "").most_without_loss == 0


def test_streams_without_faces_had_less_to_do_and_are_invalid() -> None:
    point = stream_point([_stream(_records(faces=[]))], LOUD)
    assert point.ran.invalid == "other processes used 50% of the CPU (limit 10%); a face in only 0 of 100 frames"
    assert few_faces(0.5) == "a face in only 50% of the frames"
    assert few_faces(0.95) == ""


COPIES = [Copied(1 << 10, 100.0, [100.0]), Copied(1 << 20, 50.0, [50.0]), Copied(1 << 28, 10.0, [10.0])]
PRODUCTS = [Multiplied("float32", 1024, 1, 50.0, [50.0]), Multiplied("int8", 1024, 1, 200.0, [200.0])]


@pytest.mark.parametrize(
    ("n_bytes", "macs", "kind", "copy_bytes", "floor_ms", "bound"),
    [
        (2_000_000, 1_000, "float32", 1 << 20, 0.04, "memory"),
        (2_000_000, 100_000_000, "float32", 1 << 20, 2.0, "arithmetic"),
        (2_000_000, 100_000_000, "int8", 1 << 20, 0.5, "arithmetic"),
        (500_000_000, 0, "float32", 1 << 28, 50.0, "memory"),
        (2_000_000_000, 0, "float32", 1 << 28, 200.0, "memory"),
    ],
)
def test_a_floor_is_the_larger_of_two_times(n_bytes: int, macs: int, kind: Kind, copy_bytes: int, floor_ms: float, bound: str) -> None:
    stage = floor_stage(Work("stage", 1.0, n_bytes, macs, kind, ""), sampled([3.0, 3.0]), COPIES, PRODUCTS)
    assert (stage.copy_bytes, stage.bound) == (copy_bytes, bound)
    assert stage.floor_ms == pytest.approx(floor_ms)
    assert stage.over_floor is not None
    assert stage.over_floor.estimate == pytest.approx(3.0 / floor_ms)


def test_a_floor_under_a_microsecond_has_no_multiple() -> None:
    stage = floor_stage(Work("post", 1.0, 400, 0, "float32", ""), sampled([3.0, 3.0]), COPIES, PRODUCTS)
    assert stage.floor_ms == pytest.approx(400 / 100e9 * 1e3)
    assert stage.over_floor is None


def test_the_model_is_of_a_cpu() -> None:
    devices: list[Device] = ["cpu", "gpu"]
    require_cpu(devices[0])
    with pytest.raises(ConfigError, match="floor: expected networks on the CPU, got them on a GPU"):
        require_cpu(devices[1])


def test_a_picture_in_another_size() -> None:
    picture = np.zeros((360, 640, 3), np.uint8)
    assert resized(picture, (1280, 720)).shape == (720, 1280, 3)
    assert resized(picture, (320, 180)).shape == (180, 320, 3)


def test_the_reports_parts_can_be_read_again() -> None:
    for part in (_scaling(4.0, 2.0), stream_scaling([_point(2, 1)], WINDOW_S, "")):
        assert msgspec.json.decode(msgspec.json.encode(part), type=type(part)) == part


def test_the_floor_s_product_is_that_of_the_fastest_size() -> None:
    # 100^3 in .02 ms and in .025 ms: 50 and 40 GMAC/s; 200^3 in .2 ms: 40 GMAC/s
    assert fastest_product("float32", 1, {100: [0.025, 0.02], 200: [0.2, 0.4]}) == Multiplied("float32", 100, 1, 50.0, [40.0, 50.0])
