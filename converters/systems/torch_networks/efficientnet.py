"""EfficientNet-b0 in timm's layout: its state_dicts load."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Of each stage: widening inside the block, channels out, blocks, stride of the first, kernel.
# Source: Tan and Le 2019, arXiv:1905.11946, table 1.
_STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
_STEM, _FEATURES = 32, 1280
# Channels of the squeeze over those that come into the block. Source: the same, section 4.
_SQUEEZE = 4


class SqueezeExcite(nn.Module):
    """Weighs each channel by what all of them hold on average.

    Args:
        width: Channels.
        n_squeezed: Channels in between.
    """

    def __init__(self, width: int, n_squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(width, n_squeezed, 1)
        self.conv_expand = nn.Conv2d(n_squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Take and give float32[N, width, H, W]."""
        weight = self.conv_expand(nn.functional.silu(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(weight)


class SeparableBlock(nn.Module):
    """A depthwise convolution, weighed channels and a 1x1 convolution back to few channels.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        kernel: Of the depthwise convolution.
        stride: Of the depthwise convolution.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(n_in, n_in, kernel, stride, kernel // 2, groups=n_in, bias=False)
        self.bn1 = nn.BatchNorm2d(n_in)
        self.se = SqueezeExcite(n_in, n_in // _SQUEEZE)
        self.conv_pw = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.adds_input = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, n_in, H, W], give float32[N, n_out, H / stride, W / stride]."""
        out = self.bn2(self.conv_pw(self.se(nn.functional.silu(self.bn1(self.conv_dw(x))))))
        return out + x if self.adds_input else out  # type: ignore[no-any-return]


class InvertedBlock(nn.Module):
    """The same behind a 1x1 convolution to many channels.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        widening: Channels inside over those that come in.
        kernel: Of the depthwise convolution.
        stride: Of the depthwise convolution.
    """

    def __init__(self, n_in: int, n_out: int, widening: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = n_in * widening
        self.conv_pw = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv_dw = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.se = SqueezeExcite(width, n_in // _SQUEEZE)
        self.conv_pwl = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.adds_input = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, n_in, H, W], give float32[N, n_out, H / stride, W / stride]."""
        out = nn.functional.silu(self.bn1(self.conv_pw(x)))
        out = self.bn3(self.conv_pwl(self.se(nn.functional.silu(self.bn2(self.conv_dw(out))))))
        return out + x if self.adds_input else out  # type: ignore[no-any-return]


class EfficientNetB0(nn.Module):
    """EfficientNet-b0 for pictures of any size from 32 pixels on.

    Args:
        in_channels: 1 for gray, 3 for RGB.
        n_outputs: Logits.
        n_hidden: Neurons between the features and the logits; 0: none, as published.
    """

    def __init__(self, in_channels: int, n_outputs: int, n_hidden: int = 0) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(in_channels, _STEM, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        stages, n_in = [], _STEM
        for widening, n_out, count, stride, kernel in _STAGES:
            blocks: list[nn.Module] = []
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(SeparableBlock(n_in, n_out, kernel, step) if widening == 1 else InvertedBlock(n_in, n_out, widening, kernel, step))
                n_in = n_out
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(n_in, _FEATURES, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(_FEATURES)
        self.classifier: nn.Module = nn.Linear(_FEATURES, n_outputs)
        if n_hidden:
            self.classifier = nn.Sequential(nn.Linear(_FEATURES, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, in_channels, H, W], give float32[N, n_outputs]."""
        x = self.blocks(nn.functional.silu(self.bn1(self.conv_stem(x))))
        x = nn.functional.silu(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]
