"""`python -m benchmarks latency --closed`: networks, and the whole path from a decoded frame to its result, one query after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.budgets import Budget
from benchmarks.clips import Clip
from benchmarks.estimates import SEED
from benchmarks.latency import Part
from benchmarks.loops.faces import Camera, centre_of_face, decoded, of_eight
from benchmarks.loops.open import MIN_FACE_SHARE
from benchmarks.loops.scenario import QUERIES, Answers, Asked, Case, ask_in_turns, judge_tail
from benchmarks.loops.turns import timed_ms
from benchmarks.timed_process import progress
from edge.analyzer import Analyzer
from edge.config import Config
from edge.engine import Choice, PrecisionChoice, choose, close_engines, open_engines, serving, wait_until_opened
from edge.engine.engine import Engine
from edge.engine.ort import OrtEngine, default_threads
from edge.engine.pace import Parted, timed_run
from edge.engine.trt.plan_file import PROFILE
from edge.errors import ConfigError
from edge.package import Package, Precision, load_package

SINGLE, EIGHT = 1, 8
BATCHES = (1, 2, 4, 8, 16, 32)
SWEEP_SHARE = 8  # a curve needs a median: one query where the two scenarios have eight
PATH_FRAMES = 60
SETTLE_S = 60.0  # for a TensorRT plan to be compared with what serves, and to take over

_NO_GPU = "H2D, compute and D2H apart: not run: no GPU engine ran here"
_TOGETHER = "H2D, compute and D2H apart: not run: what served on the GPU does not tell them apart, and the times above are of all three together"


@dataclass(frozen=True)
class ClosedOrder:
    """What to measure.

    Attributes:
        model: The package.
        precision: Of the whole path. Networks are measured in each that the package offers.
        queries: Of each of the two scenarios.
        threads: Of one query on the CPU, each that is to be tried; empty: 1, 2, 4, ... and as many as this process may use.
        batches: Faces a query that are to be tried; the two scenarios' always are.
        allow_untrained: Measure a package that was never trained.
    """

    model: str = "default"
    precision: PrecisionChoice = "auto"
    queries: int = QUERIES
    threads: tuple[int, ...] = ()
    batches: tuple[int, ...] = BATCHES
    allow_untrained: bool = False


def measure_closed(clip: Clip, order: ClosedOrder, budgets: Mapping[str, Budget]) -> Part:
    """Measure single stream and eight per query, of each network and of the whole path, and each network over batch and threads.

    Args:
        clip: With one face in its first frames.
        order: What to measure.
        budgets: Of which `loops.single_stream` and those of `validity` are used.

    Raises:
        ConfigError: A number of queries, threads or faces that cannot be, or a precision that cannot be had.
        PackageError: The package cannot be used.
        EngineError: A network cannot be loaded.
        RunFailed: The clip cannot be read, or has no face.
    """
    if order.queries < 2 or any(number < 1 for number in (*order.threads, *order.batches)):
        raise ConfigError(f"expected at least 2 queries, 1 thread and 1 face, got {order.queries}, {order.threads} and {order.batches}")
    package = load_package(order.model, allow_untrained=order.allow_untrained)
    progress(f"the whole path, {order.queries} times with one face and with eight")
    path, face_shares = _measure_path(clip, order, budgets)
    progress(f"networks of {package.name}: each precision, {order.queries} times, then over batch and threads")
    networks, not_run = _measure_networks(package, order, budgets)
    few = [f"all {faces} faces in only {share:.0%} of the frames" for faces, share in face_shares.items() if share < MIN_FACE_SHARE]
    problems = [*few, *(f"{of}: {asked.invalid}" for of, asked in (("path", path), ("networks", networks)) if asked.invalid)]
    name = "loops.single_stream"
    verdict = judge_tail(name, budgets[name], path.answers[0].p90, order.queries, invalid="; ".join(problems))
    numbers = {"path": path, "frames_with_all_faces": face_shares, "networks": networks, "not_run": not_run}
    return Part(
        "closed", numbers, [verdict], [*_lines(path.answers, order.queries), *_lines(networks.answers, order.queries), *_curves(networks.answers), *not_run]
    )


def _measure_path(clip: Clip, order: ClosedOrder, budgets: Mapping[str, Budget]) -> tuple[Asked, dict[int, float]]:
    config = Config(model=order.model, precision=order.precision, allow_untrained=order.allow_untrained, max_faces=EIGHT)
    pictures = decoded(clip, PATH_FRAMES)
    with ExitStack() as opened:

        def analyzer() -> Analyzer:
            made = Analyzer(config)
            opened.callback(made.close)
            made.wait_until_opened()
            return made

        shown = {SINGLE: pictures, EIGHT: of_eight(pictures, centre_of_face(analyzer(), pictures))}
        analyzers = {faces: analyzer() for faces in shown}
        cameras = {faces: Camera(analyzers[faces], shown[faces], clip.fps, faces) for faces in shown}
        cases = [_path_case(analyzers[faces], cameras[faces], faces, order) for faces in shown]
        asked = ask_in_turns(cases, budgets, gpu_is_warm=_on_gpu(analyzers[SINGLE].choice))
    return asked, {faces: camera.n_complete / camera.n_shown for faces, camera in cameras.items()}


def _path_case(analyzer: Analyzer, camera: Camera, faces: int, order: ClosedOrder) -> Case:
    _settle(analyzer.choice.engine, lambda: analyzer.serving[0], camera)
    engine, precision = analyzer.serving
    return Case(f"path of {order.model} on {engine}", precision, faces, None, order.queries, partial(timed_ms, camera))


def _on_gpu(choice: Choice) -> bool:
    return choice.cuda or choice.engine == "tensorrt"


@dataclass
class Networks:
    """The networks that are measured, each in each precision, and what cannot be.

    Attributes:
        order: What to measure.
        cases: To be asked, see `ask_in_turns`.
        not_run: What cannot be measured, and why.
        on_gpu: A GPU serves one of them.
        are_parted: One of them tells its copies and its network apart.
    """

    order: ClosedOrder
    cases: list[Case] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    on_gpu: bool = False
    are_parted: bool = False

    def add(self, package: Package, precision: Precision, opened: ExitStack) -> None:
        """Add a package's networks in one precision, loaded until `opened` is closed; on a CPU once for each number of threads.

        Raises:
            PackageError: The package cannot be used.
            EngineError: A network cannot be loaded.
        """
        try:
            choice = choose("auto", precision, package)
        except ConfigError as error:
            self.not_run.append(f"{package.name} {precision}: not run: {error.args[0]}")
            return
        if _on_gpu(choice):
            self.on_gpu = True
            engines = open_engines(package, choice)
            opened.callback(close_engines, engines)
            wait_until_opened(engines, choice)
            asks = [_asks(engine, SINGLE) for engine in engines]
            _settle(choice.engine, lambda: serving(engines, choice)[0], lambda: [ask() for ask in asks])
            self.add_engines(package, precision, engines, None)
            return
        for threads in sorted({*(self.order.threads or _thread_counts()), default_threads()}):
            engines = [OrtEngine(package.model_path(stage, precision), cuda=False, threads=threads) for stage in package.manifest.stages]
            opened.callback(close_engines, engines)
            self.add_engines(package, precision, engines, threads)

    def add_engines(self, package: Package, precision: Precision, engines: Sequence[Engine], threads: int | None) -> None:
        """Add what a package's networks run on: one for each of its stages, in their order.

        Raises:
            InferenceFailed: A GPU failed.
        """
        for stage, engine in zip(package.manifest.stages, engines, strict=True):
            # A detector's batch is views of one frame, not faces.
            for batch in sorted({*self.order.batches, SINGLE, EIGHT}) if package.manifest.task == "face-affect" else [SINGLE]:
                is_scenario = batch in (SINGLE, EIGHT) and threads in (None, default_threads())
                queries = self.order.queries if is_scenario else max(2, self.order.queries // SWEEP_SHARE)
                what = f"{package.name}/{stage.name}" + ("" if threads is not None else f" on {engine.description}")
                self.cases.append(Case(what, precision, batch, threads, queries, _asks(engine, batch)))
                if isinstance(engine, Parted) and batch <= max(PROFILE):  # larger ones run in pieces
                    self._add_parts(what, precision, batch, queries, engine)

    def _add_parts(self, what: str, precision: str, batch: int, queries: int, engine: Parted) -> None:
        """Copies and network by the GPU's own clock, each a case of its own: their sum is not the time of an inference, whose parts run as one graph."""
        feed = _feed(engine, batch)
        for part in engine.parts_ms(feed):
            self.are_parted = True
            self.cases.append(Case(f"{what}, {part} alone", precision, batch, None, queries, lambda part=part: engine.parts_ms(feed)[part]))  # type: ignore[misc]


