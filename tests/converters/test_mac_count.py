"""Multiplications of an ONNX graph, counted by hand and against document 002."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.errors import ConversionError
from converters.from_torch.torch_original import TorchOriginal
from converters.mac_count import count_macs
from converters.systems.torch_networks.architectures import ARCHITECTURES


def network(node: onnx.NodeProto, input_sizes: tuple[int, ...], output_rank: int, weight: tuple[int, ...] | None = None) -> onnx.ModelProto:
    """One operator with inputs `x` and, constant, `w`."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *input_sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *[None] * (output_rank - 1)])],
        [numpy_helper.from_array(np.zeros(weight, np.float32), "w")] if weight else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("node", "sizes", "weight", "macs"),
    [
        # 5x5 places, 6 channels out, sums of 4 channels x 3x3
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2]), (4, 10, 10), (6, 4, 3, 3), 25 * 6 * 36),
        # two groups: sums of 2 channels
        (helper.make_node("Conv", ["x", "w"], ["y"], group=2), (4, 10, 10), (6, 2, 1, 1), 100 * 6 * 2),
        # a 3-D convolution
        (helper.make_node("Conv", ["x", "w"], ["y"]), (1, 4, 5, 6), (3, 1, 2, 2, 2), 3 * 3 * 4 * 5 * 8),
        # each of 4 x 3x3 numbers goes to 5 channels x 2x2 places
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), (4, 3, 3), (4, 5, 2, 2), 36 * 20),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), (12,), (7, 12), 7 * 12),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (3, 12), (12, 7), 3 * 7 * 12),
        # two activations: a Gram matrix
        (helper.make_node("MatMul", ["x", "x"], ["y"]), (9, 9), None, 9 * 9 * 9),
        (helper.make_node("Relu", ["x"], ["y"]), (3, 12), None, 0),
    ],
)
@pytest.mark.parametrize("batch", [1, 8])
def test_by_hand(node: onnx.NodeProto, sizes: tuple[int, ...], weight: tuple[int, ...] | None, macs: int, batch: int) -> None:
    rank = 2 if node.op_type == "Gemm" else 1 + len(sizes)
    assert count_macs(network(node, sizes, rank, weight), batch=batch) == batch * macs


def test_what_cannot_be_counted_is_named() -> None:
    node = helper.make_node("Einsum", ["x", "x"], ["y"], name="gram", equation="nij,nkj->nik")
    with pytest.raises(ConversionError, match="cannot count the multiplications of 'gram', which is Einsum"):
        count_macs(network(node, (3, 4), 3), batch=1)


def test_sizes_must_follow_from_the_graph() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    model = network(node, (3, 12), 3, (12, 7))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "rows"
    with pytest.raises(ConversionError, match=r"multiplications of 'product' \(MatMul\): the sizes of '[xy]' do not follow from the graph"):
        count_macs(model, batch=1)


@pytest.mark.parametrize(("name", "side_px", "gmacs"), [("resnet18-frozen", 224, "14.51"), ("efficientnet-b0-hidden256", 256, "4.02")])
def test_document_002_at_batch_8(name: str, side_px: int, gmacs: str) -> None:
    example = {"crop": np.zeros((2, 3, side_px, side_px), np.float32)}
    model = TorchOriginal(ARCHITECTURES[name](3, 5), inputs=["crop"], outputs=["logits"], example=example, name=name).to_onnx()
    assert f"{count_macs(model, batch=8) / 1e9:.2f}" == gmacs
    assert f"{count_macs(model, batch=1) * 8 / 1e9:.2f}" == gmacs
