"""`python -m converters build`: plans ahead of time, through the runtime's own builder."""

from __future__ import annotations

import argparse
import re
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from converters import build
from converters.quantization.int8 import quantize_int8
from edge.engine.fp16 import to_fp16
from edge.engine.trt.build import Target, buildable, plan_key, stage_network
from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.library import find_library
from edge.engine.trt.plan_file import PlanKey, read_plan
from edge.errors import ConfigError, EdgeError, MissingDependency, PackageNotFound, PackageRefused
from edge.package import MANIFEST, Package, Precision, file_sha256, load_package
from edge.stage import Stage

RTX = find_library(["tensorrt_rtx"])


def write(folder: Path, **changes: object) -> None:
    manifest = load_package(folder, allow_untrained=True).manifest
    files = {path.name: file_sha256(path) for path in folder.iterdir() if path.name != MANIFEST and path.is_file()}
    (folder / MANIFEST).write_bytes(msgspec.toml.encode(msgspec.structs.replace(manifest, files=files, **changes)))


@pytest.fixture(scope="module")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package `mesh-chain` in FP16, and in INT8 but for its emotions; one convolution of the mesh computes in FP32 wherever the others compute in FP16."""
    folder = tmp_path_factory.mktemp("packages") / "mesh-chain"
    shutil.copytree(models / "mesh-chain", folder)
    package = load_package(folder)
    write(folder, precisions={}, keep_fp32={})
    keep = (next(node.name for node in onnx.load(folder / "mesh.onnx").graph.node if node.op_type == "Conv"),)
    for stage in package.manifest.stages:
        network = onnx.load(folder / stage.model)
        half = to_fp16(network, keep=keep if stage.name == "mesh" else ())
        (folder / f"{stage.name}.fp16.onnx").write_bytes(half.SerializeToString())
        if stage.name != "emotion":
            shapes = {value.name: [4, *(size.dim_value for size in value.type.tensor_type.shape.dim[1:])] for value in network.graph.input}
            feeds = {name: np.random.default_rng(0).random(shape, np.float32) for name, shape in shapes.items()}
            (folder / f"{stage.name}.int8.onnx").write_bytes(quantize_int8(network, feeds, calibrator="max").SerializeToString())
    half_all = {stage.name: "fp16" for stage in package.manifest.stages}
    write(folder, precisions={"fp16": half_all, "int8": {name: "fp32" if name == "emotion" else "int8" for name in half_all}}, keep_fp32={"mesh": keep})
    return folder


def run(*arguments: object) -> tuple[int, list[str]]:
    parser = argparse.ArgumentParser()
    build.add_parser(parser.add_subparsers(dest="command"))
    said: list[str] = []
    return build.command(parser.parse_args(["build", *map(str, arguments)]), said.append), said


def key_of(package: Package, stage: Stage, precision: Precision) -> PlanKey:
    return plan_key(package, stage, stage_network(package, stage, precision), Target(RTX, tuple(buildable(RTX))))


def test_every_stage_is_built_in_its_precision(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(folder, "--precision", "fp16", "--target", "rtx", "-o", tmp_path / "plans")
    assert code == 0
    assert said[0] == f"{RTX.title}: mesh, blendshapes, emotion for any GPU (sm75, sm80, sm86, sm89, sm120, sm121)"
    assert "mesh: Building engine" in said
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["stage", "precision", "MB", "s", "plan"]
    assert [row.split()[:2] for row in rows] == [["mesh", "fp16"], ["blendshapes", "fp16"], ["emotion", "fp16"]]
    package = load_package(folder)
    for stage, row in zip(package.manifest.stages, rows, strict=True):
        _, _, size_mb, seconds, path = row.split()
        assert read_plan(Path(path), key_of(package, stage, "fp16")).content
        assert float(size_mb) == pytest.approx(Path(path).stat().st_size / 1e6, abs=0.051)
        assert re.fullmatch(r"\d+\.\d", seconds)
    # Nothing is built twice.
    again = run(folder, "--precision", "fp16", "--target", "rtx:sm89", "-o", tmp_path / "plans")[1]
    assert sum(line.endswith("is there and fits") for line in again) == 3


def test_int8_is_built_in_fp16_and_what_the_gate_refused_in_fp32(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(folder, "--precision", "int8", "--target", "rtx:sm80,sm120", "-o", tmp_path)
    assert code == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["mesh", "int8"], ["blendshapes", "int8"], ["emotion", "fp32"]]
    package = load_package(folder)
    (mesh, _, emotion) = package.manifest.stages
    around = stage_network(package, mesh, "int8")
    assert around == stage_network(package, mesh, "int8"), "the key holds the hash of what is derived: it must be the same every time"
    types = {node.name: node.op_type for node in onnx.load_from_string(around.content).graph.node}
    assert "QuantizeLinear" in types.values()
    # What must stay in FP32 is not left to a library that chooses precisions itself.
    assert around.untyped is None
    assert stage_network(package, emotion, "fp16").untyped == (folder / "emotion.onnx").read_bytes()
    assert stage_network(package, emotion, "int8").content == (folder / "emotion.onnx").read_bytes()
    plain = msgspec.structs.replace(package, manifest=msgspec.structs.replace(package.manifest, keep_fp32={}))
    assert stage_network(plain, mesh, "int8").content != around.content
    assert stage_network(plain, mesh, "int8").untyped == (folder / "mesh.int8.onnx").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ("--precision fp32 --target cuda", ConfigError, "--target cuda: expected tensorrt, rtx, or rtx:sm89,sm120"),
        ("--precision fp32 --target rtx:sm87", ConfigError, r"--target rtx:sm87: TensorRT-RTX \S+ does not build for 'sm87'"),
        ("--precision fp32 --target rtx:", ConfigError, "--target rtx:: .* does not build for ''"),
        ("--precision fp32 --target rtx --stage eyes", ConfigError, "--stage eyes: package 'mesh-chain' has no such stage"),
        ("--precision fp32 --target rtx:sm75 --stage blendshapes", BuildFailed, "lacks a kernel for Turing"),
    ],
)
def test_what_cannot_be_built_is_said(arguments: str, kind: type[EdgeError], message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(kind, match=message) as caught:
        run(folder, *arguments.split(), "-o", tmp_path / "plans")
    assert caught.value.hint
    assert not [*tmp_path.glob("plans/*.plan")]


def test_a_plan_for_the_gpu_here_needs_tensorrt(folder: Path, tmp_path: Path) -> None:
    with suppress(MissingDependency):
        find_library(["tensorrt"])
        pytest.skip("TensorRT is installed")
    with pytest.raises(MissingDependency, match="'tensorrt'") as caught:
        run(folder, "--precision", "fp32", "--target", "tensorrt", "-o", tmp_path / "plans")
    assert "JetPack" in caught.value.hint


def test_a_precision_that_the_package_lacks_is_said(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "mesh-chain")
    write(tmp_path / "mesh-chain", precisions={})
    with pytest.raises(PackageNotFound, match="package 'mesh-chain' has no int8 networks: it offers fp32"):
        run(tmp_path / "mesh-chain", "--precision", "int8", "--target", "rtx", "-o", tmp_path / "plans")


def test_cpu_only_packages_are_explained(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "trees")
    write(tmp_path / "trees", cpu_only="TensorRT has no operator for decision trees")
    with pytest.raises(PackageRefused, match="package 'mesh-chain' is cpu-only, there is no plan of it: TensorRT has no operator for decision trees") as caught:
        run(tmp_path / "trees", "--precision", "fp32", "--target", "rtx", "-o", tmp_path / "plans")
    assert caught.value.exit_code == 4


def test_untrained_packages_are_built_and_it_is_said(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "mesh-chain")
    write(tmp_path / "mesh-chain", trained=False)
    _, said = run(tmp_path / "mesh-chain", "--precision", "fp16", "--target", "rtx:sm89", "-o", tmp_path / "plans", "--stage", "emotion")
    assert said[0] == "package 'mesh-chain' was never trained: its plans are for measuring latency"
    assert len([*tmp_path.glob("plans/*.plan")]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--precision int4 --target rtx -o x", "invalid choice: 'int4'"),
        ("--precision fp16 -o x", "required: --target"),
        ("--precision fp16 --target rtx -o x --workspace-mb 0", "expected a whole number of megabytes, from 1 on, got '0'"),
        ("--precision fp16 --target rtx -o x --workspace-mb x", "expected a whole number of megabytes, from 1 on, got 'x'"),
    ],
)
def test_wrong_usage_is_said(arguments: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(folder, *arguments.split())
    said = capsys.readouterr().err
    assert said.startswith("usage: ")
    assert message in said
