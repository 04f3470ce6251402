"""Small networks in PyTorch that together hold every usual layer, each with the size of its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

PLANE = (3, 98, 80)  # divisible by little, as the documents' crops are


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    size: tuple[int, ...] = (4, 13, 10)


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.function(values)


class Inception(nn.Module):
    """Branches over the same values, joined; and halves that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(4, 6, (1, 7), padding=(0, 3))
        self.tall = nn.Conv2d(4, 6, (7, 1), padding=(3, 0))
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.wide(values), self.tall(values), self.pool(values)], dim=1)
        first, second = torch.chunk(joined, 2, dim=1)
        one, two = torch.split(first + second, [3, 5], dim=1)
        return torch.cat([two, one], dim=1)


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * torch.sigmoid(self.expand(nn.functional.silu(self.reduce(values.mean((2, 3), keepdim=True)))))


class Recurrent(nn.Module):
    """Rows of the picture as steps, through a recurrent network."""

    def __init__(self, steps: nn.Module) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        steps: torch.Tensor = self.steps(values.flatten(1, 2))[0]
        return steps[:, -1]


class Attention(nn.Module):
    """A token of its own for each input, before patches; as in a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(4, 8, 3, 3)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        patches = self.patches(values).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(values.shape[0], -1, -1), patches], dim=1)
        attended: torch.Tensor = self.attention(tokens, tokens, tokens)[0]
        return attended[:, 0]


class Viewed(nn.Module):
    """Sizes read from the tensor, as much code does."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = values.shape
        if height != 13:
            raise ValueError("another height")
        swapped = values.view(batch, channels, height * width).permute(0, 2, 1).contiguous()
        return torch.cat([swapped.view(batch, -1), torch.zeros(batch, 2) + values[:, 0, 0, :2]], dim=1)


def then(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


def after_convolution(layer: nn.Module) -> Case:
    return Case(lambda: nn.Sequential(nn.Conv2d(4, 8, 3), layer))


ACTIVATIONS: dict[str, nn.Module] = {
    "ReLU": nn.ReLU(),
    "ReLU6": nn.ReLU6(),
    "SiLU": nn.SiLU(),
    "Hardswish": nn.Hardswish(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "Sigmoid": nn.Sigmoid(),
    "Tanh": nn.Tanh(),
    "GELU": nn.GELU(),
    "GELU-tanh": nn.GELU(approximate="tanh"),
    "PReLU": nn.PReLU(8, init=0.3),
    "LeakyReLU": nn.LeakyReLU(0.2),
    "ELU": nn.ELU(0.7),
    "Softplus": nn.Softplus(beta=2.0),
    "Mish": nn.Mish(),
    "Softmax": nn.Softmax(1),
    "LogSoftmax": nn.LogSoftmax(1),
}

CASES: dict[str, Case] = {
    **{f"activation-{name}": after_convolution(layer) for name, layer in ACTIVATIONS.items()},
    "conv-strided-98x80": Case(then(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.MaxPool2d(3, 2, 1)), PLANE),
    "conv-dilated": Case(then(nn.Conv2d(4, 8, 3, dilation=2, padding=2), nn.BatchNorm2d(8))),
    "conv-grouped": Case(then(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8))),
    "conv-depthwise": Case(then(nn.Conv2d(4, 4, 5, 2, groups=4))),
    "conv-same": Case(then(nn.Conv2d(4, 8, (4, 3), padding="same"))),
    "conv-reflected": Case(then(nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"))),
    "conv-padded-asymmetrically": Case(then(nn.ZeroPad2d((0, 1, 2, 1)), nn.Conv2d(4, 8, 3, 2))),
    "conv-3d": Case(then(nn.Conv3d(1, 4, (3, 3, 3), padding=(1, 0, 0)), nn.BatchNorm3d(4), nn.MaxPool3d((1, 2, 2))), (1, 5, 14, 12)),
    "conv-1d": Case(then(nn.Flatten(2), nn.Conv1d(4, 6, 5, 2), nn.BatchNorm1d(6))),
    "conv-transposed": Case(then(nn.ConvTranspose2d(4, 6, 3, 2, padding=1, output_padding=1))),
    "conv-3d-transposed": Case(then(nn.ConvTranspose3d(1, 2, 2, 2)), (1, 3, 6, 5)),
    "conv-weight-norm": Case(lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 3))),
    "pool-maximum-ceil": Case(then(nn.MaxPool2d(3, 2, ceil_mode=True))),
    "pool-average": Case(then(nn.AvgPool2d(3, 2, 1))),
    "pool-average-ceil": Case(then(nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)), (4, 13, 11)),
    "pool-adaptive-global": Case(then(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    "pool-adaptive-maximum-global": Case(then(nn.AdaptiveMaxPool2d(1), nn.Flatten())),
    "pool-adaptive-dividing-98x80": Case(then(nn.AdaptiveAvgPool2d((7, 5))), PLANE),
    "pool-adaptive-rows": Case(then(nn.AdaptiveAvgPool2d((13, 1)))),
    "pool-3d-adaptive": Case(then(nn.AdaptiveAvgPool3d(1), nn.Flatten()), (2, 5, 7, 6)),
    "norm-layer": Case(then(nn.Flatten(), nn.LayerNorm(520))),
    "norm-group": after_convolution(nn.GroupNorm(2, 8)),
    "norm-instance": after_convolution(nn.InstanceNorm2d(8, affine=True)),
    "norm-local": after_convolution(nn.LocalResponseNorm(5)),
    "norm-alone": Case(then(nn.BatchNorm2d(4), nn.ReLU())),
    "norm-vector": Case(then(nn.Flatten(), nn.Linear(520, 9), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.Linear(9, 4))),
    "upsample-nearest": Case(then(nn.Upsample(scale_factor=2))),
    "upsample-bilinear-size": Case(then(nn.Upsample(size=(20, 17), mode="bilinear", align_corners=False))),
    "upsample-bilinear-corners": Case(then(nn.Upsample(size=(20, 17), mode="bilinear", align_corners=True))),
    "upsample-bicubic": Case(then(nn.Upsample(scale_factor=2, mode="bicubic"))),
    "pixel-shuffle": Case(then(nn.PixelShuffle(2))),
    "dropout": Case(then(nn.Dropout2d(0.5), nn.Conv2d(4, 3, 1))),
    "branches": Case(Inception),
    "squeeze-excite": Case(SqueezeExcite),
    "lstm": Case(lambda: Recurrent(nn.LSTM(10, 6, batch_first=True))),
    "lstm-bidirectional": Case(lambda: Recurrent(nn.LSTM(10, 6, num_layers=2, bidirectional=True, batch_first=True))),
    "gru": Case(lambda: Recurrent(nn.GRU(10, 6, batch_first=True))),
    "attention": Case(Attention),
    "transformer": Case(then(nn.Flatten(2), nn.TransformerEncoderLayer(130, 2, 16, batch_first=True))),
    "sizes-read": Case(Viewed),
    "einsum": Case(then(Apply(lambda values: torch.einsum("nchw,ndhw->ncd", values, values)))),
    "masked": Case(then(Apply(lambda values: torch.where(values > 0, values, 0.1 * values.abs())))),
}


def randomised(module: nn.Module) -> nn.Module:
    """Give normalisations statistics as training would, so that a wrong one shows."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2.0)
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.LayerNorm | nn.GroupNorm) or (
                isinstance(layer, nn.InstanceNorm2d) and layer.affine
            ):
                layer.weight.normal_(1.0, 0.3)
                layer.bias.normal_()
    return module.eval()
