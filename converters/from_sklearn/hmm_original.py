"""Hidden Markov models of pictures: one model for each class, on principal components; hmmlearn runs them, plain ONNX operators compute the same.

A picture is a sequence of one observation. Its likelihood under a class is then a sum over the states in which the sequence may start,

    log p(x | class) = logsumexp over states k of (log start[k] + log N(x; mean[k], variance[k])),

and no transition takes part. The answer is the classes' probabilities given the picture, softmax(log p(x | class) + log p(class)).

Source: Rabiner 1989, doi:10.1109/5.18626, for the forward recursion, of which this is the first step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hmmlearn.hmm import GaussianHMM
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load, save

from converters.errors import ConversionError
from converters.from_sklearn.features import input_shape
from converters.original import Array
from edge.stage import Emotions, Scores, Stage

Parameter = NDArray[np.float32]


@dataclass(frozen=True)
class HmmParameters:
    """C models with K states each, on D components of F pixels.

    Attributes:
        center: float32[F]: subtracted from the pixels.
        components: float32[D, F]: the rest is projected onto them.
        start: float32[C, K]: probability of each state at the start.
        means: float32[C, K, D]: of each state.
        variances: float32[C, K, D], positive.
        prior: float32[C]: probability of each class.
    """

    center: Parameter
    components: Parameter
    start: Parameter
    means: Parameter
    variances: Parameter
    prior: Parameter

    def write(self, path: Path) -> None:
        """Write a safetensors file."""
        path.write_bytes(save({field.name: np.ascontiguousarray(getattr(self, field.name), np.float32) for field in fields(self)}))


def read_parameters(path: Path) -> tuple[HmmParameters, str]:
    """Read a safetensors file, which holds nothing but numbers.

    Args:
        path: What `HmmParameters.write` wrote.

    Returns:
        The parameters, and the file's SHA-256.

    Raises:
        ConversionError: The file cannot be read, lacks a parameter, or the parameters do not fit together or are no probabilities and variances.
    """
    hint = "expected the file that training wrote"
    try:
        content = path.read_bytes()
        stored = load(content)
    except OSError as error:
        raise ConversionError(f"{path} cannot be read ({error.strerror})", hint=hint) from error
    except SafetensorError as error:
        raise ConversionError(f"{path} is no safetensors file: {error}", hint=hint) from error
    if problem := _misfit(stored):
        raise ConversionError(f"{path}: {problem}", hint=hint)
    return HmmParameters(**stored), hashlib.sha256(content).hexdigest()


class HmmOriginal:
    """The models in hmmlearn.

    Args:
        parameters: Of all classes.
        stage: What feeds them and what their answers are called: one output, which takes probabilities as they are.
        sha256: Hash of the file that they come from.

    Raises:
        ConversionError: The stage's input has another number of pixels than the models, or its output other classes.
    """

    def __init__(self, parameters: HmmParameters, stage: Stage, *, sha256: str) -> None:
        self._parameters, self._sha256 = parameters, sha256
        self._tensor, self._shape = stage.input.tensor, input_shape(stage.input, parameters.center.size)
        if prod(self._shape) != parameters.center.size:
            raise ConversionError(
                f"the models were trained on {parameters.center.size} pixels, an input of {' x '.join(map(str, self._shape))} has {prod(self._shape)}",
                hint="correct the size of the stage's input",
            )
        output = stage.outputs[0] if len(stage.outputs) == 1 else None
        if not isinstance(output, Emotions | Scores) or output.activation != "none" or len(output.labels) != len(parameters.prior):
            got = ", ".join(map(str, stage.outputs)) or "none"
            raise ConversionError(f"stage '{stage.name}': expected one output with {len(parameters.prior)} labels and activation = \"none\", got {got}")
        self._output = output.tensor

    @classmethod
    def from_file(cls, path: Path, stage: Stage) -> HmmOriginal:
        """Load a safetensors file.

        Raises:
            ConversionError: The file holds no such models, or they do not fit the stage.
        """
        parameters, sha256 = read_parameters(path)
        return cls(parameters, stage, sha256=sha256)

    @property
    def framework(self) -> str:
        """Hmmlearn's version."""
        return f"hmmlearn {metadata.version('hmmlearn')}"

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return self._sha256

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Score every picture with hmmlearn, one by one, in double precision; see `converters.original.Original.run`."""
        known = self._parameters
        pixels = inputs[self._tensor].reshape(len(inputs[self._tensor]), -1).astype(np.float64)
        rows = (pixels - known.center) @ known.components.T.astype(np.float64)
        models = [_model(known, number) for number in range(len(known.prior))]
        joint = np.array([[model.score(row[np.newaxis]) for model in models] for row in rows]) + np.log(known.prior.astype(np.float64))
        likely = np.exp(joint - joint.max(axis=1, keepdims=True))
        return {self._output: (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)}

    def to_onnx(self) -> onnx.ModelProto:
        """Write the same as a projection, squared distances and a sum over states; see `converters.original.Original.to_onnx`."""
        n_classes, n_states, n_components = self._parameters.means.shape
        steps: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
            ("Reshape", [self._tensor, "flat"], "pixels", {}),
            ("Sub", ["pixels", "center"], "centered", {}),
            ("MatMul", ["centered", "projection"], "row", {}),
            ("Reshape", ["row", "beside_states"], "beside", {}),
            # The mean is subtracted before anything is squared: the other way round float32 would lose the difference.
            ("Sub", ["beside", "means"], "distances", {}),
            ("Div", ["distances", "deviations"], "normed", {}),
            ("Mul", ["normed", "normed"], "squares", {}),
            ("ReduceSum", ["squares", "last_axis"], "square", {"keepdims": 0}),
            ("Mul", ["square", "minus_half"], "exponent", {}),
            ("Add", ["exponent", "weights"], "log_states", {}),
            ("Reshape", ["log_states", "by_class"], "classes", {}),
            # The largest is taken out of the sum: some engines' ReduceLogSumExp does not, and exp of -200 is 0 in float32.
            ("ReduceMax", ["classes"], "largest", {"axes": [2], "keepdims": 1}),
            ("Sub", ["classes", "largest"], "below", {}),
            ("Exp", ["below"], "parts", {}),
            ("ReduceSum", ["parts", "last_axis"], "sum", {"keepdims": 1}),
            ("Log", ["sum"], "log_sum", {}),
            ("Add", ["log_sum", "largest"], "joint", {}),
            ("Reshape", ["joint", "one_row"], "log_joint", {}),
            ("Softmax", ["log_joint"], self._output, {"axis": 1}),
        )
        sizes = {
            "flat": [-1, self._parameters.center.size],
            "beside_states": [-1, 1, n_components],
            "last_axis": [2],
            "by_class": [-1, n_classes, n_states],
            "one_row": [-1, n_classes],
        }
        constants = {**_constants(self._parameters), **{name: np.array(values, np.int64) for name, values in sizes.items()}}
        graph = helper.make_graph(
            [helper.make_node(op_type, inputs, [output], name=f"{op_type}_{output}", **attributes) for op_type, inputs, output, attributes in steps],
            "GaussianHMM",
            [helper.make_tensor_value_info(self._tensor, TensorProto.FLOAT, ["N", *self._shape])],
            [helper.make_tensor_value_info(self._output, TensorProto.FLOAT, ["N", n_classes])],
            [numpy_helper.from_array(values, name) for name, values in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model


def _constants(known: HmmParameters) -> dict[str, NDArray[Any]]:
    n_components = known.means.shape[2]
    variances = known.variances.astype(np.float64).reshape(-1, n_components)
    starts = np.log(known.start.astype(np.float64)) + np.log(known.prior.astype(np.float64))[:, np.newaxis]
    return {
        "center": known.center,
        "projection": np.ascontiguousarray(known.components.T),
        "means": known.means.reshape(1, -1, n_components),
        "deviations": np.sqrt(variances).astype(np.float32)[np.newaxis],
        "minus_half": np.array(-0.5, np.float32),
        "weights": (starts.reshape(-1) - np.log(2 * np.pi * variances).sum(axis=1) / 2).astype(np.float32),
    }


def _misfit(stored: Mapping[str, NDArray[Any]]) -> str:
    names = [field.name for field in fields(HmmParameters)]
    if missing := [name for name in names if name not in stored]:
        return f"no parameter '{missing[0]}'"
    if unknown := sorted(set(stored) - set(names)):
        return f"unknown parameter '{unknown[0]}'"
    n_classes, n_states, n_components = stored["means"].shape if stored["means"].ndim == 3 else (0, 0, 0)
    shapes = {
        "center": stored["center"].shape[:1],
        "components": (n_components, *stored["center"].shape[:1]),
        "start": (n_classes, n_states),
        "means": (n_classes, n_states, n_components),
        "variances": (n_classes, n_states, n_components),
        "prior": (n_classes,),
    }
    for name, shape in shapes.items():
        if stored[name].shape != shape or stored[name].dtype != np.float32:
            return f"expected float32{list(shape)} for '{name}', got {stored[name].dtype}{list(stored[name].shape)}"
        if not np.isfinite(stored[name]).all():
            return f"'{name}' holds values that are no finite numbers"
    for name in ("start", "variances", "prior"):
        if not (stored[name] > 0).all():
            return f"expected positive numbers for '{name}', got {stored[name].min()}"
    for name in ("start", "prior"):
        if not np.allclose(stored[name].sum(axis=-1), 1, atol=1e-4):
            return f"expected probabilities that sum to 1 for '{name}', got {np.ravel(stored[name].sum(axis=-1))[0]}"
    return ""


def _model(known: HmmParameters, number: int) -> Any:
    _, n_states, n_components = known.means.shape
    model = GaussianHMM(n_states, covariance_type="diag")
    model.n_features = n_components
    start = known.start[number].astype(np.float64)
    model.startprob_ = start / start.sum()
    model.transmat_ = np.full((n_states, n_states), 1 / n_states)
    model.means_ = known.means[number].astype(np.float64)
    model.covars_ = known.variances[number].astype(np.float64)
    return model
