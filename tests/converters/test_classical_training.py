"""The training recipes run from a data set's file to weights, card and picture: on faces of the sample clip, for their labels are not the point here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.errors import ConversionError
from converters.from_sklearn.hmm_original import HmmOriginal
from converters.from_sklearn.sklearn_original import SklearnOriginal
from converters.parity import check_parity
from converters.real_inputs import find_faces, read_frames
from converters.systems.classical_systems import FOREST_FEATURES, FOREST_STAGE, HMM_STAGE, PCA_MLP_STAGE, WEIGHTS
from converters.training import hmm, pca_mlp, random_forest
from converters.training.chosen_faces import choose_faces
from converters.training.classical_card import crop_and_labels
from converters.training.fer2013 import LABELS, PRIVATE_TEST, TRAINING, read_fer2013
from converters.training.report import PICTURE, read_card, table
from edge.package import file_sha256, load_package
from edge.stage import Stage
from tests.converters.gray_faces import answers, gray_faces

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
PER_CLASS = {0: 50, 1: 2, 2: 3}  # pictures of each class in Training, PublicTest and PrivateTest


@pytest.fixture(scope="module")
def data(clip: Callable[[str], Path], models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like FER2013's: faces of the clip, shifted a little, and one picture without a face."""
    random = np.random.default_rng(0)
    faces = find_faces(read_frames(clip("WolfgangLanger_Pexels.mp4")), load_package(models / "blazeface"))[:24]
    pictures, labels, usage = [], [], []
    for split, count in PER_CLASS.items():
        for number in range(count * len(LABELS)):
            frame, face = faces[number % len(faces)]
            left, top = np.array(face.center_px) - face.side_px * 0.6 + random.uniform(-0.05, 0.05, 2) * face.side_px
            side = face.side_px * 1.2
            part = cv2.getRectSubPix(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (round(side), round(side)), (left + side / 2, top + side / 2))
            pictures.append(cv2.resize(part, (48, 48), interpolation=cv2.INTER_AREA))
            labels.append(number % len(LABELS))
            usage.append(split)
    pictures[-1] = np.zeros((48, 48), np.uint8)
    labels[-1] = LABELS.index("happy")
    path = tmp_path_factory.mktemp("fer") / "small.npz"
    np.savez(path, images=np.stack(pictures), fer2013_label=np.array(labels, np.int8), usage=np.array(usage, np.uint8))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def load(module: Any, weights: Path) -> tuple[Stage, Any]:
    if module is hmm:
        return HMM_STAGE, HmmOriginal.from_file(weights, HMM_STAGE)
    if module is pca_mlp:
        return PCA_MLP_STAGE, SklearnOriginal.from_file(weights, PCA_MLP_STAGE)
    return FOREST_STAGE, SklearnOriginal.from_file(weights, FOREST_STAGE, features=FOREST_FEATURES)


@pytest.mark.parametrize("module", [random_forest, hmm, pca_mlp], ids=lambda module: module.NAME)
def test_training_writes_weights_card_and_picture(
    module: Any, data: Path, clip: Callable[[str], Path], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module is hmm:
        monkeypatch.setattr(hmm, "N_COMPONENTS", (8, 4))
        monkeypatch.setattr(hmm, "N_STATES", 2)
    if module is pca_mlp:
        monkeypatch.setattr(pca_mlp, "N_COMPONENTS", 12)
    said: list[str] = []
    card = module.train(data, tmp_path / "new" / module.NAME, said.append)
    folder = tmp_path / "new" / module.NAME
    weights = folder / WEIGHTS[module.NAME]
    assert read_card(folder) == card
    assert card.files == {name: file_sha256(folder / name) for name in (weights.name, PICTURE)}
    assert any("Training: a face in" in line for line in said)
    assert card.whole_test.n_without_face >= 1
    assert card.n_training == sum(np.array([int(word) for word in card.remarks[-2].replace(",", "").split() if word.isdigit()]))
    assert card.variants
    assert module.NAME in table(card)
    stage, original = load(module, weights)
    crops = gray_faces(clip("WolfgangLanger_Pexels.mp4"), models, stage.input)
    check_parity(original, original.to_onnx(), {"crop": crops}, limit=1e-3, where=module.NAME)
    # Training again gives the same network.
    again = module.train(data, tmp_path / "again", said.append)
    assert (again.test, again.validation) == (card.test, card.validation)
    _, same = load(module, tmp_path / "again" / weights.name)
    assert np.array_equal(answers(same, crops), answers(original, crops))


def test_faces_are_chosen_by_emotion_and_numbered_by_the_network_s_labels(data: Path, models: Path) -> None:
    fer2013 = read_fer2013(data)
    spec, labels = crop_and_labels(HMM_STAGE)
    faces = choose_faces(fer2013, labels, spec, load_package(models / "blazeface"), say=print)
    training = faces[TRAINING]
    assert training.n_pictures == PER_CLASS[0] * len(labels)
    assert training.crops.shape == (len(training.truth), 32, 32)
    inputs = training.inputs(spec)
    assert inputs.shape == (len(training.truth), 1, 32, 32)
    assert 0 <= inputs.min() < inputs.max() <= 1
    alone = choose_faces(fer2013, ("happy",), spec, load_package(models / "blazeface"), say=print)[TRAINING]
    assert np.array_equal(alone.crops, training.crops[training.truth == labels.index("happy")])
    assert faces[PRIVATE_TEST].n_pictures > len(faces[PRIVATE_TEST].truth)  # the black picture


def test_weights_of_another_system_are_refused(data: Path, tmp_path: Path) -> None:
    random_forest.train(data, tmp_path, print)
    with pytest.raises(ConversionError, match=r"was trained on 3776 features, its input of 1 x 32 x 32 gives 1024"):
        SklearnOriginal.from_file(tmp_path / "forest.skops", PCA_MLP_STAGE)
