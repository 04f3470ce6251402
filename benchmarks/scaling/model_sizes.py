"""Cost against the size of the network, on the CPU: multiply-accumulates and bytes against latency."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.budgets import Budget
from benchmarks.limits.turns import in_turns
from benchmarks.limits.untrained import noise
from benchmarks.scaling.finding import ModelPoint, ModelScaling, Ran, sampled
from benchmarks.scaling.networks import BLOCKS, PACKAGES, QUICK_BLOCKS, SYSTEMS, Collected, Network
from benchmarks.timed_process import progress
from edge.engine import close_engines
from edge.engine.ort import OrtEngine

BATCHES = (1, 8)


def measure_model_sizes(rounds: int, budgets: Mapping[str, Budget], built: list[str], *, quick: bool) -> ModelScaling:
    """Time the networks of the installed packages, the candidates of our own and ResNets and Inceptions of the documents.

    Args:
        rounds: Samples of each.
        budgets: Of which those of `validity` are used.
        built: Gets a line for each package that had to be made.
        quick: The installed packages and one ResNet.

    Raises:
        ConversionError: A candidate cannot be converted.
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    found = Collected()
    for name in PACKAGES:
        found.add_installed(name)
    with tempfile.TemporaryDirectory(prefix="edge-candidates-") as folder:
        for blocks in QUICK_BLOCKS if quick else BLOCKS:
            found.add_resnet(blocks, built)
        if not quick:
            for name in SYSTEMS:
                found.add_system(name, built)
            progress("model size: making the candidates' networks")
            found.add_candidates((), Path(folder))
        return time_networks(found, sorted({1, len(os.sched_getaffinity(0))}), rounds, budgets)


def time_networks(found: Collected, thread_counts: Sequence[int], rounds: int, budgets: Mapping[str, Budget]) -> ModelScaling:
    """Time networks, all of them in turns for each number of threads.

    Args:
        found: The networks, and what cannot be measured.
        thread_counts: Threads of one run.
        rounds: Samples of each.
        budgets: Of which those of `validity` are used.

    Raises:
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    runs, points = [], []
    for threads in thread_counts:
        progress(f"model size: {len(found.networks)} networks, {threads} thread{'s' * (threads > 1)}")
        cases = {f"{place} {batch}": (network, batch) for place, network in enumerate(found.networks) for batch in (BATCHES if network.batches else (1,))}
        calls: dict[str, Callable[[], object]] = {}
        with ExitStack() as stack:
            engines: dict[Path, OrtEngine] = {}
            for key, (network, batch) in cases.items():
                if network.path not in engines:
                    engines[network.path] = OrtEngine(network.path, cuda=False, threads=threads)
                    stack.callback(close_engines, [engines[network.path]])
                engine = engines[network.path]
                calls[key] = partial(engine.run, noise(engine.input_shapes, batch))
            turns = in_turns(calls, rounds, "cpu", budgets)
            runs.append(Ran(engine.description, None, turns.machine, turns.invalid))
        points += [_point(network, batch, threads, turns.samples_ms[key], turns.first_ms[key]) for key, (network, batch) in cases.items()]
    return ModelScaling(runs, points, found.not_run)


def _point(network: Network, batch: int, threads: int, samples_ms: list[float], first_ms: float) -> ModelPoint:
    run = sampled(samples_ms)
    return ModelPoint(
        name=network.name,
        trained=network.trained,
        precision=network.precision,
        macs=network.size.macs,
        parameters=network.size.parameters,
        weight_bytes=network.size.parameters * (1 if network.precision == "int8" else 4),
        batch=batch,
        threads=threads,
        run=run,
        first_ms=first_ms,
        gmacs_per_s=network.size.macs * batch / run.ms.estimate / 1e6,
    )
