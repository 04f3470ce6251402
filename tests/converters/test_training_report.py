"""Accuracy, intervals and confusion matrices, against numbers worked out by hand and by scikit-learn."""

from __future__ import annotations

import platform
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from converters.training.card import CARD, PICTURE, Card, Reported, Variant, read_card, table, write_card
from converters.training.chosen_faces import ChosenFaces
from converters.training.fer2013 import PRIVATE_TEST, PUBLIC_TEST, TRAINING, Fer2013, Split, check_enough
from converters.training.measure import confusion_matrix, measure, measure_whole, wilson_interval
from converters.training.report import Account, draw_confusion, variant, write_report
from edge.errors import ConfigError
from edge.package import file_sha256

LABELS = ("angry", "happy", "neutral")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 1, 2, 1, 1, 0, 2, 2, 1])


def test_a_matrix_counts_true_rows_and_predicted_columns() -> None:
    assert confusion_matrix(TRUTH, PREDICTED, 3).tolist() == [[2, 1, 1], [1, 2, 0], [0, 1, 2]]
    assert confusion_matrix(np.array([2]), np.array([0]), 3).tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_a_result_holds_what_the_counts_give() -> None:
    result = measure(TRUTH, PREDICTED, LABELS)
    assert result.n == 10
    assert result.accuracy == pytest.approx(0.6)
    assert result.recall == pytest.approx({"angry": 2 / 4, "happy": 2 / 3, "neutral": 2 / 3})
    # F1 = 2 right / (of the class + taken for it): 4/7, 4/7, 4/6.
    assert result.macro_f1 == pytest.approx((4 / 7 + 4 / 7 + 4 / 6) / 3)
    assert result.confusion == ((2, 1, 1), (1, 2, 0), (0, 1, 2))


def test_a_result_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    truth, predicted = generator.integers(0, 7, 2000), generator.integers(0, 6, 2000)  # the last class is never predicted
    result = measure(truth, predicted, tuple("abcdefg"))
    assert result.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert list(result.recall.values()) == pytest.approx(recall_score(truth, predicted, average=None).tolist())
    assert result.recall["g"] == 0


def test_a_class_that_occurs_nowhere_counts_as_nothing() -> None:
    result = measure(np.array([0, 1]), np.array([0, 1]), LABELS)
    assert result.recall["neutral"] == 0
    assert result.macro_f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize("predicted", [PREDICTED[:9], np.zeros(0, np.int64)])
