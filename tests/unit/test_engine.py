"""ONNX Runtime, and how an engine is chosen; what every engine does is in test_engine_contract.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.engine import choose, ort
from edge.engine.ort import OrtEngine, default_threads
from edge.errors import EngineError
from edge.package import load_package
from tests.toy import make_affect, spot_frame


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(EngineError, match="ONNX Runtime cannot load"):
        OrtEngine(path, cuda=False, threads=1)


def test_threads_leave_room_for_the_decoder() -> None:
    assert 1 <= default_threads() <= 4


def test_a_gpu_that_does_not_start_is_an_error_by_name_and_a_note_with_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a broken CUDA installation looks like to us: the provider is offered and then not there. The build of ONNX Runtime for CPUs does the rest.
    if ort.cuda_available():
        pytest.skip("CUDA works here")
    monkeypatch.setattr(ort, "cuda_available", lambda: True)
    package = str(make_affect(tmp_path / "toy-affect"))
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), pytest.raises(EngineError, match="the CUDA provider of ONNX Runtime did not start"):
        Analyzer(Config(model=package, engine="onnxruntime"))
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        analyzer = Analyzer(Config(model=package))
    assert not analyzer.choice.cuda
    assert "CPU: the CUDA provider did not start" in analyzer.choice.why
    assert analyzer.notes[0].startswith("the GPU is not used")
    assert len(analyzer.step(spot_frame(0, [(28, 36, 255)]), StageTimes()).faces) == 1
    analyzer.close()


def test_the_choice_says_why(tmp_path: Path) -> None:
    package = load_package(make_affect(tmp_path / "toy-affect"))
    by_itself = choose("auto", "auto", package)
    assert by_itself.engine == "tensorrt" or by_itself.why.startswith("onnxruntime: no TensorRT (")
    assert "as asked" in choose("onnxruntime", "fp32", package).why
