"""The networks of a PyTorch system: untrained, or with a user's weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from converters.errors import ConversionError
from converters.from_torch.state_dict import StateDict
from converters.from_torch.torch_file import open_torch_file
from converters.from_torch.torch_original import TorchOriginal
from converters.original import Array, Original
from converters.systems.system import Warmth
from converters.systems.torch_networks.architectures import ARCHITECTURES
from converters.systems.torch_networks.first_weights import set_first_weights
from edge.stage import EmbeddingInput, Stage, input_shapes

# The only output of every network.
LOGITS = "logits"

# Of the network of each stage, by the stage's name: architecture, channels (or numbers) in, numbers out.
Networks = Mapping[str, tuple[str, int, int]]


def untrained(stages: Sequence[Stage], networks: Networks, warmth: Warmth, seed: int) -> dict[str, Original]:
    """Make a system's networks with first weights, one stage after the other: what one gives, the next is fed.

    Args:
        stages: The system's.
        networks: Theirs.
        warmth: float32[N, ...] by tensor name, by stage name, for the stages that take pictures.
        seed: The same seed and crops give the same weights.

    Returns:
        By stage name.

    Raises:
        ConversionError: Crops of a stage are missing, too few, or all the same.
    """
    made: dict[str, Original] = {}
    inputs: dict[str, dict[str, Array]] = {}
    for index, stage in enumerate(stages):
        spec = stage.input
        if isinstance(spec, EmbeddingInput):
            inputs[stage.name] = {spec.tensor: made[spec.stage].run(inputs[spec.stage])[spec.source]}
        else:
            inputs[stage.name] = {tensor: _given(warmth, stage.name, tensor) for tensor in input_shapes(spec)}
        architecture, n_in, n_out = networks[stage.name]
        module = ARCHITECTURES[architecture](n_in, n_out)
        set_first_weights(module, [torch.tensor(array) for array in inputs[stage.name].values()], seed=seed + index)
        example = _example(stage, n_in)
        made[stage.name] = TorchOriginal(module, inputs=[*example], outputs=[LOGITS], example=example, name=f"{architecture} ({stage.name})")
    return made


def loaded(stages: Sequence[Stage], networks: Networks, path: Path) -> dict[str, Original]:
    """Make a system's networks with the weights of a checkpoint.

    Args:
        stages: The system's.
        networks: Theirs.
        path: A state_dict, see `open_torch_file`; for several stages one file whose names begin with the stage's: `emotions.hidden.weight`.

    Returns:
        By stage name.

    Raises:
        ConversionError: It is no state_dict, or another network's; the first mismatch is named.
    """
    weights = open_torch_file(path, trusted=False)
    assert isinstance(weights, StateDict)  # programs are refused without trust
    parts = {stages[0].name: weights} if len(stages) == 1 else _by_stage(weights, [stage.name for stage in stages])
    made: dict[str, Original] = {}
    for stage in stages:
        architecture, n_in, n_out = networks[stage.name]
        example = _example(stage, n_in)
        made[stage.name] = parts[stage.name].original(
            ARCHITECTURES[architecture](n_in, n_out), inputs=[*example], outputs=[LOGITS], example=example, name=f"{architecture} ({stage.name})"
        )
    return made


def _by_stage(weights: StateDict, names: Sequence[str]) -> dict[str, StateDict]:
    parts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names}
    for key, tensor in weights.tensors.items():
        name, _, rest = key.partition(".")
        if name not in parts:
            raise ConversionError(
                f"{weights.path}: layer '{key}' belongs to no stage: expected names that begin with {' or '.join(f'{name}.' for name in names)}{weights.found}",
                hint="put the networks into one torch.nn.ModuleDict under these names, and save its state_dict()",
            )
        parts[name][rest] = tensor
    if missing := next((name for name in names if not parts[name]), None):
        raise ConversionError(f"{weights.path}: no layers of the stage '{missing}': expected names that begin with {missing}.{weights.found}", hint=_ALL_STAGES)
    return {name: dataclasses.replace(weights, tensors=tensors) for name, tensors in parts.items()}


_ALL_STAGES = "save the networks of all stages in one file"


def _given(warmth: Warmth, stage: str, tensor: str) -> Array:
    if tensor not in warmth.get(stage, {}):
        raise ConversionError(f"an untrained network needs real inputs to set its statistics from: '{tensor}' of the stage '{stage}' is missing")
    return warmth[stage][tensor]


def _example(stage: Stage, n_in: int) -> dict[str, Array]:
    # Only the first dimension and the length of an embedding are left open by a stage.
    return {tensor: np.zeros((2, *(n_in if size is None else size for size in shape[1:])), np.float32) for tensor, shape in input_shapes(stage.input).items()}