def _measure_networks(package: Package, order: ClosedOrder, budgets: Mapping[str, Budget]) -> tuple[Asked, list[str]]:
    packages = [package, *([load_package(package.detector_path(), allow_untrained=order.allow_untrained)] if package.manifest.detector else [])]
    networks = Networks(order)
    with ExitStack() as opened:
        for each in packages:
            for precision in each.offers:
                networks.add(each, precision, opened)
        asked = ask_in_turns(networks.cases, budgets, gpu_is_warm=networks.on_gpu)
    unknown = [] if networks.are_parted else [_TOGETHER if networks.on_gpu else _NO_GPU]
    return asked, [*networks.not_run, *unknown]


def _settle(wanted: str, served_by: Callable[[], str], ask: Callable[[], object]) -> None:
    """Ask until TensorRT's plans have taken over, where they are to; who serves in the end is in the report."""
    deadline_s = time.monotonic() + SETTLE_S
    while wanted == "tensorrt" and served_by() != "tensorrt" and time.monotonic() < deadline_s:
        ask()


def _asks(engine: Engine, batch: int) -> Callable[[], float]:
    feed = _feed(engine, batch)
    return lambda: timed_run(engine, feed)[1]


def _feed(engine: Engine, batch: int) -> dict[str, Any]:
    random = np.random.default_rng(SEED)
    return {name: random.random((batch, *(size or 1 for size in shape[1:])), dtype=np.float32) for name, shape in engine.input_shapes.items()}


