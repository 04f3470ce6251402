"""The builder: NVIDIA's own, for RTX, on real graphs, without a GPU; what only TensorRT 10 does runs on `toy_builder`."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.engine.trt.build import Network, Target, build_plan, build_stage, buildable, plan_key, stage_network
from edge.engine.trt.child import WORKSPACE_MB
from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.library import find_library, usable
from edge.engine.trt.messages import Messages
from edge.engine.trt.plan_file import PROFILE, read_plan
from edge.errors import MissingDependency, PackageNotFound, PackageRefused
from edge.package import Package, load_package
from edge.stage import Stage
from tests.unit.toy_builder import BuilderFlag, NetworkDefinitionCreationFlag, ToyBuilderLibrary

RTX = find_library(["tensorrt_rtx"])
AHEAD = Target(RTX, ("sm80", "sm89", "sm120"))
INT8, UINT8, INT32 = TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32


def conv(inputs: str = "x w", output: str = "y") -> onnx.NodeProto:
    return helper.make_node("Conv", inputs.split(), [output], name="conv", pads=[1, 1, 1, 1])


def graph(*nodes: onnx.NodeProto, opset: int = 17, shape: tuple[str | int, ...] = ("N", 4, 8, 8), **constants: object) -> bytes:
    """A network from x to y; `constants` are its initialisers, beside a 3 x 3 kernel w."""
    values = {"w": np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32), **constants}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", shape), ("y", None)))
    domains = {node.domain for node in nodes if node.domain}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return bytes(helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=opsets).SerializeToString())


def quantised(zero: object = np.int8(0)) -> bytes:
    """A convolution of a quantised x; without zero points where `zero` is None."""
    grid = ["scale", *([] if zero is None else ["zero"])]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *grid], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", *grid], ["d"], name="dequantize"),
    ]
    return graph(*nodes, conv("d w"), scale=np.float32(0.1), zero=np.int8(0) if zero is None else zero)


def build(
    content: bytes, target: Target = AHEAD, *, workspace_mb: int = WORKSPACE_MB, untyped: bytes | None = None, timing: Path | None = None
) -> list[object]:
    said: list[str] = []
    built = build_plan(Network("net", "fp16", content, untyped), target, workspace_mb=workspace_mb, timing_cache=timing, say=said.append)
    assert len(built.content) > 1000
    return [*built.notes, *said]


# The library


def test_a_library_is_told_by_what_it_can_do() -> None:
    assert RTX.title.startswith("TensorRT-RTX 1.")
    assert (RTX.builds_ahead, RTX.has_weak_typing) == (True, False)
    assert buildable(RTX) == ["sm75", "sm80", "sm86", "sm89", "sm120", "sm121"]
    toy = ToyBuilderLibrary().library()
    assert (toy.title, toy.builds_ahead, toy.has_weak_typing, buildable(toy)) == ("TensorRT 10.3.0", False, True, [])
    assert usable("tensorrt", toy.module) == toy


def test_version_8_is_refused() -> None:
    jetpack_5 = SimpleNamespace(__version__="8.5.2.2", Builder=object, OnnxParser=object, NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0))
    assert usable("tensorrt", jetpack_5) == (
        "TensorRT 8.5.2.2 is too old: expected 10 or later, which takes strongly typed networks",
        "JetPack 5 has TensorRT 8: update to JetPack 6.1 or later, or run with --engine onnxruntime",
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "the Python module 'tensorrt' is an empty shell, not TensorRT"),
        ("raise OSError('libnvinfer.so.10: cannot open shared object file')", "'tensorrt' does not load: libnvinfer.so.10: cannot open shared object file"),
        ("raise RuntimeError", "'tensorrt' does not load: RuntimeError"),
        ("import tensorrt_libs", "the Python module 'tensorrt' lacks a part of its own: No module named 'tensorrt_libs'"),
        (None, r"TensorRT is not installed \(Python module 'tensorrt'\)"),
    ],
)
def test_what_is_no_library_is_said(source: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("tensorrt", "tensorrt_libs")]:
        monkeypatch.delitem(sys.modules, name)
    if source is None:
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        importlib.invalidate_caches()
    else:
        (tmp_path / "tensorrt.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(MissingDependency, match=message) as caught:
            find_library(["tensorrt"])
    finally:
        sys.modules.pop("tensorrt", None)
    assert "JetPack 6.1 or later" in caught.value.hint


def test_the_first_usable_library_is_taken() -> None:
    assert find_library().name in ("tensorrt", "tensorrt_rtx")
    assert find_library(["tensorrt_rtx"]) == RTX


# Graphs that it takes and does not take


def test_float_and_quantised_networks_build() -> None:
    assert build(graph(conv())) == ["Building engine"]
    assert build(quantised()) == ["Building engine"]
    assert build(graph(conv(), shape=(1, 4, 8, 8))) == ["Building engine"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no protobuf", "net: this is no ONNX model"),
        (b"", "net: an ONNX model without nodes or outputs"),
        (graph(conv(), opset=21), "net: expected opset 20 or older, got 21"),
        (quantised(zero=np.uint8(0)), r"node 'quantize' \(QuantizeLinear\) quantises to UINT8: TensorRT computes with signed integers and zero point 0 only"),
        (quantised(zero=np.int8(3)), r"node 'quantize' \(QuantizeLinear\) has a zero point other than 0: "),
        (quantised(zero=None), r"node 'quantize' \(QuantizeLinear\) has no zero point, which stands for unsigned integers: "),
        (
            graph(
                helper.make_node("DequantizeLinear", ["b", "scale"], ["bias"], name="bias"),
                conv("x w bias"),
                b=np.zeros(8, np.int32),
                scale=np.float32(0.1),
            ),
            r"node 'bias' \(DequantizeLinear\) holds a bias quantised to INT32: TensorRT takes biases in float only",
        ),
        (
            graph(helper.make_node("TreeEnsembleClassifier", ["x"], ["y"], name="trees", domain="ai.onnx.ml")),
            r"node 'trees' \(TreeEnsembleClassifier\): TensorRT-RTX \S+ does not support this operator",
        ),
        (
            graph(helper.make_node("FusedConv", ["x", "w"], ["y"], name="fused", domain="com.microsoft")),
            r"node 'fused' \(FusedConv\): TensorRT-RTX \S+ does not support this operator",
        ),
        (
            graph(helper.make_node("StringNormalizer", ["x"], ["y"], name="text")),
            r"node 'text' \(StringNormalizer\): TensorRT-RTX \S+ does not support this operator",
        ),
        (
            graph(helper.make_node("Cast", ["x"], ["half"], name="cast", to=TensorProto.FLOAT16), conv("half w")),
            r"node 'conv' \(Conv\) mixes types, and a strongly typed network may not",
        ),
        (graph(conv(), shape=("N", 4, "H", 8)), r"net: expected fixed sizes behind the batch, got \[N, 4, any, 8\] for input 'x'"),
    ],
)
def test_what_cannot_be_built_is_said_in_words_that_help(content: bytes, message: str) -> None:
    with pytest.raises(BuildFailed, match=message) as caught:
        build(content)
    assert caught.value.hint
    assert caught.value.exit_code == 6


def test_without_a_gpu_it_builds_ahead_of_time_only() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("an NVIDIA driver is here")
    with pytest.raises(BuildFailed, match="there is no NVIDIA driver here, or it is older than the CUDA that TensorRT-RTX") as caught:
        build(graph(conv()), Target(RTX, ("sm89",), "NVIDIA L4"))
    assert "--target rtx" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "workspace_mb", "message", "hint"),
    [
        (Target(RTX, ("sm89", "sm87")), 64, r"net: TensorRT-RTX \S+ cannot build for sm87", "it can for sm75, sm80"),
        (Target(ToyBuilderLibrary().library(), ("sm87",)), 64, "net: TensorRT 10.3.0 builds for the GPU that it runs on, not ahead of time", "--target rtx"),
        (
            Target(ToyBuilderLibrary(starts=False).library(), ("sm87",), "Orin"),
            64,
            "no NVIDIA driver here, or it is older .* starting the builder",
            "nvidia-smi",
        ),
        (
            Target(ToyBuilderLibrary(refuses_strong_typing=True).library(), ("sm87",), "Orin"),
            64,
            "TensorRT 10.3.0 has no kernel for a part of the network within the workspace, building the plan",
            "TensorRT issue 4832",
        ),
    ],
)
def test_what_a_target_lacks_is_said(target: Target, workspace_mb: int, message: str, hint: str) -> None:
    with pytest.raises(BuildFailed, match=message) as caught:
        build(graph(conv()), target, workspace_mb=workspace_mb)
    assert hint in caught.value.hint


def test_a_workspace_that_is_too_small_is_said(models: Path) -> None:
    """The limit reaches the library."""
    content = (models / "mesh-chain" / "mesh.onnx").read_bytes()
    with pytest.raises(BuildFailed, match=r"no kernel for a part of the network within the workspace|out of the workspace that it may use") as caught:
        build(content, workspace_mb=1)
    assert "a larger --workspace-mb" in caught.value.hint


def test_what_turing_lacks_is_said(models: Path) -> None:
    with pytest.raises(BuildFailed, match=r"lacks a kernel for Turing GPUs \(sm75\)"):
        build((models / "mesh-chain" / "blendshapes.onnx").read_bytes(), Target(RTX, ("sm75", "sm80")))


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        (["CUDA initialization failure with error: 100"], "net: TensorRT 10.3.0 finds no NVIDIA GPU, here (CUDA initialization failure", "nvidia-smi"),
        (["[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"], "net: TensorRT 10.3.0 ran out of memory", "--workspace-mb"),
        (["Error Code 2: OutOfMemory (Requested size was 5 bytes.)"], "net: TensorRT 10.3.0 ran out of memory, or out of the workspace", "--workspace-mb"),
        # What cleans up behind the first error complains, where there is no GPU.
        (["Error Code 9: Internal Error (oh)", "cudaError 35: old"], "net: TensorRT 10.3.0 failed, here: Error Code 9: Internal Error (oh)", "onnxruntime"),
        (["ModelImporter.cpp:142: --- Begin node ---\nConv", "bad pads"], "net: TensorRT 10.3.0 failed, here: bad pads", "onnxruntime"),
        (["x" * 400], f"net: TensorRT 10.3.0 failed, here: {'x' * 297}...", "onnxruntime"),
        ([], "net: TensorRT 10.3.0 failed, here: it gave no reason", "onnxruntime"),
    ],
)
def test_the_line_that_decides_is_told(lines: list[str], message: str, hint: str) -> None:
    messages = Messages(ToyBuilderLibrary().library())
    with messages.listening():
        for line in lines:
            messages.logger.log(messages.logger.ERROR, line)
        messages.logger.log(messages.logger.WARNING, "out of memory")
    error = messages.failed("net", doing="here")
    assert str(error.args[0]).startswith(message)
    assert hint in error.hint


def test_the_library_s_log_outlives_whoever_was_first() -> None:
    first, second = Messages(RTX), Messages(RTX)
    assert first.logger is second.logger
    builders = [RTX.module.Builder(first.logger), RTX.module.Builder(second.logger)]
    del first
    builders.pop(0)
    gc.collect()  # the library would now call a logger that is gone, and end the process
    with second.listening():
        builders[0].create_network(0).add_input("x", RTX.module.float32, (-5, 3))
    assert any("addInput" in line and "isValidDims" in line for line in second.errors), second.errors


def test_each_hears_of_its_own_work_and_of_the_library_s_threads() -> None:
    first, second = Messages(RTX), Messages(RTX)
    log, error = first.logger, RTX.module.ILogger.ERROR
    log.log(error, "nobody listens")
    with first.listening():
        log.log(error, "mine")
        listening, said = threading.Event(), threading.Event()

        def listen() -> None:
            with second.listening():
                listening.set()
                said.wait(10)
                log.log(error, "of the other")

        other = threading.Thread(target=listen)
        other.start()
        assert listening.wait(10)
        library_s = threading.Thread(target=log.log, args=(error, "of no listener's thread"))
        library_s.start()
        library_s.join()
        said.set()
        other.join()
    log.log(error, "after the end")
    assert first.errors == ["mine", "of no listener's thread"]
    assert second.errors == ["of no listener's thread", "of the other"]
    with first.listening():
        assert first.errors == []


# What only TensorRT 10 does


def test_tensorrt_10_gets_a_strongly_typed_network_first() -> None:
    toy = ToyBuilderLibrary()
    assert build(graph(conv()), Target(toy.library(), ("sm87",), "Orin"), untyped=graph(conv())) == ["Building engine"]
    assert toy.networks == [1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED.value]
    assert not toy.flags


@pytest.mark.parametrize(("precision", "flags"), [("fp16", {BuilderFlag.FP16}), ("int8", {BuilderFlag.FP16, BuilderFlag.INT8})])
def test_where_that_fails_it_chooses_the_precisions_itself_and_it_is_said(precision: str, flags: set[BuilderFlag]) -> None:
    toy = ToyBuilderLibrary(refuses_strong_typing=True)
    said: list[str] = []
    network = msgspec.convert({"where": "net", "precision": precision, "content": graph(conv()), "untyped": graph(conv())}, Network)
    built = build_plan(network, Target(toy.library(), ("sm87",), "Orin"), workspace_mb=64, timing_cache=None, say=said.append)
    assert toy.networks == [1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED.value, 0]
    assert toy.flags == flags
    assert len(built.notes) == 1
    assert "weakly typed: TensorRT 10.3.0 chose the layers' precisions" in built.notes[0]
    assert "Could not find any implementation for node conv" in built.notes[0]
    assert built.notes[0] in said


def test_what_was_measured_is_kept_beside_the_plans(tmp_path: Path) -> None:
    toy, cache = ToyBuilderLibrary(), tmp_path / "timing.cache"
    target = Target(toy.library(), ("sm87",), "Orin")
    for _ in range(2):
        build(graph(conv()), target, timing=cache)
    assert toy.caches == [b"", b"measured;"]
    assert cache.read_bytes() == b"measured;measured;"
    cache.write_bytes(b"foreign")
    build(graph(conv()), target, timing=cache)
    assert toy.caches[-1] == b""
    assert cache.read_bytes() == b"measured;"


# Packages


@pytest.fixture
def package(models: Path) -> Package:
    return load_package(models / "mesh-chain")


@pytest.fixture
def emotion(package: Package) -> Stage:
    return next(stage for stage in package.manifest.stages if stage.name == "emotion")


def test_a_stage_is_built_once(package: Package, emotion: Stage, tmp_path: Path) -> None:
    said: list[str] = []
    path, built_key = build_stage(package, emotion, "fp32", AHEAD, folder=tmp_path, workspace_mb=WORKSPACE_MB, say=said.append)
    key = plan_key(package, emotion, stage_network(package, emotion, "fp32"), AHEAD)
    assert built_key == key
    assert (key.model_sha256, key.profile, key.library_version) == (package.manifest.files["emotion.onnx"], PROFILE, RTX.version)
    assert read_plan(path, key).key == key
    changed_ns = path.stat().st_mtime_ns
    assert build_stage(package, emotion, "fp32", AHEAD, folder=tmp_path, workspace_mb=WORKSPACE_MB, say=said.append) == (path, key)
    assert said[-1] == f"{path} is there and fits"
    path.write_bytes(path.read_bytes()[:-1])
    assert build_stage(package, emotion, "fp32", AHEAD, folder=tmp_path, workspace_mb=WORKSPACE_MB, say=said.append) == (path, key)
    assert read_plan(path, key).key == key
    assert path.stat().st_mtime_ns > changed_ns


def test_a_plan_that_is_there_serves_from_a_folder_that_cannot_be_written_to(package: Package, emotion: Stage, tmp_path: Path) -> None:
    def build() -> Path:
        return build_stage(package, emotion, "fp32", AHEAD, folder=tmp_path, workspace_mb=WORKSPACE_MB, say=lambda _: None)[0]

    path = build()
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()  # which not even root can lock as a file
    assert build() == path
    path.unlink()
    with pytest.raises(IsADirectoryError):
        build()


def test_a_stale_plan_makes_way(package: Package, emotion: Stage, tmp_path: Path) -> None:
    said: list[str] = []
    older = Target(dataclasses.replace(RTX, version="1.6.0"), AHEAD.compute_capabilities)
    old, _ = build_stage(package, emotion, "fp32", older, folder=tmp_path, workspace_mb=WORKSPACE_MB, say=said.append)
    new, _ = build_stage(package, emotion, "fp32", AHEAD, folder=tmp_path, workspace_mb=WORKSPACE_MB, say=said.append)
    assert f"not used: {old}: stale: built for library_version 1.6.0, here it is {RTX.version}" in said
    assert f"removed {old.name}, which it replaces" in said
    assert [*tmp_path.glob("*.plan")] == [new]


def test_packages_without_a_plan_say_why(package: Package, emotion: Stage) -> None:
    trees = msgspec.structs.replace(package, manifest=msgspec.structs.replace(package.manifest, cpu_only="TensorRT has no operator for decision trees"))
    with pytest.raises(PackageRefused, match="package 'mesh-chain' is cpu-only: TensorRT has no operator for decision trees"):
        stage_network(trees, emotion, "fp32")
    plain = msgspec.structs.replace(package, manifest=msgspec.structs.replace(package.manifest, precisions={}))
    with pytest.raises(PackageNotFound, match="package 'mesh-chain' has no int8 networks"):
        stage_network(plain, emotion, "int8")
