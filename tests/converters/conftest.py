"""The networks of the packages `mesh-chain` and `blazeface`, as the package index has them; a small calibration set, and a package to quantise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest

from calibration import CalibrationSet, load_set
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.mediapipe_packages import BLAZEFACE, MESH_CHAIN
from converters.registry import fetch
from edge.package import load_package
from tests.converters.small_set import make_set
from tests.toy import save_package
from tests.toy_kinds import manifest_of


@pytest.fixture(scope="session")
def originals() -> Mapping[str, bytes]:
    """TFLite files by the name of their stage."""
    files = {stage: file for recipe in (BLAZEFACE, MESH_CHAIN) for stage, file in recipe.sources.items()}
    return {stage: path.read_bytes() for stage, path in zip(files, fetch(list(files.values()), say=print), strict=True)}


@pytest.fixture(scope="session")
def converted(originals: Mapping[str, bytes]) -> Mapping[str, onnx.ModelProto]:
    """The same networks as ONNX, with all their outputs."""
    return {stage: onnx_from_tflite(content, name=stage) for stage, content in originals.items()}


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory, clip: Callable[[str], Path], models: Path) -> CalibrationSet:
    """Frames of two test clips: one person to calibrate with, another one to judge by."""
    return load_set(make_set(tmp_path_factory.mktemp("sets") / "small", clip, models))


@pytest.fixture(scope="session")
def emotion(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """The emotion network of `mesh-chain` as a package of its own."""
    folder = tmp_path_factory.mktemp("models") / "emotion"
    shutil.copytree(models / "blazeface", folder.parent / "blazeface")
    folder.mkdir()
    chain = load_package(models / "mesh-chain").manifest
    shutil.copy(models / "mesh-chain" / "emotion.onnx", folder)
    stage = next(stage for stage in chain.stages if stage.name == "emotion")
    return save_package(folder, manifest_of(stage, detector="blazeface"))
