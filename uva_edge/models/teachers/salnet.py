"""SalNet: the deep network of Pan et al., "Shallow and Deep Convolutional Networks for Saliency Prediction"
(CVPR 2016, arXiv 1603.00845), a spatial teacher of 25,806,209 parameters ([UVA]: 25.81 M) at 320x240.

Layers, sizes and preprocessing follow the authors' network definition. Its first three convolutions are those
of VGG-CNN-M (Chatfield et al., BMVC 2014), with stride 1. Two-stream networks are made of the same halves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uva_edge.models.uva_net import Output

from .imagenet import load_convolutions
from .teacher import Size, TeacherNet, initialize, normalized, resized

_MEAN: Final = (118.0, 110.0, 100.0)
_SCALE: Final = 2 / 255
_VGG_M: Final = ("features.0", "features.4", "features.8")
"""conv1 to conv3 in a file of VGG-CNN-M's weights."""


def features(channels: Callable[[int], int]) -> nn.Sequential:
    """conv1 to conv5: float32 [N, 3, h, w] to [N, 512, h/4, w/4]."""
    c96, c256, c512 = channels(96), channels(256), channels(512)
    return nn.Sequential(
        nn.Conv2d(3, c96, 7, padding=3),
        nn.ReLU(inplace=True),
        nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Conv2d(c96, c256, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Conv2d(c256, c512, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(c512, c512, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(c512, c512, 5, padding=2),
        nn.ReLU(inplace=True),
    )


def head(channels: Callable[[int], int]) -> nn.Sequential:
    """conv6 to conv9 and the deconvolution: [N, 512, h/4, w/4] to logits [N, 1, h, w]."""
    layers: list[nn.Module] = []
    inputs = channels(512)
    for count, kernel in ((256, 7), (128, 11), (32, 11)):
        layers += [nn.Conv2d(inputs, channels(count), kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        inputs = channels(count)
    return nn.Sequential(
        *layers,
        nn.Conv2d(inputs, 1, 13, padding=6),
        nn.ConvTranspose2d(1, 1, 8, stride=4, padding=2, bias=False),
    )


def initialize_streams(network: nn.Module) -> None:
    """`initialize`, and every deconvolution starts as bilinear interpolation (the paper leaves it open)."""
    initialize(network)
    ramp = 1 - (torch.arange(8) - 3.5).abs() / 4
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            with torch.no_grad():
                layer.weight.copy_(torch.outer(ramp, ramp))


def normalize(frames: NDArray[np.uint8], size: Size) -> Tensor:
    """RGB frames, uint8 [N, H, W, 3], about -1 to 1 as the authors scale them: float32 [N, 3, h, w]."""
    return normalized(resized(frames, size), _MEAN, (_SCALE,))


def load_vgg_m(path: Path, stream: nn.Sequential) -> None:
    """conv1 to conv3 of `features` from VGG-CNN-M's weights, ``features.0``, ``features.4``, ``features.8``.

    Files of that network, converted from Caffe, see BGR in 0..255: the first layer is turned to `normalize`'s.

    Raises:
        DataError: as `load_convolutions`.
    """
    convolutions = [layer for layer in stream if isinstance(layer, nn.Conv2d)]
    load_convolutions(path, dict(zip(_VGG_M, convolutions, strict=False)))
    first = convolutions[0].weight
    with torch.no_grad():
        first.copy_(first.flip(1) / _SCALE)


class SalNet(TeacherNet):
    """Nine convolutions with large kernels at a quarter of the resolution, then one deconvolution.

    The paper trains it with L2 on its logits ("clamp").
    """

    name = "salnet"
    default_resolution = (240, 320)
    stride = 4

    def __init__(
        self, *, width: float = 1.0, resolution: Size | None = None, output: Output = "peak"
    ) -> None:
        super().__init__(width=width, resolution=resolution, output=output)
        self.features = features(self.channels)
        self.head = head(self.channels)
        initialize_streams(self)

    def prepare(self, frames: NDArray[np.uint8], previous: NDArray[np.uint8]) -> Tensor:
        """RGB, float32 [N, 3, h, w]; the frames before play no part."""
        return normalize(frames, self.resolution)

    def forward(self, inputs: Tensor) -> Tensor:
        """float32 [N, 3, h, w] of `prepare` to logits [N, h, w]."""
        logits: Tensor = self.head(self.features(inputs))
        return logits.squeeze(1)

    def load_imagenet(self, path: Path) -> None:
        """Start the first three convolutions from VGG-CNN-M, as `load_vgg_m` reads it."""
        load_vgg_m(path, self.features)
        self.pretrained = True
