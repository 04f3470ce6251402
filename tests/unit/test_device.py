"""The GPU behind TensorRT, where there is none: cuda-python is real and says so in each of its calls, and every failure that it can tell of is readable."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.engine.trt.build import Target, build_stage
from edge.engine.trt.device import cuda_error, find_device, version_text
from edge.engine.trt.errors import PlanRefused
from edge.engine.trt.library import find_library
from edge.engine.trt.plan_file import Plan, read_plan
from edge.engine.trt.trt_engine import TrtEngine
from edge.errors import EdgeError, EngineError, MissingDependency
from edge.package import load_package
from tests.toy import make_affect
from tests.unit.toy_gpu import ToyGpu

NO_DRIVER = "no NVIDIA driver is installed"


@pytest.fixture(scope="module")
def runtime() -> Any:
    """cuda-python's CUDA runtime, on a machine without a driver."""
    runtime = pytest.importorskip("cuda.bindings.runtime")
    _, version = runtime.cudaDriverGetVersion()
    if version:
        pytest.skip("there is an NVIDIA driver here")
    return runtime


@pytest.mark.parametrize(
    ("code", "driver", "kind", "text", "hint"),
    [
        (35, "", MissingDependency, NO_DRIVER, "JetPack"),
        (35, "13.2", MissingDependency, "the NVIDIA driver is too old: it supports CUDA 13.2, cuda-bindings 13.5 needs a newer one", "JetPack"),
        (35, "12.6", MissingDependency, r"cuda-bindings 13\.5 is made for a newer CUDA than the 12\.6 that the NVIDIA driver supports", "'cuda-bindings<13'"),
        (803, "12.2", MissingDependency, "the NVIDIA driver and its libraries are of different versions: words", "restart"),
        (100, "12.2", EngineError, "no NVIDIA GPU is there: words", "--gpus all"),
        (2, "12.2", EngineError, "the GPU is out of memory: 12 of 4096 MB are free", "nvidia-smi, or tegrastats"),
        (3, "12.2", EngineError, r"CUDA does not start: words \(error 3\)", "dmesg"),
        (719, "12.2", EngineError, r"CUDA failed: words \(error 719\)", "edge-doctor"),
        (-1, "12.2", EngineError, r"CUDA failed: words$", "edge-doctor"),
    ],
)
def test_codes_of_cuda_are_readable(code: int, driver: str, kind: type[EdgeError], text: str, hint: str) -> None:
    error = cuda_error(code, "words", doing="opening the GPU", driver_version=driver, library="cuda-bindings 13.5", memory_mb=(12, 4096))
    assert type(error) is kind
    assert re.search(f"^opening the GPU: {text}", error.args[0])
    assert hint in error.hint


def test_memory_that_is_not_known_is_left_out() -> None:
    assert cuda_error(2, "words", doing="opening").args[0] == "opening: the GPU is out of memory"


def test_versions_of_cuda() -> None:
    assert [version_text(number) for number in (12060, 13020, 11040, 0)] == ["12.6", "13.2", "11.4", ""]


def test_without_a_driver_it_says_so(runtime: Any) -> None:
    with pytest.raises(MissingDependency, match=f"opening the GPU: {NO_DRIVER}") as failed:
        find_device()
    assert "--engine onnxruntime" in failed.value.hint


def test_without_a_library_for_cuda_it_names_the_one_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda", None)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(MissingDependency, match=r"needs the Python module 'cuda\.bindings' \(or 'pycuda'\), and neither is installed") as failed:
        find_device()
    assert "facial-affect-edge[tensorrt]" in failed.value.hint
    assert "facial-affect-edge[jetpack6]" in failed.value.hint


@pytest.mark.parametrize("error", ["ImportError('libcudart.so.12: no such file')", "OSError()", "RuntimeError('Failed to dlopen')"])
def test_cuda_python_that_does_not_load_says_so(error: str, tmp_path: Path) -> None:
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    (tmp_path / "cuda" / "bindings" / "__init__.py").write_text(f"__version__ = '12.6'\nraise {error}")
    told = "from edge.engine.trt.device import find_device\nfrom edge.errors import MissingDependency\n"
    told += "try:\n    find_device()\nexcept MissingDependency as error:\n    print(error)"
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", told], env={"PYTHONPATH": f"{tmp_path}:{root}"}, capture_output=True, text=True)
    assert done.stdout.startswith("opening the GPU: the Python module 'cuda.bindings' does not load: "), done.stderr
    assert "pip install" in done.stdout


def test_pycuda_that_does_not_load_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", types.ModuleType("pycuda"))  # its driver is a library that is linked to libcuda.so.1
    with pytest.raises(MissingDependency, match="opening the GPU: PyCUDA cannot be loaded: "):
        __import__("edge.engine.trt.pycuda_device")


