"""The training recipes run from a data set's file to weights, card and picture: on faces of the sample clip, for their labels are not the point here."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.__main__ import main
from converters.errors import ConversionError
from converters.from_sklearn.hmm_original import HmmOriginal
from converters.from_sklearn.sklearn_original import SklearnOriginal
from converters.parity import check_parity
from converters.real_inputs import find_faces, read_frames
from converters.systems.classical_systems import FOREST_FEATURES, FOREST_STAGE, HMM_STAGE, PCA_MLP_STAGE, WEIGHTS
from converters.systems.known import KNOWN
from converters.training import hmm, pca_mlp, random_forest
from converters.training.card import CARD, PICTURE, read_card, table
from converters.training.chosen_faces import choose_faces, crop_and_labels
from converters.training.fer2013 import LABELS, PRIVATE_TEST, TRAINING, read_fer2013
from converters.training.recipes import RECIPES
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
    stage, original = load(module, weights)
    crops = gray_faces(clip("WolfgangLanger_Pexels.mp4"), models, stage.input)
    check_parity(original, original.to_onnx(), {"crop": crops}, limit=1e-3, where=module.NAME)
    # Training again gives the same network.
    again = module.train(data, tmp_path / "again", said.append)
    assert (again.test, again.validation) == (card.test, card.validation)
    _, same = load(module, tmp_path / "again" / weights.name)
    assert np.array_equal(answers(same, crops), answers(original, crops))


def test_the_command_writes_three_files_and_prints_the_table(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "forest"
    assert main(["train", "random-forest-5", "--data", str(data), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted([WEIGHTS["random-forest-5"], CARD, PICTURE])
    printed, card = capsys.readouterr(), read_card(out)
    assert printed.out.splitlines() == [*table(card), str(out)]
    assert printed.out.startswith("random-forest-5 ")
    assert f"{100 * card.test.accuracy:.1f} %" in printed.out
    assert "document 002, its own photographs" in printed.out
    assert "51.3 %" in printed.out
    assert "Training: a face in" in printed.err


def table_file(path: Path, header: str = "emotion,pixels,Usage", usage: str = "Training") -> Path:
    path.write_text(f"{header}\n0,{'0 ' * 2304},{usage}\n")
    return path


BAD_DATA: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: folder / "none.csv", r"error: no file at .*none.csv\n  expected fer2013.csv or icml_face_data.csv"),
    (
        lambda folder: table_file(folder / "x.csv", header="label,pixels,Usage"),
        "error: .*x.csv: expected the columns emotion, pixels, Usage, got label",
    ),
    (lambda folder: table_file(folder / "x.csv", usage="Test"), "error: .*x.csv:2: expected a Usage of Training, PublicTest, PrivateTest, got 'Test'"),
    (lambda folder: table_file(folder / "x.csv"), "error: .*x.csv holds no picture of the split PublicTest"),
]


@pytest.mark.parametrize(("make", "message"), BAD_DATA)
@pytest.mark.parametrize("system", RECIPES)
def test_data_that_cannot_be_used_are_named_and_nothing_is_written(
    system: str, make: Callable[[Path], Path], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", system, "--data", str(make(tmp_path)), "-o", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("random-forest-5", "expected at least 1 faces of 'disgusted' in Training, found 0"),
        ("hmm-5", "expected at least 10 faces of 'angry' in Training, found [1-6]"),
        ("pca-mlp", "expected at least 2 faces of 'disgusted' in Training, found 0"),
        ("embedding-mlp-7", "expected at least 6 faces of 'angry' in Training, found [1-5]"),
    ],
)
def test_too_few_faces_are_named_and_nothing_is_written(
    system: str, message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five pictures of each class for training, none of them disgusted."""
    if system == "embedding-mlp-7":
        monkeypatch.delenv("XDG_CACHE_HOME")  # dlib's network lies there already
    stored = dict(np.load(data))
    chosen = np.r_[np.flatnonzero((stored["usage"] == 0) & (stored["fer2013_label"] != 1))[:30], np.flatnonzero(stored["usage"] > 0)]
    np.savez(tmp_path / "few.npz", **{name: values[chosen] for name, values in stored.items()})
    assert main(["train", system, "--data", str(tmp_path / "few.npz"), "-o", str(tmp_path / "out")]) == 2
    assert re.search(f"error: few.npz: {message}\n  train on the whole of FER2013", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_pictures_without_any_face_are_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    black = np.zeros((21, 48, 48), np.uint8)
    np.savez(tmp_path / "black.npz", images=black, fer2013_label=np.arange(21) % 7, usage=np.arange(21) // 7)
    assert main(["train", "random-forest-5", "--data", str(tmp_path / "black.npz"), "-o", str(tmp_path / "out")]) == 2
    assert "black.npz: expected at least 1 faces of 'angry' in Training, found 0" in capsys.readouterr().err


@pytest.mark.parametrize("system", RECIPES)
def test_a_framework_that_is_missing_is_named(
    system: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, missing = importlib.util.find_spec, RECIPES[system].needs[-1]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    assert main(["train", system, "--data", str(data), "-o", str(tmp_path / "out")]) == 3
    assert f"needs the Python module '{missing}', which is not installed\n  make frameworks" in capsys.readouterr().err


def test_every_trained_system_has_a_recipe() -> None:
    assert set(RECIPES) == {name for name, system in KNOWN.items() if system.trained}


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
