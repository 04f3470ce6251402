from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from benchmarks.accuracy import metrics
from benchmarks.accuracy.conditions import barred, bins, blurred, compressed, dimmed, reduced
from benchmarks.accuracy.emotions import accuracy_of, classes_of, confusion_with_absence, emotion_figures, part
from benchmarks.accuracy.truth import Truth, clear_majorities, fer2013_truth
from benchmarks.accuracy.whole_pictures import Taught
from converters.training.affect.labelled_faces import POINTS
from converters.training.fer2013 import Split
from edge.errors import ConfigError
from edge.result import EMOTIONS

RNG = np.random.default_rng(7)


def _answers(truth: list[int], said: list[int], confidence: float = 0.7) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rows = np.full((len(truth), 7), (1 - confidence) / 6)
    rows[np.arange(len(said)), said] = confidence
    return rows


# Scores 1, 2, 2, 3 for absent, present, absent, present: of four pairs 3 are in order and one is a tie.
def test_the_area_under_the_curve_counts_pairs_and_half_of_ties() -> None:
    assert metrics.auc(np.array([False, True, False, True]), np.array([1.0, 2.0, 2.0, 3.0])).estimate == 3.5 / 4


def test_the_area_under_the_curve_is_scikit_learns() -> None:
    present = RNG.random(400) < 0.2
    scores = np.round(RNG.normal(size=400) + present, 1).astype(np.float64)  # with ties
    found = metrics.auc(present, scores)
    assert found.estimate == pytest.approx(roc_auc_score(present, scores), abs=1e-12)
    assert found.low < found.estimate < found.high
    # Hanley and McNeil 1982, equation 1: about 0.03 for these numbers.
    assert 0.08 < found.high - found.low < 0.16


def test_an_area_needs_both_present_and_absent() -> None:
    with pytest.raises(ValueError, match="expected both present and absent for an area under the curve, got 3 present of 3"):
        metrics.auc(np.ones(3, bool), np.array([1.0, 2.0, 3.0]))


def test_people_are_resampled_whole() -> None:
    """Eight pictures of each person that are all alike say no more than one: the interval must not shrink."""
    present = np.arange(60) % 2 == 0
    scores = RNG.normal(size=60) + 0.5 * present
    once = metrics.auc(present, scores)
    people = np.repeat(np.arange(60), 8)
    eightfold = metrics.auc(np.repeat(present, 8), np.repeat(scores, 8), people)
    alone = metrics.auc(np.repeat(present, 8), np.repeat(scores, 8))
    assert eightfold.estimate == pytest.approx(once.estimate)
    assert eightfold.high - eightfold.low == pytest.approx(once.high - once.low)
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_a_group_is_its_members_whatever_it_is_called() -> None:
    names = np.array([40, 7, 40, 9, 7])
    weights = metrics.drawn_weights(names)
    assert weights.shape == (metrics.RESAMPLES, 5)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # three groups, three draws


def test_correlations_are_numpys() -> None:
    first = RNG.normal(size=300)
    second = (0.5 * first + RNG.normal(size=300)).astype(np.float64)
    assert metrics.pearson(first, second).estimate == pytest.approx(np.corrcoef(first, second)[0, 1])
    # Fisher's interval: tanh(atanh(r) +- 1.96 / sqrt(n - 3)).
    found, z = metrics.pearson(first, second), math.atanh(metrics.pearson(first, second).estimate)
    assert (found.low, found.high) == pytest.approx((math.tanh(z - 1.96 / math.sqrt(297)), math.tanh(z + 1.96 / math.sqrt(297))), abs=0.04)


def test_rank_correlation_takes_any_rising_curve_for_a_line() -> None:
    values = RNG.normal(size=50)
    assert metrics.spearman(values, np.exp(values)).estimate == pytest.approx(1)
    assert metrics.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_what_does_not_vary_has_no_correlation() -> None:
    found = metrics.pearson(np.ones(3), np.array([1.0, 2.0, 3.0]))
    assert math.isnan(found.estimate)
    assert math.isnan(found.low)


