"""What our TensorRT engine does around TensorRT: buffers, buckets, padding, pieces, graphs, order, errors. On a stand-in, which proves nothing of a GPU."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edge.engine.pace import timed_run
from edge.engine.trt.errors import PlanRefused
from edge.engine.trt.jit_cache import write_kernels
from edge.engine.trt.trt_engine import TrtEngine
from edge.errors import EngineError, InferenceFailed, PackageError, SpecMismatch
from tests.toy import make_affect, save_graph
from tests.unit.toy_gpu import ToyGpu
from tests.unit.toy_tensorrt import CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy, ToyTensorrt, toy_plan


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return make_affect(tmp_path / "toy-affect") / "brightness.onnx"


def open_toy(network: Path, toy: ToyTensorrt, *, profile: tuple[int, int, int] = (1, 4, 8)) -> TrtEngine:
    return TrtEngine(toy_plan(network.parent, network, profile=profile), library=toy.library, device=toy.gpu)


def batches_of(toy: ToyTensorrt) -> list[int]:
    assert toy.runtime is not None
    return toy.runtime.batches


def crops(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(n).random((n, 1, 8, 8), np.float32)


def check(engine: TrtEngine, n: int) -> None:
    feed = crops(n)
    mean = feed.mean(axis=(1, 2, 3)).reshape(n, 1)
    outputs = engine.run({"crop": feed})
    assert outputs["mean"] == pytest.approx(mean, abs=1e-6)
    assert outputs["pair"] == pytest.approx(np.hstack([mean, 1 - mean]), abs=1e-6)


@pytest.mark.parametrize(("n", "buckets"), [(1, [1]), (2, [2]), (3, [4]), (5, [8]), (8, [8]), (9, [8, 1]), (21, [8, 8, 8])])
def test_batches_run_in_the_smallest_bucket_that_holds_them_and_larger_ones_in_pieces(network: Path, n: int, buckets: list[int]) -> None:
    toy = ToyTensorrt(ToyGpu())
    engine = open_toy(network, toy)
    before = len(batches_of(toy))
    check(engine, n)
    assert batches_of(toy)[before:] == buckets
    engine.close()


@pytest.mark.parametrize(("profile", "opened"), [((1, 4, 8), [8, 4, 2, 1]), ((1, 1, 1), [1]), ((1, 2, 3), [3, 2, 1]), ((4, 4, 4), [4])])
def test_every_bucket_is_run_once_when_the_plan_is_opened_and_recorded_after_that(network: Path, profile: tuple[int, int, int], opened: list[int]) -> None:
    toy = ToyTensorrt(gpu := ToyGpu())
    engine = open_toy(network, toy, profile=profile)
    assert batches_of(toy) == opened
    assert len(gpu.graphs) == len(opened)
    assert engine.notes == []
    for n in (1, 2, 3, 7):
        check(engine, n)
    assert gpu.launches == len(batches_of(toy)) - len(opened)  # every later inference is one launch
    engine.close()


def test_rows_of_padding_are_zero_and_never_come_back(tmp_path: Path) -> None:
    # A network in which rows meet: the sum over the batch, added to each row.
    nodes = [helper.make_node("ReduceSum", ["x", "batch"], ["sum"], keepdims=1), helper.make_node("Add", ["x", "sum"], ["y"])]
    save_graph(tmp_path / "rows.onnx", nodes, {"x": ["N", 2]}, {"y": ["N", 2]}, {"batch": np.array([0])})
    engine = open_toy(tmp_path / "rows.onnx", ToyTensorrt(ToyGpu()))
    engine.run({"x": np.full((8, 2), 100, np.float32)})
    assert engine.run({"x": np.ones((3, 2), np.float32)})["y"].tolist() == [[4, 4]] * 3
    engine.close()


def test_a_device_that_shares_memory_copies_nothing(network: Path) -> None:
    toy = ToyTensorrt(gpu := ToyGpu(shares_memory=True))
    engine = open_toy(network, toy)
    check(engine, 3)
    assert gpu.copies == 0
    assert len(gpu.memory) == 3
    engine.close()
    copying = ToyTensorrt(gpu := ToyGpu())
    engine = open_toy(network, copying)
    check(engine, 3)
    assert gpu.copies == 5 * 3  # an input and two outputs for each of the four buckets, and for this batch
    engine.close()


def test_the_parts_of_an_inference_are_timed_apart(network: Path) -> None:
    toy = ToyTensorrt(gpu := ToyGpu())
    engine = open_toy(network, toy)
    launches = gpu.launches
    # one input, one enqueue, two outputs: the stand-in's clock counts a millisecond for each
    assert engine.parts_ms({"crop": crops(3)}) == {"h2d": 1, "compute": 1, "d2h": 2}
    assert batches_of(toy)[-1] == 4
    assert gpu.launches == launches
    check(engine, 3)
    with pytest.raises(SpecMismatch, match="expected at most the plan's batch of 8 to time, got 9"):
        engine.parts_ms({"crop": crops(9)})
    gpu.is_broken = True
    with pytest.raises(InferenceFailed, match="an illegal memory access"):
        engine.parts_ms({"crop": crops(1)})
    engine.close()
    with pytest.raises(InferenceFailed, match="the engine is closed"):
        engine.parts_ms({"crop": crops(1)})


def test_where_memory_is_shared_there_are_no_copies_to_time(network: Path) -> None:
    engine = open_toy(network, ToyTensorrt(ToyGpu(shares_memory=True)))
    assert engine.parts_ms({"crop": crops(2)}) == {"compute": 1}
    engine.close()


def test_without_graphs_it_runs_all_the_same_and_says_so(network: Path) -> None:
    toy = ToyTensorrt(gpu := ToyGpu(supports_graphs=False))
    engine = open_toy(network, toy)
    check(engine, 5)
    assert (gpu.graphs, gpu.launches) == ([], 0)
    assert engine.notes == ["without CUDA graphs: PyCUDA has none; with cuda-bindings there are"]
    engine.close()


def test_a_network_that_cannot_be_recorded_runs_all_the_same_and_says_so(network: Path) -> None:
    toy = ToyTensorrt(gpu := ToyGpu(), faults={"refuses_recording": True})
    engine = open_toy(network, toy)
    check(engine, 5)
    assert gpu.launches == 0
    assert len(engine.notes) == 1
    assert engine.notes[0].startswith("without CUDA graphs: recording a graph: CUDA failed")
    engine.close()


def test_rtx_records_by_itself_and_compiles_for_every_bucket_at_the_start(network: Path) -> None:
    toy = ToyTensorrt(gpu := ToyGpu(), rtx=True)
    engine = open_toy(network, toy)
    check(engine, 3)
    assert gpu.graphs == []
    assert toy.runtime is not None
    assert toy.runtime.config.cuda_graph_strategy is CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert toy.runtime.config.dynamic_shapes_kernel_specialization_strategy is DynamicShapesKernelSpecializationStrategy.EAGER
    engine.close()


def test_rtx_keeps_what_it_compiled_for_this_gpu_and_driver(network: Path) -> None:
    toy = ToyTensorrt(ToyGpu(), rtx=True)
    plan = toy_plan(network.parent, network).path
    (of_another_driver := plan.with_name(f"{plan.stem}-Toy_GPU_12.2.jit")).write_bytes(b"old")
    open_toy(network, toy).close()
    (kept,) = network.parent.glob("*.jit")
    assert kept.name.endswith("-Toy_GPU_12.6.jit")
    assert not of_another_driver.exists()
    assert kept.read_bytes()[32:] == b"compiled here"

    def second_start() -> bytes:
        open_toy(network, toy).close()
        assert toy.runtime is not None
        assert toy.runtime.cache is not None
        return toy.runtime.cache.content

    write_kernels(kept, b"compiled earlier")
    assert second_start() == b"compiled earlier"
    damaged = bytearray(kept.read_bytes())
    damaged[-1] ^= 1
    kept.write_bytes(damaged)
    assert second_start() == b"compiled here"
    assert kept.read_bytes()[32:] == b"compiled here"


def test_kernels_that_cannot_be_kept_are_a_note(network: Path, tmp_path: Path) -> None:
    plan = toy_plan(network.parent, network)
    plan = replace(plan, path=tmp_path / "no-folder" / plan.path.name)
    (tmp_path / "no-folder").write_text("a file is in the way")
    toy = ToyTensorrt(ToyGpu(), rtx=True)
    engine = TrtEngine(plan, library=toy.library, device=toy.gpu)
    assert engine.notes[0].startswith("kernels were compiled for this GPU and cannot be kept, so that each start compiles them: ")
    check(engine, 2)
    engine.close()


def test_notes_of_the_plan_are_told(network: Path) -> None:
    toy = ToyTensorrt(ToyGpu())
    plan = replace(toy_plan(network.parent, network), notes=("weakly typed",))
    engine = TrtEngine(plan, library=toy.library, device=toy.gpu)
    assert engine.notes == ["weakly typed"]
    engine.close()


def test_everything_is_freed_and_closing_twice_is_allowed(network: Path) -> None:
    for toy in (ToyTensorrt(ToyGpu()), ToyTensorrt(ToyGpu(shares_memory=True), rtx=True)):
        engine = open_toy(network, toy)
        assert toy.gpu.memory
        engine.close()
        engine.close()
        assert (toy.gpu.memory, toy.gpu.graphs, toy.gpu.streams) == ([], [], [])
        assert toy.runtime is not None
        config = ["ToyRuntimeConfig"] if toy.rtx else []
        assert toy.runtime.freed == ["ToyContext"] * 4 + config + ["ToyEngine", "ToyRuntime"]  # nothing before what uses it


def test_two_engines_share_the_one_log_and_each_hears_of_its_own(network: Path) -> None:
    toys = ToyTensorrt(ToyGpu(supports_graphs=False)), ToyTensorrt(ToyGpu(supports_graphs=False))
    first, second = (open_toy(network, toy) for toy in toys)
    runtimes = [toy.runtime for toy in toys if toy.runtime is not None]
    assert runtimes[0].logger is runtimes[1].logger
    for engine, runtime, reason in ((first, runtimes[0], "one"), (second, runtimes[1], "other")):
        runtime.fails_at_work = reason
        with pytest.raises(InferenceFailed, match=rf"execute_async_v3: .*\({reason}\)"):
            engine.run({"crop": crops(1)})
        engine.close()


def test_it_is_used_by_one_thread_and_closed_by_another(network: Path) -> None:
    engine = open_toy(network, toy := ToyTensorrt(ToyGpu()))
    failures: list[Exception] = []

    def use() -> None:
        try:
            while True:
                check(engine, 3)
        except InferenceFailed as error:
            failures.append(error)

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    engine.close()
    thread.join(10)
    assert "the engine is closed" in str(failures[0])
    assert toy.gpu.memory == []


@pytest.mark.parametrize("capacity", [0, 256, 2500])
def test_too_little_memory_is_told_and_nothing_is_kept(network: Path, capacity: int) -> None:
    toy = ToyTensorrt(ToyGpu(capacity=capacity))
    if capacity < 8 * 8 * 8 * 4:
        with pytest.raises(EngineError, match=r"the GPU is out of memory: 0 of 0 MB are free"):
            open_toy(network, toy)
    else:
        open_toy(network, toy).close()
    assert (toy.gpu.memory, toy.gpu.streams) == ([], [])


def test_a_context_that_finds_no_memory_is_told_and_nothing_is_kept(network: Path) -> None:
    toy = ToyTensorrt(ToyGpu(), faults={"contexts_left": 2})
    with pytest.raises(EngineError, match=r"TensorRT 10\.99\.0 ran out of memory.*making an execution context"):
        open_toy(network, toy)
    assert (toy.gpu.memory, toy.gpu.graphs, toy.gpu.streams) == ([], [], [])


def test_a_plan_of_another_version_is_refused(network: Path) -> None:
    toy = ToyTensorrt(ToyGpu())
    with pytest.raises(PlanRefused, match=r"TensorRT 10\.99\.0 does not take this plan, loading it: .*version tag does not match") as refused:
        TrtEngine(toy_plan(network.parent, network, version="10.3.0"), library=toy.library, device=toy.gpu)
    assert "edge-run builds it again" in refused.value.hint
    assert toy.gpu.streams == []


def test_a_plan_with_other_types_is_refused(network: Path) -> None:
    with pytest.raises(PackageError, match=r"expected float32 tensors, got DataType\.HALF for 'mean'"):
        open_toy(network, ToyTensorrt(ToyGpu(), faults={"half": ("mean",)}))


def test_outputs_must_have_a_row_for_each_input(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["x", "batch"], ["y"], keepdims=1)]
    save_graph(tmp_path / "sum.onnx", nodes, {"x": ["N", 2]}, {"y": [1, 2]}, {"batch": np.array([0])})
    with pytest.raises(EngineError, match=r"expected a row of 'y' for each input, got \[1, 2\] for a batch of 8"):
        open_toy(tmp_path / "sum.onnx", ToyTensorrt(ToyGpu()))


def test_outputs_whose_size_depends_on_the_content_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["found"]), helper.make_node("Cast", ["found"], ["y"], to=1)]
    save_graph(tmp_path / "found.onnx", nodes, {"x": ["N", 2]}, {"y": [2, "M"]}, {})
    toy = ToyTensorrt(ToyGpu())
    with pytest.raises(EngineError, match=r"the size of 'y' depends on what is in the inputs"):
        open_toy(tmp_path / "found.onnx", toy)


def test_sizes_that_are_free_beside_the_batch_are_refused(tmp_path: Path) -> None:
    save_graph(tmp_path / "wide.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", "W"]}, {"y": ["N", "W"]}, {})
    with pytest.raises(EngineError, match=r"expected sizes that are free in the batch only, got \(1, 1\) to \(8, 8\) for 'x'"):
        open_toy(tmp_path / "wide.onnx", ToyTensorrt(ToyGpu()))


def two_inputs(folder: Path, second: list[str | int]) -> Path:
    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Add", ["z", "z"], ["w"])]
    save_graph(folder / "two.onnx", nodes, {"x": ["N", 2], "z": second}, {"y": ["N", 2], "w": second}, {})
    return folder / "two.onnx"


def test_inputs_share_one_batch(tmp_path: Path) -> None:
    engine = open_toy(two_inputs(tmp_path, ["N", 3]), ToyTensorrt(ToyGpu()))
    feeds = {"x": np.ones((5, 2), np.float32), "z": np.full((5, 3), 2, np.float32)}
    outputs = engine.run(feeds)
    assert (outputs["y"].tolist(), outputs["w"].tolist()) == ([[2, 2]] * 5, [[4, 4, 4]] * 5)
    with pytest.raises(SpecMismatch, match=r"expected inputs of one batch, of 1 and more, got {'x': 5, 'z': 4}"):
        engine.run({**feeds, "z": feeds["z"][:4]})
    with pytest.raises(SpecMismatch, match=r"of 1 and more, got {'x': 0, 'z': 0}"):
        engine.run({name: array[:0] for name, array in feeds.items()})
    engine.close()
    with pytest.raises(EngineError, match=r"expected inputs of one range of batches, got \[\(1, 8\), \(2, 2\)\]"):
        open_toy(two_inputs(tmp_path, [2, 3]), ToyTensorrt(ToyGpu()))


def test_what_fails_while_it_runs_is_told(network: Path) -> None:
    engine = open_toy(network, toy := ToyTensorrt(ToyGpu()))
    toy.gpu.is_broken = True
    with pytest.raises(InferenceFailed, match=r"waiting for the GPU: CUDA failed: an illegal memory access was encountered \(error 700\)"):
        engine.run({"crop": crops(1)})
    engine.close()
    unrecorded = ToyTensorrt(ToyGpu(supports_graphs=False))
    engine = open_toy(network, unrecorded)
    assert unrecorded.runtime is not None
    for reason in ("a kernel failed", "another one failed"):
        unrecorded.runtime.fails_at_work = reason
        with pytest.raises(InferenceFailed, match=rf"TensorRT 10\.99\.0 failed, execute_async_v3: .*{reason}"):
            engine.run({"crop": crops(1)})
    engine.close()


def test_waiting_for_another_thread_s_inference_is_not_timed(network: Path) -> None:
    engine = open_toy(network, toy := ToyTensorrt(ToyGpu()))
    toy.gpu.reached.clear()
    toy.gpu.gate.clear()
    user = threading.Thread(target=check, args=(engine, 3), daemon=True)
    user.start()
    assert toy.gpu.reached.wait(10)
    asked = threading.Event()
    took_ms: list[float] = []

    def compare() -> None:
        start_ns = time.perf_counter_ns()
        asked.set()
        took_ms.append(timed_run(engine, {"crop": crops(1)})[1])
        took_ms.append((time.perf_counter_ns() - start_ns) / 1e6)

    comparison = threading.Thread(target=compare, daemon=True)
    comparison.start()
    assert asked.wait(10)
    time.sleep(0.2)
    toy.gpu.gate.set()
    comparison.join(10)
    user.join(10)
    inference_ms, with_waiting_ms = took_ms
    assert with_waiting_ms - inference_ms > 150
    engine.close()


def test_closing_waits_for_an_inference(network: Path) -> None:
    engine = open_toy(network, toy := ToyTensorrt(ToyGpu()))
    toy.gpu.reached.clear()
    toy.gpu.gate.clear()
    user = threading.Thread(target=check, args=(engine, 3), daemon=True)
    user.start()
    assert toy.gpu.reached.wait(10)
    closer = threading.Thread(target=engine.close, daemon=True)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    assert toy.gpu.memory
    toy.gpu.gate.set()
    closer.join(10)
    user.join(10)
    assert toy.gpu.memory == []
