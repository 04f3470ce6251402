"""The perceptron of document 003: its layers, its training in small, and the weights that are shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.errors import ParityFailure
from converters.from_keras.keras_backend import keras
from converters.from_keras.keras_file import load_keras
from converters.from_keras.keras_original import KerasOriginal
from converters.parity import check_parity
from converters.real_inputs import read_frames
from converters.systems.embedding_systems import PERCEPTRON, WEIGHTS
from converters.training.card import CARD, PICTURE, read_card
from converters.training.embedding_mlp import L2, balanced, fit, perceptron, predict, train
from converters.training.face_embeddings import EmbeddedFaces, embed_faces
from converters.training.fer2013 import LABELS, PRIVATE_TEST, Split, find_faces, read_fer2013
from converters.training.measure import measure
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.package import file_sha256, load_package

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ROOT / "converters" / "trained" / "embedding-mlp-7"
FER2013 = ROOT.parent / "shared" / "data" / "fer2013_ferplus.npz"
N_PICTURES = 500

# Keras asks its own variables for numpy arrays in a way that NumPy 2 calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def clusters(n_each: int, seed: int) -> EmbeddedFaces:
    """Seven classes of points that a perceptron can tell apart, the second one rare."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(7), [n_each, n_each // 5, *[n_each] * 5])
    centers = np.random.default_rng(0).normal(size=(7, 128))
    points = centers[truth] + generator.normal(scale=1.5, size=(len(truth), 128))
    return EmbeddedFaces(points.astype(np.float32), truth, len(truth))


def test_the_layers_are_the_documents() -> None:
    model = perceptron()
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert isinstance(model.layers[1], keras.layers.BatchNormalization)
    assert [(layer.units, layer.activation.__name__, layer.kernel_regularizer is not None) for layer in dense] == [
        (128, "relu", True),
        (86, "relu", True),
        (64, "relu", False),
        (32, "tanh", False),
        (16, "relu", True),
        (7, "softmax", False),
    ]
    assert all(float(layer.kernel_regularizer.l2) == pytest.approx(L2) for layer in dense if layer.kernel_regularizer)
    # Batch normalisation 4 x 128; then (inputs + 1) x neurons.
    assert model.count_params() == 4 * 128 + 129 * 128 + 129 * 86 + 87 * 64 + 65 * 32 + 33 * 16 + 17 * 7


def test_balancing_invents_pictures_of_rare_classes_between_real_ones() -> None:
    faces = clusters(40, seed=1)
    embeddings, truth = balanced(faces)
    assert np.bincount(truth).tolist() == [40] * 7
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings[: len(faces.truth)], faces.embeddings)
    real = faces.embeddings[faces.truth == 1].astype(np.float64)
    first, second = (each[np.newaxis] for each in (real[:, np.newaxis], real[np.newaxis]))
    for invented in embeddings[len(faces.truth) :].astype(np.float64):
        detour = np.linalg.norm(invented - first, axis=-1) + np.linalg.norm(invented - second, axis=-1) - np.linalg.norm(first - second, axis=-1)
        np.fill_diagonal(detour[0], np.inf)
        assert detour.min() < 1e-3  # on the way from one to another


def test_training_learns_and_its_weights_convert(tmp_path: Path) -> None:
    said: list[str] = []
    training, other = clusters(60, seed=2), clusters(40, seed=3)
    model = fit(*balanced(training), other, n_epochs=20, say=said.append)
    result = measure(other.truth, predict(model, other), LABELS)
    assert result.accuracy > 0.6  # guessing gives one in six
    assert said[0].startswith("epoch 20: training accuracy 0.")
    model.save(tmp_path / WEIGHTS, include_optimizer=False)
    original = KerasOriginal(load_keras(tmp_path / WEIGHTS), name="mlp")
    converted = original.to_onnx()
    inputs = {PERCEPTRON.input.tensor: other.embeddings}
    assert original.run(inputs)[PERCEPTRON.outputs[0].tensor].argmax(axis=1).tolist() == model.predict(other.embeddings, verbose=0).argmax(axis=1).tolist()
    check_parity(original, converted, inputs, limit=1e-4, where="perceptron")
    again = fit(*balanced(training), other, n_epochs=20, say=said.append)
    assert all(np.array_equal(first, second) for first, second in zip(model.get_weights(), again.get_weights(), strict=True))
    another = KerasOriginal(fit(training.embeddings, training.truth, other, n_epochs=1, say=said.append), name="mlp")
    with pytest.raises(ParityFailure, match="differs"):
        check_parity(another, converted, inputs, limit=1e-4, where="perceptron")


