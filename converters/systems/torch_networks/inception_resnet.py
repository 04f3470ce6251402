"""Inception-ResNet-v1: Inception blocks beside a residual path.

Document 004 names the blocks (A, B and C, reductions between them) and the paper, not which of the paper's two networks. It finds the network faster than
InceptionV4; v1 costs about as much as InceptionV3, v2 as much as InceptionV4, so it is v1. Its third reduction is in neither. Layers are named as in
facenet-pytorch.

Source: Szegedy et al. 2017, arXiv:1602.07261, section 3.2 and figures 10 to 14.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from converters.systems.torch_networks.branches import Branches, ConvUnit, halving_pool

# Blocks A, B and C, and what their residuals are multiplied by. Source: the paper's figure 15 and section 3.3 (0.1 to 0.3); factors as in facenet-pytorch.
_N_BLOCKS = (5, 10, 5)
_SCALES = (0.17, 0.10, 0.20)
_FEATURES = 1792


class ResidualBranches(Branches):
    """Branches, a 1x1 convolution back to the width of the input, and the input added.

    Args:
        width: Channels in and out.
        n_side_by_side: Channels of all branches together.
        scale: Of what is added to the input.
        branches: By name.
    """

    def __init__(self, width: int, n_side_by_side: int, scale: float, **branches: nn.Module) -> None:
        super().__init__(**branches)
        self.scale = scale
        self._branches = tuple(branches)
        self.conv2d = nn.Conv2d(n_side_by_side, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Take and give float32[N, width, H, W]."""
        side_by_side = torch.cat([self.get_submodule(name)(x) for name in self._branches], 1)
        return torch.relu(x + self.scale * self.conv2d(side_by_side))


class InceptionResNet(nn.Module):
    """Inception-ResNet-v1 for pictures of any size from 75 pixels on; a 98x80 crop leaves 1x1 in front of the last layer.

    Args:
        in_channels: 1 for gray, 3 for RGB.
        n_outputs: Logits.
    """

    def __init__(self, in_channels: int, n_outputs: int) -> None:
        super().__init__()
        n_a, n_b, n_c = _N_BLOCKS
        self.conv2d_1a = ConvUnit(in_channels, 32, 3, stride=2)
        self.conv2d_2a = ConvUnit(32, 32, 3)
        self.conv2d_2b = ConvUnit(32, 64, 3, same=True)
        self.maxpool_3a = halving_pool()
        self.conv2d_3b = ConvUnit(64, 80)
        self.conv2d_4a = ConvUnit(80, 192, 3)
        self.conv2d_4b = ConvUnit(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block_a() for _ in range(n_a)))
        self.mixed_6a = _reduction_a()
        self.repeat_2 = nn.Sequential(*(_block_b() for _ in range(n_b)))
        self.mixed_7a = _reduction_b()
        self.repeat_3 = nn.Sequential(*(_block_c() for _ in range(n_c)))
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(_FEATURES, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, in_channels, H, W], give float32[N, n_outputs]."""
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(x)))
        x = self.mixed_6a(self.repeat_1(x))
        x = self.mixed_7a(self.repeat_2(x))
        return self.last_linear(torch.flatten(self.avgpool_1a(self.repeat_3(x)), 1))  # type: ignore[no-any-return]


def _block_a() -> ResidualBranches:
    return ResidualBranches(
        256,
        96,
        _SCALES[0],
        branch0=ConvUnit(256, 32),
        branch1=nn.Sequential(ConvUnit(256, 32), ConvUnit(32, 32, 3, same=True)),
        branch2=nn.Sequential(ConvUnit(256, 32), ConvUnit(32, 32, 3, same=True), ConvUnit(32, 32, 3, same=True)),
    )


def _reduction_a() -> Branches:
    return Branches(
        branch0=ConvUnit(256, 384, 3, stride=2),
        branch1=nn.Sequential(ConvUnit(256, 192), ConvUnit(192, 192, 3, same=True), ConvUnit(192, 256, 3, stride=2)),
        branch2=halving_pool(),
    )


def _block_b() -> ResidualBranches:
    return ResidualBranches(
        896,
        256,
        _SCALES[1],
        branch0=ConvUnit(896, 128),
        branch1=nn.Sequential(ConvUnit(896, 128), ConvUnit(128, 128, (1, 7), same=True), ConvUnit(128, 128, (7, 1), same=True)),
    )


def _reduction_b() -> Branches:
    return Branches(
        branch0=nn.Sequential(ConvUnit(896, 256), ConvUnit(256, 384, 3, stride=2)),
        branch1=nn.Sequential(ConvUnit(896, 256), ConvUnit(256, 256, 3, stride=2)),
        branch2=nn.Sequential(ConvUnit(896, 256), ConvUnit(256, 256, 3, same=True), ConvUnit(256, 256, 3, stride=2)),
        branch3=halving_pool(),
    )


def _block_c() -> ResidualBranches:
    return ResidualBranches(
        1792,
        384,
        _SCALES[2],
        branch0=ConvUnit(1792, 192),
        branch1=nn.Sequential(ConvUnit(1792, 192), ConvUnit(192, 192, (1, 3), same=True), ConvUnit(192, 192, (3, 1), same=True)),
    )
