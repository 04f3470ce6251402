"""What both Inception networks are built from: normalised convolutions, and branches whose outputs are put side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Size = int | tuple[int, int]


class ConvUnit(nn.Module):
    """A convolution without bias, batch normalisation and ReLU.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        kernel: Height and width.
        stride: Of the convolution.
        same: Pad by half the kernel on each side, so that stride 1 keeps the size; without it there is no padding.
    """

    def __init__(self, n_in: int, n_out: int, kernel: Size = 1, *, stride: int = 1, same: bool = False) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.conv = nn.Conv2d(n_in, n_out, (height, width), stride, (height // 2, width // 2) if same else 0, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, n_in, H, W], give float32[N, n_out, H', W']."""
        return self.relu(self.bn(self.conv(x)))  # type: ignore[no-any-return]


class Branches(nn.Module):
    """Several modules on the same input; their channels are put side by side in the order in which they are given.

    Args:
        branches: By the names that state_dicts know them by.
    """

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, C, H, W], give float32[N, C', H', W']."""
        return torch.cat([branch(x) for branch in self.children()], 1)


def halving_pool() -> nn.MaxPool2d:
    """Return the pool of the reductions: 3x3, stride 2, no padding."""
    return nn.MaxPool2d(3, 2)