def test_predictions_that_do_not_match_the_truth_are_refused(predicted: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    with pytest.raises(ValueError, match=r"expected as many predictions as true classes, and at least one: got \d for \d+"):
        measure(TRUTH[: len(predicted)] if not len(predicted) else TRUTH, predicted, LABELS)


def test_intervals_are_wilsons() -> None:
    # Worked out from the formula in Brown, Cai and DasGupta 2001 for 7 of 10: 0.3968 to 0.8922.
    assert wilson_interval(7, 10) == pytest.approx((0.3968, 0.8922), abs=1e-4)
    low, high = wilson_interval(0, 20)
    assert low == 0
    assert high == pytest.approx(0.1611, abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx((1 - 0.1611, 1), abs=1e-4)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(1).binomial(400, 0.54, 4000)
    covered = [low <= 0.54 <= high for low, high in (wilson_interval(int(count), 400) for count in drawn)]
    assert 0.94 < np.mean(covered) < 0.965


def test_pictures_without_a_face_count_as_wrong() -> None:
    whole = measure_whole(measure(TRUTH, PREDICTED, LABELS), 12)
    assert whole.n == 12
    assert whole.n_without_face == 2
    assert whole.accuracy == pytest.approx(6 / 12)
    assert whole.interval == wilson_interval(6, 12)


def test_a_picture_shows_the_matrix(tmp_path: Path) -> None:
    diagonal = measure(np.arange(3), np.arange(3), LABELS)
    draw_confusion(diagonal, LABELS, tmp_path / "diagonal.png", title="all right")
    draw_confusion(diagonal, LABELS, tmp_path / "again.png", title="all right")
    draw_confusion(measure(TRUTH, PREDICTED, LABELS), LABELS, tmp_path / "other.png", title="all right")
    assert (tmp_path / "diagonal.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert (tmp_path / "diagonal.png").stat().st_size < 100_000
    dark = [(cv2.imread(str(tmp_path / name)).astype(int).sum(axis=2) < 300).sum() for name in ("diagonal.png", "other.png")]  # type: ignore[union-attr]
    assert dark[0] > 1.2 * dark[1]  # full cells are dark blue


def faces(truth: list[int], *, n_missed: int = 0) -> ChosenFaces:
    return ChosenFaces(np.zeros((len(truth), 2, 2), np.uint8), np.array(truth, np.int64), len(truth) + n_missed)


FACES = {TRAINING: faces([0, 0, 0, 1, 1, 1, 2]), PUBLIC_TEST: faces([0, 1]), PRIVATE_TEST: faces(TRUTH.tolist(), n_missed=2)}
PREDICTIONS = {PUBLIC_TEST: np.array([0, 2]), PRIVATE_TEST: PREDICTED}


def data() -> Fer2013:
    splits = {
        name: Split(name, np.zeros((each.n_pictures, 48, 48), np.uint8), np.zeros(each.n_pictures, np.int64), f"of {name}") for name, each in FACES.items()
    }
    return Fer2013("x.csv", "f" * 64, splits, 0)


def report(folder: Path) -> Card:
    (folder / "weights").write_bytes(b"abc")
    account = Account(
        name="toy-3",
        seed=5,
        recipe=("one step",),
        reported=(Reported(source="the document", accuracy=0.54, macro_f1=0.5), Reported(source="a contest", accuracy=0.71)),
        remarks=("a remark",),
        libraries=("numpy",),
        variants=(variant("another", FACES, {PUBLIC_TEST: np.array([0, 1]), PRIVATE_TEST: TRUTH}, LABELS),),
    )
    return write_report(account, data(), FACES, PREDICTIONS, LABELS, weights=folder / "weights")


def test_a_report_measures_both_tests_and_counts_missed_faces(tmp_path: Path) -> None:
    card = report(tmp_path)
    assert (card.n_training, card.n_validation) == (7, 2)
    assert (card.test, card.validation.accuracy) == (measure(TRUTH, PREDICTED, LABELS), 0.5)
    assert (card.whole_test.n, card.whole_test.n_without_face, card.whole_test.accuracy) == (12, 2, 0.5)
    assert card.variants == (Variant(recipe="another", validation_accuracy=1, test_accuracy=1, test_macro_f1=1),)
    assert card.remarks == (
        "a remark",
        "PublicTest of the competition has 3,589 pictures, of which x.csv holds 2",
        "PrivateTest of the competition has 3,589 pictures, of which x.csv holds 12",
        "faces trained on: angry 3, happy 3, neutral 1",
        "always answering angry would be right for 40.0 % of the test",
    )


def test_a_card_names_its_data_versions_and_files(tmp_path: Path) -> None:
    card = report(tmp_path)
    assert card.data == {"file": "x.csv", "sha256": "f" * 64, TRAINING: "of Training", PUBLIC_TEST: "of PublicTest", PRIVATE_TEST: "of PrivateTest"}
    assert card.versions == {"python": platform.python_version(), "numpy": np.__version__}
    assert card.files == {
        "weights": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        PICTURE: file_sha256(tmp_path / PICTURE),
    }


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    card = report(tmp_path)
    assert read_card(tmp_path) == card
    write_card(read_card(tmp_path), tmp_path)
    assert read_card(tmp_path) == card
    assert msgspec.json.decode((tmp_path / CARD).read_bytes())["test"]["confusion"] == [[2, 1, 1], [1, 2, 0], [0, 1, 2]]


def test_a_table_has_our_figures_above_the_reported_ones(tmp_path: Path) -> None:
    assert table(report(tmp_path)) == [
        "toy-3                                pictures  accuracy   95 % interval  macro F1",
        "PrivateTest, faces found                   10    60.0 %  31.3 to 83.2 %     0.603",
        "PrivateTest, no face found is wrong        12    50.0 %  25.4 to 74.6 %         -",
        "PublicTest, faces found                     2    50.0 %   9.5 to 90.5 %     0.333",
        "the document                                -    54.0 %               -     0.500",
        "a contest                                   -    71.0 %               -         -",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({TRAINING: faces([0, 0, 0, 1, 1])}, r"x.csv: expected at least 1 faces of 'neutral' in Training, found 0\n  train on the whole of FER2013"),
        ({TRAINING: faces([0, 1, 2])}, "expected at least 5 faces of angry, happy, neutral in Training, found 3"),
        ({PUBLIC_TEST: faces([])}, "expected at least 1 faces of angry, happy, neutral in PublicTest, found 0"),
        ({PRIVATE_TEST: faces([])}, "expected at least 1 faces of angry, happy, neutral in PrivateTest, found 0"),
    ],
)
def test_too_few_faces_are_named(changed: dict[str, ChosenFaces], message: str) -> None:
    check_enough(data(), FACES, LABELS, of_each=1, in_all=5)
    with pytest.raises(ConfigError, match=message):
        check_enough(data(), {**FACES, **changed}, LABELS, of_each=1, in_all=5)
