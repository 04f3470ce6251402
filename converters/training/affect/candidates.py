"""Architectures side by side: the documents' own and two of today's small ones, each behind the same crop and the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from converters.systems.torch_networks.inception_resnet import InceptionResNet
from converters.systems.torch_networks.reconstructions import Ar1, Ar2
from converters.systems.torch_networks.resnet import ResNet
from converters.training.affect.network import OUTPUTS, SIDE_PX, FaceNetwork

_N_OUTPUTS = sum(OUTPUTS.values())
# Document 004's crop, height and width.
_DOCUMENT_HW = (98, 80)


@dataclass(frozen=True)
class Candidate:
    """An architecture on trial.

    Attributes:
        build: Makes it, with random weights.
        words: What it is, for the table.
        peak: Largest learning rate; None for the schedule's.
    """

    build: Callable[[], nn.Module]
    words: str
    peak: float | None = None


class _Columns(nn.Module):
    """A network with one row of numbers, read as our outputs.

    Args:
        network: From float32[N, 1, *size_hw] to float32[N, 81].
        size_hw: The size that it takes; None for our own crop's.
        settled: Whether its numbers are normalised, column by column: for networks that have no normalisation inside.
    """

    def __init__(self, network: nn.Module, size_hw: tuple[int, int] | None = None, *, settled: bool = False) -> None:
        super().__init__()
        self.network = network
        self.size_hw = size_hw
        self.settle: nn.Module = nn.Identity()
        if settled:
            # Else what all faces have in common is learned through the features, and their differences die of it: after 80 steps they say a constant.
            self.settle = nn.BatchNorm1d(_N_OUTPUTS)
            nn.init.constant_(self.settle.weight, 0.1)

    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.size_hw is not None:
            crop = functional.interpolate(crop, self.size_hw, mode="bilinear", align_corners=False)
        points, *others = torch.split(self.settle(self.network(crop)), list(OUTPUTS.values()), 1)
        return points * SIDE_PX, *others


class AfterUnits(nn.Module):
    """Document 004's fourth experiment: emotions are read from the fifteen action units alone, by a perceptron with one hidden layer.

    Args:
        joint: The network whose emotions are replaced.
        hidden: Neurons; the document does not say how many.
    """

    def __init__(self, joint: nn.Module, hidden: int = 32) -> None:
        super().__init__()
        self.joint = joint
        self.hidden = nn.Linear(OUTPUTS["units"], hidden)
        self.seen = nn.Linear(hidden, OUTPUTS["seen"])
        self.fer2013 = nn.Linear(hidden, OUTPUTS["fer2013"])

    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `FaceNetwork.forward`."""
        points, presence, _, _, units = self.joint(crop)
        # The units keep their own teacher: what the emotions would make of them does not flow back.
        hidden = torch.relu(self.hidden(torch.sigmoid(units.detach())))
        return points, presence, self.seen(hidden), self.fer2013(hidden), units


