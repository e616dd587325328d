"""TSNet: motion as well as appearance, after Bak et al. (IEEE TMM 2018), a temporal teacher at 320x240.

The authors call the flow stream alone TSNet (25,806,209 parameters, the 25.81 M that [UVA] gives), and two
streams fused by a convolution after conv5 STSConvNet (41,248,257: [UVA]'s STS, 41.25 M). Here the two streams
are the choice unless told otherwise: a temporal teacher should see the frame it judges.

Left open by the paper and chosen here: flow by dense inverse search at the network's own resolution, from the
frame before; its picture holds x, y and magnitude. The camera's motion is not subtracted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uva_edge.errors import OptionError
from uva_edge.models.uva_net import Output

from .flow import MIN_SIDE, dis_flow, flow_image
from .salnet import features, head, initialize_streams, load_vgg_m, normalize
from .teacher import Size, TeacherNet, resized

Streams: TypeAlias = Literal["rgb+flow", "flow"]


class TSNet(TeacherNet):
    """An RGB stream and a flow stream of SalNet's conv1 to conv5, joined by a 1x1 convolution; SalNet's rest.

    Args:
        streams: both, or the flow stream alone.
    """

    name = "tsnet"
    default_resolution = (240, 320)
    stride = 4

    def __init__(
        self,
        *,
        width: float = 1.0,
        resolution: Size | None = None,
        output: Output = "peak",
        streams: Streams = "rgb+flow",
    ) -> None:
        super().__init__(width=width, resolution=resolution, output=output)
        if streams not in get_args(Streams):
            raise OptionError(f"streams must be one of {get_args(Streams)}, got {streams!r}")
        if min(self.resolution) < MIN_SIDE:
            raise OptionError(f"resolution of tsnet: at least {MIN_SIDE}x{MIN_SIDE}, got {self.resolution}")
        self.streams: Streams = streams
        self.temporal = features(self.channels)
        self.spatial = features(self.channels) if streams == "rgb+flow" else None
        deepest = self.channels(512)
        self.fusion = nn.Identity() if self.spatial is None else nn.Conv2d(2 * deepest, deepest, 1)
        self.head = head(self.channels)
        initialize_streams(self)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "streams": self.streams}

    def prepare(self, frames: NDArray[np.uint8], previous: NDArray[np.uint8]) -> Tensor:
        """RGB and the flow that led there, float32 [N, 6, h, w]; [N, 3, h, w] of the flow stream alone."""
        small, before = resized(frames, self.resolution), resized(previous, self.resolution)
        flows = (flow_image(dis_flow(one, other)) for one, other in zip(before, small, strict=True))
        motion = torch.from_numpy(np.stack(list(flows)))
        if self.spatial is None:
            return motion
        return torch.cat((normalize(small, self.resolution), motion), dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """What `prepare` gives to logits [N, h, w]."""
        deepest: Tensor = self.temporal(inputs[:, -3:])
        if self.spatial is not None:
            deepest = torch.cat((self.spatial(inputs[:, :3]), deepest), dim=1)
        logits: Tensor = self.head(self.fusion(deepest))
        return logits.squeeze(1)

    def load_imagenet(self, path: Path) -> None:
        """Start the first three convolutions of every stream from VGG-CNN-M, as `load_vgg_m` reads it."""
        for stream in (self.spatial, self.temporal):
            if stream is not None:
                load_vgg_m(path, stream)
        self.pretrained = True
