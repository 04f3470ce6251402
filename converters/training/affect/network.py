"""The network: a gray crop of a face in; points, presence, emotions in two conventions and fifteen action units out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from converters.training.affect.labelled_faces import POINTS, UNITS
from converters.training.fer2013 import LABELS
from edge.result import EMOTIONS

SIDE_PX = 64
# Outputs by name, with their number of columns. Points are x, y, z in crop pixels; the others are logits.
OUTPUTS: Mapping[str, int] = {"points": 3 * len(POINTS), "presence": 1, "seen": len(EMOTIONS), "fer2013": len(LABELS), "units": len(UNITS)}

_WIDTHS = (32, 64, 128, 256)
_BLOCKS = (1, 2, 3, 2)
# Where a point lies, and what a part of a face does, is a matter of place: these outputs see the last map cell by cell, through this many channels.
_PLACED = 64
_CELLS = SIDE_PX // 16


class FaceNetwork(nn.Module):
    """A residual network of basic blocks (He et al. 2016, arXiv:1512.03385), half as wide as ResNet-18, with one trunk for all outputs.

    Args:
        widths: Channels of the four resolutions: 32x32, 16x16, 8x8, 4x4.
        blocks: Residual blocks of each.
        dropout: Before the emotions, in training.
    """

    def __init__(self, widths: tuple[int, int, int, int] = _WIDTHS, blocks: tuple[int, int, int, int] = _BLOCKS, dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        width = widths[0]
        for number, (wider, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(_Block(width, wider, stride=2 if block == 0 and number > 0 else 1))
                width = wider
        self.trunk = nn.Sequential(*layers)
        self.placed = nn.Sequential(nn.Conv2d(width, _PLACED, 1, bias=False), nn.BatchNorm2d(_PLACED), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        in_place = _PLACED * _CELLS * _CELLS
        self.points = nn.Linear(in_place, OUTPUTS["points"])
        self.presence = nn.Linear(in_place, OUTPUTS["presence"])
        self.units = nn.Linear(in_place + width, OUTPUTS["units"])
        self.seen = nn.Linear(width, OUTPUTS["seen"])
        self.fer2013 = nn.Linear(width, OUTPUTS["fer2013"])

    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the network.

        Args:
            crop: float32[N, 1, 64, 64] in [-1, 1].

        Returns:
            The outputs in the order of `OUTPUTS`.
        """
        maps = self.trunk(crop)
        overall = maps.mean((2, 3))
        in_place = self.placed(maps).flatten(1)
        emotion = self.dropout(overall)
        points = self.points(in_place) * SIDE_PX
        units = self.units(torch.cat([in_place, overall], 1))
        return points, self.presence(in_place), self.seen(emotion), self.fer2013(emotion), units


class _Block(nn.Module):
    def __init__(self, width: int, wider: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, wider, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(wider)
        self.second = nn.Conv2d(wider, wider, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(wider)
        # The block begins as the identity, so that deep networks learn from the first step. Source: Goyal et al. 2017, arXiv:1706.02677.
        nn.init.zeros_(self.second_norm.weight)
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or width != wider:
            self.skip = nn.Sequential(nn.Conv2d(width, wider, 1, stride=stride, bias=False), nn.BatchNorm2d(wider))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.first_norm(self.first(maps)))
        return torch.relu(self.second_norm(self.second(inner)) + self.skip(maps))


def n_parameters(network: nn.Module) -> int:
    """Return how many numbers are learned."""
    return sum(each.numel() for each in network.parameters())
