"""The trained network as ONNX."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from converters.from_torch.onnx_from_torch import onnx_from_torch
from converters.original import Array
from converters.training.affect.network import OUTPUTS, SIDE_PX

INPUT = "crop"


def to_onnx(network: torch.nn.Module) -> onnx.ModelProto:
    """Convert the network.

    Args:
        network: Of the crop and the outputs of `FaceNetwork`; in evaluation mode, on the CPU.

    Returns:
        Opset 17; takes `crop` and gives what `OUTPUTS` names, any batch.

    Raises:
        ConversionError: See `onnx_from_torch`.
    """
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 1, SIDE_PX, SIDE_PX)).astype(np.float32)
    return onnx_from_torch(network, example={INPUT: crops}, answers=answers_of(network, crops), name="face")


def answers_of(network: torch.nn.Module, crops: Array) -> dict[str, Array]:
    """Return the network's outputs by name for float32[N, 1, 64, 64]."""
    with torch.inference_mode():
        return {name: values.numpy() for name, values in zip(OUTPUTS, network(torch.from_numpy(crops)), strict=True)}
