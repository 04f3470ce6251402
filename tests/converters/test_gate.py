"""The gate's numbers, each against one that was worked out by hand, and each shown to refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from converters.errors import ConversionError
from converters.mediapipe_packages import BLAZEFACE, MESH_CHAIN
from converters.original import Array
from converters.quantization.gate import Metric, compare, compare_numbers, compare_readings, failures, lost, strain
from converters.quantization.limits import LIMITS, MetricName
from converters.training.measure import wilson_interval
from edge.stage import ActionUnits, Emotions, Landmarks, Scores, Stage, role_of

N = 100
STAGES = {stage.name: stage for recipe in (BLAZEFACE, MESH_CHAIN) for stage in recipe.manifest.stages}


def answers_of(stage: Stage, n: int = N) -> dict[str, Array]:
    """Answers that vary and lie where a network's would."""
    rng = np.random.default_rng(1)
    if stage.name == "mesh":
        points = rng.uniform(0, 256, (1, 478 * 3)) + rng.normal(0, 5, (n, 478 * 3))
        return {"Identity": points.astype(np.float32), "Identity_1": np.full((n, 1), 5, np.float32)}
    if stage.name == "blendshapes":
        return {"StatefulPartitionedCall:0": rng.uniform(0, 0.5, (n, 52)).astype(np.float32)}
    if stage.name == "emotion":
        logits = rng.normal(0, 2, (n, 7))
        return {"Identity": (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)}
    rows = rng.normal(0, 1, (n, 896, 16)).astype(np.float32)
    rows[:, :, 2:4] = 60  # boxes of 60 pixels
    rows[:, :, 4:8] = (-15, 0, 15, 0)  # eyes 30 pixels apart
    scores = np.full((n, 896, 1), -9, np.float32)
    scores[np.arange(n), rng.integers(0, 896, n)] = 4
    return {"regressors": rows, "classificators": scores}


def changed(answers: dict[str, Array], tensor: str, change: Callable[[Array], None]) -> dict[str, Array]:
    copy = {name: values.copy() for name, values in answers.items()}
    change(copy[tensor])
    return copy


def by_name(metrics: tuple[Metric, ...], name: MetricName) -> Metric:
    return next(metric for metric in metrics if metric.name == name)


@pytest.mark.parametrize("name", ["mesh", "blendshapes", "emotion", "short"])
@pytest.mark.parametrize("trained", [True, False])
def test_equal_networks_pass_without_a_strain(name: str, trained: bool) -> None:
    answers = answers_of(STAGES[name])
    metrics = compare(STAGES[name], answers, answers, trained=trained)
    assert failures(metrics) == []
    # How sure an agreement is follows from the number of inputs alone; a ratio is never quite infinite.
    assert all(metric.strain < 0.2 for metric in metrics if metric.name != "label agreement, lower bound")
    assert strain(metrics) < 1
    assert len(metrics) > 2 or not trained


def flipped(n: int) -> Callable[[Array], None]:
    def change(rows: Array) -> None:
        rows[:n] = np.roll(rows[:n], 1, axis=1)

    return change


def test_labels_must_agree_in_97_of_100() -> None:
    stage, answers = STAGES["emotion"], answers_of(STAGES["emotion"], n=1000)
    passes = compare(stage, answers, changed(answers, "Identity", flipped(30)), trained=True)
    agreement = by_name(passes, "label agreement")
    assert (agreement.value, agreement.interval, agreement.n, agreement.limit) == (0.97, wilson_interval(970, 1000), 1000, 0.97)
    assert agreement.strain == pytest.approx(1)
    assert "label agreement" not in " ".join(failures(passes))
    narrowly = compare(stage, answers, changed(answers, "Identity", flipped(31)), trained=True)
    assert "label agreement of emotions is 0.969" in " ".join(failures(narrowly))
    fails = compare(stage, answers, changed(answers, "Identity", flipped(45)), trained=True)
    assert "label agreement of emotions is 0.955 [0.94, 0.966] over 1000, at least 0.97 is allowed" in failures(fails)


