"""ONNX Runtime, and how an engine is chosen; what every engine does is in test_engine_contract.py."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import cv2
import msgspec
import pytest

from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.engine import EngineName, PrecisionChoice, _on_tensorrt, choose, ort
from edge.engine.ort import OrtEngine, default_threads
from edge.engine.trt.library import find_library
from edge.errors import EngineError
from edge.package import load_package
from edge.pipeline import Pipeline
from tests.toy import affect_manifest, make_affect, save_package, spot_frame
from tests.unit.toy_gpu import ToyGpu


def still(folder: Path) -> Path:
    cv2.imwrite(str(folder / "still.png"), spot_frame(0, [(28, 36, 255)]).pixels)
    return folder / "still.png"


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
    assert analyzer.notes[0].startswith("ONNX Runtime runs on the CPU, it cannot use the GPU: the CUDA provider")
    assert len(analyzer.step(spot_frame(0, [(28, 36, 255)]), StageTimes()).faces) == 1
    analyzer.close()


# engine, precision, CUDA in ONNX Runtime -> what ONNX Runtime serves until a plan is there, what is tried, and whether it must succeed
ON_TENSORRT = [
    ("auto", "auto", False, "fp32", ("fp16", "int8"), False),
    ("auto", "auto", True, "fp32", ("fp16", "int8"), False),
    ("auto", "fp32", False, "fp32", ("fp32",), False),
    ("auto", "fp32", True, "fp32", ("fp32",), False),
    ("auto", "fp16", False, "fp32", ("fp16",), True),
    ("auto", "fp16", True, "fp16", ("fp16",), False),
    ("auto", "int8", False, "int8", ("int8",), False),
    ("auto", "int8", True, "int8", ("int8",), False),
    ("tensorrt", "auto", False, "fp32", ("fp16", "int8"), True),
    ("tensorrt", "auto", True, "fp32", ("fp16", "int8"), True),
    ("tensorrt", "fp32", False, "fp32", ("fp32",), True),
    ("tensorrt", "fp32", True, "fp32", ("fp32",), True),
    ("tensorrt", "fp16", False, "fp32", ("fp16",), True),
    ("tensorrt", "fp16", True, "fp16", ("fp16",), True),
    ("tensorrt", "int8", False, "int8", ("int8",), True),
    ("tensorrt", "int8", True, "int8", ("int8",), True),
]


@pytest.mark.parametrize(("engine", "precision", "cuda", "meanwhile", "to_try", "required"), ON_TENSORRT)
def test_a_precision_that_was_named_is_served_or_required(
    engine: EngineName, precision: PrecisionChoice, cuda: bool, meanwhile: str, to_try: tuple[str, ...], required: bool, tmp_path: Path
) -> None:
    folder = make_affect(tmp_path / "toy-affect")
    for of_network in ("fp16", "int8"):
        shutil.copy(folder / "brightness.onnx", folder / f"brightness.{of_network}.onnx")
    save_package(folder, msgspec.structs.replace(affect_manifest(), precisions={"fp16": {"brightness": "fp16"}, "int8": {"brightness": "int8"}}))
    choice = _on_tensorrt(engine, precision, load_package(folder), cuda=cuda, where="TensorRT 10.3.0 on Orin")
    assert (choice.precision, choice.to_try, choice.required, choice.cuda) == (meanwhile, to_try, required, cuda)


def test_the_choice_says_why(tmp_path: Path) -> None:
    package = load_package(make_affect(tmp_path / "toy-affect"))
    by_itself = choose("auto", "auto", package)
    assert by_itself.engine == "tensorrt" or by_itself.why.startswith("onnxruntime: no TensorRT (")
    assert "as asked" in choose("onnxruntime", "fp32", package).why


def test_auto_with_tensorrt_serves_at_once_and_says_why_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The whole way from the settings to a real builder in a real child process, which finds no GPU here.
    if importlib.util.find_spec("tensorrt_rtx") is None or (shutil.which("nvidia-smi") and Path("/dev/nvidia0").exists()):
        pytest.skip("TensorRT-RTX is not here, or a GPU is on which it would build: test_engine_contract.py has the tests for that")
    monkeypatch.setenv("EDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("edge.engine.trt.start.find_tensorrt", lambda _: (find_library(["tensorrt_rtx"]), ToyGpu()))
    said: list[str] = []
    analyzer = Analyzer(Config(model=str(make_affect(tmp_path / "toy-affect")), precision="auto"), say=said.append)
    try:
        assert analyzer.choice.engine == "tensorrt"
        assert "Toy GPU, fp32; ONNX Runtime serves until its plans are there" in analyzer.choice.why
        assert len(analyzer.step(spot_frame(0, [(28, 36, 255)]), StageTimes()).faces) == 1
        analyzer.wait_until_opened()
        assert analyzer.serving == ("onnxruntime", "fp32")
        assert any(line.startswith("TensorRT fp32 is not used for toy-affect/brightness: ") for line in said)
        assert analyzer.notes[0].startswith("TensorRT: not yet run on hardware by us")
        assert any(note.startswith("toy-affect/brightness stays on onnxruntime") for note in analyzer.notes)
    finally:
        analyzer.close()
    with pytest.raises(EngineError, match="toy-affect/brightness: TensorRT cannot take over: "):
        Pipeline(model=str(tmp_path / "toy-affect"), engine="tensorrt", source=str(still(tmp_path)), say=said.append)