def test_calibration_error_by_hand() -> None:
    # Four pictures at 0.7 of which two are right, one at 0.95 that is: (4 x 0.2 + 1 x 0.05) / 5.
    truth = np.array([0, 1, 2, 3, 4])
    answers = np.concatenate([_answers([0] * 4, [0, 1, 0, 0]), _answers([0], [4], confidence=0.95)])
    assert metrics.expected_calibration_error(answers, truth) == pytest.approx((4 * 0.2 + 0.05) / 5)
    n, confidence, right = metrics.calibration_bins(answers, truth)
    assert (int(n[10]), int(n[14]), n.sum()) == (4, 1, 5)
    assert (confidence[10], right[10]) == (pytest.approx(0.7), 0.5)
    assert np.isnan(right[0])


def test_certainty_is_in_the_last_bin() -> None:
    n, _, _ = metrics.calibration_bins(np.array([[1.0, 0.0]]), np.array([0]))
    assert n[-1] == 1


def test_cross_entropy_by_hand() -> None:
    shares = np.array([[0.5, 0.5], [1.0, 0.0]])
    answers = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert metrics.cross_entropy(shares, answers) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert metrics.cross_entropy(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-7))


def test_classes_are_scikit_learns() -> None:
    truth, said = RNG.integers(7, size=500), RNG.integers(7, size=500)
    figures = emotion_figures(Truth("fer2013", np.arange(500), truth), _answers(list(truth), list(said)), output="o", labels="l")
    assert figures.accuracy == pytest.approx((truth == said).mean())
    assert figures.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"))
    for average, score in (("recall", recall_score), ("precision", precision_score)):
        ours = [getattr(each, average).value for each in figures.per_class.values()]
        assert ours == pytest.approx(score(truth, said, average=None).tolist())
    assert figures.votes_cross_entropy is None
    assert sum(one.n for one in figures.reliability) == 500


def test_a_picture_without_a_face_is_wrong_and_in_the_last_column() -> None:
    answers = _answers([0, 1, 1], [0, 1, 1])
    answers[2] = np.nan
    confusion = confusion_with_absence(np.array([0, 1, 1]), answers)
    assert confusion[1].tolist() == [0, 1, 0, 0, 0, 0, 0, 1]
    figures = emotion_figures(Truth("seen", np.arange(3), np.array([0, 1, 1]), np.eye(7)[[0, 1, 1]]), answers, output="o", labels="l")
    assert (figures.n, figures.n_without_face) == (3, 1)
    assert figures.accuracy == pytest.approx(2 / 3)
    happy = figures.per_class["happy"]
    assert (happy.recall.n, happy.recall.value, happy.precision.n, happy.precision.value) == (2, 0.5, 1, 1.0)
    assert happy.f1 == pytest.approx(2 / 3)
    assert figures.votes_cross_entropy == pytest.approx(-math.log(0.7))
    assert figures.votes_entropy == pytest.approx(0, abs=1e-6)
    assert accuracy_of(np.array([0, 1, 1]), answers).value == pytest.approx(2 / 3)


def test_answers_to_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected answers of o to some of 2 pictures \(l\), got none"):
        emotion_figures(Truth("seen", np.arange(2), np.array([0, 1])), np.full((2, 7), np.nan), output="o", labels="l")


def test_of_nothing_there_is_no_part() -> None:
    assert (part(0, 0).value, part(0, 0).interval) == (None, None)
    nobody = classes_of(np.zeros((7, 8), np.int64))[0]
    assert (nobody.recall.value, nobody.precision.value, nobody.f1) == (None, None, 0.0)


def _split(votes: list[list[int]] | None, labels: list[int]) -> Split:
    pictures = np.zeros((len(labels), 48, 48), np.uint8)
    return Split("PrivateTest", pictures, np.array(labels), "", None if votes is None else np.array(votes, np.uint8))


