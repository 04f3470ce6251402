from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.budgets import load_budgets
from benchmarks.clips import Clip, open_clip
from benchmarks.limits.command import Extent, add_parser, command, measure_limits
from benchmarks.limits.devices import Place, find_places, opened
from benchmarks.limits.finding import Finding
from benchmarks.limits.large_networks import measure_large_networks
from benchmarks.limits.untrained import resnet_package
from benchmarks.timed_process import RunFailed
from edge.errors import ConfigError, EngineError
from edge.package import Precision, load_package

# The least that says something: FP32, and the shallowest ResNet that the statement is about. The networks are those of the command, from the same cache;
# making them takes half a minute.
TINY = Extent(
    camera_fps=(30,),
    camera_frames=40,
    blocks=(8, 51),
    deeper=(),
    batches=(1,),
    rounds=3,
    systems=("resnet18-5",),
    stream_rounds=2,
    most_streams=2,
)
FP32: tuple[Precision, ...] = ("fp32",)
# Which of them, the machine decides.
MEASURED = {"holds", "does not hold", "unclear", "invalid"}

pytestmark = pytest.mark.timeout(900)  # the first run makes the networks, and the machine may be busy


@pytest.fixture(scope="module")
def sample(clip: Callable[[str], Path], models: Path) -> Clip:
    return open_clip(clip("single_face.mp4"))


def measured(findings: list[Finding]) -> list[Finding]:
    assert findings
    assert {finding.word for finding in findings} <= MEASURED, [finding.reason for finding in findings]
    assert all(finding.points and finding.engine and finding.machine is not None and finding.figure for finding in findings)
    return findings


def test_a_real_camera_run(sample: Clip) -> None:
    report = measure_limits(["L1"], ["fp16", "int8"], "cpu", sample, TINY)
    refused, ran = report.findings
    assert (refused.word, refused.reason) == ("not run", "FP16 is for GPUs: a CPU computes it as FP32, and slower")
    measured([ran])
    assert 0 < len(ran.points[0].samples_ms) <= 40, "one for each frame that was not dropped"
    assert "the source ran" not in ran.reason
    assert [verdict.name for verdict in report.verdicts] == [
        "loops.drops_30 (cpu int8)",
        "loops.age_30 (cpu int8)",
    ]


def test_real_resnets_take_longer_the_deeper_they_are(sample: Clip) -> None:
    report = measure_limits(["L2"], FP32, "cpu", sample, TINY)
    for finding in measured(report.findings):
        shallow, deep = finding.points
        assert (shallow.size, deep.size) == (8, 51)
        assert deep.ms.estimate > 2 * shallow.ms.estimate, "six times the blocks"
        assert len(deep.samples_ms) == TINY.rounds
        assert deep.first_ms is not None
    assert [finding.subject.rpartition(", ")[2] for finding in report.findings] == ["25 frames/s", "30 frames/s"]
    assert [verdict.name for verdict in report.verdicts] == ["validity.others_cpu (L2 cpu)"]


def test_the_real_inceptions_stand_side_by_side(sample: Clip) -> None:
    report = measure_limits(["L3", "L4"], FP32, "cpu", sample, TINY)
    assert [finding.limit for finding in measured(report.findings)] == ["L3", "L3", "L4", "L4"]
    assert report.findings[0].value is not None
    assert report.findings[0].value > 1, "InceptionV4 computes several times as much as ResNet18"
    assert len({len(point.samples_ms) for finding in report.findings for point in finding.points}) == 1


def test_a_real_large_network_on_cameras(sample: Clip) -> None:
    report = measure_limits(["L5"], FP32, "cpu", sample, TINY)
    (finding,) = measured(report.findings)
    assert finding.points[0].name == "1 camera"
    assert finding.value == pytest.approx(1e3 / finding.points[0].ms.estimate)


def test_a_clip_without_a_face_measures_no_face_network(clip: Callable[[str], Path], models: Path) -> None:
    (place,) = find_places(["cpu"])
    with pytest.raises(RunFailed, match=r"resnet18-5: expected a face in every frame of the clip, got one in \d+ of \d+"):
        measure_large_networks(place, FP32, ["resnet18-5"], open_clip(clip("no_face.mp4")), 2, 1, load_budgets(), [])


def test_without_a_gpu_each_row_says_why(sample: Clip) -> None:
    (place,) = find_places(["gpu"])
    if not place.problem:
        pytest.skip("this machine has a GPU")
    report = measure_limits(["L1", "L2", "L3", "L4", "L5"], ["fp16"], "gpu", sample, TINY)
    assert {finding.word for finding in report.findings} == {"not run"}
    assert {finding.limit for finding in report.findings} == {"L1", "L2", "L3", "L4", "L5"}
    assert {finding.reason for finding in report.findings} == {" ".join(place.problem.split())}
    assert report.verdicts, "who asks for a GPU by name fails without one"
    assert {verdict.word for verdict in report.verdicts} == {"not run"}
    assert not report.built


def test_networks_are_made_once_and_those_of_other_code_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old = tmp_path / "edge" / "limits" / "of-other-code"
    old.mkdir(parents=True)
    built: list[str] = []
    package = resnet_package(8, FP32, built)
    assert not old.exists()
    assert package.path.is_relative_to(tmp_path)
    assert (package.offers, package.manifest.trained) == (FP32, False)
    assert len(built) == 1
    assert resnet_package(8, FP32, built).sha256 == package.sha256
    assert len(built) == 1
    assert resnet_package(8, ["int8"], built).offers == ("fp32", "int8"), "made again with the precision that it lacked"
    assert resnet_package(8, FP32, built).offers == ("fp32", "int8"), "and kept with it"
    assert len(built) == 2


def test_a_gpu_that_is_not_there_takes_no_network(models: Path) -> None:
    (place,) = find_places(["gpu"])
    if not place.problem:
        pytest.skip("this machine has a GPU")
    with (
        pytest.raises(EngineError, match="expected package 'default' on the GPU, got: onnxruntime"),
        opened(load_package("default"), Place("gpu", "onnxruntime"), "fp32"),
    ):
        pass


def test_a_resnet_of_too_few_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 8 to 60 residual blocks, got 4"):
        resnet_package(4, FP32, [])


def test_the_command_runs_what_was_asked_for(sample: Clip) -> None:
    parser = argparse.ArgumentParser()
    shared = argparse.ArgumentParser(add_help=False)
    add_parser(parser.add_subparsers(dest="command"), shared)
    arguments = parser.parse_args(["limits", "--only", "L2", "L5", "--precision", "fp16", "--device", "cpu", "--clip", str(sample.path), "--quick"])
    report, lines, verdicts = command(arguments)
    assert report.schema == "edge.benchmark.limits/1"
    assert {finding.word for finding in report.findings} == {"not run"}
    assert {verdict.word for verdict in verdicts} == {"not run"}, "nothing was measured: that is no success"
    assert any(line.startswith("L5 cpu fp16 not run") for line in lines)
    assert msgspec.json.decode(msgspec.json.encode(report))["extent"]["camera_frames"] == 400
