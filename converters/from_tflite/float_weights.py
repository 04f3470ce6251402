"""Writes a TFLite network's 8-bit weights out as float32, so that LiteRT computes with the weights and nothing else rounded."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.from_tflite.tflite_model import read_tflite


def with_float_weights(content: bytes) -> bytes:
    """Return the same network with float32 weights; the bytes themselves where none are stored in 8 bits.

    LiteRT's kernels for 8-bit weights and float activations also round the activations to 8 bits on the way, on another grid for every input.
    ONNX Runtime and TensorRT do not. Against this copy a converted network can be held to float32's accuracy.

    Args:
        content: The bytes of a TFLite file whose activations are floats.

    Returns:
        The bytes of the copy.

    Raises:
        ConversionError: It is no TFLite file that the converter reads.
    """
    read = read_tflite(content)
    stored = [tensor for tensor in read.tensors if tensor.quantized and tensor.data is not None]
    if not stored:
        return content
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    for tensor in stored:
        written = model.subgraphs[0].tensors[tensor.index]
        written.type, written.quantization, written.buffer = schema.TensorType.FLOAT32, None, len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(tensor.real().tobytes(), np.uint8)
    return tflite_bytes(model)


def tflite_bytes(model: Any) -> bytes:
    """Serialise a `schema.ModelT`."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