def test_clear_majorities_leave_out_contempt_the_unsure_and_no_faces() -> None:
    votes = [
        [6, 4, 0, 0, 0, 0, 0, 0, 0, 0],  # neutral
        [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],  # half is not over half
        [0, 0, 0, 0, 0, 1, 6, 3, 0, 0],  # fear; contempt has no share
        [0, 0, 0, 0, 0, 0, 0, 9, 1, 0],  # contempt
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 9],  # no face
        [0, 0, 0, 7, 3, 0, 0, 0, 0, 0],  # sadness
    ]
    truth = clear_majorities(_split(votes, [0] * 6))
    assert truth.rows.tolist() == [0, 2, 5]
    assert [EMOTIONS[index] for index in truth.emotion] == ["neutral", "afraid", "sad"]
    assert truth.shares is not None
    assert dict(zip(EMOTIONS, truth.shares[1], strict=True)) == pytest.approx(
        {"neutral": 0, "happy": 0, "surprised": 0, "angry": 0, "disgusted": 1 / 7, "sad": 0, "afraid": 6 / 7}
    )


def test_fer2013s_own_labels_by_the_contracts_names() -> None:
    truth = fer2013_truth(_split(None, [0, -1, 3, 6]))
    assert truth.rows.tolist() == [0, 2, 3]
    assert [EMOTIONS[index] for index in truth.emotion] == ["angry", "happy", "neutral"]


def test_votes_are_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"--data holds no votes of FER\+"):
        clear_majorities(_split(None, [0]))


def test_bins_hold_every_number_once_and_nan_nowhere() -> None:
    found = dict(bins(np.array([1.0, 10.0, 20.0, 25.0, np.nan]), (10.0, 20.0)))
    assert {name: chosen.tolist() for name, chosen in found.items()} == {
        "below 10": [True, False, False, False, False],
        "10 to 20": [False, True, False, False, False],
        "20 and more": [False, False, True, True, False],
    }


def test_pictures_are_made_worse_as_they_say() -> None:
    pictures = RNG.integers(0, 256, (3, 48, 48)).astype(np.uint8)
    assert reduced(pictures, 24).shape == (3, 24, 24)
    assert np.abs(reduced(pictures, 24)[0, 0, 0] - pictures[0, :2, :2].mean()) <= 0.5
    assert (blurred(pictures, 0) == pictures).all()
    assert blurred(pictures, 1.5).std() < 0.5 * pictures.std()
    assert np.abs(compressed(pictures, 10).astype(int) - pictures).mean() > np.abs(compressed(pictures, 90).astype(int) - pictures).mean() > 0
    assert (dimmed(pictures, 1.0) == pictures).all()
    assert dimmed(pictures, 0.25).mean() == pytest.approx(pictures.mean() / 4, abs=1)
    assert (dimmed(pictures, 0.25) == dimmed(pictures, 0.25)).all()


def test_a_bar_hides_the_eyes_and_nothing_else() -> None:
    pictures = np.full((2, 48, 48), 200, np.uint8)
    points = np.full((2, len(POINTS), 2), np.nan)
    places = {"right_eye_outer": (12, 20), "right_eye_inner": (18, 20), "left_eye_inner": (30, 20), "left_eye_outer": (36, 20)}
    points[0] = 24, 40  # the mouth, and whatever else
    for place, (name, _) in enumerate(POINTS):
        points[0, place] = places.get(name, points[0, place])
    pose = np.where(np.isnan(points[:, 0, :1]), np.nan, np.zeros((2, 3)))
    hidden = barred(pictures, Taught(np.zeros((2, 15)), pose, points), "bar over the eyes")
    gray = hidden[0] == 128
    # Eyes 18 px apart: 43 px wide, 13 px high.
    assert gray[20, 4:44].all()
    assert not gray[:12].any()
    assert not gray[28:].any()
    assert (hidden[1] == 200).all()  # nobody knows where its eyes are