def test_few_inputs_show_too_little() -> None:
    answers = answers_of(STAGES["emotion"], n=30)
    (failure,) = failures(compare(STAGES["emotion"], answers, answers, trained=True))
    assert failure == "label agreement, lower bound of emotions is 0.886 over 30, at least 0.9 is allowed"


def test_a_neutral_by_rule_is_a_label_too() -> None:
    output = Emotions(tensor="p", activation="none", labels=("happy", "sad"), neutral_below=0.5)
    stage = msgspec.structs.replace(STAGES["emotion"], outputs=(output,))
    reference = {"p": np.tile(np.array([0.4, 0.1], np.float32), (N, 1))}
    agreed = by_name(compare(stage, reference, {"p": reference["p"] + np.float32(0.05)}, trained=True), "label agreement")
    differ = by_name(compare(stage, reference, {"p": reference["p"] + np.float32(0.2)}, trained=True), "label agreement")
    assert (agreed.value, differ.value) == (1, 0)


def test_kl_divergence_by_hand() -> None:
    output = Scores(tensor="p", activation="none", labels=("a", "b"))
    stage = msgspec.structs.replace(STAGES["emotion"], outputs=(output,))
    reference, other = ({"p": np.tile(np.array(row, np.float32), (N, 1))} for row in ((0.9, 0.1), (0.7, 0.3)))
    metrics = compare(stage, reference, other, trained=True)
    expected = 0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3)
    assert by_name(metrics, "KL divergence").value == pytest.approx(expected, rel=1e-5)
    assert failures(metrics) == [f"KL divergence of scores is {expected:.3g} nat over 100, at most 0.05 nat is allowed"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("trained", [True, False])
def test_what_is_no_number_fails_alone(bad: float, trained: bool) -> None:
    answers = answers_of(STAGES["emotion"])

    def spoil(rows: Array) -> None:
        rows[3, 2] = bad

    (metric,) = compare(STAGES["emotion"], answers, changed(answers, "Identity", spoil), trained=trained)
    assert (metric.name, metric.value, metric.strain) == ("non-finite numbers", 1, math.inf)
    assert failures([metric]) == ["non-finite numbers of emotion is 1 over 100, at most 0 is allowed"]


def test_scores_that_the_runtime_refuses_fail() -> None:
    answers = answers_of(STAGES["emotion"])

    def spoil(rows: Array) -> None:
        rows[3, 2] = 1.2

    metrics = compare(STAGES["emotion"], answers, changed(answers, "Identity", spoil), trained=True)
    assert "numbers the runtime refuses of emotions is 100 over 100, at most 0 is allowed" in failures(metrics)


def test_action_units_name_the_worst() -> None:
    stage, answers = STAGES["blendshapes"], answers_of(STAGES["blendshapes"])
    labels = stage.outputs[0].labels  # type: ignore[union-attr]

    def open_jaw(rows: Array) -> None:
        rows[:, labels.index("jawOpen")] += 0.1

    metrics = compare(stage, answers, changed(answers, "StatefulPartitionedCall:0", open_jaw), trained=True)
    error = by_name(metrics, "action unit error")
    # 0.1 of the range from 0.01 to 0.73, but for the few values below its beginning.
    assert error.parts["AU26"] == pytest.approx(0.1 / 0.72, abs=0.003)
    assert max(value for name, value in error.parts.items() if name != "AU26") == 0
    assert failures(metrics) == [
        f"action unit error of action_units (AU26) is {error.value:.3g} over 100, at most 0.05 is allowed",
        f"action unit error, root mean square of action_units (AU26) is {error.value:.3g} over 100, at most 0.1 is allowed",
    ]


def test_an_action_unit_that_no_longer_varies_has_no_correlation() -> None:
    stage, answers = STAGES["blendshapes"], answers_of(STAGES["blendshapes"])
    labels = stage.outputs[0].labels  # type: ignore[union-attr]

    def freeze(rows: Array) -> None:
        rows[:, labels.index("jawOpen")] = rows[:, labels.index("jawOpen")].mean()

    correlation = by_name(compare(stage, answers, changed(answers, "StatefulPartitionedCall:0", freeze), trained=True), "action unit correlation")
    assert correlation.value == correlation.parts["AU26"] == 0
    assert correlation.parts["AU12"] == pytest.approx(1)
    assert correlation.strain > 1
    still = {name: np.repeat(values[:1], N, axis=0) for name, values in answers.items()}
    assert "action unit correlation" not in {metric.name for metric in compare(stage, still, still, trained=True)}


def test_an_action_unit_that_fires_on_a_few_faces_fails_though_its_mean_error_is_small() -> None:
    output = ActionUnits(tensor="p", activation="none", labels=("AU1", "AU9"), quantity="intensity", learned_from="made up")
    stage = msgspec.structs.replace(STAGES["emotion"], outputs=(output,))
    rows = np.random.default_rng(7).random((160, 2), np.float32)
    rows[:, 1] = 0.01  # at rest

    def fire(changed_rows: Array) -> None:
        changed_rows[:3, 1] = 0.9

    metrics = compare(stage, {"p": rows}, changed({"p": rows}, "p", fire), trained=True)
    root = math.sqrt(3 / 160) * 0.89
    assert failures(metrics) == [f"action unit error, root mean square of action_units (AU9) is {root:.3g} over 160, at most 0.1 is allowed"]
    assert by_name(metrics, "action unit error").still == ("AU9",)
    assert [*by_name(metrics, "action unit correlation").parts] == ["AU1"]


@pytest.mark.parametrize(
    "output",
    [
        Scores(tensor="p", activation="sigmoid", labels=("a", "b", "c")),
        Scores(tensor="p", activation="sigmoid", labels=("a",)),
        Emotions(tensor="p", activation="sigmoid", labels=("happy", "sad", "angry")),
        Emotions(tensor="p", activation="sigmoid", labels=("happy", "sad", "angry"), neutral_below=0.3),
    ],
    ids=["scores", "one score", "emotions", "emotions with a neutral by rule"],
)
def test_scores_that_are_no_distribution_are_judged_by_their_values(output: Scores | Emotions) -> None:
    stage = msgspec.structs.replace(STAGES["emotion"], outputs=(output,))
    logits = np.random.default_rng(8).normal(0, 1, (N, len(output.labels))).astype(np.float32)
    logits[:, 0] += 3 if len(output.labels) > 1 else 0  # the top one, by far
    assert failures(compare(stage, {"p": logits}, {"p": logits}, trained=True)) == []
    metrics = compare(stage, {"p": logits}, {"p": np.asarray(logits / 100, np.float32)}, trained=True)
    assert by_name(metrics, "score error").strain > 1
    assert any(failure.startswith(f"score error of {role_of(output)} (") for failure in failures(metrics))
    assert "KL divergence" not in {metric.name for metric in metrics}
    mixed = compare(stage, {"p": logits}, {"p": np.roll(logits, 1, axis=0)}, trained=True)
    assert by_name(mixed, "score correlation").strain > 1


def test_scores_that_stop_adding_up_are_not_judged_by_a_divergence() -> None:
    stage = msgspec.structs.replace(STAGES["emotion"], outputs=(Scores(tensor="p", activation="none", labels=("a", "b")),))
    rows = {"p": np.tile(np.array((0.6, 0.4), np.float32), (N, 1))}
    metrics = compare(stage, rows, {"p": rows["p"] + np.float32(0.4)}, trained=True)  # a divergence below 0
    assert by_name(metrics, "score error").value == pytest.approx(0.4)


def test_depth_is_judged_by_the_pose_that_follows_from_it() -> None:
    stage, answers = STAGES["mesh"], answers_of(STAGES["mesh"])

    def flatten(rows: Array) -> None:
        rows[:, 2::3] = 0

    metrics = compare(stage, answers, changed(answers, "Identity", flatten), trained=True)
    assert by_name(metrics, "landmark error").value == 0
    assert [failure.partition(" of ")[0] for failure in failures(metrics)] == ["head pose error", "head pose error, 95th percentile"]

    def collapse(rows: Array) -> None:
        rows[:, :] = rows[:, :1]

    assert by_name(compare(stage, answers, changed(answers, "Identity", collapse), trained=True), "head pose error").value == 180


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("trained", [True, False])
def test_nothing_is_compared_with_what_is_no_number(bad: float, trained: bool) -> None:
    answers = answers_of(STAGES["emotion"])

    def spoil(rows: Array) -> None:
        rows[3, 2] = bad

    with pytest.raises(ConversionError, match="emotion: expected finite numbers of the network in FP32, got NaN or infinity in 'Identity'"):
        compare(STAGES["emotion"], changed(answers, "Identity", spoil), answers, trained=trained)


def test_no_metric_passes_without_a_number() -> None:
    output = STAGES["emotion"].outputs[0]
    assert isinstance(output, Emotions)
    rows = answers_of(STAGES["emotion"])["Identity"].astype(np.float64)
    for metric in compare_numbers(output, rows, np.where(np.arange(N)[:, None] == 3, np.nan, rows), "emotions"):
        assert metric.name.startswith("label agreement") or metric.strain > 1
    for name in LIMITS:
        limit = LIMITS[name]
        ideal = limit.ideal if math.isfinite(limit.ideal) else None
        for value in (math.nan, math.inf, -math.inf):
            metric = Metric(name=name, of="x", value=value, unit="", limit=limit.value, ideal=ideal, n=1)
            assert metric.strain == (0 if name == "signal to noise" and value == math.inf else math.inf)


def test_landmarks_are_measured_in_eye_distances() -> None:
    stage, answers = STAGES["mesh"], answers_of(STAGES["mesh"])
    output = stage.outputs[0]
    assert isinstance(output, Landmarks)
    points = answers["Identity"].reshape(N, -1, 3)[..., :2]
    left, right = (points[:, list(eye)].mean(axis=1) for eye in (output.left_eye, output.right_eye))
    shift = 3 / np.linalg.norm(left - right, axis=1)

    def move(rows: Array) -> None:
        rows[:, ::3] += 3

    metrics = compare(stage, answers, changed(answers, "Identity", move), trained=True)
    assert by_name(metrics, "landmark error").value == pytest.approx(shift.mean(), rel=1e-4)
    assert by_name(metrics, "landmark error, 95th percentile").value == pytest.approx(np.percentile(shift, 95), rel=1e-4)
    assert any(failure.startswith("landmark error of Identity is ") for failure in failures(metrics))


def test_what_fp32_takes_for_no_face_has_no_landmarks() -> None:
    stage, answers = STAGES["mesh"], answers_of(STAGES["mesh"])
    answers["Identity_1"][:50] = -5

    def move(rows: Array) -> None:
        rows[:50, ::3] += 30

    metrics = compare(stage, answers, changed(answers, "Identity", move), trained=True)
    assert (by_name(metrics, "landmark error").value, by_name(metrics, "landmark error").n) == (0, 50)

    def lose(rows: Array) -> None:
        rows[50:70] = -5

    lost = by_name(compare(stage, answers, changed(answers, "Identity_1", lose), trained=True), "presence agreement")
    assert (lost.value, lost.n) == (0.8, 100)
    assert lost.strain > 1


def test_detections_that_are_lost_or_moved_fail() -> None:
    stage, answers = STAGES["short"], answers_of(STAGES["short"])

    def lose(scores: Array) -> None:
        scores[:8] = -9

    lost = compare(stage, answers, changed(answers, "classificators", lose), trained=True)
    assert failures(lost) == ["detections agreed of regressors is 0.92 [0.85, 0.959] over 100, at least 0.97 is allowed"]
    assert by_name(lost, "eye position error").n == 92

    def find(scores: Array) -> None:
        scores[:8, 0] = 9
        scores[:8, 895] = 9

    found = by_name(compare(stage, answers, changed(answers, "classificators", find), trained=True), "detections agreed")
    assert found.value < 0.9
    assert found.strain > 1

    def move(rows: Array) -> None:
        rows[:, :, 4:8] += 3  # the eyes by 3 pixels each way, of 30

    moved = compare(stage, answers, changed(answers, "regressors", move), trained=True)
    assert by_name(moved, "eye position error").value == pytest.approx(3 * math.sqrt(2) / 30, rel=0.01)
    assert failures(moved) == ["eye position error of regressors is 0.141 eye distances over 100, at most 0.05 eye distances is allowed"]

    def doubt(scores: Array) -> None:
        scores[scores > 0] = 0.1

    assert by_name(compare(stage, answers, changed(answers, "classificators", doubt), trained=True), "detection score error").strain > 1


def test_untrained_networks_are_judged_by_signal_to_noise_alone() -> None:
    stage, answers = STAGES["emotion"], answers_of(STAGES["emotion"])
    rng = np.random.default_rng(2)
    varies = math.sqrt(((answers["Identity"] - answers["Identity"].mean(axis=0)) ** 2).mean())
    limit_db = LIMITS["signal to noise"].value
    for level_db in (limit_db + 1, limit_db - 1):
        noise = rng.normal(0, 1, answers["Identity"].shape)
        noise *= varies / math.sqrt((noise**2).mean()) / 10 ** (level_db / 20)
        metrics = compare(stage, answers, {"Identity": (answers["Identity"] + noise).astype(np.float32)}, trained=False)
        assert [metric.name for metric in metrics] == ["non-finite numbers", "signal to noise"]
        assert metrics[1].value == pytest.approx(level_db, abs=1e-3)
        assert (strain(metrics) <= 1) == (level_db > limit_db)
    assert failures(metrics) == [f"signal to noise of Identity is {limit_db - 1:.3g} dB over 100, at least {limit_db:g} dB is allowed"]
    of_trained = by_name(compare(stage, answers, answers, trained=True), "signal to noise")
    assert (of_trained.limit, of_trained.strain) == (None, 0)


def test_embeddings_that_later_stages_take_are_compared() -> None:
    stage = msgspec.structs.replace(STAGES["emotion"], outputs=())
    embedding = np.random.default_rng(3).normal(0, 1, (N, 128)).astype(np.float32)
    metrics = compare(stage, {"e": embedding}, {"e": embedding * 2}, trained=True, taken=["e"])
    assert by_name(metrics, "embedding cosine").value == pytest.approx(1)
    noise = np.random.default_rng(4).normal(0, 0.5, embedding.shape).astype(np.float32)
    (failure,) = failures(compare(stage, {"e": embedding}, {"e": embedding + noise}, trained=True, taken=["e"]))
    assert failure.startswith("embedding cosine of e is 0.89")


def test_whole_packages_must_see_the_same_faces() -> None:
    output = STAGES["emotion"].outputs[0]
    assert isinstance(output, Emotions)
    rows = answers_of(STAGES["emotion"])["Identity"].astype(np.float64)
    readings: list[list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] | None] = [[row] for row in rows]
    assert failures(compare_readings([(0, output)], readings, readings, prefix="")) == []
    lost = [None if place < 8 else reading for place, reading in enumerate(readings)]
    metrics = compare_readings([(0, output)], readings, lost, prefix="with this mesh: ")
    assert failures(metrics) == ["presence agreement of with this mesh: faces is 0.92 [0.85, 0.959] over 100, at least 0.97 is allowed"]
    assert by_name(metrics, "label agreement").n == 92


def test_emotions_that_are_not_shown_are_judged_under_a_name_of_their_own() -> None:
    shown = Emotions(tensor="seen", activation="softmax", labels=("happy", "sad"), convention="seen")
    hidden = Emotions(tensor="given", activation="softmax", labels=("sad", "happy"), convention="fer2013", shown=False)
    stage = msgspec.structs.replace(STAGES["emotion"], outputs=(shown, hidden))
    logits = np.random.default_rng(0).normal(0, 3, (N, 2)).astype(np.float32)
    answers = {"seen": logits, "given": logits}
    assert failures(compare(stage, answers, answers, trained=True)) == []
    (failure, *_) = failures(compare(stage, answers, answers | {"given": logits[:, ::-1]}, trained=True))
    assert failure.startswith("label agreement of emotions (fer2013) is 0 ")


def test_points_that_are_lost_count_and_those_that_are_gained_do_not() -> None:
    output = Emotions(tensor="seen", activation="softmax", labels=("happy", "sad"))
    assert failures([lost(output, 0.0069, 3000), lost(output, -0.2, 3000)]) == []
    assert failures([lost(output, 0.008, 3000)]) == ["accuracy lost of emotions is 0.008 over 3000, at most 0.007 is allowed"]
