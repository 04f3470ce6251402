"""Estimators of scikit-learn: the converted network gives the same probabilities on real crops, and what cannot be converted is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC

from converters.errors import ConversionError, ParityFailure
from converters.from_sklearn.features import Features, LbpHistograms
from converters.from_sklearn.sklearn_original import SklearnOriginal
from converters.original import Array
from converters.parity import check_parity
from edge.stage import ActionUnits, EmbeddingInput, Emotions, PointsInput, Scores, Stage
from tests.converters.gray_faces import LABELS, gray_faces, interface, stage, with_initializer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # how well they learn brightness is not the point

TREES: dict[str, Any] = {"max_leaf_nodes": 8, "random_state": 0}
ESTIMATORS: dict[str, Callable[[], BaseEstimator]] = {
    "linear": lambda: make_pipeline(StandardScaler(), PCA(8, whiten=True), LogisticRegression()),
    "mlp": lambda: make_pipeline(Normalizer(), PCA(8), MLPClassifier((12,), max_iter=1000, tol=1e-2, random_state=0)),
    "forest": lambda: RandomForestClassifier(12, **TREES),
    "forest behind a scaler": lambda: make_pipeline(MinMaxScaler(), ExtraTreesClassifier(12, **TREES)),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=4, max_features=20, random_state=0),
    "discriminant": lambda: make_pipeline(PCA(8), LinearDiscriminantAnalysis()),
    "neighbours": lambda: make_pipeline(PCA(8), KNeighborsClassifier(3)),
    "support vectors": lambda: make_pipeline(PCA(8), StandardScaler(), CalibratedClassifierCV(SVC(), ensemble=False, cv=2)),
}


@pytest.fixture(scope="module")
def faces(clip: Callable[[str], Path], models: Path) -> Array:
    return gray_faces(clip("WolfgangLanger_Pexels.mp4"), models, stage().input)


def classes(faces: Array, n_classes: int = 5) -> Any:
    # By brightness: something that every estimator can learn from, in equal numbers.
    return (np.argsort(np.argsort(faces.mean(axis=(1, 2, 3)))) * n_classes // len(faces)).astype(int)


def original(estimator: Any, faces: Array, *, into: Stage | None = None, features: Features | None = None, targets: Any = None) -> SklearnOriginal:
    rows = features.rows(faces) if features else faces.reshape(len(faces), -1)
    return SklearnOriginal(estimator.fit(rows, classes(faces) if targets is None else targets), into or stage(), sha256="0" * 64, features=features)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_estimators_and_their_networks_agree_on_real_crops(kind: str, faces: Array) -> None:
    source = original(ESTIMATORS[kind](), faces)
    model = source.to_onnx()
    report = check_parity(source, model, {"crop": faces}, limit=1e-3, where=kind)
    assert report.n_inputs == 48
    names, shapes, ir_version, opsets = interface(model)
    assert (names, shapes, ir_version) == (["crop", "probabilities"], [["N", 1, 26, 26], ["N", 5]], 8)
    assert opsets[""] == 17
    assert opsets.get("ai.onnx.ml", 3) == 3


@pytest.mark.parametrize("kind", ["linear", "discriminant"])
def test_what_gpu_engines_can_hold_stays_within_plain_operators(kind: str, faces: Array) -> None:
    assert {node.domain for node in original(ESTIMATORS[kind](), faces).to_onnx().graph.node} == {""}


def test_forest_on_patterns_is_one_network_from_the_crop_on(faces: Array) -> None:
    source = original(RandomForestClassifier(12, **TREES), faces, features=LbpHistograms((3, 3)))
    report = check_parity(source, source.to_onnx(), {"crop": faces}, limit=1e-5, where="forest")
    assert report.outputs[0].deviation > 0.01


@pytest.mark.parametrize(
    ("kind", "constant", "change"),
    [
        ("linear", "transform_matrix", 1.01),
        ("linear", "transform_matrix", -1.0),
        ("mlp", "mean", 0.9),
        ("discriminant", "coef", 1.02),
        ("support vectors", "mean", 0.9),
    ],
)
def test_a_changed_weight_fails_the_parity_run(kind: str, constant: str, change: float, faces: Array) -> None:
    source = original(ESTIMATORS[kind](), faces)
    with pytest.raises(ParityFailure, match="differs from the original's by up to"):
        check_parity(source, with_initializer(source.to_onnx(), constant, change), {"crop": faces}, limit=1e-3, where=kind)


def test_a_moved_threshold_or_a_shifted_crop_fails_the_parity_run_of_a_forest(faces: Array) -> None:
    source = original(RandomForestClassifier(12, **TREES), faces)
    model = source.to_onnx()
    shifted = original(source._estimator, faces)
    shifted.run = lambda inputs: source.run({"crop": np.roll(inputs["crop"], 1, axis=3)})  # type: ignore[method-assign]
    with pytest.raises(ParityFailure, match="differs"):
        check_parity(shifted, model, {"crop": faces}, limit=1e-3, where="forest")
    trees = next(node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier")
    thresholds = next(attribute for attribute in trees.attribute if attribute.name == "nodes_values")
    thresholds.floats[:] = [value + 3 for value in thresholds.floats]
    with pytest.raises(ParityFailure, match="differs"):
        check_parity(source, model, {"crop": faces}, limit=1e-3, where="forest")


def test_regressors_and_networks_of_several_labels_keep_their_columns(faces: Array) -> None:
    units = ActionUnits(tensor="units", activation="none", labels=("AU1", "AU4", "AU12"), quantity="intensity", learned_from="brightness")
    targets = np.stack([faces.mean(axis=(1, 2, 3)), faces[:, 0, :13].mean(axis=(1, 2)), faces[:, 0, :, :13].mean(axis=(1, 2))], axis=1) / 255
    into = Stage(name="units", model="units.onnx", input=stage().input, outputs=(units,))
    regressor = make_pipeline(StandardScaler(), PCA(4), MLPRegressor(hidden_layer_sizes=(8,), max_iter=2000, tol=1e-3, random_state=0))
    several = make_pipeline(StandardScaler(), PCA(4), MLPClassifier((8,), max_iter=2000, tol=1e-3, random_state=0))
    for estimator, wanted in ((regressor, targets), (several, (targets > np.median(targets, axis=0)).astype(int))):
        source = original(estimator, faces, into=into, targets=wanted)
        model = source.to_onnx()
        assert interface(model)[:2] == (["crop", "units"], [["N", 1, 26, 26], ["N", 3]])
        check_parity(source, model, {"crop": faces}, limit=1e-3, where="units")


def test_embeddings_and_points_are_inputs_too(faces: Array) -> None:
    rows = faces[:, 0, 13, :20]
    output = stage().outputs
    embedding = Stage(name="mlp", model="mlp.onnx", input=EmbeddingInput(tensor="embedding", stage="body", source="features"), outputs=output)
    points = Stage(name="mlp", model="mlp.onnx", input=PointsInput(tensor="points", stage="mesh", indices=tuple(range(10))), outputs=output)
    for into, inputs in ((embedding, rows), (points, rows.reshape(-1, 10, 2))):
        source = original(make_pipeline(StandardScaler(), LogisticRegression()), rows, into=into, targets=classes(faces))
        check_parity(source, source.to_onnx(), {into.input.tensor: np.ascontiguousarray(inputs)}, limit=1e-3, where="rows")


def test_classes_with_names_must_be_the_labels_in_their_order(faces: Array) -> None:
    names = np.array(LABELS)[classes(faces)]
    with pytest.raises(ConversionError, match=r"class 0 is 'afraid'; expected 'angry'\n  the classes are afraid, angry, disgusted, happy, neutral"):
        original(LogisticRegression(), faces, targets=names)
    source = original(make_pipeline(StandardScaler(), PCA(4), LogisticRegression()), faces, into=stage(labels=tuple(sorted(LABELS))), targets=names)
    check_parity(source, source.to_onnx(), {"crop": faces}, limit=1e-3, where="names")


def with_outputs(*outputs: Any) -> Stage:
    return Stage(name="emotion", model="emotion.onnx", input=stage().input, outputs=outputs)


TWO = Scores(tensor="scores", activation="none", labels=("a", "b"))
SOFT = Emotions(tensor="probabilities", activation="softmax", labels=LABELS)
REFUSALS: list[tuple[Any, Stage, str]] = [
    (PCA(4), stage(), "expected a classifier or a regressor, got PCA"),
    (SVC(), stage(), r"SVC gives no probabilities\n  train it inside CalibratedClassifierCV"),
    (LogisticRegression(), with_outputs(TWO), r"expected 2 classes \(a, b\), LogisticRegression has 5"),
    (LogisticRegression(), with_outputs(), "expected one output with labels, got 0"),
    (LogisticRegression(), with_outputs(SOFT), "gives probabilities, so 'softmax' has nothing to do"),
    (LogisticRegression(), stage(side_px=24), "was trained on 676 features, its input of 1 x 24 x 24 gives 576"),
]


@pytest.mark.parametrize(("estimator", "into", "message"), REFUSALS)
def test_estimators_that_do_not_fit_the_stage_are_refused(estimator: Any, into: Stage, message: str, faces: Array) -> None:
    with pytest.raises(ConversionError, match=message):
        original(estimator, faces, into=into)


def test_unfitted_shifted_and_twofold_classifiers_are_refused(faces: Array) -> None:
    with pytest.raises(ConversionError, match="the RandomForestClassifier is not fitted"):
        SklearnOriginal(RandomForestClassifier(), stage(), sha256="")
    with pytest.raises(ConversionError, match="class 0 is 1; expected 'angry' or its number, 0"):
        original(LogisticRegression(), faces, targets=classes(faces) + 1)
    with pytest.raises(ConversionError, match="predicts 2 things at once; expected one"):
        original(RandomForestClassifier(2), faces, targets=np.stack([classes(faces)] * 2, axis=1))


def test_a_step_that_cannot_be_converted_is_named(faces: Array) -> None:
    def logarithm(rows: Array) -> Array:
        return np.log1p(rows)

    pipeline = Pipeline([("scale", MinMaxScaler()), ("log", FunctionTransformer(logarithm)), ("decide", LogisticRegression())])
    with pytest.raises(ConversionError, match=r"step 2 of 3, 'log' \(FunctionTransformer\), cannot be converted: RuntimeError: .*not supported"):
        original(pipeline, faces).to_onnx()
    with pytest.raises(ConversionError, match="stage 'emotion': HistGradientBoostingClassifier cannot be converted"):
        original(HistGradientBoostingClassifier(max_iter=2), faces).to_onnx()


def test_labels_are_left_out_of_the_network(faces: Array) -> None:
    model = original(RandomForestClassifier(4, **TREES), faces).to_onnx()
    assert [output.type.tensor_type.elem_type for output in model.graph.output] == [onnx.TensorProto.FLOAT]
