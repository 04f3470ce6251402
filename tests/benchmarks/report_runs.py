"""Small runs whose every number is known: reports in the commands' own types, judged by their own functions, written as `--json` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.budgets import judge, load_budgets
from benchmarks.estimates import Interval, median_interval, percentiles
from benchmarks.gate.blocks import ORDER, Block, Measured, Quad
from benchmarks.gate.command import GateReport
from benchmarks.gate.counts import NO_VALGRIND, Count
from benchmarks.gate.judgement import judge_gate
from benchmarks.gate.proof import Trial
from benchmarks.latency import Part
from benchmarks.latency_command import LatencyReport
from benchmarks.limits.command import QUICK, LimitsReport
from benchmarks.limits.depth import STATED, judge_depth
from benchmarks.limits.finding import Ran, not_run, point
from benchmarks.limits.inception import judge_times
from benchmarks.limits.large_networks import StreamCount, judge_streams
from benchmarks.loops.open import judge_rate
from benchmarks.loops.scenario import Answers, Asked, judge_tail, tail
from benchmarks.peer_rounds import PeersReport
from benchmarks.peer_run import PeerRun
from benchmarks.published_figures import PublishedFigure

BUDGETS = load_budgets()
LOUD = "other processes used 50% of the CPU (limit 10%)"
_QUIET = {"others_cpu": 0.0}
_SAMPLES = 200


def machine(utc: str = "2026-11-22T10:00:00+00:00", commit: str = "0123456789abcdef", gpu: str = "") -> dict[str, Any]:
    """What `describe_machine` would say of a machine that does not exist."""
    return {
        "utc": utc,
        "cpu": "Example 9000",
        "cores": 4,
        "usable_cores": 4,
        "board": None,
        "governor": "performance",
        "load": [0.1, 0.2, 0.3],
        "probe_ms": 0.5,
        "temperature_c": {"thermal_zone0 package": 41.0},
        "gpus": [{"name": gpu, "driver": "999.1", "sm_mhz": 1500.0, "slowed_by": []}] if gpu else [],
        "versions": {"onnxruntime": "1.23.2", "numpy": "2.2.6", "tensorrt": None},
        "commit": commit,
        "dirty": False,
    }


def times_ms(middle: float, seed: int = 0, n: int = _SAMPLES) -> list[float]:
    """Times with a tail, whose median is near `middle`."""
    return [float(each) for each in middle * np.exp(np.random.default_rng(seed).normal(0, 0.1, n))]


def latency_report(told: dict[str, Any], *, slow: float = 1.0, invalid: str = "") -> LatencyReport:
    frame = times_ms(5.0 * slow)
    samples = {"frame": frame, "read": times_ms(1.0), "detect": times_ms(2.0 * slow, 1), "detect.infer": times_ms(1.5 * slow, 2), "overhead": times_ms(0.4, 3)}
    overhead = judge("latency.overhead", BUDGETS["latency.overhead"], median_interval(samples["overhead"]), invalid=invalid)
    stages = {name: percentiles(taken) for name, taken in samples.items()}
    answers = [_answers("path of default on onnxruntime", None, faces, times_ms(4.0 * faces, faces)) for faces in (1, 8)]
    networks = [_answers("default/face", 1, faces, times_ms(1.0 * faces, faces)) for faces in (1, 8)]
    closed = {
        "path": Asked(answers, _QUIET, invalid),
        "frames_with_all_faces": {1: 1.0, 8: 0.97},
        "networks": Asked(networks, _QUIET, ""),
        "not_run": ["default fp16: not run: FP16 is for GPUs"],
    }
    single = judge_tail("loops.single_stream", BUDGETS["loops.single_stream"], answers[0].p90, _SAMPLES, invalid=invalid)
    rates = {fps: _open(fps, slow) for fps in (24, 30)}
    parts = [
        Part("stages", {"frames": _SAMPLES, "stage_ms": stages, "samples_ms": samples, "machine": _QUIET}, [overhead], ["stages"]),
        Part("closed", closed, [single], ["closed"]),
        Part("open", {str(fps): part.numbers for fps, part in rates.items()}, [each for part in rates.values() for each in part.verdicts], ["open"]),
        Part("start", {"seconds": [1.1, 0.9, 1.0], "machine": _QUIET}, [judge("latency.start", BUDGETS["latency.start"], 1.0)], ["start"]),
        Part("memory", {"rss_mb": [100.0, 101.0, 101.5]}, [judge("latency.memory", BUDGETS["latency.memory"], 1.015)], ["memory"]),
    ]
    return LatencyReport("edge.benchmark.latency/1", "clip.mp4", told, [0.4, 0.3, 0.2], parts)


def limits_report(told: dict[str, Any]) -> LimitsReport:
    ran = Ran("cpu", "fp32", "onnxruntime CPU, 1 thread", _QUIET, "")
    loud = Ran("cpu", "int8", "onnxruntime CPU, 1 thread", {"others_cpu": 0.5}, LOUD)
    depths = [point(f"{blocks} blocks", blocks, times_ms(blocks / 1.2, blocks), None) for blocks in (8, 33, 50, 60)]
    resnet, inception = (point(f"{name}, batch 1", 1, times_ms(ms, 5), None) for name, ms in (("resnet18-22", 10.0), ("inceptionv4-22", 22.0)))
    stream = StreamCount(2, 3, [point(f"{n} streams", n, times_ms(15.0 * n, n), None) for n in (1, 2, 3)])
    findings = [
        judge_depth(depths, 25.0, "ResNets on one crop, network alone, 25 frames/s", ran),
        not_run("L2", "gpu", "fp32", "ResNets on one crop", STATED, "no NVIDIA driver is installed"),
        *judge_times(resnet, inception, loud),
        judge_streams(stream, "resnet18-5", ran),
    ]
    verdict = judge("validity.others_cpu", BUDGETS["validity.others_cpu"], 0.5, invalid=LOUD)
    return LimitsReport("edge.benchmark.limits/1", "clip.mp4", told, [0.1, 0.1, 0.1], QUICK, ["resnet18-5, untrained: 3 s"], findings, [verdict])


def peers_report(told: dict[str, Any], *, slow: float = 1.0) -> PeersReport:
    runs = {name: [_pass(name, number, rate) for number in range(3)] for name, rate in (("edge", 200.0 / slow), ("fer", 20.0))}
    ratios = [ours.rate_fps / theirs.rate_fps for ours, theirs in zip(runs["edge"], runs["fer"], strict=True)]
    return PeersReport(
        schema="edge.benchmark.peers/1",
        clip={"name": "clip.mp4", "bytes": 1},
        machine=told,
        load_after=[0.1, 0.1, 0.1],
        what={"edge": "edge-run", "fer": "fer 25.10.3", "mediapipe": "MediaPipe"},
        runs=runs,
        ratios={"fer": ratios},
        times_as_fast={"fer": median_interval(ratios)},
        not_run={"mediapipe": "no wheel for this machine"},
        invalid=[],
        verdicts=[
            judge("peers.fer", BUDGETS["peers.fer"], median_interval(ratios)),
            judge("peers.mediapipe", BUDGETS["peers.mediapipe"], None, not_run="no wheel"),
        ],
        published=[
            PublishedFigure(name="py-feat", what="a frame", value=3.5, unit="frames/s", on="a laptop", source="https://example.org", why_not_run="too large")
        ],
    )


def gate_report(told: dict[str, Any]) -> GateReport:
    measured = Measured(4, [_quad(1.0 + 0.001 * place, loud=place == 2) for place in range(5)], 0.0, {"base": "onnxruntime", "head": "onnxruntime"})
    verdicts = judge_gate(measured, BUDGETS)
    counts = [Count("instructions", [], [], NO_VALGRIND), Count("calls", [100.0, 100.0], [101.0, 101.0])]
    trials = [Trial(1.05, measured, verdicts), Trial(1.0, measured, verdicts)]
    workload = {"clip": "clip.mp4", "frames": 20}
    return GateReport("edge.benchmark.gate/1", "main", "the working tree", workload, told, [0.1, 0.1, 0.1], measured, counts, trials, verdicts)


def write_run(
    folder: Path, *, utc: str = "2026-11-22T10:00:00+00:00", commit: str = "0123456789abcdef", slow: float = 1.0, invalid: str = "", gpu: str = ""
) -> Path:
    """Write latency, limits, peers and gate of one run; `slow` times as slow as the usual one."""
    told = machine(utc, commit, gpu)
    write(folder / "latency.json", latency_report(told, slow=slow, invalid=invalid))
    write(folder / "limits.json", limits_report(told))
    write(folder / "peers.json", peers_report(told, slow=slow))
    write(folder / "gate.json", gate_report(told))
    return folder


def write(path: Path, report: object) -> Path:
    """Write a report as `--json` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return path


