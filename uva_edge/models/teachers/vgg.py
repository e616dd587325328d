"""The convolutions of VGG-16 (Simonyan & Zisserman, ICLR 2015, configuration D), which DVA starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from .imagenet import load_convolutions

_BLOCKS: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and 3x3 convolutions of each block; 2x2 max pooling lies between blocks."""

# Of values in 0..255, RGB: what torchvision's ImageNet weights expect.
IMAGENET_MEAN: Final = (123.675, 116.28, 103.53)
IMAGENET_SCALE: Final = (1 / 58.395, 1 / 57.12, 1 / 57.375)


class VGG16(nn.Module):
    """13 convolutions: float32 [N, 3, h, w] to the last features of each block, at 1, 1/2, 1/4, 1/8, 1/16.

    The fifth pooling, which leads to the classifier, is left out. Parameters have the names of torchvision's
    ``vgg16``.
    """

    def __init__(self, channels: Callable[[int], int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._ends = []
        inputs = 3
        for block, (count, convolutions) in enumerate(_BLOCKS):
            if block:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, channels(count), 3, padding=1), nn.ReLU(inplace=True)]
                inputs = channels(count)
            self._ends.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = images
        levels = []
        for index, layer in enumerate(self.features):
            features = layer(features)
            if index in self._ends:
                levels.append(features)
        return levels

    def load_imagenet(self, path: Path) -> None:
        """Take the convolutions of a file with torchvision's names.

        Raises:
            DataError: as `load_convolutions`.
        """
        layers = dict(self.features.named_children())
        convolutions = {
            f"features.{index}": layer for index, layer in layers.items() if isinstance(layer, nn.Conv2d)
        }
        load_convolutions(path, convolutions)