def calls(device: Any, home: Any, runtime: Any) -> dict[str, Callable[[], Any]]:
    """Everything that our device asks of CUDA, with arguments of the kinds that it gives."""
    stream = home._Stream(runtime.cudaStream_t(0))
    content = np.zeros(8, np.uint8)
    return {
        "asking for the GPU's memory": device.memory_mb,
        "using the GPU": device.current,
        "taking 1.0 MB of the GPU's memory": lambda: device.allocate(1 << 20),
        "taking 1.0 MB of pinned memory": lambda: device.allocate_host(1 << 20, mapped=True),
        "making a stream": device.new_stream,
        "freeing memory of the GPU": home._Memory(1).free,
        "freeing pinned memory": home._HostMemory(address=1, pointer=1, bytes=content).free,
        "copying to the GPU": lambda: stream.copy_in(1, content),
        "copying from the GPU": lambda: stream.copy_out(content, 1),
        "recording a graph": lambda: stream.capture(lambda: None),
        "starting a graph": home._Graph(runtime.cudaGraphExec_t(0), stream.stream).launch,
        "freeing a graph": home._Graph(runtime.cudaGraphExec_t(0), stream.stream).free,
        "waiting for the GPU": stream.synchronize,
        "freeing a stream": stream.free,
    }


def test_every_call_is_one_that_cuda_python_has_and_fails_readably(runtime: Any) -> None:
    # The arguments are converted before CUDA answers: a call that the library does not take would be a TypeError.
    from edge.engine.trt import cuda_bindings_device as home

    device = home.CudaBindingsDevice.__new__(home.CudaBindingsDevice)
    for doing, call in calls(device, home, runtime).items():
        with pytest.raises(MissingDependency) as failed:
            call()
        assert failed.value.args[0] == f"{doing}: {NO_DRIVER}"
    # What is read of its structures exists.
    properties = runtime.cudaDeviceProp()
    assert (properties.name, properties.major, properties.minor, properties.integrated) == (b"", 0, 0, 0)
    assert (runtime.cudaHostAllocDefault, runtime.cudaHostAllocMapped, runtime.cudaStreamNonBlocking) == (0, 2, 1)
    assert int(runtime.cudaGraphInstantiate(runtime.cudaGraph_t(0), 0)[0]) == 35
    assert int(runtime.cudaGraphDestroy(runtime.cudaGraph_t(0))[0]) == 35
    assert int(runtime.cudaHostGetDevicePointer(1, 0)[0]) == 35


def test_a_recording_that_fails_leaves_no_error_to_a_later_call(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.engine.trt import cuda_bindings_device as home

    asked: list[str] = []
    answers = {"cudaStreamBeginCapture": 0, "cudaStreamEndCapture": 900, "cudaGetLastError": 900}  # a driver's; there is none here

    def stand_in(name: str) -> Callable[..., tuple[int]]:
        def answer(*_: object) -> tuple[int]:
            asked.append(name)
            return (answers[name],)

        return answer

    for name in answers:
        monkeypatch.setattr(runtime, name, stand_in(name))

    def refuses() -> None:
        raise EngineError("operation not permitted when stream is capturing")

    with pytest.raises(EngineError, match="operation not permitted"):
        home._Stream(runtime.cudaStream_t(0)).capture(refuses)
    assert asked == [*answers]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of the toy network, built by TensorRT for RTX ahead of time."""
    package = load_package(make_affect(tmp_path_factory.mktemp("plan") / "toy-affect"))
    (stage,) = package.manifest.stages
    target = Target(find_library(["tensorrt_rtx"]), ("sm86",))
    path, key = build_stage(package, stage, "fp32", target, folder=package.path / "plans", workspace_mb=64, say=lambda _: None)
    return read_plan(path, key)


def test_a_real_plan_without_a_gpu_says_what_is_missing(runtime: Any, plan: Plan) -> None:
    gpu = ToyGpu()  # where our engine's own memory is; NVIDIA's library looks for its own
    with pytest.raises(EngineError, match=r"TensorRT-RTX 1\..* loading it .*cudaError 35") as failed:
        TrtEngine(plan, library=find_library(["tensorrt_rtx"]), device=gpu)
    assert "there is no NVIDIA driver here, or it is older than the CUDA that TensorRT-RTX" in failed.value.args[0]
    assert (gpu.memory, gpu.streams) == ([], [])


@pytest.mark.parametrize("spoil", [lambda content: content[: len(content) // 2], lambda _: bytes(4096)], ids=["cut short", "no plan at all"])
def test_what_is_no_plan_is_refused_by_the_library_too(plan: Plan, spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    # `read_plan` lets nothing of that kind through: this is the second line.
    with pytest.raises(PlanRefused, match=r"TensorRT-RTX 1\..* does not take this plan, loading it: .*Serialization"):
        TrtEngine(replace(plan, content=spoil(plan.content)), library=find_library(["tensorrt_rtx"]), device=ToyGpu())
