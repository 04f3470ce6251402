"""dlib's face embedding network: our reader of its file against dlib itself, on faces of the sample clip."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converters import known_files
from converters.errors import ConversionError, ParityFailure
from converters.from_dlib.dlib_run import DlibOriginal, pixels_from_input
from converters.from_dlib.embedding_network import read_network
from converters.from_dlib.onnx_from_dlib import INPUT, OUTPUT, onnx_from_dlib
from converters.original import Array
from converters.parity import check_parity
from converters.real_inputs import find_faces, read_frames
from converters.registry import fetch
from converters.systems.embedding_systems import EMBEDDING, PERCEPTRON, SYSTEMS
from edge import crop
from edge.errors import MissingDependency
from edge.face import frame_from_crop
from edge.package import load_package
from edge.stage import CropInput

WHERE = "weights.dat"
HEADER = 334  # bytes before the first layer
assert isinstance(EMBEDDING.input, CropInput)
SPEC = EMBEDDING.input


@pytest.fixture(scope="module")
def weights() -> Path:
    (path,) = fetch([known_files.DLIB_EMBEDDING], say=print)
    return path


@pytest.fixture(scope="module")
def content(weights: Path) -> bytes:
    return weights.read_bytes()


@pytest.fixture(scope="module")
def original(weights: Path) -> DlibOriginal:
    return DlibOriginal(weights)


@pytest.fixture(scope="module")
def pictures(clip: Callable[[str], Path], models: Path) -> Array:
    """Twelve faces, half of them cut half a face beside."""
    faces = find_faces(read_frames(clip("WolfgangLanger_Pexels.mp4"))[::4], load_package(models / "blazeface"))
    assert len(faces) == 12
    return crop.batch([crop.cut(frame, frame_from_crop(face, SPEC.region, SPEC.size_wh_px), SPEC) for frame, face in faces], SPEC)


def test_it_computes_what_dlib_computes(original: DlibOriginal, pictures: Array) -> None:
    report = check_parity(original, original.to_onnx(), {INPUT: pictures}, limit=1e-4, where="dlib")
    assert report.original_sha256 == known_files.DLIB_EMBEDDING.sha256
    assert report.runtimes["original"].startswith("dlib 2")
    assert report.n_inputs == 12
    assert report.outputs[0].relative_error < 1e-4


def test_the_graph_is_what_packages_hold(original: DlibOriginal) -> None:
    model = original.to_onnx()
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {INPUT: ["N", 3, 150, 150], OUTPUT: ["N", 128]}
    assert len([node for node in model.graph.node if node.op_type == "Conv"]) == 29


def changed(model: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (tensor,) = (each for each in copy.graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), name))
    return copy


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stem/weights", lambda weights: weights[:, ::-1]),  # red and blue
        ("stem/weights", lambda weights: weights * np.float32(1.001)),  # scale
        ("stem/biases", lambda biases: biases + np.float32(1 / 256)),  # offset
        ("block10/conv2/zeros", lambda pads: pads[[0, 1, 6, 7, 4, 5, 2, 3]]),  # the zeros above and to the left instead
        ("block3/average/zeros", lambda pads: pads[[0, 5, 2, 3, 4, 1, 6, 7]]),  # in front of the channels instead
        ("projection", lambda weights: weights[:, ::-1]),
    ],
)
def test_the_check_can_fail(original: DlibOriginal, pictures: Array, name: str, change: Callable[[Array], Array]) -> None:
    model = changed(original.to_onnx(), name, change)
    with pytest.raises(ParityFailure, match="output 'embedding' differs from the original's"):
        check_parity(original, model, {INPUT: pictures[:4]}, limit=1e-4, where="dlib")


def test_pixels_come_back_exactly() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3 * 150 * 150 // 256 + 1)[: 150 * 150 * 3].reshape(150, 150, 3)
    np.testing.assert_array_equal(pixels_from_input(crop.batch([pixels, pixels[::-1]], SPEC)), np.stack([pixels, pixels[::-1]]))


@pytest.mark.parametrize("change", [lambda x: x / 2, lambda x: x + 0.001, lambda x: x + 1, lambda x: x[:, ::-1] * 2])
def test_inputs_that_no_pixels_give_are_refused(original: DlibOriginal, pictures: Array, change: Callable[[Array], Array]) -> None:
    with pytest.raises(ConversionError, match=r"expected pixels \* 0.00390625 \+ \(-0.4796, .* got values from"):
        original.run({INPUT: change(pictures[:1])})


# What a file must not be, byte by byte: each change is found, and named with its place and its layer.
@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (1, b"\x02", "expected version of the loss layer 1, got 2, at byte 0, in header"),
        (4, b"L", "expected loss 'loss_metric_2', got 'Loss_metric_2', at byte 2, in header"),
        (30, b"\x01", "expected version of a layer 2, got 1, at byte 29, in header"),
        (0, b"\x09", "expected a whole number of 1 to 8 bytes, got 9, at byte 0, in header"),
        (3, b"\xff", "expected a text of at most 100 bytes, got one of 255, at byte 2, in header"),
        (HEADER - 3, b"\x97", "expected size of the input 150, got 151, at byte 330, in the input layer"),
        (315, b"\x75", "expected a mean of 122.782 for red, got 58.782, at byte 318, in the input layer"),
        (HEADER + 2, b"C", "expected layer 'con_4', got 'Con_4', at byte 334, in layer 1 \\(con_4\\)"),
        (HEADER + 11, b"\x13", "expected size of a tensor 4736, got 4992, at byte 343, in layer 1"),
        (19383, b"r", "expected layer 'affine_', got 'rffine_', at byte 19381, in layer 2"),
        (19380, b"\x09", "expected samples made of each sample 1, got 9, at byte 19379, in layer 1"),
    ],
)
def test_a_damaged_byte_is_named_with_its_place(content: bytes, at: int, new: bytes, message: str) -> None:
    damaged = content[:at] + new + content[at + len(new) :]
    with pytest.raises(ConversionError, match=f"^{WHERE}: {message}(?s:.*)\n  expected dlib_face_recognition_resnet_model_v1.dat as dlib wrote it"):
        read_network(damaged, where=WHERE)


@pytest.mark.parametrize("size", [0, 1, 3, 100, HEADER, HEADER + 1000, 60_000, 22_000_000, -1])
def test_a_file_that_ends_early_is_refused(content: bytes, size: int) -> None:
    with pytest.raises(ConversionError, match=r"expected \d+ more bytes, got \d+: the file ends here, at byte \d+, in "):
        read_network(content[:size], where=WHERE)


def test_a_file_that_goes_on_is_refused(content: bytes) -> None:
    with pytest.raises(ConversionError, match=r"expected the end of the file, got 3 more bytes, at byte 22466066, in layer 108 \(fc_2\)"):
        read_network(content + b"123", where=WHERE)


def test_weights_that_are_no_numbers_are_refused(content: bytes) -> None:
    start = HEADER + 18
    damaged = content[: start + 40] + np.float32(np.nan).tobytes() + content[start + 44 :]
    with pytest.raises(ConversionError, match=r"expected finite weights, got 1 others, at byte 352, in layer 1 \(con_4\)"):
        read_network(damaged, where=WHERE)


@pytest.mark.parametrize("exponent", [b"\x02\x00\x7d", b"\x02\xff\x7c"])
def test_a_real_number_must_be_finite(content: bytes, exponent: bytes) -> None:
    at = content.index(b"\x03\x0a\xd7\xa3\x81\x1c")
    with pytest.raises(ConversionError, match="expected a finite number"):
        read_network(content[: at + 4] + exponent + content[at + 6 :], where=WHERE)


def test_state_of_a_training_is_refused(content: bytes) -> None:
    at = content.index(b"110", 19000)
    with pytest.raises(ConversionError, match="expected 3 flags, 0 or 1, got b'1x0'"):
        read_network(content[: at + 1] + b"x" + content[at + 2 :], where=WHERE)
    with pytest.raises(ConversionError, match="expected size of an empty tensor 0, got 1"):
        read_network(content[: at + 6] + b"\x01" + content[at + 7 :], where=WHERE)


def accepted_header(content: bytes) -> bool:
    """Whether a file of few layers is read up to its end, and not refused earlier."""
    with pytest.raises(ConversionError) as caught:
        read_network(content, where=WHERE)
    return "the file ends here, at byte" in str(caught.value) and "in layer 5" in str(caught.value)


def test_no_byte_of_the_header_leads_astray(content: bytes) -> None:
    begin = content[:30_000]
    changed_at = [at for at in range(HEADER + 11) if accepted_header(begin[:at] + bytes([begin[at] ^ 0x55]) + begin[at + 1 :])]
    # Mantissas and exponents of two numbers that training alone needs: any will do.
    assert changed_at == [18, 19, 20, 22, 24, 25, 26, 28]


def test_other_networks_are_refused(weights: Path) -> None:
    with pytest.raises(ConversionError, match=r"picture.png: expected version of the loss layer 1, got"):
        onnx_from_dlib(b"\x02PNG" * 100, where="picture.png")


def test_the_systems_stages_name_the_networks_tensors(weights: Path) -> None:
    (system,) = SYSTEMS
    originals = system.build({}, 0)
    assert list(originals) == [stage.name for stage in system.stages] == ["embedding", "mlp"]
    models = {name: original.to_onnx() for name, original in originals.items()}
    for stage in system.stages:
        assert [value.name for value in models[stage.name].graph.input] == [stage.input.tensor]
    assert [value.name for value in models["embedding"].graph.output] == [PERCEPTRON.input.source]  # type: ignore[union-attr]
    assert [value.name for value in models["mlp"].graph.output] == [PERCEPTRON.outputs[0].tensor]


@pytest.mark.parametrize("module", ["dlib", "keras"])
def test_a_missing_framework_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    with pytest.raises(MissingDependency, match=f"needs the Python module '{module}', which is not installed\n  make frameworks"):
        SYSTEMS[0].build({}, 0)