@pytest.fixture(scope="module")
def small_set(clip: Callable[[str], Path], models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of the sample clip in FER2013's manner, eight of each class and split; the classes are made up. One picture has no face."""
    faces = faces_of(read_frames(clip("WolfgangLanger_Pexels.mp4")), models)
    generator = np.random.default_rng(0)
    # Each one a little brighter or darker, so that no two are the same.
    pictures = np.stack([np.clip(faces[n % len(faces)] * generator.uniform(0.7, 1.2), 0, 255).astype(np.uint8) for n in range(3 * 56)])
    pictures[-1] = 0
    path = tmp_path_factory.mktemp("fer2013") / "small.npz"
    np.savez(path, images=pictures, fer2013_label=np.tile(np.arange(7), 24), usage=np.repeat(np.arange(3), 56))
    return path


def faces_of(frames: list[Pixels], models: Path) -> list[Pixels]:
    pictures = []
    for frame in frames:
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        side = gray.shape[0]
        for left in range(0, gray.shape[1] - side + 1, 40):
            part = gray[:, left : left + side]
            pictures.append(
                np.asarray(cv2.resize(part[side // 8 : side * 7 // 8, side // 8 : side * 7 // 8], (48, 48), interpolation=cv2.INTER_AREA), np.uint8)
            )
    found = find_faces(np.stack(pictures), load_package(models / "blazeface"), say=print)
    return [picture for picture, face in zip(pictures, found, strict=True) if face is not None]


def test_the_command_writes_weights_card_and_picture(small_set: Path, tmp_path: Path) -> None:
    card = train(small_set, tmp_path / "out", print, n_epochs=2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([CARD, PICTURE, WEIGHTS])
    assert read_card(tmp_path / "out") == card
    assert (card.n_training, card.n_validation, card.test.n, card.whole_test.n, card.whole_test.n_without_face) == (56, 56, 55, 56, 1)
    assert card.files[WEIGHTS] == file_sha256(tmp_path / "out" / WEIGHTS)
    assert card.data["sha256"] == file_sha256(small_set)
    assert "2 epochs" in " ".join(card.recipe)


def test_no_data_no_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file at "):
        train(tmp_path / "fer2013.csv", tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_the_card_belongs_to_the_shipped_weights() -> None:
    card = read_card(TRAINED)
    assert card.name == "embedding-mlp-7"
    assert card.labels == LABELS
    assert sorted(card.files) == sorted([WEIGHTS, PICTURE])
    assert {name: file_sha256(TRAINED / name) for name in card.files} == card.files
    assert (TRAINED / WEIGHTS).stat().st_size < 1_000_000
    confusion = np.array(card.test.confusion)
    assert card.test.n == confusion.sum()
    assert card.test.accuracy == np.trace(confusion) / confusion.sum()
    assert card.whole_test.n == 3573
    assert card.test.interval[0] > confusion.sum(axis=1).max() / confusion.sum()  # better than always the most frequent class
    assert (card.reported[0].source, card.reported[0].accuracy) == ("document 003, FER2013", 0.54)
    assert any("300 epochs" in step for step in card.recipe)


def test_the_cards_accuracy_comes_out_again(models: Path) -> None:
    if not FER2013.exists():
        pytest.skip(f"FER2013 is not at {FER2013}: nothing to recompute the accuracy from")
    whole = read_fer2013(FER2013).splits[PRIVATE_TEST]
    part = Split(whole.name, whole.pictures[:N_PICTURES], whole.labels[:N_PICTURES], "a part")
    faces = embed_faces(part, load_package(models / "blazeface"), say=print)
    model = load_keras(TRAINED / WEIGHTS)
    result = measure(faces.truth, predict(model, faces), LABELS)
    card = read_card(TRAINED)
    # A part of the same pictures: its own interval holds the figure of the whole.
    assert result.interval[0] < card.test.accuracy < result.interval[1]
    wrong = EmbeddedFaces(np.roll(faces.embeddings, 1, axis=0), faces.truth, faces.n_pictures)
    assert measure(wrong.truth, predict(model, wrong), LABELS).interval[1] < card.test.accuracy
