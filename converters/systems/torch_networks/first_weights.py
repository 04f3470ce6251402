"""First weights of a network that nobody has trained: random, seeded, and such that its outputs vary over real crops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from converters.errors import ConversionError

_CROPS = 24  # enough for the statistics of a layer; all of them at 256x256 would take gigabytes


def set_first_weights(module: nn.Module, inputs: Sequence[torch.Tensor], *, seed: int) -> None:
    """Set every weight: layers by He's rule, batch normalisation from real crops, the last layer so that each logit has mean 0 and deviation 1 over them.

    Without the crops the statistics of batch normalisation would be those of no data, and a deep network's outputs would hardly differ from input to input.

    Args:
        module: Its weights are overwritten; it is left in evaluation mode.
        inputs: float32[N, ...] for each of its inputs.
        seed: The same seed gives the same weights.

    Raises:
        ConversionError: The crops are fewer than two, or an output does not differ between them.

    Source: He et al. 2015, arXiv:1502.01852.
    """
    generator = torch.Generator().manual_seed(seed)
    last = None
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            last = layer
    assert isinstance(last, nn.Linear)  # as in all of these networks
    step = max(1, -(-len(inputs[0]) // _CROPS))
    chosen = [tensor[::step] for tensor in inputs]
    if len(chosen[0]) < 2:
        raise ConversionError(f"an untrained network needs at least 2 real inputs to set its statistics from, got {len(inputs[0])}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would give other weights
    try:
        with torch.no_grad():
            _set_statistics(module, chosen)
            _spread_outputs(module, last, chosen)
    finally:
        torch.set_num_threads(threads)


def _set_statistics(module: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    module.eval()
    for layer in layers:
        layer.reset_parameters()
        # Centred on 0, every ReLU cuts half of what it gets, and a hundred of them in a row multiply rounding errors a thousandfold: InceptionV4 fails parity.
        nn.init.ones_(layer.bias)
        layer.train()
        layer.momentum = None  # the plain average of what it sees
    module(*inputs)
    for layer in layers:
        layer.eval()
        layer.momentum = 0.1  # PyTorch's own


def _spread_outputs(module: nn.Module, last: nn.Linear, inputs: Sequence[torch.Tensor]) -> None:
    outputs = module(*inputs)
    deviation, mean = torch.std_mean(outputs, 0)
    if not bool((deviation > 1e-6 * outputs.abs().max()).all()):
        raise ConversionError(
            f"an untrained network's outputs do not differ over the {len(outputs)} inputs that its statistics are set from",
            hint="take crops that differ",
        )
    last.weight.div_(deviation[:, None])
    last.bias.copy_(-mean / deviation)  # it was 0
