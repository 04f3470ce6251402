"""SavedModels: refused without trust, and what TensorFlow says of them where it is there."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converters.errors import ConversionError, ParityFailure
from converters.from_keras.saved_model import TENSORFLOW, SavedModelOriginal, tensorflow_folder, tensorflow_python
from converters.parity import check_parity
from edge.errors import MissingDependency

# What TensorFlow's own Python runs: a program with a convolution whose padding is uneven, and programs that no converter can take.
_MAKE = """
import sys
import tensorflow as tf

class Network(tf.Module):
    def __init__(self):
        random = tf.random.Generator.from_seed(1)
        self.kernel = tf.Variable(random.normal([3, 3, 3, 8]) * 0.3)
        self.dense = tf.Variable(random.normal([8, 5]))

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 30, 3], name="picture")])
    def __call__(self, picture):
        maps = tf.nn.relu(tf.nn.conv2d(picture, self.kernel, 2, "SAME"))
        maps = tf.nn.avg_pool2d(maps, 3, 2, "SAME")
        return {"scores": tf.nn.softmax(tf.reduce_mean(maps, [1, 2]) @ self.dense), "maps": maps}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="picture")])
    def any_size(self, picture):
        return {"mean": tf.reduce_mean(picture, [1, 2])}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.uint8, name="bytes")])
    def of_bytes(self, bytes):
        return {"sum": tf.reduce_sum(tf.cast(bytes, tf.float32), 1)}

network, out = Network(), sys.argv[1]
tf.saved_model.save(network, out + "/good", signatures=network.__call__)
tf.saved_model.save(network, out + "/unsigned", signatures={"other": network.__call__})
tf.saved_model.save(network, out + "/any_size", signatures=network.any_size)
tf.saved_model.save(network, out + "/of_bytes", signatures=network.of_bytes)
"""

PICTURES = {"picture": np.random.default_rng(0).normal(size=(5, 3, 32, 30)).astype(np.float32)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels, made by TensorFlow."""
    try:
        python = tensorflow_python()
    except MissingDependency as absent:
        pytest.skip(str(absent))
    folder = tmp_path_factory.mktemp("saved")
    subprocess.run([python, "-c", _MAKE, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def original(made: Path) -> SavedModelOriginal:
    return SavedModelOriginal(made / "good", name="good", trusted=True)


def test_a_program_needs_trust(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"anything")
    with pytest.raises(ConversionError, match="a SavedModel is a program that runs with your rights, and it is not said to be trusted") as caught:
        SavedModelOriginal(tmp_path, name="test", trusted=False)
    assert "--trusted" in caught.value.hint


@pytest.mark.parametrize("trusted", [True, False])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, trusted: bool) -> None:
    (tmp_path / "variables").mkdir()
    with pytest.raises(ConversionError, match=r"expected a SavedModel, a folder with saved_model\.pb, got"):
        SavedModelOriginal(tmp_path, name="test", trusted=trusted)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed beside the project")
def test_without_tensorflow_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "saved_model.pb").write_bytes(b"anything")
    for _ in range(2):
        with pytest.raises(MissingDependency, match=r"needs TensorFlow .* neither installed nor found in") as caught:
            SavedModelOriginal(tmp_path, name="test", trusted=True)
        assert caught.value.hint.endswith(f"-m venv {tmp_path}/cache/edge/tensorflow && {tmp_path}/cache/edge/tensorflow/bin/pip install {TENSORFLOW}")
        (tensorflow_folder() / "bin").mkdir(parents=True, exist_ok=True)
        (tensorflow_folder() / "bin" / "python").touch()  # the second time: an environment that is half made


def test_it_computes_what_tensorflow_computes(original: SavedModelOriginal) -> None:
    network = original.to_onnx()
    assert original.framework == "TensorFlow 2.21.0"
    ends = {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in [*network.graph.input, *network.graph.output]}
    assert ends == {"picture": ["N", 3, 32, 30], "scores": ["N", 5], "maps": ["N", 8, 8, 8]}
    report = check_parity(original, network, PICTURES, limit=1e-3, where="good")
    assert {output.name for output in report.outputs} == {"scores", "maps"}


def test_a_changed_network_fails(original: SavedModelOriginal) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(original.to_onnx())
    node = next(node for node in wrong.graph.node if node.op_type == "Conv")
    (weight,) = (tensor for tensor in wrong.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1]), weight.name))
    with pytest.raises(ParityFailure, match="differs from the original's"):
        check_parity(original, wrong, PICTURES, limit=1e-3, where="wrong")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unsigned", r"TensorFlow cannot convert .*unsigned: expected the signature 'serving_default', got \['other'\]"),
        ("any_size", r"input 'picture' is float32\(None, None, None, 3\): expected float32 with every size but the batch fixed"),
        ("of_bytes", r"input 'bytes' is uint8\(None, 4\): expected float32"),
    ],
)
def test_programs_that_cannot_be_converted_are_named(name: str, text: str, made: Path) -> None:
    with pytest.raises(ConversionError, match=text):
        SavedModelOriginal(made / name, name="test", trusted=True)


def test_a_damaged_folder_is_refused_and_hashed_apart(made: Path, original: SavedModelOriginal, tmp_path: Path) -> None:
    shutil.copytree(made / "good", tmp_path / "damaged")
    program = tmp_path / "damaged" / "saved_model.pb"
    program.write_bytes(program.read_bytes()[: program.stat().st_size // 2])
    with pytest.raises(ConversionError, match=r"TensorFlow cannot convert .*damaged: .*saved_model.pb"):
        SavedModelOriginal(tmp_path / "damaged", name="test", trusted=True)
    before = original.sha256
    (made / "good" / "variables").rename(made / "away")
    try:
        assert original.sha256 != before
        with pytest.raises(ConversionError, match=r"TensorFlow cannot run .*good: .*variables"):
            original.run(PICTURES)
    finally:
        (made / "away").rename(made / "good" / "variables")
    assert original.sha256 == before
