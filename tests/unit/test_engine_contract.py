"""What every engine keeps, on a network whose answer is known: ONNX Runtime, TensorRT on a stand-in, the switch between them, and TensorRT on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.engine.engine import Engine
from edge.engine.ort import OrtEngine
from edge.engine.trt.build import build_stage
from edge.engine.trt.child import WORKSPACE_MB, Progress
from edge.engine.trt.device import Device, find_device
from edge.engine.trt.library import Library, find_library
from edge.engine.trt.plan_file import read_plan
from edge.engine.trt.switching import Candidate, SwitchingEngine, candidates, target_here
from edge.engine.trt.trt_engine import TrtEngine
from edge.errors import EdgeError, InferenceFailed, SpecMismatch
from edge.package import load_package
from tests.toy import make_affect
from tests.unit.toy_gpu import ToyGpu
from tests.unit.toy_switching import DONE, ScriptedBuild, close_all, kept
from tests.unit.toy_tensorrt import ToyTensorrt, toy_plan


def on_onnx_runtime(network: Path) -> Engine:
    return OrtEngine(network, cuda=False, threads=1)


def on_stand_in(network: Path, gpu: ToyGpu | None = None, *, rtx: bool = False) -> TrtEngine:
    toy = ToyTensorrt(gpu or ToyGpu(), rtx=rtx)
    return TrtEngine(toy_plan(network.parent, network), library=toy.library, device=toy.gpu)


def before_the_switch(network: Path) -> Engine:
    candidate = Candidate("fp16", lambda: ScriptedBuild([Progress(())]), lambda _: on_stand_in(network))
    return kept(SwitchingEngine("mean", on_onnx_runtime(network), "fp32", [candidate], required=False, say=lambda _: None))


def after_the_switch(network: Path) -> Engine:
    candidate = Candidate("fp16", lambda: ScriptedBuild([DONE]), lambda _: on_stand_in(network))
    engine = SwitchingEngine("mean", on_onnx_runtime(network), "fp32", [candidate], required=True, say=lambda _: None)
    return used_until_settled(kept(engine))


def used_until_settled(engine: SwitchingEngine) -> SwitchingEngine:
    deadline = time.monotonic() + 100
    while not engine.settled:
        assert time.monotonic() < deadline, engine.description
        engine.run({"crop": ramp(2)})
        time.sleep(0.001)
    assert engine.on_tensorrt
    return engine


def hardware() -> tuple[Library, Device]:
    """What the tests marked `gpu` run on; they are skipped, with the reason, where there is none."""
    try:
        return find_library(), find_device()
    except EdgeError as error:
        pytest.skip(f"needs an NVIDIA GPU and TensorRT: {error.args[0]}")


def on_hardware(network: Path) -> TrtEngine:
    library, device = hardware()
    package = load_package(network.parent)
    (stage,) = package.manifest.stages
    target = target_here(library, device)
    path, key = build_stage(package, stage, "fp32", target, folder=network.parent / "plans", workspace_mb=WORKSPACE_MB, say=print)
    return TrtEngine(read_plan(path, key), library=library, device=device)


ENGINES = [
    pytest.param(on_onnx_runtime, id="onnxruntime"),
    pytest.param(on_stand_in, id="tensorrt-stand-in"),
    pytest.param(lambda network: on_stand_in(network, ToyGpu(shares_memory=True)), id="tensorrt-stand-in-jetson"),
    pytest.param(lambda network: on_stand_in(network, ToyGpu(supports_graphs=False)), id="tensorrt-stand-in-pycuda"),
    pytest.param(lambda network: on_stand_in(network, rtx=True), id="tensorrt-stand-in-rtx"),
    pytest.param(before_the_switch, id="before-the-switch"),
    pytest.param(after_the_switch, id="after-the-switch"),
    pytest.param(on_hardware, id="tensorrt", marks=pytest.mark.gpu),
]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return make_affect(tmp_path / "toy-affect") / "brightness.onnx"


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, network: Path) -> Iterator[Engine]:
    open_engine: Callable[[Path], Engine] = request.param
    opened = open_engine(network)
    yield opened
    opened.close()


def ramp(n: int) -> NDArray[np.float32]:
    return np.linspace(0, 1, n * 64, dtype=np.float32).reshape(n, 1, 8, 8)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9, 20])
def test_any_batch_and_the_right_numbers(engine: Engine, n: int) -> None:
    outputs = engine.run({"crop": ramp(n)})
    mean = ramp(n).mean(axis=(1, 2, 3)).reshape(n, 1)
    assert outputs["mean"] == pytest.approx(mean, abs=1e-6)
    assert outputs["pair"] == pytest.approx(np.hstack([mean, 1 - mean]), abs=1e-6)
    assert set(outputs) == {"mean", "pair"}
    assert {output.dtype for output in outputs.values()} == {np.dtype(np.float32)}


def test_a_batch_leaves_nothing_behind(engine: Engine) -> None:
    engine.run({"crop": ramp(8) + 100})
    assert engine.run({"crop": ramp(3)})["mean"] == pytest.approx(ramp(3).mean(axis=(1, 2, 3)).reshape(3, 1), abs=1e-6)


def test_inputs_are_not_modified_and_outputs_are_owned(engine: Engine) -> None:
    feed = ramp(2)
    first = engine.run({"crop": feed})["mean"]
    kept = first.copy()
    engine.run({"crop": 1 - feed})
    assert (feed == ramp(2)).all()
    assert (first == kept).all()
    first[...] = 7
    assert (engine.run({"crop": feed})["mean"] == kept).all()


def test_inputs_need_not_lie_in_memory_as_they_read(engine: Engine) -> None:
    feed = ramp(6)[::-2].transpose(0, 1, 3, 2)
    assert engine.run({"crop": feed})["mean"] == pytest.approx(feed.mean(axis=(1, 2, 3)).reshape(3, 1), abs=1e-6)


def test_shapes_are_told(engine: Engine) -> None:
    assert engine.input_shapes == {"crop": (None, 1, 8, 8)}
    assert {name: shape[1:] for name, shape in engine.output_shapes.items()} == {"mean": (1,), "pair": (2,)}
    assert engine.description.split()[0] in ("onnxruntime", "TensorRT", "TensorRT-RTX")


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


@pytest.mark.gpu
def test_every_bucket_is_recorded_on_hardware(network: Path) -> None:
    engine = on_hardware(network)
    assert engine.notes == []
    engine.close()


@pytest.mark.gpu
def test_parts_are_timed_on_hardware(network: Path) -> None:
    engine = on_hardware(network)
    parts = engine.parts_ms({"crop": ramp(8)})
    assert parts["compute"] > 0
    assert all(0 <= ms < 1000 for ms in parts.values())
    engine.close()


@pytest.mark.gpu
def test_plans_are_built_and_taken_over_on_hardware(network: Path) -> None:
    library, device = hardware()
    package = load_package(network.parent)
    (stage,) = package.manifest.stages
    target = target_here(library, device)
    to_try = candidates(package, stage, ["fp32"], target=target, device=device, folder=network.parent / "plans", workspace_mb=WORKSPACE_MB)
    engine = used_until_settled(kept(SwitchingEngine("mean", on_onnx_runtime(network), "fp32", to_try, required=True, say=print)))
    assert engine.description.startswith(library.title)
    engine.close()


@pytest.mark.gpu
def test_opening_and_closing_gives_the_memory_back_on_hardware(network: Path) -> None:
    _, device = hardware()
    on_hardware(network).close()
    with device.current():
        before_mb, _ = device.memory_mb()
    for _ in range(20):
        on_hardware(network).close()
    with device.current():
        after_mb, _ = device.memory_mb()
    assert after_mb > before_mb - 16  # of what twenty engines would keep; other programs may take some
