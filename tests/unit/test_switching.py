"""From ONNX Runtime to TensorRT while faces are read. Builds are real ones of TensorRT-RTX where that is said; what opens the plans is a stand-in for a GPU."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import helper

from edge.engine.ort import OrtEngine
from edge.engine.trt.build import Target, plan_key, stage_network
from edge.engine.trt.child import Done, Failed, PlanBuild, Progress
from edge.engine.trt.library import Library, find_library
from edge.engine.trt.plan_file import read_plan
from edge.engine.trt.switching import Candidate, SwitchingEngine, candidates, target_here
from edge.engine.trt.trt_engine import TrtEngine
from edge.errors import EngineError, InferenceFailed, PackageNotFound
from edge.package import Precision, load_package
from tests.toy import affect_manifest, make_affect, save_graph, save_package
from tests.unit.toy_gpu import ToyGpu
from tests.unit.toy_switching import Said, ScriptedBuild, Trial, check, close_all, crops, kept, run_unchecked, settle, switching, use_after_all, use_until
from tests.unit.toy_tensorrt import ToyTensorrt, toy_plan

AHEAD = ("sm86",)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return make_affect(tmp_path / "toy-affect") / "brightness.onnx"


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    close_all()


def spoiled(network: Path, *, name: str, factor: float) -> Path:
    """The network of `make_affect` with a mean that is wrong by a factor."""
    nodes = [
        helper.make_node("ReduceMean", ["crop"], ["mean4"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean4", "column"], ["right"]),
        helper.make_node("Mul", ["right", "factor"], ["mean"]),
        helper.make_node("Sub", ["one", "right"], ["rest"]),
        helper.make_node("Concat", ["right", "rest"], ["pair"], axis=1),
    ]
    constants = {"column": np.array([-1, 1]), "one": np.float32(1), "factor": np.float32(factor)}
    save_graph(network.with_name(name), nodes, {"crop": ["N", 1, 8, 8]}, {"mean": ["N", 1], "pair": ["N", 2]}, constants)
    return network.with_name(name)


def test_it_serves_from_the_first_frame_and_switches_when_a_real_build_is_done(network: Path, tmp_path: Path) -> None:
    package = load_package(network.parent)
    (stage,) = package.manifest.stages
    target = Target(find_library(["tensorrt_rtx"]), AHEAD)
    toy = ToyTensorrt(ToyGpu())

    def start() -> PlanBuild:
        return PlanBuild.start(package, stage, "fp32", target, folder=tmp_path / "plans", workspace_mb=64)

    def open_plan(built: Done) -> TrtEngine:
        assert built.key == plan_key(package, stage, stage_network(package, stage, "fp32"), target)
        assert len(read_plan(Path(built.path), built.key).content) > 1000
        return TrtEngine(toy_plan(tmp_path, network), library=toy.library, device=toy.gpu)

    engine = switching(network, Candidate("fp32", start, open_plan), say=(said := Said()))
    assert engine.description.startswith("onnxruntime ")
    assert "(TensorRT: " in engine.description
    check(engine, 3)
    assert engine.parts_ms({"crop": crops(1)}) == {}
    settle(engine)
    assert engine.on_tensorrt
    assert engine.parts_ms({"crop": crops(1)}) == {"h2d": 1, "compute": 1, "d2h": 2}
    assert engine.description == "TensorRT 10.99.0 fp16 on Toy GPU"
    (takes_over,) = said.lines
    assert takes_over.startswith("TensorRT takes over mean after ")
    assert " s: TensorRT 10.99.0 fp16 on Toy GPU, " in takes_over
    assert engine.notes == []
    check(engine, 12)
    engine.close()
    assert toy.gpu.memory == []


def test_onnx_runtime_is_freed_after_the_switch(network: Path) -> None:
    fallback = OrtEngine(network, cuda=False, threads=1)
    engine = kept(SwitchingEngine("mean", fallback, "fp32", [Trial(network).candidate()], required=False, say=lambda _: None))
    settle(engine)
    with pytest.raises(InferenceFailed, match="the engine is closed"):
        fallback.run({"crop": crops(1)})
    assert (engine.input_shapes, set(engine.output_shapes)) == ({"crop": (None, 1, 8, 8)}, {"mean", "pair"})
    assert engine.precision == "fp16"
    engine.close()


def real_failure(network: Path, folder: Path) -> Candidate:
    """What a builder says that finds no library: the stubs alone are installed here."""
    package = load_package(network.parent)
    target = Target(Library("tensorrt", "10.3.0", None), AHEAD)
    (candidate,) = candidates(package, package.manifest.stages[0], ["fp32"], target=target, device=ToyGpu(), folder=folder, workspace_mb=64)
    return candidate


def test_auto_stays_on_onnx_runtime_where_a_real_build_fails_and_says_so(network: Path, tmp_path: Path) -> None:
    engine = switching(network, real_failure(network, tmp_path / "plans"), say=(said := Said()))
    settle(engine)
    assert not engine.on_tensorrt
    reason, stays = said.lines
    assert reason.startswith("TensorRT fp32 is not used for mean: the Python module 'tensorrt' is an empty shell, not TensorRT")
    assert stays == f"mean stays on {engine.description}"
    assert engine.notes == said.lines
    check(engine, 2)
    engine.close()


def test_asked_for_by_name_a_build_that_fails_is_an_error(network: Path, tmp_path: Path) -> None:
    engine = switching(network, real_failure(network, tmp_path / "plans"), required=True)
    with pytest.raises(EngineError, match="mean: TensorRT cannot take over: the Python module 'tensorrt' is an empty shell") as failed:
        engine.wait_until_opened()
    assert "JetPack" in failed.value.hint
    with pytest.raises(EngineError, match="TensorRT cannot take over"):
        engine.run({"crop": crops(1)})
    engine.close()


def test_one_may_wait_for_the_plan_to_be_opened(network: Path) -> None:
    trial = Trial(network)
    engine = switching(network, trial)
    engine.wait_until_opened()
    assert len(trial.opened) == 1
    engine.close()


@pytest.mark.parametrize(("factor", "reason"), [(2.0, r"'mean' has -?\d+\.\d dB over 8 live inputs, limit 30 dB"), (np.nan, "not finite for 'mean'")])
def test_a_plan_that_answers_otherwise_is_not_used(network: Path, factor: float, reason: str) -> None:
    trial = Trial(spoiled(network, name="spoiled.onnx", factor=factor))
    engine = switching(network, trial, required=True)
    with pytest.raises(EngineError, match=reason):
        use_after_all(engine)
    assert trial.toy.gpu.memory == []
    engine.close()


def test_what_differs_by_rounding_is_used(network: Path) -> None:
    engine = switching(network, Trial(spoiled(network, name="rounded.onnx", factor=1.01)))
    use_until(engine, lambda: engine.settled, feed=lambda: run_unchecked(engine, crops(3)))
    assert engine.on_tensorrt
    engine.close()


def test_numbers_near_zero_are_compared_by_their_difference(network: Path) -> None:
    # Half of a number near zero: 6 dB, and nobody sees it.
    engine = switching(network, Trial(spoiled(network, name="half.onnx", factor=0.5)))
    use_until(engine, lambda: engine.settled, feed=lambda: run_unchecked(engine, crops(3) / np.float32(1000)))
    assert engine.on_tensorrt
    engine.close()


def test_whoever_runs_it_may_reuse_the_arrays(network: Path) -> None:
    engine = switching(network, Trial(network, toy=ToyTensorrt(ToyGpu(), faults={"delay_s": 0.005})))
    picture = np.empty((3, 1, 8, 8), np.float32)

    def run() -> None:
        picture[...] = crops(3)
        engine.run({"crop": picture})
        picture[...] = np.nan

    use_until(engine, lambda: engine.settled, feed=run)
    assert engine.on_tensorrt
    engine.close()


def test_a_plan_of_another_network_is_not_used(network: Path) -> None:
    save_graph(network.with_name("other.onnx"), [helper.make_node("Relu", ["picture"], ["y"])], {"picture": ["N", 2]}, {"y": ["N", 2]}, {})
    engine = switching(network, Trial(network.with_name("other.onnx")))
    settle(engine)
    assert engine.notes[0] == "TensorRT fp16 is not used for mean: its plan has inputs ['picture'], expected ['crop']"
    nodes = [helper.make_node("ReduceMean", ["crop"], ["mean"], axes=[2, 3], keepdims=0), helper.make_node("Identity", ["mean"], ["pair"])]
    save_graph(network.with_name("other.onnx"), nodes, {"crop": ["N", 1, 8, 8]}, {"mean": ["N", 1], "pair": ["N", 1]}, {})
    engine = switching(network, Trial(network.with_name("other.onnx")))
    settle(engine)
    assert engine.notes[0] == "TensorRT fp16 is not used for mean: its plan gives [3, 1] for 'pair', expected [3, 2]"


def test_a_plan_that_does_not_open_is_not_used(network: Path) -> None:
    trial = Trial(network, toy=ToyTensorrt(ToyGpu(), faults={"contexts_left": 1}))
    engine = switching(network, trial)
    settle(engine)
    assert engine.notes[0].startswith("TensorRT fp16 is not used for mean: ")
    assert "out of memory" in engine.notes[0]
    assert "making an execution context" in engine.notes[0]
    check(engine, 1)
    engine.close()


def test_where_the_first_candidate_fails_the_next_is_tried(network: Path) -> None:
    engine = switching(network, Trial(network, answers=[Failed("no kernel", "try again")]), Trial(network, "fp32"))
    settle(engine)
    assert (engine.on_tensorrt, engine.precision) == (True, "fp32")
    assert engine.notes[0] == "TensorRT fp16 is not used for mean: no kernel"
    engine.close()


def test_int8_takes_over_from_fp16_only_where_it_is_faster(network: Path) -> None:
    slow, fast = {"delay_s": 0.01}, {"delay_s": 0.0}
    for of_fp16, of_int8, ends_as in ((slow, fast, "int8"), (fast, slow, "fp16")):
        fp16 = Trial(network, "fp16", toy=ToyTensorrt(ToyGpu(), faults=of_fp16))
        int8 = Trial(network, "int8", toy=ToyTensorrt(ToyGpu(), faults=of_int8))
        engine = switching(network, fp16, int8, say=(said := Said()))
        served: list[Precision] = []

        def note_and_check(engine: SwitchingEngine = engine, served: list[Precision] = served) -> None:
            check(engine, 3)
            served.append(engine.precision)

        use_until(engine, lambda engine=engine: engine.settled, feed=note_and_check)  # type: ignore[misc]
        assert list(dict.fromkeys(served)) == (["fp32", "fp16", "int8"] if ends_as == "int8" else ["fp32", "fp16"])
        kept, freed = (int8, fp16) if ends_as == "int8" else (fp16, int8)
        assert (bool(kept.toy.gpu.memory), freed.toy.gpu.memory) == (True, [])
        assert any("TensorRT int8 is not used for mean: it is not faster here: " in line for line in said.lines) == (ends_as == "fp16")
        engine.close()
        assert kept.toy.gpu.memory == []


def test_what_onnx_runtime_answered_where_tensorrt_was_asked_for_is_noted_at_the_end(network: Path) -> None:
    for required in (True, False):
        engine = switching(network, Trial(network, answers=[Progress(())]), required=required)
        for n in (1, 2):
            check(engine, n)
        engine.close()
        engine.close()
        by = re.escape(engine.description)
        expected = [rf"mean: asked for TensorRT: 2 inferences were answered by {by} in fp32"] if required else []
        assert [bool(re.fullmatch(pattern, note)) for pattern, note in zip(expected, engine.notes, strict=True)] == [True] * len(expected)


def test_a_single_answer_of_onnx_runtime_is_noted_too(network: Path) -> None:
    engine = switching(network, Trial(network), required=True)
    engine.wait_until_opened()
    check(engine, 1)  # a photograph
    engine.close()
    (note,) = engine.notes
    assert note.startswith("mean: asked for TensorRT: 1 inference was answered by onnxruntime ")


def test_closing_ends_the_build(network: Path) -> None:
    trial = Trial(network, answers=[Progress(("Building engine",))])
    engine = switching(network, trial)
    use_until(engine, lambda: "fp16 is built: Building engine" in engine.description)
    engine.close()
    engine.close()
    assert trial.builds[0].cancelled
    assert engine.settled
    with pytest.raises(InferenceFailed, match="the engine is closed"):
        check(engine, 1)


def test_closing_ends_the_comparison_and_frees_the_plan(network: Path) -> None:
    trial = Trial(network)
    engine = switching(network, trial)
    engine.wait_until_opened()  # and no frame comes
    assert trial.toy.gpu.memory
    engine.close()
    assert trial.toy.gpu.memory == []


def test_one_network_after_the_other_is_built(network: Path) -> None:
    first, second = Trial(network, answers=[Progress(())]), Trial(network)
    engines = [switching(network, first)]
    use_until(engines[0], lambda: bool(first.builds))
    engines.append(switching(network, second))
    use_until(engines[1], lambda: "waiting for its turn" in engines[1].description)
    for _ in range(300):
        check(engines[1], 1)
        time.sleep(0.001)
    assert second.builds == []
    engines[0].close()
    settle(engines[1])
    assert engines[1].on_tensorrt
    engines[1].close()


def test_closing_while_it_waits_for_its_turn(network: Path) -> None:
    first, second = Trial(network, answers=[Progress(())]), Trial(network)
    engines = [switching(network, first)]
    use_until(engines[0], lambda: bool(first.builds))
    engines.append(switching(network, second))
    engines[1].close()
    assert engines[1].settled
    assert second.builds == []
    engines[0].close()


def broken() -> ScriptedBuild:
    raise ZeroDivisionError("a bug")


def test_a_bug_beside_the_frames_is_a_note_with_auto(network: Path) -> None:
    engine = switching(network, Candidate("fp16", broken, Trial(network).open_plan), say=(said := Said()))
    use_after_all(engine)
    assert said.lines[0] == "TensorRT fp16 is not used for mean: ZeroDivisionError: a bug (this is a bug: please report it)"
    assert engine.notes == said.lines
    assert not engine.on_tensorrt
    engine.close()


def test_a_plan_with_a_bug_is_freed_and_the_next_is_tried(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buggy, sound = Trial(network), Trial(network, "fp32")
    open_plan = buggy.open_plan

    def open_buggy(done: Done) -> TrtEngine:
        engine = open_plan(done)
        monkeypatch.setattr(engine, "timed_run", broken)  # as a binding fails that takes other arguments
        return engine

    engine = switching(network, Candidate("fp16", buggy.start, open_buggy), sound)
    use_after_all(engine)
    assert (engine.on_tensorrt, engine.precision) == (True, "fp32")
    assert engine.notes[0].startswith("TensorRT fp16 is not used for mean: TypeError: broken() takes 0 positional arguments")
    assert buggy.toy.gpu.memory == []
    engine.close()


def test_asked_for_by_name_a_bug_beside_the_frames_is_raised_where_it_is_seen(network: Path) -> None:
    engine = switching(network, Candidate("fp16", broken, Trial(network).open_plan), required=True)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        use_after_all(engine)
    engine.close()


def test_a_stage_has_a_candidate_for_each_precision_that_differs(tmp_path: Path) -> None:
    folder = make_affect(tmp_path / "toy-affect")
    content = (folder / "brightness.onnx").read_bytes()
    for precision in ("fp16", "int8"):
        (folder / f"brightness.{precision}.onnx").write_bytes(content)
    target = Target(find_library(["tensorrt_rtx"]), AHEAD)

    def precisions(offered: dict[str, Precision], *asked: Precision) -> list[Precision]:
        manifest = msgspec.structs.replace(affect_manifest(), precisions={name: {"brightness": of_stage} for name, of_stage in offered.items()})
        package = load_package(save_package(folder, manifest))
        made = candidates(package, package.manifest.stages[0], asked, target=target, device=ToyGpu(), folder=tmp_path, workspace_mb=64)
        return [candidate.precision for candidate in made]

    assert precisions({"fp16": "fp16", "int8": "int8"}, "fp16", "int8") == ["fp16", "int8"]
    assert precisions({"fp16": "fp16", "int8": "int8"}, "int8") == ["int8"]
    with pytest.raises(PackageNotFound, match="has no int8 networks"):
        precisions({"fp16": "fp16"}, "int8")


def test_plans_are_built_for_the_gpu_that_is_here() -> None:
    library = find_library(["tensorrt_rtx"])
    assert target_here(library, ToyGpu()) == Target(library, ("sm87",), "Toy GPU")
