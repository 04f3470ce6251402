"""An estimator of scikit-learn, or a pipeline of them, as the original of a parity run; skl2onnx converts its operators."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import skl2onnx
import sklearn
from onnx import TensorProto, helper, numpy_helper
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from converters.errors import ConversionError
from converters.from_sklearn.features import Features, Flattened, input_shape
from converters.from_sklearn.skops_file import load_skops
from converters.original import Array
from edge.stage import ActionUnits, Emotions, Scores, Stage

_OPSETS = {"": 17, "ai.onnx.ml": 3}
# Plain operators in their stead, which GPU engines have too.
_AVOIDED = {"LinearClassifier", "LinearRegressor", "Scaler"}


class SklearnOriginal:
    """A fitted classifier or regressor.

    Args:
        estimator: Fitted; a classifier must give probabilities.
        stage: What feeds it and what its answers are called: one output, which takes a classifier's probabilities as they are.
        sha256: Hash of the file that it was loaded from.
        features: What is computed of a crop before the estimator sees it.
        made_with: The version of scikit-learn that wrote the file, where that is not the installed one.

    Raises:
        ConversionError: The estimator is not fitted, gives no probabilities, has other classes than the stage has labels, or takes another number of
            features than the stage's input has.
    """

    def __init__(self, estimator: BaseEstimator, stage: Stage, *, sha256: str, features: Features | None = None, made_with: str = "") -> None:
        self._estimator: Any = estimator
        self._features = features or Flattened()
        self._sha256 = sha256
        self._made_with = made_with
        self._input = stage.input.tensor
        self._where = f"stage '{stage.name}'"
        self._check_fitted()
        output = self._output_of(stage)
        self._output, self._n_outputs = output.tensor, len(output.labels)
        self._shape = input_shape(stage.input, self._estimator.n_features_in_)
        n_features = self._features.n_features(self._shape)
        if n_features != self._estimator.n_features_in_:
            raise ConversionError(
                f"{self._where}: the estimator was trained on {self._estimator.n_features_in_} features, its input of {_times(self._shape)} gives {n_features}",
                hint="correct the size or colour of the stage's input",
            )
        if self._gives_probabilities:
            self._check_classes(output.labels)

    @classmethod
    def from_file(cls, path: Path, stage: Stage, *, features: Features | None = None) -> SklearnOriginal:
        """Load a `.skops` file; see `converters.from_sklearn.skops_file.load_skops` for what is refused.

        Raises:
            ConversionError: The file cannot be used, or the estimator does not fit the stage.
        """
        loaded = load_skops(path)
        return cls(loaded.estimator, stage, sha256=loaded.sha256, features=features, made_with=loaded.made_with)

    @property
    def framework(self) -> str:
        """scikit-learn's version, and the one that wrote the file where it is another."""
        return f"scikit-learn {sklearn.__version__}" + (f" (the file was written by {self._made_with})" if self._made_with else "")

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return self._sha256

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run it in scikit-learn; see `converters.original.Original.run`."""
        rows = self._features.rows(inputs[self._input])
        answers = self._estimator.predict_proba(rows) if self._gives_probabilities else self._estimator.predict(rows)
        return {self._output: np.asarray(answers, np.float32).reshape(len(rows), self._n_outputs)}

    def to_onnx(self) -> onnx.ModelProto:
        """Convert it; see `converters.original.Original.to_onnx`.

        Raises:
            ConversionError: skl2onnx cannot convert one of the steps, which is named.
        """
        core = onnx.compose.add_prefix(self._converted(), "estimator/").graph
        made, constants = self._features.nodes(self._input, self._shape, core.input[0].name)
        sizes = numpy_helper.from_array(np.array([-1, self._n_outputs], np.int64), "output/sizes")
        last = helper.make_node("Reshape", [core.output[-1].name, sizes.name], [self._output], name="output/Reshape")
        nodes, used = [], {self._output}
        for node in reversed([*made, *core.node, last]):  # the label, an output that nobody reads, is left out with what computes it
            if used.intersection(node.output):
                nodes.append(node)
                used.update(node.input)
        graph = helper.make_graph(
            nodes[::-1],
            type(self._estimator).__name__,
            [helper.make_tensor_value_info(self._input, TensorProto.FLOAT, ["N", *self._shape])],
            [helper.make_tensor_value_info(self._output, TensorProto.FLOAT, ["N", self._n_outputs])],
            [tensor for tensor in [*constants, *core.initializer, sizes] if tensor.name in used],
        )
        domains = {"", *(node.domain for node in nodes)}
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, _OPSETS[domain]) for domain in sorted(domains)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model

    @cached_property
    def _gives_probabilities(self) -> bool:
        return bool(is_classifier(self._estimator))

    def _check_fitted(self) -> None:
        if not is_classifier(self._estimator) and not is_regressor(self._estimator):
            raise ConversionError(f"{self._where}: expected a classifier or a regressor, got {_name(self._estimator)}", hint="save the whole pipeline")
        try:
            check_is_fitted(self._estimator)
        except NotFittedError as error:
            raise ConversionError(f"{self._where}: the {_name(self._estimator)} is not fitted", hint="call fit before saving it") from error
        if self._gives_probabilities and not hasattr(self._estimator, "predict_proba"):
            raise ConversionError(
                f"{self._where}: {_name(self._estimator)} gives no probabilities",
                hint="train it inside CalibratedClassifierCV(..., ensemble=False), and save that",
            )

    def _output_of(self, stage: Stage) -> Emotions | Scores | ActionUnits:
        if len(stage.outputs) != 1 or not isinstance(stage.outputs[0], Emotions | Scores | ActionUnits):
            raise ConversionError(f"{self._where}: expected one output with labels, got {len(stage.outputs)}: {', '.join(map(_name, stage.outputs))}")
        if self._gives_probabilities and stage.outputs[0].activation != "none":
            raise ConversionError(
                f"{self._where}: {_name(self._estimator)} gives probabilities, so '{stage.outputs[0].activation}' has nothing to do", hint='activation = "none"'
            )
        return stage.outputs[0]

    def _check_classes(self, labels: tuple[str, ...]) -> None:
        classes = self._estimator.classes_
        if isinstance(classes, list):
            raise ConversionError(f"{self._where}: {_name(self._estimator)} predicts {len(classes)} things at once; expected one", hint="train one for each")
        if len(classes) != len(labels):
            raise ConversionError(f"{self._where}: expected {len(labels)} classes ({', '.join(labels)}), {_name(self._estimator)} has {len(classes)}")
        for number, (label, found) in enumerate(zip(labels, classes.tolist(), strict=True)):
            if found != (label if isinstance(found, str) else number):
                raise ConversionError(
                    f"{self._where}: class {number} is {found!r}; expected {label!r}" + ("" if isinstance(found, str) else f" or its number, {number}"),
                    hint=f"the classes are {', '.join(map(str, classes))}: write the package's labels in this order",
                )

    def _converted(self) -> onnx.ModelProto:
        try:
            return _convert(self._estimator, self._estimator.n_features_in_)
        except Exception as error:
            steps = self._estimator.steps if isinstance(self._estimator, Pipeline) else []
            for number, (name, step) in enumerate(steps, 1):
                if cause := _refusal(step):
                    raise ConversionError(_cannot(f"{self._where}: step {number} of {len(steps)}, '{name}' ({_name(step)}),", cause), hint=_HINT) from cause
            raise ConversionError(_cannot(f"{self._where}: {_name(self._estimator)}", error), hint=_HINT) from error


_HINT = "the operators that can be converted: https://onnx.ai/sklearn-onnx/supported.html"


def _convert(estimator: Any, n_features: int) -> onnx.ModelProto:
    with warnings.catch_warnings():
        # skl2onnx reads attributes that scikit-learn is about to rename; what it makes of them is compared afterwards.
        warnings.simplefilter("ignore", FutureWarning)
        model: onnx.ModelProto = skl2onnx.to_onnx(
            estimator,
            initial_types=[("rows", FloatTensorType([None, n_features]))],
            options={"zipmap": False} if is_classifier(estimator) else None,
            target_opset=_OPSETS,
            black_op=_AVOIDED,
        )
    return model


def _refusal(step: Any) -> Exception | None:
    if isinstance(step, str) or step is None:  # "passthrough"
        return None
    try:
        _convert(step, step.n_features_in_)
    except Exception as error:  # noqa: BLE001 - skl2onnx raises whatever comes; the caller tells it
        return error
    return None


def _cannot(what: str, error: Exception) -> str:
    # skl2onnx prints whole tables of weights into some of its messages.
    reason = " ".join(str(error).split())
    return f"{what} cannot be converted: {type(error).__name__}: {reason[:200]}{'...' if len(reason) > 200 else ''}"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _name(thing: object) -> str:
    return type(thing).__name__