def _thread_counts() -> list[int]:
    usable = len(os.sched_getaffinity(0))
    return [1 << power for power in range(usable.bit_length()) if 1 << power < usable] + [usable]


def _name(answers: Answers) -> str:
    threads = "" if answers.threads is None else f", {answers.threads} thread{'s' * (answers.threads > 1)}"
    return f"{answers.what} in {answers.precision}{threads}"


def _lines(answers: Sequence[Answers], queries: int) -> list[str]:
    """A line for each scenario that was asked in full."""
    figures = {SINGLE: lambda each: f"single stream p90 {each.p90}", EIGHT: lambda each: f"eight per query p99 {each.p99}"}
    return [
        f"{_name(each)}: {figures[each.batch](each)} ms of {queries}, the first call {each.first_ms:.1f} ms"
        for each in answers
        if each.batch in figures and len(each.ms) == queries
    ]


def _curves(answers: Sequence[Answers]) -> list[str]:
    rows: dict[str, dict[int, float]] = {}
    for each in answers:
        rows.setdefault(_name(each), {})[each.batch] = each.p50.ms / each.batch
    batches = sorted({each.batch for each in answers})
    lines = [f"{'median ms a face, by faces a query':40}" + "".join(f"{batch:9}" for batch in batches)]
    return lines + [f"{name:40}" + "".join(f"{row[batch]:9.3f}" for batch in batches) for name, row in rows.items() if len(row) == len(batches)]
