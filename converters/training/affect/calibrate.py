"""Probabilities that mean what they say: one temperature for each emotion output, found on faces that nothing was learned from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from converters.training.affect.network import FaceNetwork

# Temperatures that are tried; the best is never near an end, or it says so.
_LOW, _HIGH, _STEPS = 0.25, 4.0, 400


def temperature(logits: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the temperature by which logits are divided for the least cross-entropy.

    Source: Guo et al. 2017, arXiv:1706.04599.

    Args:
        logits: float32[N, K].
        truth: float32[N, K], rows sum to 1: shares of votes, or one for the label.

    Raises:
        ValueError: The best lies at an end of what is tried: the logits are no usable answer.
    """
    candidates = np.geomspace(_LOW, _HIGH, _STEPS)
    losses = [cross_entropy(logits / value, truth) for value in candidates]
    best = int(np.argmin(losses))
    if best in (0, _STEPS - 1):
        raise ValueError(f"no temperature between {_LOW} and {_HIGH} is best: {losses[0]:.4f} to {losses[-1]:.4f}")
    return float(candidates[best])


def cross_entropy(logits: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the mean cross-entropy of a softmax, in nats."""
    largest = logits.max(axis=1, keepdims=True)
    log_sum = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    return float((log_sum - (truth * logits).sum(axis=1)).mean())


@torch.no_grad()
def apply_temperature(network: FaceNetwork, *, seen: float, fer2013: float) -> None:
    """Divide the logits of both emotion outputs, for good."""
    for head, value in ((network.seen, seen), (network.fer2013, fer2013)):
        head.weight.div_(value)
        head.bias.div_(value)
