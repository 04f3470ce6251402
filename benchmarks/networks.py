"""Each converted network against LiteRT running the file that it was converted from, both on one thread."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.budgets import Budget, judge
from benchmarks.estimates import SEED, Interval, median_interval
from benchmarks.latency import Part, too_loud
from benchmarks.timed_process import OthersCpu, RunFailed
from edge.engine.ort import OrtEngine
from edge.errors import MissingDependency, PackageNotFound, require
from edge.package import Package, file_sha256, load_package

PACKAGES = ("blazeface", "mesh-chain")  # those whose originals are in LiteRT's form
BLOCKS = 25  # pairs of blocks, the two runtimes in turns: a disturbance hits both
CALLS = 10  # calls of a block; its median counts
WARM_UP_CALLS = 10
MIN_AGREEMENT = 0.95  # correlation of the two outputs: less, and these are not the same network. fer's LiteRT kernel rounds activations to 8 bits

Array = NDArray[np.float32]


def measure_networks(budgets: Mapping[str, Budget]) -> Part:
    """Time every network that comes from LiteRT, and LiteRT, whole calls with their copies of inputs and outputs.

    The originals are looked for, by the hash in the package, in the cache of `python -m converters pull`; without them, or without LiteRT, there is no number.

    Raises:
        PackageNotFound: The packages are not installed.
        RunFailed: A network and its original do not agree: the comparison would mean nothing.
    """
    name, budget = "latency.networks", budgets["latency.networks"]
    try:
        require("ai_edge_litert", install="pip install ai-edge-litert   (or: make setup)", why="comparing networks with their originals")
        pairs = [pair for package in PACKAGES for pair in _pairs(load_package(package))]
    except MissingDependency as error:
        return Part("networks", {}, [judge(name, budget, None, not_run=" ".join(str(error).split()))], [])
    others = OthersCpu()
    numbers: dict[str, Any] = {}
    lines = [f"{'network':24}{'ours':>9}{'LiteRT':>9}  ms, one thread{'ratio':>9}"]
    slowest: Interval | None = None
    for label, model, original in pairs:
        ours_ms, theirs_ms = _block_medians(label, model, original)
        ratio = median_interval([ours / theirs for ours, theirs in zip(ours_ms, theirs_ms, strict=True)])
        numbers[label] = {"ours_ms": ours_ms, "litert_ms": theirs_ms, "ratio": ratio}
        medians = f"{statistics.median(ours_ms):9.3f}{statistics.median(theirs_ms):9.3f}"
        lines.append(f"{label:24}{medians}{ratio.estimate:24.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
        slowest = ratio if slowest is None or ratio.estimate > slowest.estimate else slowest
    verdict = judge(name, budget, slowest, invalid=too_loud(others.share(), budgets))
    return Part("networks", numbers, [verdict], lines)


def _pairs(package: Package) -> list[tuple[str, Path, Path]]:
    """Return label, our network and its original for each stage. The manifest lists origins in the order of the stages."""
    manifest = package.manifest
    if len(manifest.origins) != len(manifest.stages):
        raise PackageNotFound(f"{package.path}: expected one origin for each of {len(manifest.stages)} stages, got {len(manifest.origins)}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge" / "registry"
    by_hash = {file_sha256(path): path for path in cache.rglob("*.tflite")}
    pairs = []
    for stage, origin in zip(manifest.stages, manifest.origins, strict=True):
        if origin.sha256 not in by_hash:
            raise MissingDependency(f"{origin.file} of {origin.package} is not in {cache}", hint=f"python -m converters pull {package.name} --force")
        pairs.append((f"{package.name}/{stage.name}", package.model_path(stage), by_hash[origin.sha256]))
    return pairs


def _block_medians(label: str, model: Path, original: Path) -> tuple[list[float], list[float]]:
    engine = OrtEngine(model, cuda=False, threads=1)
    try:
        (name, shape) = next(iter(engine.input_shapes.items()))
        feed = np.random.default_rng(SEED).random([size or 1 for size in shape], dtype=np.float32)
        theirs = _litert(original, feed)

        def ours() -> list[Array]:
            return list(engine.run({name: feed}).values())

        check_same(label, ours(), theirs())
        for _ in range(WARM_UP_CALLS):
            ours()
            theirs()
        blocks = [(_block_ms(ours), _block_ms(theirs)) for _ in range(BLOCKS)]
    finally:
        engine.close()
    return [ours_ms for ours_ms, _ in blocks], [theirs_ms for _, theirs_ms in blocks]


def _litert(original: Path, feed: Array) -> Callable[[], list[Array]]:
    from ai_edge_litert import interpreter as litert

    interpreter: Any = litert.Interpreter(model_path=str(original), num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    # TFLite keeps channels last, ours come first.
    laid_out = np.ascontiguousarray(feed.transpose(0, 2, 3, 1)) if feed.ndim == 4 else feed
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def call() -> list[Array]:
        interpreter.set_tensor(source["index"], laid_out)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return call


def check_same(label: str, ours: list[Array], theirs: list[Array]) -> None:
    """Check that two networks gave the same numbers, in whatever order and shape their outputs come.

    Args:
        label: What to call them in the error.
        ours: float32 arrays of any shape.
        theirs: Those of the original; it may have outputs that a package leaves out.

    Raises:
        RunFailed: A size is not the original's, or the numbers have nothing to do with each other.
    """
    closest = []
    for array in ours:
        same_size = [other.ravel() for other in theirs if other.size == array.size]
        if not same_size:
            raise RunFailed(f"{label}: expected outputs of the original's sizes {[other.size for other in theirs]}, got one of {array.size}")
        closest.append(min(same_size, key=lambda other: float(np.abs(other - array.ravel()).sum())))
    agreement = float(np.corrcoef(np.concatenate([array.ravel() for array in ours]), np.concatenate(closest))[0, 1])
    if not agreement >= MIN_AGREEMENT:
        again = "python -m converters pull default --force"
        raise RunFailed(f"{label}: expected the outputs of the original, got others (correlation {agreement:.3f})", hint=again)


def _block_ms(call: Callable[[], object]) -> float:
    times_ns = []
    for _ in range(CALLS):
        started_ns = time.perf_counter_ns()
        call()
        times_ns.append(time.perf_counter_ns() - started_ns)
    return statistics.median(times_ns) / 1e6
