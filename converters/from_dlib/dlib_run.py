"""dlib's face embedding network in dlib itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dlib
import numpy as np
import onnx
from numpy.typing import NDArray

from converters.errors import ConversionError
from converters.from_dlib.onnx_from_dlib import INPUT, OFFSETS, OUTPUT, SCALE, onnx_from_dlib
from converters.original import Array
from edge.package import file_sha256

# float32 keeps a pixel to a thousandth; what is further from a whole number was not made of pixels with this scale and offset.
_MAX_FROM_WHOLE = 0.01


class DlibOriginal:
    """The network, run by dlib from its weights file.

    Args:
        path: `dlib_face_recognition_resnet_model_v1.dat`.

    Raises:
        ConversionError: The file does not hold that network.
    """

    def __init__(self, path: Path) -> None:
        self._model = onnx_from_dlib(path.read_bytes(), where=path.name)
        self._network = dlib.face_recognition_model_v1(str(path))
        self._sha256 = file_sha256(path)

    @property
    def framework(self) -> str:
        """`dlib` and its version."""
        return f"dlib {dlib.__version__}"

    @property
    def sha256(self) -> str:
        """Hash of the weights file."""
        return self._sha256

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Embed faces with dlib; see `converters.original.Original.run`.

        Raises:
            ConversionError: The input is not made of pixels by the network's own scale and offset.
        """
        chips = pixels_from_input(inputs[INPUT])
        embeddings = [np.array(self._network.compute_face_descriptor(chip), np.float32) for chip in chips]
        return {OUTPUT: np.stack(embeddings)}

    def to_onnx(self) -> onnx.ModelProto:
        """Return the converted network."""
        return self._model


def pixels_from_input(pictures: Array) -> NDArray[np.uint8]:
    """Return the pixels that an input was made of: dlib takes those and normalises them itself.

    Args:
        pictures: float32[N, 3, 150, 150], pixels times `SCALE` plus `OFFSETS`.

    Returns:
        uint8[N, 150, 150, 3], RGB.

    Raises:
        ConversionError: They are not whole numbers from 0 to 255.
    """
    pixels = (pictures.astype(np.float64) - np.array(OFFSETS)[:, np.newaxis, np.newaxis]) / SCALE
    whole = np.rint(pixels)
    if np.abs(pixels - whole).max() > _MAX_FROM_WHOLE or whole.min() < 0 or whole.max() > 255:
        raise ConversionError(
            f"expected pixels * {SCALE:g} + {tuple(round(offset, 4) for offset in OFFSETS)}, got values from {pictures.min():.3g} to {pictures.max():.3g}"
            " that no pixels give",
            hint="give the stage dlib's own scale and offset",
        )
    return np.ascontiguousarray(whole.astype(np.uint8).transpose(0, 2, 3, 1))
