"""A package is written whole, with its parity runs, or not at all; a network that is not what its stage says is refused by the first difference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from converters.errors import ConversionError, ParityFailure
from converters.make_package import RUN, Comparison, check_network, make_package, require_replaceable
from converters.original import Array
from converters.parity import check_parity
from edge.errors import ConfigError
from edge.package import file_sha256, load_package
from edge.stage import Boxes, BoxRegion, CropInput, Scores, Stage
from tests.toy import graph_of
from tests.toy_kinds import manifest_of

SIDE_PX = 4
CROPS = np.random.default_rng(0).uniform(0, 1, (6, 1, SIDE_PX, SIDE_PX)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(SIDE_PX * SIDE_PX, 2)).astype(np.float32)
STAGE = Stage(
    name="network",
    model="network.onnx",
    input=CropInput(tensor="crop", color="gray", size_wh_px=(SIDE_PX, SIDE_PX), region=BoxRegion(), scale=1 / 255),
    outputs=(Scores(tensor="scores", activation="sigmoid", labels=("calm", "tense")),),
)


@dataclass
class Linear:
    """A layer of numbers in numpy, as the original of its ONNX network."""

    weights: Array
    framework: str = "numpy"
    sha256: str = "0" * 64

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": inputs["crop"].reshape(len(inputs["crop"]), -1) @ self.weights}

    def to_onnx(self) -> onnx.ModelProto:
        return network(self.weights)


@dataclass
class Centred(Linear):
    """Its numbers depend on what else is in the batch."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        scores = super().run(inputs)["scores"]
        return {"scores": scores - scores.mean(axis=0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "packages" / "toy"


def network(
    weights: Array = WEIGHTS, *, rows: int = -1, centred: bool = False, inputs: Mapping[str, Any] | None = None, shape: tuple[str | int, ...] = ("N", 2)
) -> onnx.ModelProto:
    nodes = [helper.make_node("Reshape", ["crop", "shape"], ["pixels"]), helper.make_node("MatMul", ["pixels", "weights"], ["product"])]
    if centred:
        nodes += [helper.make_node("ReduceMean", ["product"], ["mean"], axes=[0]), helper.make_node("Sub", ["product", "mean"], ["scores"])]
    else:
        nodes += [helper.make_node("Identity", ["product"], ["scores"])]
    return graph_of(
        nodes,
        {"crop": ["N", 1, SIDE_PX, SIDE_PX]} | dict(inputs or {}),
        {"scores": list(shape)},
        {"weights": weights, "shape": np.array([rows, SIDE_PX * SIDE_PX])},
    )


def make(folder: Path, model: onnx.ModelProto, *, limit: float = 1e-4) -> Path:
    comparison = Comparison("network", Linear(WEIGHTS), limit)
    return make_package(manifest_of(STAGE), {"network": model}, [comparison], {"network": {"crop": CROPS}}, folder=folder, say=print)


def test_a_package_holds_its_parity_run(folder: Path) -> None:
    make(folder, network())
    package = load_package(folder)
    assert package.manifest.evidence == {"parity.json": file_sha256(folder / "parity.json")}
    report = json.loads((folder / "parity.json").read_text())["network"]
    assert report["onnx_sha256"] == package.manifest.files["network.onnx"] == file_sha256(folder / "network.onnx")
    assert (report["n_inputs"], report["original_sha256"]) == (6, "0" * 64)
    (output,) = report["outputs"]
    scores = Linear(WEIGHTS).run({"crop": CROPS})["scores"]
    assert output["deviation"] == pytest.approx(np.sqrt(scores.var(axis=0).mean()), rel=1e-5)
    assert 0 <= output["mean_error"] <= output["p99_error"] <= output["max_error"] <= 1e-4 * output["deviation"]


def test_the_errors_in_the_report_are_those_between_the_two() -> None:
    off = WEIGHTS.copy()
    off[0, 1] += 0.1  # the first pixel of a crop counts more
    report = check_parity(Linear(WEIGHTS), network(off), {"crop": CROPS}, limit=1.0, where="toy")
    expected = 0.1 * CROPS[:, 0, 0, 0]
    (output,) = report.outputs
    assert output.max_error == pytest.approx(expected.max(), rel=1e-4)
    assert output.mean_error == pytest.approx(expected.mean() / 2, rel=1e-4)  # the other output is right
    assert output.relative_error == pytest.approx(expected.max() / output.deviation, rel=1e-4)
    with pytest.raises(ParityFailure, match=r"toy: output 'scores' differs from the original's by up to .* deviation over 6 inputs; allowed is 0.01"):
        check_parity(Linear(WEIGHTS), network(off), {"crop": CROPS}, limit=0.01, where="toy")


def test_numbers_that_never_change_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = WEIGHTS * np.array([1, 0], np.float32)
    (output,) = check_parity(Linear(still), network(still), {"crop": CROPS}, limit=1e-4, where="toy").outputs
    assert output.n_constant == 1
    make_package(
        manifest_of(STAGE), {"network": network(still)}, [Comparison("network", Linear(still), 1e-4)], {"network": {"crop": CROPS}}, folder=folder, say=print
    )
    assert "; 1 numbers of 'scores' are the same for all of them" in capsys.readouterr().out


def test_what_cannot_be_tried_out_does_not_take_its_place(folder: Path) -> None:
    make(folder, network())
    before = load_package(folder).sha256

    def fail(package: Path) -> None:
        assert load_package(package).sha256 == before
        raise ConversionError("it does not run")

    with pytest.raises(ConversionError, match="it does not run"):
        make_package(
            manifest_of(STAGE),
            {"network": network()},
            [Comparison("network", Linear(WEIGHTS), 1e-4)],
            {"network": {"crop": CROPS}},
            folder=folder,
            say=print,
            try_out=fail,
        )
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]
    assert load_package(folder).sha256 == before


def test_trained_weights_are_not_replaced_by_random_ones(folder: Path) -> None:
    make(folder, network())
    (folder / RUN).mkdir()  # what a package was tried out with is a part of it
    require_replaceable(folder, "toy", trained=True)
    with pytest.raises(ConfigError, match="toy holds trained weights: they are not replaced by random ones\n  name another folder"):
        require_replaceable(folder, "toy", trained=False)


def test_over_the_limit_nothing_is_written_and_what_was_there_stays(folder: Path) -> None:
    with pytest.raises(ParityFailure, match="toy/network: output 'scores' differs"):
        make(folder, network(WEIGHTS * np.float32(1.01)))
    assert not folder.parent.exists()
    make(folder, network())
    before = load_package(folder).sha256
    with pytest.raises(ParityFailure, match="toy/network: output 'scores' differs"):
        make(folder, network(np.roll(WEIGHTS, 1, axis=0)))
    assert load_package(folder).sha256 == before
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]
    make(folder, network(), limit=1e-3)
    assert load_package(folder).sha256 != before


