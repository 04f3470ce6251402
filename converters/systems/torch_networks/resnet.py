"""ResNets of basic blocks, in torchvision's layout: its state_dicts load."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from converters.systems.torch_networks.residual_blocks import blocks_of_stages

_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a path that leaves the input as it is, or brings it to the new size.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        stride: Of the first convolution.
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 and n_in == n_out else nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, n_in, H, W], give float32[N, n_out, H / stride, W / stride]."""
        straight = x if self.downsample is None else self.downsample(x)
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return torch.relu(residual + straight)


class ResNet(nn.Module):
    """A residual network for pictures of any size from 32 pixels on.

    Args:
        in_channels: 1 for gray, 3 for RGB.
        n_outputs: Logits.
        blocks: Residual blocks in all, see `blocks_of_stages`.
    """

    def __init__(self, in_channels: int, n_outputs: int, blocks: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(blocks_of_stages(blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(_WIDTHS[-1], n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, in_channels, H, W], give float32[N, n_outputs]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]


def frozen_resnet18(in_channels: int, n_outputs: int) -> ResNet:
    """Make a ResNet18 of which nothing but the last layer is trained, as document 002 does; arguments as of `ResNet`."""
    network = ResNet(in_channels, n_outputs)
    network.requires_grad_(False)
    network.fc.requires_grad_(True)
    return network


def _stages(counts: tuple[int, ...]) -> list[nn.Sequential]:
    stages, n_in = [], _WIDTHS[0]
    for number, (count, width) in enumerate(zip(counts, _WIDTHS, strict=True)):
        first = BasicBlock(n_in, width, 1 if number == 0 else 2)
        stages.append(nn.Sequential(OrderedDict((str(index), first if index == 0 else BasicBlock(width, width, 1)) for index in range(count))))
        n_in = width
    return stages
