"""InceptionV4 in the layout of Cadene's pretrained-models: its state_dicts load.

Source: Szegedy et al. 2017, arXiv:1602.07261, figures 3 to 9; document 004, annex 3, for the layout and for one gray channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from converters.systems.torch_networks.branches import Branches, ConvUnit, halving_pool

_FEATURES = 1536


class InceptionC(nn.Module):
    """The block of the last stage: two of its branches split once more at their end; 1536 channels in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = ConvUnit(_FEATURES, 256)
        self.branch1_0 = ConvUnit(_FEATURES, 384)
        self.branch1_1a = ConvUnit(384, 256, (1, 3), same=True)
        self.branch1_1b = ConvUnit(384, 256, (3, 1), same=True)
        self.branch2_0 = ConvUnit(_FEATURES, 384)
        self.branch2_1 = ConvUnit(384, 448, (3, 1), same=True)
        self.branch2_2 = ConvUnit(448, 512, (1, 3), same=True)
        self.branch2_3a = ConvUnit(512, 256, (1, 3), same=True)
        self.branch2_3b = ConvUnit(512, 256, (3, 1), same=True)
        self.branch3 = _pooled(_FEATURES, 256)

    def forward(self, x: Tensor) -> Tensor:
        """Take and give float32[N, 1536, H, W]."""
        short = self.branch1_0(x)
        long = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        parts = (self.branch0(x), self.branch1_1a(short), self.branch1_1b(short), self.branch2_3a(long), self.branch2_3b(long), self.branch3(x))
        return torch.cat(parts, 1)


class InceptionV4(nn.Module):
    """InceptionV4 for pictures of any size from 75 pixels on: what is left in front of the last layer, 1x1 of a 98x80 crop, is averaged.

    Args:
        in_channels: 1 for gray, 3 for RGB.
        n_outputs: Logits.
    """

    def __init__(self, in_channels: int, n_outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvUnit(in_channels, 32, 3, stride=2),
            ConvUnit(32, 32, 3),
            ConvUnit(32, 64, 3, same=True),
            Branches(maxpool=halving_pool(), conv=ConvUnit(64, 96, 3, stride=2)),
            _stem_branches(),
            Branches(conv=ConvUnit(192, 192, 3, stride=2), maxpool=halving_pool()),
            *(_inception_a() for _ in range(4)),
            _reduction_a(),
            *(_inception_b() for _ in range(7)),
            _reduction_b(),
            *(InceptionC() for _ in range(3)),
        )
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(_FEATURES, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, in_channels, H, W], give float32[N, n_outputs]."""
        return self.last_linear(torch.flatten(self.avg_pool(self.features(x)), 1))  # type: ignore[no-any-return]


def _stem_branches() -> Branches:
    return Branches(
        branch0=nn.Sequential(ConvUnit(160, 64), ConvUnit(64, 96, 3)),
        branch1=nn.Sequential(ConvUnit(160, 64), ConvUnit(64, 64, (1, 7), same=True), ConvUnit(64, 64, (7, 1), same=True), ConvUnit(64, 96, 3)),
    )


def _inception_a() -> Branches:
    return Branches(
        branch0=ConvUnit(384, 96),
        branch1=nn.Sequential(ConvUnit(384, 64), ConvUnit(64, 96, 3, same=True)),
        branch2=nn.Sequential(ConvUnit(384, 64), ConvUnit(64, 96, 3, same=True), ConvUnit(96, 96, 3, same=True)),
        branch3=_pooled(384, 96),
    )


def _reduction_a() -> Branches:
    return Branches(
        branch0=ConvUnit(384, 384, 3, stride=2),
        branch1=nn.Sequential(ConvUnit(384, 192), ConvUnit(192, 224, 3, same=True), ConvUnit(224, 256, 3, stride=2)),
        branch2=halving_pool(),
    )


def _inception_b() -> Branches:
    return Branches(
        branch0=ConvUnit(1024, 384),
        branch1=nn.Sequential(ConvUnit(1024, 192), ConvUnit(192, 224, (1, 7), same=True), ConvUnit(224, 256, (7, 1), same=True)),
        branch2=nn.Sequential(
            ConvUnit(1024, 192),
            ConvUnit(192, 192, (7, 1), same=True),
            ConvUnit(192, 224, (1, 7), same=True),
            ConvUnit(224, 224, (7, 1), same=True),
            ConvUnit(224, 256, (1, 7), same=True),
        ),
        branch3=_pooled(1024, 128),
    )


def _reduction_b() -> Branches:
    return Branches(
        branch0=nn.Sequential(ConvUnit(1024, 192), ConvUnit(192, 192, 3, stride=2)),
        branch1=nn.Sequential(
            ConvUnit(1024, 256), ConvUnit(256, 256, (1, 7), same=True), ConvUnit(256, 320, (7, 1), same=True), ConvUnit(320, 320, 3, stride=2)
        ),
        branch2=halving_pool(),
    )


def _pooled(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvUnit(n_in, n_out))
