"""Each converted network against LiteRT running the file that it was converted from, both on one thread, one picture at a time, in turns."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.budgets import Budget, judge
from benchmarks.estimates import SEED, Interval, median_interval
from benchmarks.latency import Part
from benchmarks.loops.turns import Turns, take_turns, timed_ms
from benchmarks.timed_process import RunFailed
from edge.engine.ort import OrtEngine
from edge.errors import MissingDependency, PackageNotFound, require
from edge.package import Package, file_sha256, load_package

PACKAGES = ("blazeface", "mesh-chain")  # those whose originals are in LiteRT's form
CALLS = 250  # of each runtime
TURNS = 25  # of ten calls: the caches are a runtime's own for nine of them, and a disturbance meets both
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
    numbers: dict[str, Any] = {}
    lines = [f"{'network':24}{'ours':>9}{'LiteRT':>9}  ms, one thread{'ratio':>9}"]
    ratios, invalid = [], []
    for label, model, original in pairs:
        turns = _timed(label, model, original, budgets)
        ours_ms, theirs_ms = turns.samples_ms["ours"], turns.samples_ms["litert"]
        ratio = paired_ratio(ours_ms, theirs_ms, TURNS)
        numbers[label] = {"samples_ms": turns.samples_ms, "first_ms": turns.first_ms, "ratio": ratio, "machine": turns.machine}
        medians = f"{statistics.median(ours_ms):9.3f}{statistics.median(theirs_ms):9.3f}"
        lines.append(f"{label:24}{medians}{ratio.estimate:24.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
        ratios.append(ratio)
        invalid += [f"{label}: {turns.invalid}"] if turns.invalid else []
    slowest = max(ratios, key=lambda ratio: ratio.estimate)
    return Part("networks", numbers, [judge(name, budget, slowest, invalid="; ".join(invalid))], lines)


def paired_ratio(ours_ms: Sequence[float], theirs_ms: Sequence[float], turns: int) -> Interval:
    """Return how many times as long ours took: the median over the turns of the ratio of a turn's medians, with its interval.

    The turn is what is drawn again, not the call: calls of a turn share what the machine did meanwhile.

    Args:
        ours_ms: As many samples in each turn as in each other, in order.
        theirs_ms: As many.
        turns: At least 2.

    Raises:
        ValueError: The samples are not as many, or do not share out over the turns.
    """
    calls, left_over = divmod(len(ours_ms), turns)
    if left_over or len(theirs_ms) != len(ours_ms):
        raise ValueError(f"expected as many samples of both, a multiple of {turns}, got {len(ours_ms)} and {len(theirs_ms)}")
    starts = range(0, len(ours_ms), calls)
    return median_interval([statistics.median(ours_ms[at : at + calls]) / statistics.median(theirs_ms[at : at + calls]) for at in starts])


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


def _timed(label: str, model: Path, original: Path, budgets: Mapping[str, Budget]) -> Turns:
    engine = OrtEngine(model, cuda=False, threads=1)
    try:
        (name, shape) = next(iter(engine.input_shapes.items()))
        feed = np.random.default_rng(SEED).random([size or 1 for size in shape], dtype=np.float32)
        theirs = _litert(original, feed)

        def ours() -> list[Array]:
            return list(engine.run({name: feed}).values())

        check_same(label, ours(), theirs())
        asks = {"ours": lambda: timed_ms(ours), "litert": lambda: timed_ms(theirs)}
        return take_turns(asks, dict.fromkeys(asks, CALLS), TURNS, budgets, warm_ups=WARM_UP_CALLS, gpu_is_warm=False)
    finally:
        engine.close()


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