class Mobile(nn.Module):
    """Inverted bottlenecks with depthwise convolutions before and after the expansion, as in MobileNetV4 (Qin et al. 2024, arXiv:2404.10518)."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
        # Large maps get plain convolutions, as there.
        layers += [nn.Conv2d(32, 80, 3, 2, 1, bias=False), nn.BatchNorm2d(80), nn.ReLU()]
        width = 80
        for wider, count in ((80, 3), (160, 4), (256, 2)):
            for number in range(count):
                layers.append(_Bottleneck(width, wider, stride=2 if number == 0 and wider > width else 1))
                width = wider
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, n_outputs)

    def forward(self, crop: torch.Tensor) -> torch.Tensor:
        """From float32[N, 1, H, W] to float32[N, n_outputs]."""
        return self.classifier(self.features(crop).mean((2, 3)))  # type: ignore[no-any-return]


class _Depthwise(nn.Conv2d):
    """One filter for each channel. On CPUs its gradient in bfloat16 takes up to seven times as long as in float32: it stays in float32 there."""

    def __init__(self, width: int, side: int, stride: int = 1) -> None:
        super().__init__(width, width, side, stride, side // 2, groups=width, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(maps)
        with torch.autocast("cpu", enabled=False):
            return super().forward(maps.float())


class _Bottleneck(nn.Module):
    def __init__(self, width: int, wider: int, *, stride: int) -> None:
        super().__init__()
        inner = width * 4
        self.before = nn.Sequential(_Depthwise(width, 3), nn.BatchNorm2d(width))
        self.expand = nn.Sequential(nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU())
        self.after = nn.Sequential(_Depthwise(inner, 5, stride), nn.BatchNorm2d(inner), nn.ReLU())
        self.shrink = nn.Sequential(nn.Conv2d(inner, wider, 1, bias=False), nn.BatchNorm2d(wider))
        self.straight = stride == 1 and width == wider

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        made = self.shrink(self.after(self.expand(self.before(maps))))
        return made + maps if self.straight else made  # type: ignore[no-any-return]


class ConvNext(nn.Module):
    """Blocks of a wide depthwise convolution and two dense layers, as in ConvNeXt (Liu et al. 2022, arXiv:2201.03545); BatchNorm and ReLU, which quantise."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for wider, count, patch in ((48, 2, 2), (96, 2, 2), (192, 4, 2), (320, 2, 2)):
            layers += [nn.Conv2d(width, wider, patch, patch, bias=False), nn.BatchNorm2d(wider)]
            layers += [_Wide(wider) for _ in range(count)]
            width = wider
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, n_outputs)

    def forward(self, crop: torch.Tensor) -> torch.Tensor:
        """From float32[N, 1, H, W] to float32[N, n_outputs]."""
        return self.classifier(self.features(crop).mean((2, 3)))  # type: ignore[no-any-return]


class _Wide(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(_Depthwise(width, 7), nn.BatchNorm2d(width))
        self.dense = nn.Sequential(nn.Conv2d(width, 4 * width, 1), nn.ReLU(), nn.Conv2d(4 * width, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps + self.dense(self.depthwise(maps))  # type: ignore[no-any-return]


def _without_normalisation(network: nn.Module) -> nn.Module:
    """Begin where signals neither vanish nor grow: PyTorch's own weights let ten layers give a constant.

    Source: He et al. 2015, arXiv:1502.01852.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


CANDIDATES: Mapping[str, Candidate] = {
    "ours": Candidate(FaceNetwork, "residual network of basic blocks, 64x64"),
    "ours-after-units": Candidate(lambda: AfterUnits(FaceNetwork()), "the same, emotions from the action units alone"),
    "ar1": Candidate(
        lambda: _Columns(_without_normalisation(Ar1(1, _N_OUTPUTS)), _DOCUMENT_HW, settled=True),
        "document 004's AR1, reconstructed, 98x80; its answers normalised",
        peak=1e-3,
    ),
    "ar2": Candidate(
        lambda: _Columns(_without_normalisation(Ar2(1, _N_OUTPUTS)), _DOCUMENT_HW, settled=True),
        "document 004's AR2, reconstructed, 98x80; its answers normalised",
        peak=1e-3,
    ),
    "resnet18": Candidate(lambda: _Columns(ResNet(1, _N_OUTPUTS), _DOCUMENT_HW), "ResNet18, 98x80"),
    "inception-resnet": Candidate(lambda: _Columns(InceptionResNet(1, _N_OUTPUTS), _DOCUMENT_HW), "Inception-ResNet-v1, 98x80"),
    "mobile": Candidate(lambda: _Columns(Mobile(_N_OUTPUTS)), "inverted bottlenecks as in MobileNetV4, 64x64"),
    "convnext": Candidate(lambda: _Columns(ConvNext(_N_OUTPUTS)), "blocks as in ConvNeXt, 64x64"),
}
