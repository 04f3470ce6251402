"""What tests of the switch to TensorRT are made of: builds that follow a script, plans that open on a stand-in, and a user of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.engine.ort import OrtEngine
from edge.engine.trt.child import Done, Failed, Progress
from edge.engine.trt.plan_file import PROFILE, PlanKey
from edge.engine.trt.switching import Candidate, SwitchingEngine
from edge.engine.trt.trt_engine import TrtEngine
from edge.package import Precision
from tests.unit.toy_gpu import ToyGpu
from tests.unit.toy_tensorrt import ToyTensorrt, toy_plan

_made: list[SwitchingEngine] = []

DONE = Done(
    "toy.plan",
    PlanKey(
        package="toy",
        stage="mean",
        model_sha256="0" * 64,
        precision="fp16",
        library="tensorrt",
        library_version="10.3.0",
        gpu=ToyGpu.name,
        compute_capabilities=("sm87",),
        edge_version="test",
        profile=PROFILE,
    ),
)


@dataclass
class ScriptedBuild:
    """A build whose answers are known. The last is repeated."""

    answers: list[Progress | Done | Failed]
    cancelled: bool = False

    def poll(self) -> Progress | Done | Failed:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Trial:
    """A candidate whose build is scripted and whose plan is opened on a stand-in."""

    network: Path
    precision: Precision = "fp16"
    answers: list[Progress | Done | Failed] = field(default_factory=lambda: [DONE])
    toy: ToyTensorrt = field(default_factory=lambda: ToyTensorrt(ToyGpu()))
    builds: list[ScriptedBuild] = field(default_factory=list)
    opened: list[TrtEngine] = field(default_factory=list)

    def candidate(self) -> Candidate:
        return Candidate(self.precision, self.start, self.open_plan)

    def start(self) -> ScriptedBuild:
        self.builds.append(ScriptedBuild(list(self.answers)))
        return self.builds[-1]

    def open_plan(self, _: Done) -> TrtEngine:
        self.opened.append(TrtEngine(toy_plan(self.network.parent, self.network), library=self.toy.library, device=self.toy.gpu))
        return self.opened[-1]


@dataclass
class Said:
    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.lines.append(line)


def switching(network: Path, *trials: Candidate | Trial, required: bool = False, say: Callable[[str], None] = lambda _: None) -> SwitchingEngine:
    to_try = [trial.candidate() if isinstance(trial, Trial) else trial for trial in trials]
    return kept(SwitchingEngine("mean", OrtEngine(network, cuda=False, threads=1), "fp32", to_try, required=required, say=say))


def kept(engine: SwitchingEngine) -> SwitchingEngine:
    _made.append(engine)
    return engine


def close_all() -> None:
    """After each test: an engine that a failed one leaves behind may have the turn, and the engines of all later tests would wait for theirs."""
    while _made:
        _made.pop().close()


def crops(n: int) -> NDArray[np.float32]:
    return np.random.default_rng(n).random((n, 1, 8, 8), np.float32)


def check(engine: SwitchingEngine, n: int) -> None:
    assert engine.run({"crop": crops(n)})["mean"] == pytest.approx(crops(n).mean(axis=(1, 2, 3)).reshape(n, 1), abs=1e-6)


def run_unchecked(engine: SwitchingEngine, crops: NDArray[np.float32]) -> None:
    engine.run({"crop": crops})


def use_until(engine: SwitchingEngine, condition: Callable[[], bool], *, feed: Callable[[], None] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, engine.description
        (feed or (lambda: check(engine, 3)))()
        time.sleep(0.001)


def settle(engine: SwitchingEngine) -> None:
    use_until(engine, lambda: engine.settled)


def use_after_all(engine: SwitchingEngine) -> None:
    settle(engine)
    check(engine, 1)
