"""A network in the framework that it comes from: what a parity run compares the converted network with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Original(Protocol):
    """One network, ready to run in its own framework and to be converted."""

    @property
    def framework(self) -> str:
        """What runs it, with version, such as `PyTorch 2.13.0` or `scikit-learn 1.7.2`."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the file that it was loaded from, or of its weights where it was not loaded from one."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run it in its own framework.

        Args:
            inputs: float32[N, ...] by input name, as the ONNX network takes them (pictures NCHW).

        Returns:
            float32[N, ...] by output name, in the shapes of the ONNX network.
        """
        ...

    def to_onnx(self) -> onnx.ModelProto:
        """Convert it: opset 17, a free batch dimension `N` in front of every input and output, inputs and outputs named as in `run`.

        Raises:
            ConversionError: Something in it cannot be converted; the message names the layer or operator and where it stands.
        """
        ...
