"""A program that `torch.jit.save` saved: TorchScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from converters.from_torch.torch_original import TorchOriginal
from converters.original import Array


@dataclass(frozen=True)
class ScriptProgram:
    """A TorchScript module.

    Attributes:
        path: Its file.
        sha256: Hash of the file.
        module: The program with its weights.
    """

    path: Path
    sha256: str
    module: torch.jit.ScriptModule
    kind: Literal["torchscript"] = "torchscript"

    def original(self, *, inputs: Sequence[str], outputs: Sequence[str], example: Mapping[str, Array], name: str) -> TorchOriginal:
        """Make it ready to run and to convert; the arguments are those of `TorchOriginal`.

        Raises:
            ConversionError: The example does not fit, or the weights are not float32.
        """
        return TorchOriginal(self.module, inputs=inputs, outputs=outputs, example=example, name=name, sha256=self.sha256)
