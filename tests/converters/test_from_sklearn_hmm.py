"""Hidden Markov models: the network against hmmlearn's own score on real crops, and files whose parameters are no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.errors import ConversionError, ParityFailure
from converters.from_sklearn.hmm_original import HmmOriginal, HmmParameters, read_parameters
from converters.original import Array
from converters.parity import check_parity
from edge.stage import Emotions, Stage
from tests.converters.gray_faces import LABELS, answers, gray_faces, interface, stage, with_initializer

N_CLASSES, N_STATES, N_COMPONENTS = 5, 10, 8


@pytest.fixture(scope="module")
def faces(clip: Callable[[str], Path], models: Path) -> Array:
    return gray_faces(clip("WolfgangLanger_Pexels.mp4"), models, stage().input)


@pytest.fixture(scope="module")
def parameters(faces: Array) -> HmmParameters:
    """Models of random states on the principal components of the faces."""
    pixels = faces.reshape(len(faces), -1)
    center = pixels.mean(axis=0)
    _, spread, directions = np.linalg.svd(pixels - center, full_matrices=False)
    components = (directions[:N_COMPONENTS] / spread[:N_COMPONENTS, np.newaxis] * np.sqrt(len(faces))).astype(np.float32)
    random = np.random.default_rng(3)
    return HmmParameters(
        center=center,
        components=components,
        start=random.dirichlet(np.ones(N_STATES), N_CLASSES).astype(np.float32),
        means=random.normal(size=(N_CLASSES, N_STATES, N_COMPONENTS)).astype(np.float32),
        variances=random.uniform(0.3, 2, (N_CLASSES, N_STATES, N_COMPONENTS)).astype(np.float32),
        prior=random.dirichlet(np.ones(N_CLASSES)).astype(np.float32),
    )


def original(parameters: HmmParameters) -> HmmOriginal:
    return HmmOriginal(parameters, stage(), sha256="0" * 64)


def test_network_gives_the_probabilities_of_hmmlearn(parameters: HmmParameters, faces: Array) -> None:
    source = original(parameters)
    model = source.to_onnx()
    report = check_parity(source, model, {"crop": faces}, limit=1e-4, where="hmm")
    assert report.runtimes["original"].startswith("hmmlearn ")
    assert report.outputs[0].deviation > 0.05
    assert interface(model) == (["crop", "probabilities"], [["N", 1, 26, 26], ["N", 5]], 8, {"": 17})
    assert np.allclose(answers(source, faces).sum(axis=1), 1, atol=1e-5)


def test_faces_far_from_every_state_still_have_probabilities(parameters: HmmParameters, faces: Array) -> None:
    """Densities of exp(-1000) are 0 in float32: only a sum that takes the largest out first holds them."""
    source = original(replace(parameters, components=parameters.components * 20))
    check_parity(source, source.to_onnx(), {"crop": faces}, limit=1e-2, where="hmm")


@pytest.mark.parametrize("constant", ["means", "deviations", "center", "projection", "weights"])
def test_a_changed_parameter_fails_the_parity_run(constant: str, parameters: HmmParameters, faces: Array) -> None:
    source = original(parameters)
    with pytest.raises(ParityFailure, match="differs from the original's"):
        check_parity(source, with_initializer(source.to_onnx(), constant, 1.02), {"crop": faces}, limit=1e-3, where="hmm")


def test_parameters_come_back_from_their_file(parameters: HmmParameters, faces: Array, tmp_path: Path) -> None:
    parameters.write(tmp_path / "hmm.safetensors")
    read, sha256 = read_parameters(tmp_path / "hmm.safetensors")
    assert len(sha256) == 64
    assert np.array_equal(answers(original(read), faces), answers(original(parameters), faces))


def test_files_that_hold_no_models_are_refused(parameters: HmmParameters, tmp_path: Path) -> None:
    path = tmp_path / "hmm.safetensors"
    with pytest.raises(ConversionError, match=r"cannot be read \(No such file"):
        read_parameters(path)
    path.write_bytes(b"no safetensors at all")
    with pytest.raises(ConversionError, match="is no safetensors file"):
        read_parameters(path)
    parameters.write(path)
    stored = load_file(path)
    for change, message in (
        ({"prior": None}, "no parameter 'prior'"),
        ({"more": stored["prior"]}, "unknown parameter 'more'"),
        ({"start": stored["start"][:, :4]}, r"expected float32\[5, 10\] for 'start', got float32\[5, 4\]"),
        ({"means": stored["means"].astype(np.float64)}, "for 'means', got float64"),
        ({"center": stored["center"] * np.float32(np.nan)}, "'center' holds values that are no finite numbers"),
        ({"variances": stored["variances"] - 1}, "expected positive numbers for 'variances', got -0"),
        ({"prior": stored["prior"] * 2}, r"expected probabilities that sum to 1 for 'prior', got 2\.0"),
    ):
        save_file({name: values for name, values in {**stored, **change}.items() if values is not None}, path)
        with pytest.raises(ConversionError, match=message):
            read_parameters(path)


def test_stages_that_do_not_fit_the_models_are_refused(parameters: HmmParameters) -> None:
    with pytest.raises(ConversionError, match="trained on 676 pixels, an input of 1 x 20 x 20 has 400"):
        HmmOriginal(parameters, stage(side_px=20), sha256="")
    soft = Emotions(tensor="probabilities", activation="softmax", labels=LABELS)
    for outputs, got in (((), "none$"), (stage(labels=("happy", "sad")).outputs, r"Emotions\(.*'sad'"), ((soft,), "Emotions.*softmax")):
        with pytest.raises(ConversionError, match=f'expected one output with 5 labels and activation = "none", got {got}'):
            HmmOriginal(parameters, Stage(name="emotion", model="emotion.onnx", input=stage().input, outputs=outputs), sha256="")
