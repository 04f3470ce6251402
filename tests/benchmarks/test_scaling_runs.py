from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.clips import Clip, open_clip, paced_pipeline
from benchmarks.scaling.command import CURVES, Curve, Extent, add_parser, command, measure_scaling
from benchmarks.scaling.edge_runs import edge_run, wait_for_results
from benchmarks.scaling.faces import measure_faces
from benchmarks.scaling.finding import Sampled, ScalingReport
from benchmarks.scaling.floor import works_of
from benchmarks.scaling.followed_path import FollowedPath, analyzers
from benchmarks.scaling.frame_sizes import ReadPass
from benchmarks.scaling.model_sizes import time_networks
from benchmarks.scaling.networks import Collected, size_of
from benchmarks.scaling.sized_clips import write_clip
from benchmarks.scaling.streams import FPS, measure_streams
from benchmarks.scaling.views import count_views
from benchmarks.timed_process import RunFailed
from edge.config import Config
from edge.errors import ConfigError, SourceNotFound
from edge.package import load_package

BUDGETS = load_budgets()
# The least that says something.
TINY = Extent(sizes=("360p",), size_rounds=2, floor_rounds=2, quick=True)


@pytest.fixture(scope="module")
def one_face(clip: Callable[[str], Path], models: Path) -> Clip:
    return open_clip(clip("single_face.mp4"))


def _measured(of: Sampled, n: int) -> None:
    assert len(of.samples_ms) == n
    assert min(of.samples_ms) >= 0
    assert of.ms.low <= of.ms.estimate <= of.ms.high


def test_faces_that_were_drawn_are_found_and_cost(models: Path) -> None:
    scaling = measure_faces((0, 1, 8), 2, BUDGETS)
    assert [point.found for point in scaling.points] == [0, 1, 8]
    assert scaling.frames_a_sample == 15, "a whole view and two tiles, each every 200 ms at 25 frames/s"
    for point in scaling.points:
        _measured(point.whole, 2)
        parts = [of_stage.samples_ms for of_stage in point.stages.values()]
        assert [sum(each) for each in zip(*parts, strict=True)] == pytest.approx(point.whole.samples_ms), "the stages add up to the frame"
        assert point.slowest_frame_ms >= max(point.whole.samples_ms)
    none, one, _ = scaling.points
    assert none.stages["infer"].ms.estimate == 0
    assert one.stages["infer"].ms.estimate > 0


def test_views_are_counted_by_what_the_networks_are_fed(models: Path) -> None:
    detector = load_package("blazeface")
    assert count_views(detector, np.zeros((360, 640, 3), np.uint8)) == [1, 2]
    assert count_views(detector, np.zeros((360, 360, 3), np.uint8)) == [1, 1]


def test_a_real_stream(one_face: Clip) -> None:
    scaling = measure_streams(one_face, (1,), 1.0, BUDGETS)
    (point,) = scaling.points
    (stream,) = point.streams
    assert stream.due == FPS
    assert stream.results + stream.dropped + stream.late == FPS
    assert len(stream.ages_ms) == stream.results
    assert 20 < stream.pss_mb < 2000
    assert 0 < stream.cpu_share < 64


def test_an_edge_run_that_ends_by_itself_is_a_failure(tmp_path: Path) -> None:
    with edge_run(str(tmp_path / "nothing.mp4"), tmp_path / "run") as run:
        with pytest.raises(RunFailed, match=r"expected it to run until it is stopped, it ended with exit code 5\n  edge-run: .*nothing\.mp4") as failure:
            wait_for_results([run], 60)
        assert failure.value.exit_code == 5
        for ask in (run.check, run.cpu_s, run.pss_mb, run.stop):
            with pytest.raises(RunFailed, match="it ended with exit code 5"):
                ask()


def test_nobody_waits_for_ever(one_face: Clip, tmp_path: Path) -> None:
    with edge_run(f"gst:{paced_pipeline(one_face, 1000, FPS)}", tmp_path / "run") as run:
        with pytest.raises(RunFailed, match=r"expected a first result of each of 1 streams within 0 s, 1 have none"):
            wait_for_results([run], 0)
        with pytest.raises(RunFailed, match=r"edge-run: expected an end within 0\.1 s, it still runs"):
            run.wait(0.1)


def test_a_clip_is_written_and_read_again(tmp_path: Path) -> None:
    pictures = [np.full((72, 128, 3), 3 * number, np.uint8) for number in range(20)]
    coding = write_clip(pictures, (256, 144), FPS, tmp_path / "long.mp4")
    assert coding.startswith("H.264 by ")
    reading = ReadPass(tmp_path / "long.mp4")
    reading()
    assert (len(reading.wall_ms), len(reading.cpu_ms)) == (1, 1)
    write_clip(pictures[:10], (256, 144), FPS, tmp_path / "short.mp4")
    with pytest.raises(RunFailed, match=r"expected more than 10 frames, got 10 from .*short\.mp4"):
        ReadPass(tmp_path / "short.mp4")()


