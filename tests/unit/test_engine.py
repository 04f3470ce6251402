"""The contract of every engine, on a network whose answer is known; and what happens when a GPU cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.engine import choose, ort
from edge.engine.engine import Engine
from edge.engine.ort import OrtEngine, default_threads
from edge.errors import EngineError, InferenceFailed, SpecMismatch
from edge.package import load_package
from tests.toy import make_affect, spot_frame


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return OrtEngine(make_affect(tmp_path / "toy-affect") / "brightness.onnx", cuda=False, threads=1)


def ramp(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.linspace(0, 1, n * 64, dtype=np.float32).reshape(n, 1, 8, 8)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_any_batch_and_the_right_numbers(engine: Engine, n: int) -> None:
    outputs = engine.run({"crop": ramp(n)})
    assert outputs["mean"] == pytest.approx(ramp(n).mean(axis=(1, 2, 3)).reshape(n, 1), abs=1e-6)
    assert set(outputs) == {"mean", "pair"}


def test_inputs_are_not_modified_and_outputs_are_owned(engine: Engine) -> None:
    feed = ramp(2)
    first = engine.run({"crop": feed})["mean"]
    kept = first.copy()
    engine.run({"crop": 1 - feed})
    assert (feed == ramp(2)).all()
    assert (first == kept).all()


def test_shapes_are_told(engine: Engine) -> None:
    assert engine.input_shapes == {"crop": (None, 1, 8, 8)}
    assert engine.description.startswith("onnxruntime ")


def test_wrong_feeds_are_named(engine: Engine) -> None:
    with pytest.raises(SpecMismatch, match=r"expected inputs \['crop'\], got \['picture'\]"):
        engine.run({"picture": ramp(1)})
    with pytest.raises(SpecMismatch, match=r"expected float32\[N, 1, 8, 8\] for 'crop', got float32\[1, 1, 8, 9\]"):
        engine.run({"crop": np.zeros((1, 1, 8, 9), np.float32)})
    with pytest.raises(SpecMismatch, match="got float64"):
        engine.run({"crop": ramp(1).astype(np.float64)})


def test_a_closed_engine_says_so(engine: Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(InferenceFailed, match="the engine is closed"):
        engine.run({"crop": ramp(1)})


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
    assert "the only engine of this version" in choose("auto", "auto", package).why
    assert "as asked" in choose("onnxruntime", "fp32", package).why