def _answers(what: str, threads: int | None, faces: int, ms: list[float]) -> Answers:
    p50, p90, p99 = (tail(ms, percent) for percent in (50, 90, 99))
    return Answers(what, "fp32", faces, threads, 2 * p50.ms, p50, p90, p99, max(ms), ms)


def _open(fps: int, slow: float) -> Part:
    ages = times_ms(8.0 * slow, fps, n=fps + _SAMPLES + 1)
    records = [
        {"seq": seq, "age_ms": age, "faces": [1], "dropped": 0, "t_capture_ns": round(seq * 1e9 / fps)} for seq, age in enumerate(ages) if seq != fps + 7
    ]
    part = judge_rate(records, _SAMPLES, fps, BUDGETS)
    return Part(part.name, {**part.numbers, "machine": _QUIET}, part.verdicts, part.lines)


def _pass(name: str, number: int, rate_fps: float) -> PeerRun:
    return PeerRun(
        peer=name,
        round=number,
        frames=_SAMPLES + 1,
        frames_with_face=_SAMPLES + 1,
        rate_fps=rate_fps * (1 + 0.01 * number),
        interval_ms=times_ms(1e3 / rate_fps, number),
        load_s=None,
        first_result_s=1.0,
        wall_s=2.0,
        cpu_s=1.5,
        others_cpu=0.01,
        flips_per_100=0.6,
    )


def _quad(ratio: float, *, loud: bool) -> Quad:
    blocks = []
    for place, side in enumerate(ORDER):
        frame_ns = [round(1e6 * ms * (ratio if side == "head" else 1.0)) for ms in times_ms(5.0, place, n=20)]
        blocks.append(Block(side, 1.0, 0.3 if loud else 0.0, 1.0, 0, 0, 0, frame_ns))
    return Quad(blocks, loud)


def interval(value: float) -> Interval:
    """An estimate between ends a tenth away."""
    return Interval(value, 0.9 * value, 1.1 * value)
