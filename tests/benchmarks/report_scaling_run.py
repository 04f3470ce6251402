"""A scaling report whose every number is known, for the tests of the report."""

from __future__ import annotations

from typing import Any

from benchmarks.scaling.finding import (
    Copied,
    FacePoint,
    FaceScaling,
    Fit,
    Floor,
    FloorStage,
    ModelPoint,
    ModelScaling,
    Multiplied,
    Ran,
    Sampled,
    ScalingReport,
    SizePoint,
    SizeScaling,
    Stream,
    StreamPoint,
    StreamScaling,
    sampled,
)
from tests.benchmarks.report_runs import LOUD, interval, times_ms

RAN = Ran("onnxruntime CPU, 1 thread", "fp32", {"others_cpu": 0.0}, "")
TOO_LOUD = Ran("onnxruntime CPU, 1 thread", "fp32", {"others_cpu": 0.5}, LOUD)


def scaling_report(told: dict[str, Any]) -> ScalingReport:
    """Five faces are 12 ms, of which 2 are fixed; two streams lose nothing, four lose seven frames; the frame is three times its floor."""
    return ScalingReport(
        schema="edge.benchmark.scaling/1",
        clip="clip.mp4",
        quick=True,
        machine=told,
        load_after=[0.1, 0.1, 0.1],
        faces=_faces(),
        streams=_streams(),
        frame_sizes=_sizes(),
        model_sizes=_models(),
        floor=_floor(),
        built=[],
        not_run=[],
        verdicts=[],
    )


def _timed(ms: float) -> Sampled:
    return sampled(times_ms(ms, n=9))


def _faces() -> FaceScaling:
    points = [FacePoint(n, float(n), _timed(2.0 + 2.0 * n), {"detect": _timed(1.0), "infer": _timed(1.0 + n)}, 3.0 + 2.0 * n) for n in (0, 1, 5)]
    return FaceScaling((1280, 720), 10, RAN, points, {"whole": Fit(interval(2.0), interval(2.0), 0.1)}, interval(19.0), 5.0)


def _streams() -> StreamScaling:
    def stream(dropped: int) -> Stream:
        return Stream(250, 250 - dropped, dropped, 0, 250, times_ms(9.0, n=250 - dropped), 9.0, 12.0, 80.0, 0.4)

    points = [StreamPoint(n, lost, 12.0, 80.0 * n, [stream(lost)] * n, ran) for n, lost, ran in ((1, 0, RAN), (2, 0, RAN), (4, 7, TOO_LOUD))]
    return StreamScaling(25.0, 10.0, points, 2, 4, "eight need more memory than there is")


def _sizes() -> SizeScaling:
    sizes = {"360p": (640, 360), "720p": (1280, 720)}
    return SizeScaling(
        [SizePoint(name, wh, "H.264", _timed(2.0), _timed(3.0), _timed(0.5), _timed(4.0), {"detect": _timed(1.0)}, 1.0, RAN) for name, wh in sizes.items()]
    )


def _models() -> ModelScaling:
    points = [
        ModelPoint(name, name == "default/face", "fp32", macs, 1000, 4000, batch, 1, _timed(macs * batch / 1e7), 1.0, 10.0)
        for name, macs in (("default/face", 20_000_000), ("resnet-22-blocks8", 80_000_000))
        for batch in (1, 8)
    ]
    return ModelScaling([RAN], points, ["efficientnet-b0-5: PyTorch is not installed"])


def _floor() -> Floor:
    stages = [
        FloorStage("crop", 1.0, 700_000, 0, "float32", 1_000_000, 0.1, 0.0, 0.1, "memory", _timed(0.3), interval(3.0), "the face's pixels, in and out"),
        FloorStage("infer", 1.0, 400_000, 20_000_000, "float32", 1_000_000, 0.1, 1.0, 1.0, "arithmetic", _timed(3.0), interval(3.0), "weights and activations"),
    ]
    copies = [Copied(1_000_000, 12.0, [11.0, 12.0]), Copied(100_000_000, 8.0, [7.0, 8.0])]
    products = [Multiplied("float32", 512, 1, 20.0, [19.0, 20.0])]
    return Floor(RAN, RAN, (640, 360), 120.0, copies, products, stages, _timed(3.3), 1.1, interval(3.0))
