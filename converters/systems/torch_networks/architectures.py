"""Every network by name: those of the table of systems, and those that a user's state_dict can be loaded into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from converters.systems.torch_networks.efficientnet import EfficientNetB0
from converters.systems.torch_networks.inception_resnet import InceptionResNet
from converters.systems.torch_networks.inception_v4 import InceptionV4
from converters.systems.torch_networks.reconstructions import Ar1, Ar2, Ar3, Ar4Extractor, Ar5, Perceptron
from converters.systems.torch_networks.residual_blocks import MAX_BLOCKS, MIN_BLOCKS
from converters.systems.torch_networks.resnet import ResNet, frozen_resnet18

# From channels in (length of the vector, for the perceptron) and numbers out to the network, untrained.
_Make = Callable[[int, int], nn.Module]
# Those that a description may name: networks of pictures and clips. The AR networks take crops 98 high and 80 wide only.
DESCRIBED: Mapping[str, _Make] = {
    "resnet18": partial(ResNet, blocks=8),
    "resnet34": partial(ResNet, blocks=16),
    **{f"resnet-{blocks}-blocks": partial(ResNet, blocks=blocks) for blocks in range(MIN_BLOCKS, MAX_BLOCKS + 1)},
    "efficientnet-b0": EfficientNetB0,
    "efficientnet-b0-hidden256": partial(EfficientNetB0, n_hidden=256),
    "inceptionv4": InceptionV4,
    "inception-resnet": InceptionResNet,
    "ar1": Ar1,
    "ar2": Ar2,
    "ar3": Ar3,
    "ar5": Ar5,
}
ARCHITECTURES: Mapping[str, _Make] = {
    **DESCRIBED,
    "resnet18-frozen": frozen_resnet18,
    "ar4-extractor": Ar4Extractor,
    "perceptron": partial(Perceptron, squashes=False),
    "perceptron-of-logits": partial(Perceptron, squashes=True),
}
