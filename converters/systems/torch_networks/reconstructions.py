"""AR1 to AR5 of document 004, reconstructed: it describes them in words and leaves the figures out, so every number of layers and channels is ours."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

# Pixels that are left of a crop of 98x80 after four and after five halvings, and of a spectrogram of 64x128 after four.
_FOUR_HALVINGS, _FIVE_HALVINGS, _SOUND_HALVED = 6 * 5, 3 * 2, 4 * 8


class _Plain(nn.Module):
    """Convolutions, then fully connected layers."""

    def __init__(self, features: nn.Sequential, *classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, in_channels, ...], give float32[N, n_outputs]."""
        return self.classifier(torch.flatten(self.features(x), 1))  # type: ignore[no-any-return]


class Ar1(_Plain):
    """AR1, the baseline: convolution, ReLU and maximum, four times, then fully connected layers. For crops 98 high and 80 wide.

    Args:
        in_channels: 1 for gray.
        n_outputs: Logits.
    """

    def __init__(self, in_channels: int, n_outputs: int) -> None:
        super().__init__(_crop_features(in_channels), nn.Linear(128 * _FOUR_HALVINGS, 256), nn.ReLU(), nn.Linear(256, n_outputs))


class Ar2(_Plain):
    """AR2, against overfitting: ten convolutions of few channels, a maximum after every other one, one layer. For crops 98 high and 80 wide.

    Args:
        in_channels: 1 for gray.
        n_outputs: Logits.
    """

    def __init__(self, in_channels: int, n_outputs: int) -> None:
        super().__init__(_double_features(in_channels, 8, 12, 16, 20, 24), nn.Linear(24 * _FIVE_HALVINGS, n_outputs))


class Ar3(_Plain):
    """AR3: 3-D convolutions over 16 crops, 98 high and 80 wide; the first maximum leaves time alone.

    Args:
        in_channels: 1 for gray.
        n_outputs: Logits.
    """

    def __init__(self, in_channels: int, n_outputs: int) -> None:
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise((in_channels, 16, 32, 64, 64)):
            layers += [nn.Conv3d(n_in, n_out, 3, 1, 1), nn.ReLU(), nn.MaxPool3d(2 if layers else (1, 2, 2))]
        super().__init__(nn.Sequential(*layers), nn.Linear(64 * 2 * _FOUR_HALVINGS, 128), nn.ReLU(), nn.Linear(128, n_outputs))


class Ar4Extractor(_Plain):
    """AR4's first network: AR1's convolutions and a single layer, of which the numbers go on as they are.

    Args:
        in_channels: 1 for gray.
        n_outputs: Numbers.
    """

    def __init__(self, in_channels: int, n_outputs: int) -> None:
        super().__init__(_crop_features(in_channels), nn.Linear(128 * _FOUR_HALVINGS, n_outputs))


class Perceptron(nn.Module):
    """One hidden layer: AR4's second network, and that of experiment 4. The document does not say how wide; 32 is ours.

    Args:
        n_in: Numbers that come in.
        n_outputs: Logits.
        squashes: They are logits: it takes their sigmoid, the probabilities, first.
    """

    def __init__(self, n_in: int, n_outputs: int, *, squashes: bool) -> None:
        super().__init__()
        self.squash: nn.Module = nn.Sigmoid() if squashes else nn.Identity()
        self.hidden = nn.Linear(n_in, 32)
        self.relu = nn.ReLU()
        self.output = nn.Linear(32, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Take float32[N, n_in], give float32[N, n_outputs]."""
        return self.output(self.relu(self.hidden(self.squash(x))))  # type: ignore[no-any-return]


class Ar5(nn.Module):
    """AR5: a dense branch for crops that are the channels of one picture, a lighter one for the sound, one layer on what both have found.

    The lengths of the two feature vectors, 256 and 64, weigh picture against sound, as the document says; how much is ours.

    Args:
        in_channels: Crops, 98 high and 80 wide.
        n_outputs: Logits.
    """

    def __init__(self, in_channels: int, n_outputs: int) -> None:
        super().__init__()
        self.video = nn.Sequential(_double_features(in_channels, 32, 64, 128, 128), nn.Flatten(), nn.Linear(128 * _FOUR_HALVINGS, 256), nn.ReLU())
        self.sound = nn.Sequential(_single_features(1, 8, 16, 32, 32), nn.Flatten(), nn.Linear(32 * _SOUND_HALVED, 64), nn.ReLU())
        self.classifier = nn.Linear(256 + 64, n_outputs)

    def forward(self, crops: Tensor, spectrogram: Tensor) -> Tensor:
        """Take float32[N, in_channels, 98, 80] and float32[N, 1, 64, 128], give float32[N, n_outputs]."""
        return self.classifier(torch.cat([self.video(crops), self.sound(spectrogram)], 1))  # type: ignore[no-any-return]


def _crop_features(in_channels: int) -> nn.Sequential:
    return _single_features(in_channels, 16, 32, 64, 128)


def _single_features(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Conv2d(n_in, n_out, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def _double_features(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Conv2d(n_in, n_out, 3, 1, 1), nn.ReLU(), nn.Conv2d(n_out, n_out, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)
