"""PyTorch networks become ONNX networks that compute the same, for any batch; what cannot is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from converters.errors import ConversionError, ParityFailure
from converters.from_torch.torch_original import TorchOriginal
from converters.original import Array
from converters.parity import check_parity
from tests.converters.torch_layers import CASES, PLANE, Apply, randomised

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

LIMIT = 1e-3
# What computes sizes at run time: none of it belongs into a network whose sizes are known.
SIZES = {"Cast", "Constant", "ConstantOfShape", "Where", "Equal", "Range", "If", "Loop", "Identity"}
LEFT = {"masked": {"Where"}, "sizes-read": {"ConstantOfShape"}, "norm-local": {"If"}}


def some(size: tuple[int, ...], *, batch: int = 7) -> Array:
    return np.random.default_rng(1).standard_normal((batch, *size)).astype(np.float32)


def original(module: nn.Module, size: tuple[int, ...] = (4, 13, 10)) -> TorchOriginal:
    return TorchOriginal(module, inputs=["pictures"], outputs=["scores"], example={"pictures": some(size, batch=2)}, name="net")


@pytest.mark.parametrize("name", CASES)
def test_each_layer_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    case = CASES[name]
    net = original(randomised(case.build()), case.size)
    model = net.to_onnx()
    check_parity(net, model, {"pictures": some(case.size)}, limit=LIMIT, where=name)
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        assert sizes[0].dim_param == "N"
        assert all(size.dim_value > 0 for size in sizes[1:])


@pytest.mark.parametrize("name", CASES)
def test_graphs_are_plain(name: str) -> None:
    """Nothing computes sizes at run time but, where an operator has no other way, a shape that holds the batch."""
    torch.manual_seed(0)
    graph = original(randomised(CASES[name].build()), CASES[name].size).to_onnx().graph
    kinds = {node.op_type for node in graph.node}
    assert not kinds & SIZES - LEFT.get(name, set())
    for node in graph.node:
        assert not node.doc_string
        assert not node.metadata_props
        if node.op_type == "Shape" and name not in LEFT:
            assert node.input[0] == "pictures"
            assert {attribute.name: attribute.i for attribute in node.attribute} == {"start": 0, "end": 1}
    assert ("BatchNormalization" in kinds) == (name in {"norm-alone", "norm-vector"})


@pytest.mark.parametrize("batch", [1, 2, 5, 16, 17, 33])
def test_any_batch(batch: int) -> None:
    net = original(CASES["attention"].build())
    pictures = some((4, 13, 10), batch=batch)
    session = onnxruntime.InferenceSession(net.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"pictures": pictures})
    expected = net.run({"pictures": pictures})["scores"]
    assert np.asarray(scores).shape == expected.shape == (batch, 8)
    np.testing.assert_allclose(np.asarray(scores), expected, rtol=1e-4, atol=1e-5)


def test_several_inputs_and_outputs_keep_their_names() -> None:
    class Both(nn.Module):
        def forward(self, pictures: torch.Tensor, sound: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return pictures.mean((2, 3)) + sound, sound * 2

    example = {"sound": some((4,), batch=2), "pictures": some((4, 5, 6), batch=2)}
    net = TorchOriginal(Both(), inputs=["pictures", "sound"], outputs=["joined", "louder"], example=example, name="both")
    model = net.to_onnx()
    assert [value.name for value in model.graph.input] == ["pictures", "sound"]
    inputs = {"sound": some((4,)), "pictures": some((4, 5, 6))}
    report = check_parity(net, model, inputs, limit=LIMIT, where="both")
    assert [output.name for output in report.outputs] == ["joined", "louder"]
    np.testing.assert_array_equal(inputs["sound"], some((4,)))


def swap_channels(graph: onnx.GraphProto) -> None:
    change_weights(graph, lambda weights: weights[:, ::-1])


def change_scale(graph: onnx.GraphProto) -> None:
    change_weights(graph, lambda weights: weights * np.float32(1.01))


def change_weights(graph: onnx.GraphProto, change: Callable[[Array], Array]) -> None:
    name = next(node for node in graph.node if node.op_type == "Conv").input[1]
    weights = next(tensor for tensor in graph.initializer if tensor.name == name)
    weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(weights))), name))


def shift_pad(graph: onnx.GraphProto) -> None:
    convolution = next(node for node in graph.node if node.op_type == "Conv")
    pads = next(attribute for attribute in convolution.attribute if attribute.name == "pads")
    pads.ints[:] = [pads.ints[0] + 1, pads.ints[1], pads.ints[2] - 1, pads.ints[3]]


@pytest.mark.parametrize("spoil", [swap_channels, shift_pad, change_scale])
def test_a_spoilt_network_fails_parity(spoil: Callable[[onnx.GraphProto], None]) -> None:
    torch.manual_seed(0)
    net = original(
        randomised(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))), PLANE
    )
    model = net.to_onnx()
    check_parity(net, model, {"pictures": some(PLANE)}, limit=LIMIT, where="net")
    spoil(model.graph)
    with pytest.raises(ParityFailure, match="differs from the original's"):
        check_parity(net, model, {"pictures": some(PLANE)}, limit=LIMIT, where="net")


def by_mean(values: torch.Tensor) -> torch.Tensor:
    return values if values.mean() > 0 else -values


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "operator": (
        nn.Sequential(nn.Identity(), nn.Sequential(Apply(lambda values: torch.fft.fft2(values).abs()))),
        r"operator 'fft_fft2' in layer '1\.0' cannot be written as ONNX opset 17",
    ),
    "adaptive": (
        nn.Sequential(nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(3)),
        r"operator 'adaptive_avg_pool2d' in layer '1' .*the output size does not divide the input's\n.*global pooling",
    ),
    "value": (Apply(by_mean), r"decides by the values of a tensor.*Python boolean, at .*test_from_torch\.py:\d+"),
    "item": (Apply(lambda values: values * values.mean().item()), r"decides by the values of a tensor.*Python number, at .*test_from_torch\.py:\d+"),
    "batch": (Apply(lambda values: values.reshape(2, -1)), r"bound to a batch of 2: output 'scores' of a batch of 1 is \[2, 260\]"),
    "loop": (Apply(lambda values: torch.stack([row * 2 for row in values])), "bound to a batch of 2: it fails on a batch of 1, at '/Split'"),
    "choice": (Apply(lambda values: values.argmax(1)), r"expected output 'scores' as float32\[2, ...\], it is int64\[2, 13, 10\]"),
    "number": (Apply(lambda values: values.mean()), r"expected output 'scores' as float32\[2, ...\], it is float32\[\]"),
    "dictionary": (Apply(lambda values: {"scores": values}), r"expected 1 output tensors \(scores\), it gives dict"),  # type: ignore[arg-type,return-value]
    "sizes": (nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), r"fails in layer '1' on 'pictures' \[2, 4, 13, 10\]: mat1 and mat2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_named(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    module, message = REFUSED[name]
    with pytest.raises(ConversionError, match=f"(?s){message}"):
        original(module).to_onnx()
    assert capfd.readouterr().out == ""


def test_a_network_that_mixes_its_inputs_fails_parity() -> None:
    net = original(nn.Softmax(0))
    with pytest.raises(ParityFailure, match="when the input runs alone"):
        check_parity(net, net.to_onnx(), {"pictures": some((4, 13, 10))}, limit=LIMIT, where="net")


def test_wrong_arguments() -> None:
    example = {"pictures": some((4, 13, 10), batch=2)}
    with pytest.raises(ConversionError, match=r"expected examples of the inputs \['faces'\], got \['pictures'\]"):
        TorchOriginal(nn.Identity(), inputs=["faces"], outputs=["scores"], example=example, name="net")
    with pytest.raises(ConversionError, match=r"expected float32\[2, \.\.\.\] as the example of 'pictures', got float32\[3, 2\]"):
        TorchOriginal(nn.Identity(), inputs=["pictures"], outputs=["scores"], example={"pictures": some((2,), batch=3)}, name="net")
    with pytest.raises(ConversionError, match=r"expected float32 weights, 'weight' is float64"):
        TorchOriginal(nn.Conv2d(4, 3, 1).double(), inputs=["pictures"], outputs=["scores"], example=example, name="net")
    with pytest.raises(ParityFailure, match=r"expected the inputs \['pictures'\], got \['faces'\]"):
        original(nn.Identity()).run({"faces": some((4, 13, 10))})


def test_the_hash_is_of_the_weights() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(4, 3, 1)
    first = original(module).sha256
    assert first == original(module).sha256
    with torch.no_grad():
        module.weight[0, 0] += 1e-6
    assert original(module).sha256 != first
    assert original(module).framework == f"PyTorch {torch.__version__.partition('+')[0]}"