def test_numbers_that_depend_on_the_batch_are_refused() -> None:
    with pytest.raises(ParityFailure, match=r"output 'scores' is another one when the input runs alone than in a batch of 6\n  the converted network is bound"):
        check_parity(Centred(WEIGHTS), network(centred=True), {"crop": CROPS}, limit=1e-3, where="toy")


def test_a_frozen_batch_is_refused() -> None:
    with pytest.raises(ParityFailure, match="the converted network fails on one input alone: "):
        check_parity(Linear(WEIGHTS), network(rows=6, shape=("M", 2)), {"crop": CROPS}, limit=1e-3, where="toy")


def changed(**changes: Any) -> Stage:
    return msgspec.structs.replace(STAGE, **changes)


def crop_input(**changes: Any) -> CropInput:
    assert isinstance(STAGE.input, CropInput)
    return msgspec.structs.replace(STAGE.input, **changes)


SCORES = STAGE.outputs[0]
BOXES = Boxes(tensor="scores", score_tensor="confidence", anchors=((8, 1),), eyes=(0, 1), min_score=0.5, max_overlap=0.3)


@pytest.mark.parametrize(
    ("stage", "model", "message"),
    [
        (changed(input=crop_input(tensor="face")), network(), r"expected an input 'face', the network has crop\n  correct `tensor` of the input"),
        (changed(input=crop_input(color="rgb")), network(), r"input 'crop': expected \[N, 3, 4, 4\], the network takes \[N, 1, 4, 4\]\n  correct colour"),
        (changed(input=crop_input(size_wh_px=(5, 4))), network(), r"input 'crop': expected \[N, 1, 4, 5\], the network takes \[N, 1, 4, 4\]"),
        (STAGE, network(inputs={"sound": ["N", 3]}), "nothing is said of the network's input 'sound'\n  choose a kind of input that feeds it"),
        (changed(outputs=(msgspec.structs.replace(SCORES, tensor="logits"),)), network(), "expected an output 'logits', the network has scores"),
        (
            changed(outputs=(msgspec.structs.replace(SCORES, labels=("calm", "tense", "tired")),)),
            network(),
            r"output 'scores' has shape \[N, 2\]; expected \[N, 3\], for calm, tense, tired\n  correct labels or columns",
        ),
        (changed(outputs=(msgspec.structs.replace(SCORES, labels=("calm",)),)), network(), r"output 'scores' has shape \[N, 2\]; expected \[N, 1\], for calm"),
        (
            changed(outputs=(msgspec.structs.replace(SCORES, columns=(1, 3)),)),
            network(),
            r"output 'scores' has shape \[N, 2\]; expected \[N, 3\], for calm, tense",
        ),
        (changed(outputs=(BOXES,)), network(), "expected an output 'confidence'"),
    ],
)
def test_the_first_thing_that_a_network_has_not_is_named(stage: Stage, model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(ConversionError, match=rf"^stage 'network' \(network.onnx\): {message}"):
        check_network(stage, model)
    check_network(STAGE, network())
