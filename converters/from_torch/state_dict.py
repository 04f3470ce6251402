"""Weights by name, from a file that holds nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from converters.errors import ConversionError
from converters.from_torch.torch_original import TorchOriginal
from converters.original import Array

# Under which key training scripts put the weights, beside the optimiser's state and the epoch.
_NESTED = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."  # DataParallel's
_COUNTER = "num_batches_tracked"  # of a normalisation; no forward pass reads it, and old files lack it
_WIDENED = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class StateDict:
    """A `state_dict`.

    Attributes:
        path: Its file.
        sha256: Hash of the file.
        tensors: Weights by name, without `module.` in front.
        found: Where in the file they were, for messages; empty: at the top.
    """

    path: Path
    sha256: str
    tensors: dict[str, torch.Tensor]
    found: str
    kind: Literal["state_dict"] = "state_dict"

    def original(self, module: torch.nn.Module, *, inputs: Sequence[str], outputs: Sequence[str], example: Mapping[str, Array], name: str) -> TorchOriginal:
        """Put the weights into a network; half precision is widened to float32.

        Args:
            module: The network that the weights are for; its own are overwritten.
            inputs: As for `TorchOriginal`.
            outputs: As for `TorchOriginal`.
            example: As for `TorchOriginal`.
            name: As for `TorchOriginal`.

        Raises:
            ConversionError: The weights are another network's; the first mismatch is named.
        """
        expected = module.state_dict()
        self._check_names(expected, name)
        for key, tensor in expected.items():
            if key in self.tensors:
                self._check_tensor(key, tensor, self.tensors[key])
        module.load_state_dict({key: self.tensors.get(key, tensor) for key, tensor in expected.items()})
        return TorchOriginal(module, inputs=inputs, outputs=outputs, example=example, name=name, sha256=self.sha256)

    def _check_names(self, expected: Mapping[str, torch.Tensor], name: str) -> None:
        missing = [key for key in expected if key not in self.tensors and not key.endswith(_COUNTER)]
        unexpected = [key for key in self.tensors if key not in expected]
        if missing:
            longer = next((key for key in unexpected if key.endswith("." + missing[0])), None)
            hint = (
                f"the file calls it '{longer}': save the state_dict of that part alone, torch.save(model.{longer.removesuffix('.' + missing[0])}.state_dict())"
                if longer
                else f"the file's first layers are {', '.join(list(self.tensors)[:3])}: choose the network that it was trained as"
            )
            raise self._refuse(f"layer '{missing[0]}' of '{name}' is missing ({len(missing)} of {len(expected)} are)", hint)
        if unexpected:
            raise self._refuse(
                f"layer '{unexpected[0]}' is unexpected: '{name}' has no such layer ({len(unexpected)} of {len(self.tensors)} are unexpected)",
                "choose the network that it was trained as; its depth, or its head, may differ",
            )

    def _check_tensor(self, key: str, expected: torch.Tensor, got: torch.Tensor) -> None:
        if got.shape != expected.shape:
            message = f"layer '{key}': expected {list(expected.shape)}, got {list(got.shape)}"
            if got.ndim == expected.ndim and got.ndim in (1, 2) and got.shape[1:] == expected.shape[1:]:
                raise self._refuse(f"{message}: the checkpoint has {len(got)} outputs there, the network {len(expected)}", _OTHER_OUTPUTS)
            if got.ndim == expected.ndim and got.ndim > 2 and (got.shape[0], got.shape[2:]) == (expected.shape[0], expected.shape[2:]):
                raise self._refuse(f"{message}: channels in: {got.shape[1]} in the checkpoint, {expected.shape[1]} in the network", _OTHER_CHANNELS)
            raise self._refuse(message, "choose the network that it was trained as")
        if got.layout != torch.strided or got.device.type != "cpu":
            raise self._refuse(f"layer '{key}': expected a plain tensor, got {got.layout} on {got.device}", "save plain tensors on the CPU")
        if got.dtype != expected.dtype and not (expected.dtype == torch.float32 and got.dtype in _WIDENED):
            kinds = [str(dtype).removeprefix("torch.") for dtype in (expected.dtype, got.dtype)]
            raise self._refuse(
                f"layer '{key}': expected {kinds[0]}, got {kinds[1]}", "save the network in float32: torch.save(model.float().state_dict(), path)"
            )
        if got.is_floating_point() and (bad := int((~torch.isfinite(got)).sum())):
            raise self._refuse(f"layer '{key}': {bad} of {got.numel()} weights are NaN or infinite", "the training diverged: take an earlier checkpoint")

    def _refuse(self, problem: str, hint: str) -> ConversionError:
        return ConversionError(f"{self.path}: {problem}{self.found}", hint=hint)


_OTHER_OUTPUTS = "choose the network with as many outputs as the checkpoint was trained for: a description's labels, and columns, must name every one"
_OTHER_CHANNELS = "a gray picture has 1 channel, rgb and bgr have 3: choose the network, or the description's color, that it was trained with"


def weights_in(content: object, path: Path, sha256: str) -> StateDict:
    """Find the weights in what a file holds: at its top, or under `state_dict`, `model_state_dict` or `model`; `module.` in front of all names is removed.

    Args:
        content: What was read.
        path: The file, for messages.
        sha256: Its hash.

    Raises:
        ConversionError: There are none.
    """
    key = next((key for key in _NESTED if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)), "")
    weights = content[key] if key and isinstance(content, Mapping) else content
    if not isinstance(weights, Mapping) or not weights or not all(isinstance(name, str) for name in weights):
        raise ConversionError(f"{path}: expected a state_dict, weights by name; got {_described(weights)}", hint=SAVE_WEIGHTS)
    if (other := next((name for name, value in weights.items() if not isinstance(value, torch.Tensor)), None)) is not None:
        inner = next((name for name, value in weights.items() if isinstance(value, Mapping) and torch.Tensor in map(type, value.values())), None)
        raise ConversionError(
            f"{path}: expected a state_dict, weights by name, at the top of the file or under {', '.join(map(repr, _NESTED))};"
            f" got '{other}', which is {_described(weights[other])}, beside {len(weights) - 1} others",
            hint=f"save the weights alone: torch.save(checkpoint['{inner}'], path)" if inner is not None else SAVE_WEIGHTS,
        )
    parallel = all(name.startswith(_PARALLEL) for name in weights)
    places = [f"under '{key}'"] * bool(key) + [f"with the prefix '{_PARALLEL}' removed"] * parallel
    return StateDict(
        path=path,
        sha256=sha256,
        tensors={name.removeprefix(_PARALLEL) if parallel else name: value.detach() for name, value in weights.items()},
        found=f" (the weights were read {' and '.join(places)})" if places else "",
    )


SAVE_WEIGHTS = "save the weights alone: torch.save(model.state_dict(), path), or safetensors.torch.save_file(model.state_dict(), path)"


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary of {len(value)} entries"
    return f"an object of type {type(value).__name__}"
