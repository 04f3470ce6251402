"""Random forest, hidden Markov models and PCA with a perceptron: as shipped, as networks, and as measured by their cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from converters.errors import ParityFailure
from converters.from_sklearn.features import LbpHistograms
from converters.from_sklearn.sklearn_original import SklearnOriginal
from converters.original import Array, Original
from converters.parity import check_parity
from converters.systems.classical_systems import SYSTEMS, WEIGHTS
from converters.systems.system import TRAINED, System
from converters.training.card import read_card
from converters.training.chosen_faces import choose_faces, crop_and_labels, most_likely
from converters.training.fer2013 import PRIVATE_TEST, Fer2013, Split, read_fer2013
from converters.training.measure import measure
from edge.package import file_sha256, load_package
from edge.stage import Stage
from tests.converters.gray_faces import gray_faces, interface

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fer2013_ferplus.npz"
N_PICTURES = 500

systems = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.id)


@cache
def built(system_id: str) -> tuple[Stage, Original, onnx.ModelProto]:
    """Stage, original and network: made once, for a forest takes seconds to convert."""
    system = next(each for each in SYSTEMS if each.id == system_id)
    (stage,) = system.stages
    networks = system.build({}, 0)
    assert list(networks) == [stage.name]
    return stage, networks[stage.name], networks[stage.name].to_onnx()


def inputs_of(stage: Stage, clip: Callable[[str], Path], models: Path) -> Array:
    return gray_faces(clip("WolfgangLanger_Pexels.mp4"), models, stage.input)


@systems
def test_shipped_weights_become_a_network_that_agrees_on_real_crops(system: System, clip: Callable[[str], Path], models: Path) -> None:
    stage, original, model = built(system.id)
    crops = inputs_of(stage, clip, models)
    check_parity(original, model, {"crop": crops}, limit=system.max_relative_error, where=system.id)
    spec, labels = crop_and_labels(stage)
    width, height = spec.size_wh_px
    assert interface(model)[:3] == (["crop", "probabilities"], [["N", 1, height, width], ["N", len(labels)]], 8)
    assert len(model.SerializeToString()) < 5_000_000
    # Trees are what GPU engines lack; nothing else here needs more than ONNX's own operators.
    assert {node.domain for node in model.graph.node if node.domain} == ({"ai.onnx.ml"} if system.cpu_only else set())


@systems
def test_a_shifted_or_mirrored_crop_fails_the_parity_run(system: System, clip: Callable[[str], Path], models: Path) -> None:
    stage, original, model = built(system.id)
    crops = inputs_of(stage, clip, models)
    for changed in (np.roll(crops, 1, axis=3), np.ascontiguousarray(crops[:, :, :, ::-1])):
        answers = original.run({"crop": changed})
        with pytest.raises(ParityFailure, match="differs from the original's"):
            check_parity(_Fixed(original, answers), model, {"crop": crops}, limit=system.max_relative_error, where=system.id)


class _Fixed:
    """An original that gives these answers."""

    def __init__(self, original: Original, answers: dict[str, Array]) -> None:
        self._original, self._answers = original, answers

    @property
    def framework(self) -> str:
        return self._original.framework

    @property
    def sha256(self) -> str:
        return self._original.sha256

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:  # noqa: ARG002 - the same whatever comes
        return self._answers

    def to_onnx(self) -> onnx.ModelProto:
        return self._original.to_onnx()


def test_a_forest_behind_another_grid_fails_the_parity_run(clip: Callable[[str], Path], models: Path) -> None:
    stage, _, model = built("random-forest-5")
    other = SklearnOriginal.from_file(TRAINED / "random-forest-5" / WEIGHTS["random-forest-5"], stage, features=LbpHistograms((4, 16)))
    with pytest.raises(ParityFailure, match="differs"):
        check_parity(other, model, {"crop": inputs_of(stage, clip, models)}, limit=1e-3, where="grid")


@systems
def test_cards_belong_to_the_weights_and_beat_guessing(system: System) -> None:
    card = read_card(TRAINED / system.id)
    assert card.name == system.id
    assert card.labels == crop_and_labels(system.stages[0])[1]
    for name, sha256 in card.files.items():
        assert file_sha256(TRAINED / system.id / name) == sha256
    assert WEIGHTS[system.id] in card.files
    assert sum(path.stat().st_size for path in (TRAINED / system.id).iterdir()) < 3_000_000
    confusion = np.array(card.test.confusion)
    assert confusion.sum() == card.test.n
    assert card.test.accuracy == np.trace(confusion) / confusion.sum()
    assert card.test.interval[0] > confusion.sum(axis=1).max() / confusion.sum()  # more than always answering the commonest class


@pytest.fixture(scope="module")
def some_faces(models: Path) -> Fer2013:
    if not DATA.exists():
        pytest.skip(f"FER2013 is not at {DATA}: nothing to measure the cards on")
    data = read_fer2013(DATA)
    test = data.splits[PRIVATE_TEST]
    part = Split(test.name, test.pictures[:N_PICTURES], test.labels[:N_PICTURES], test.sha256)
    return Fer2013(data.file, data.sha256, {PRIVATE_TEST: part}, data.n_unlabelled)


@systems
def test_the_card_s_accuracy_comes_out_again(system: System, some_faces: Fer2013, models: Path) -> None:
    stage, original, _ = built(system.id)
    spec, labels = crop_and_labels(stage)
    faces = choose_faces(some_faces, labels, spec, load_package(models / "blazeface"), say=print)
    found = measure(faces[PRIVATE_TEST].truth, most_likely(original, faces, stage)[PRIVATE_TEST], labels)
    card = read_card(TRAINED / system.id)
    # A sample of the same pictures: its own interval holds the card's figure in 19 of 20 cases, and did when this was written.
    assert found.interval[0] < card.test.accuracy < found.interval[1], f"{found.accuracy:.3f} of {found.n}, the card says {card.test.accuracy:.3f}"
