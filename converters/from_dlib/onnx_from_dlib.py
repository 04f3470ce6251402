"""dlib's face embedding network as ONNX: opset 17, pictures NCHW, a free batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.from_dlib.byte_stream import Array
from converters.from_dlib.embedding_network import DIVISOR, MEANS, N_CHANNELS_OUT, SIDE_PX, Block, Convolution, EmbeddingNetwork, read_network

INPUT = "picture"
OUTPUT = "embedding"
# What a package writes beside the network: pixels * SCALE + OFFSET is what dlib feeds its own.
SCALE = 1 / DIVISOR
OFFSETS = (-MEANS[0] / DIVISOR, -MEANS[1] / DIVISOR, -MEANS[2] / DIVISOR)


def onnx_from_dlib(content: bytes, *, where: str) -> onnx.ModelProto:
    """Convert the network.

    Args:
        content: Bytes of `dlib_face_recognition_resnet_model_v1.dat`.
        where: The file's name, for messages.

    Returns:
        `picture` float32[N, 3, 150, 150], RGB times `SCALE` plus `OFFSETS`, to `embedding` float32[N, 128].

    Raises:
        ConversionError: The file does not hold that network; the message names the first thing that differs and its byte.
    """
    graph = _Graph(read_network(content, where=where))
    picture = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, SIDE_PX, SIDE_PX])
    embedding = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", N_CHANNELS_OUT])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "dlib_face_embedding", [picture], [embedding], graph.initializers), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    def __init__(self, network: EmbeddingNetwork) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        side = _after_convolution(SIDE_PX, network.stem)
        value = self._add("Relu", "stem/relu", [self._convolution("stem", INPUT, network.stem)])
        value = self._add("MaxPool", "stem/maximum", [value], kernel_shape=[3, 3], strides=[2, 2])
        side = _after_pool(side, 3)
        for number, block in enumerate(network.blocks):
            value, side = self._block(f"block{number}", value, side, block)
        value = self._add("GlobalAveragePool", "mean", [value])
        value = self._add("Flatten", "mean/flat", [value])
        self._add("MatMul", OUTPUT, [value, self._constant("projection", network.projection)])

    def _block(self, name: str, value: str, side: int, block: Block) -> tuple[str, int]:
        first = self._add("Relu", f"{name}/relu1", [self._convolution(f"{name}/conv1", value, block.first)])
        new = self._convolution(f"{name}/conv2", first, block.second)
        if not block.halves:
            return self._add("Relu", f"{name}/relu2", [self._add("Add", f"{name}/sum", [new, value])]), side
        old = self._add("AveragePool", f"{name}/average", [value], kernel_shape=[2, 2], strides=[2, 2])
        # dlib adds tensors of different sizes as if the smaller one went on with zeros: in channels, and where the sides do not come out even, in space too.
        n_in, n_out = block.first.weights.shape[1], block.first.weights.shape[0]
        new_side, old_side = _after_convolution(side, block.first), _after_pool(side, 2)
        side = max(new_side, old_side)
        old = self._continued(f"{name}/average", old, n_out - n_in, side - old_side)
        new = self._continued(f"{name}/conv2", new, 0, side - new_side)
        return self._add("Relu", f"{name}/relu2", [self._add("Add", f"{name}/sum", [new, old])]), side

    def _convolution(self, name: str, value: str, convolution: Convolution) -> str:
        gains = convolution.gains.astype(np.float64)
        weights = convolution.weights * gains[:, np.newaxis, np.newaxis, np.newaxis]
        biases = convolution.biases * gains + convolution.shifts
        inputs = [value, self._constant(f"{name}/weights", weights.astype(np.float32)), self._constant(f"{name}/biases", biases.astype(np.float32))]
        return self._add("Conv", name, inputs, kernel_shape=list(weights.shape[2:]), strides=[convolution.stride] * 2, pads=[convolution.pad] * 4)

    def _continued(self, name: str, value: str, n_channels: int, n_pixels: int) -> str:
        if not n_channels and not n_pixels:
            return value
        pads = self._constant(f"{name}/zeros", np.array([0, 0, 0, 0, 0, n_channels, n_pixels, n_pixels], np.int64))
        return self._add("Pad", f"{name}/continued", [value, pads], mode="constant")

    def _add(self, op_type: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, name: str, values: Array | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _after_convolution(side: int, convolution: Convolution) -> int:
    return (side + 2 * convolution.pad - convolution.weights.shape[2]) // convolution.stride + 1


def _after_pool(side: int, size: int) -> int:
    return (side - size) // 2 + 1
