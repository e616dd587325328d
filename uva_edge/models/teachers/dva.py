"""DVA: Deep Visual Attention Prediction (Wang & Shen, IEEE TIP 2018, arXiv 1705.02544), a spatial teacher.

[UVA] gives 25.07 M parameters at 224x224. This one has 25,072,711: VGG-16 (14,714,688), three decoders of 4x4
deconvolutions with stride 2 that halve the channels down to 64, a 3x3 convolution to one map after each, and
the fusion of the three maps.

Where it differs from the authors' network definition: they pad the image by 35 pixels and crop each map; here
the deconvolutions double the size exactly, so nothing is cropped. They fuse by a 3x3 convolution, the paper by
1x1, as here (4 parameters instead of 28).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uva_edge.models.uva_net import Output

from .teacher import Size, TeacherNet, initialize, normalized, resized
from .vgg import IMAGENET_MEAN, IMAGENET_SCALE, VGG16


class DVA(TeacherNet):
    """VGG-16, a decoder each from conv5-3, conv4-3 and conv3-3, and the fusion of their maps.

    All four are supervised in the paper, with the sigmoid cross-entropy of each, summed; `outputs` has them
    as the fused map, then those of conv5-3, conv4-3, conv3-3.
    """

    name = "dva"
    default_resolution = (224, 224)
    stride = 16

    def __init__(
        self, *, width: float = 1.0, resolution: Size | None = None, output: Output = "peak"
    ) -> None:
        super().__init__(width=width, resolution=resolution, output=output)
        self.encoder = VGG16(self.channels)
        self.decoders = nn.ModuleList(
            self._decoder(plan) for plan in ((512, 512, 256, 128, 64), (512, 256, 128, 64), (256, 128, 64))
        )
        self.fusion = nn.Conv2d(len(self.decoders), 1, 1)
        initialize(self)
        # At first the fused map is the mean of the three.
        nn.init.constant_(self.fusion.weight, 1 / len(self.decoders))

    def _decoder(self, plan: Sequence[int]) -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(plan):
            layers += [
                nn.ConvTranspose2d(self.channels(inputs), self.channels(outputs), 4, stride=2, padding=1),
                nn.ReLU(inplace=True),
            ]
        return nn.Sequential(*layers, nn.Conv2d(self.channels(plan[-1]), 1, 3, padding=1))

    def prepare(self, frames: NDArray[np.uint8], previous: NDArray[np.uint8]) -> Tensor:
        """RGB as VGG-16 knows it, float32 [N, 3, h, w]; the frames before play no part."""
        return normalized(resized(frames, self.resolution), IMAGENET_MEAN, IMAGENET_SCALE)

    def outputs(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Logits of the fused map and of those from conv5-3, conv4-3, conv3-3, float32 [N, h, w] each."""
        levels = reversed(self.encoder(inputs)[2:])
        maps = torch.cat(
            [decoder(features) for decoder, features in zip(self.decoders, levels, strict=True)], dim=1
        )
        fused: Tensor = self.fusion(maps)
        return (fused.squeeze(1), *maps.unbind(1))

    def forward(self, inputs: Tensor) -> Tensor:
        """float32 [N, 3, h, w] of `prepare` to the fused logits [N, h, w]."""
        return self.outputs(inputs)[0]

    def load_imagenet(self, path: Path) -> None:
        """Start the encoder from VGG-16's weights with torchvision's names (``features.0.weight``, ...)."""
        self.encoder.load_imagenet(path)
        self.pretrained = True