def test_real_networks_by_size(models: Path, tmp_path: Path) -> None:
    found = Collected()
    found.add_installed("default")
    found.add_installed("no-such-package")
    found.add_candidates(("ar1",), tmp_path)
    scaling = time_networks(found, [1], 2, BUDGETS)
    assert {(point.name, point.precision, point.batch) for point in scaling.points} == {
        *((name, precision, batch) for name, precision in (("default/face", "fp32"), ("default/face", "int8"), ("candidate ar1", "fp32")) for batch in (1, 8)),
    }
    for point in scaling.points:
        _measured(point.run, 2)
        assert point.gmacs_per_s == pytest.approx(point.macs * point.batch / point.run.ms.estimate / 1e6)
    fp32, int8 = (next(point for point in scaling.points if (point.name, point.precision) == ("default/face", each)) for each in ("fp32", "int8"))
    assert (fp32.macs, fp32.parameters) == (int8.macs, int8.parameters)
    assert fp32.weight_bytes == 4 * int8.weight_bytes
    assert len(scaling.not_run) == 1
    assert scaling.not_run[0].startswith("no-such-package: not run: no model package at")


def test_the_work_of_each_stage(models: Path) -> None:
    picture = np.zeros((360, 640, 3), np.uint8)
    with analyzers(Config(precision="int8")) as new:
        works = {work.name: work for work in works_of(new(), picture, 100.0)}
    assert [*works] == ["convert", "detect besides network", "detect.infer", "crop", "infer.face", "post"]
    assert works["convert"].n_bytes == 360 * 640 * 4.5
    size, package = size_of(load_package("default").model_path(load_package("default").manifest.stages[0])), load_package("default")
    assert (works["infer.face"].kind, works["infer.face"].macs) == ("int8", size.macs)
    assert works["infer.face"].n_bytes == size.parameters + 4 * (64 * 64 + size.given)
    spec = package.manifest.stages[0].input
    assert works["crop"].n_bytes == pytest.approx((100 * spec.region.expand) ** 2 * 3 + 64 * 64 * 4)  # type: ignore[union-attr]
    detectors = [size_of(load_package("blazeface").model_path(stage)).macs for stage in load_package("blazeface").manifest.stages]
    assert works["detect.infer"].macs == pytest.approx((detectors[0] + 2 * detectors[1]) / 3)
    assert works["detect.infer"].runs_a_frame == 1 / 5


def test_other_kinds_of_crops_have_no_floor(models: Path) -> None:
    with analyzers(Config(model="mesh-chain", precision="fp32")) as new:
        analyzer = new()
        with pytest.raises(ConfigError, match=r"floor: expected stage '.*' to read a crop around the face's box"):
            works_of(analyzer, np.zeros((360, 640, 3), np.uint8), 100.0)


def test_the_whole_report(one_face: Clip) -> None:
    curves: list[Curve] = ["frame_size", "floor"]
    report, lines, verdicts = measure_scaling(curves, one_face, TINY)
    assert (report.faces, report.streams, report.model_sizes, report.not_run) == (None, None, None, [])
    assert report.frame_sizes is not None
    (size,) = report.frame_sizes.points
    for of in (size.read, size.read_cpu, size.convert, size.path):
        _measured(of, 2)
    assert size.found == pytest.approx(1, abs=0.1)
    floor = report.floor
    assert floor is not None
    assert all(copy.gb_per_s == max(copy.samples) > 0 for copy in floor.copies)
    assert {product.kind for product in floor.products} == {"float32", "int8"}
    assert floor.frame_floor_ms == pytest.approx(sum(stage.floor_ms * stage.runs_a_frame for stage in floor.stages))
    assert floor.frame_over_floor.estimate == pytest.approx(floor.frame.ms.estimate / floor.frame_floor_ms)
    for number, frame_ms in enumerate(floor.frame.samples_ms):
        assert sum(stage.ours.samples_ms[number] * stage.runs_a_frame for stage in floor.stages) <= frame_ms * 1.000001, "the stages are parts of the frame"
    assert [verdict.name for verdict in verdicts] == ["validity.others_cpu (frame size)", "validity.others_cpu (floor)"]
    assert {verdict.word for verdict in verdicts} <= {"pass", "invalid"}
    assert any(line.startswith("infer.face") for line in lines)
    told = msgspec.json.encode(report)
    assert msgspec.json.encode(msgspec.json.decode(told, type=ScalingReport)) == told


def test_a_curve_that_cannot_be_measured_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    curves: list[Curve] = ["frame_size"]
    report, lines, (verdict,) = measure_scaling(curves, Clip(tmp_path / "gone.mp4", 10, 25.0), TINY)
    assert report.not_run == ["frame size: not run: expected at least 2 frames, got 0 from gone.mp4"]
    assert (verdict.word, verdict.reason) == ("not run", "expected at least 2 frames, got 0 from gone.mp4")
    assert report.not_run[0] in lines


def test_without_a_face_nothing_is_followed(models: Path) -> None:
    with analyzers(Config()) as new:
        path = FollowedPath(new(), [np.zeros((360, 640, 3), np.uint8)] * 2)
        path()
    last = path.last(1)
    assert (last.found, last.side_px, last.samples_ms("infer.face")) == (0, 0, [0.0])
    assert last.samples_ms("detect")[0] > 0


def test_each_curve_is_a_flag(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(dest="command"), argparse.ArgumentParser(add_help=False))
    arguments = parser.parse_args(["scaling", "--frame-size", "--quick"])
    assert [name for name in CURVES if getattr(arguments, name)] == ["frame_size"]
    gone = parser.parse_args(["scaling", "--clip", str(tmp_path / "gone.mp4")])
    with pytest.raises(SourceNotFound, match=r"no clip at .*gone\.mp4"):
        command(gone)
