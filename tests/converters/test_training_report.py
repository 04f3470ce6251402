"""Accuracy, intervals and confusion matrices, against numbers worked out by hand and by scikit-learn."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from converters.training.fer2013 import Fer2013, Split
from converters.training.report import (
    CARD,
    Card,
    confusion_matrix,
    data_of,
    draw_confusion,
    hashes_of,
    measure,
    measure_whole,
    read_card,
    versions_of,
    wilson_interval,
    write_card,
)

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


def card() -> Card:
    result = measure(TRUTH, PREDICTED, LABELS)
    return Card(
        name="toy-3",
        recipe=("one step",),
        seed=5,
        data={"file": "x.csv"},
        n_training=7,
        n_validation=2,
        labels=LABELS,
        validation=result,
        test=result,
        whole_test=measure_whole(result, 12),
        reported={"the document": 0.54},
        remarks=(),
        versions={},
        files={},
    )


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_card(card(), tmp_path)
    assert read_card(tmp_path) == card()
    assert msgspec.json.decode((tmp_path / CARD).read_bytes())["test"]["confusion"] == [[2, 1, 1], [1, 2, 0], [0, 1, 2]]


def test_a_card_names_its_data_versions_and_files(tmp_path: Path) -> None:
    split = Split("Training", np.zeros((1, 48, 48), np.uint8), np.zeros(1, np.int64), "s" * 64)
    assert data_of(Fer2013("x.csv", "f" * 64, {"Training": split}, 0)) == {"file": "x.csv", "sha256": "f" * 64, "Training": "s" * 64}
    assert versions_of("numpy") == {"python": versions_of()["python"], "numpy": np.__version__}
    (tmp_path / "w").write_bytes(b"abc")
    assert hashes_of(tmp_path, ["w"]) == {"w": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
