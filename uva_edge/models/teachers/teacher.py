"""What a teacher is: frames in, maps at its own resolution out; and what those that are trained have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uva_edge.errors import FrameError, OptionError
from uva_edge.models.uva_net import Output, to_map

Size = tuple[int, int]
"""(height, width)."""

MAX_SIDE: Final = 1024
MAX_WIDTH: Final = 4
_BATCH: Final = 4
"""Frames that go through a network at once: what bounds the memory of `predict`."""


class Teacher(Protocol):
    """Anything that can teach: a trained network, an ensemble, a network of another family."""

    @property
    def name(self) -> str:
        """What lineages call it."""

    @property
    def resolution(self) -> Size:
        """(height, width) of its maps."""

    def predict(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The maps of consecutive frames of one video, or of a still ([1, H, W, 3]).

        Args:
            frames: uint8 [T, H, W, 3] RGB, of any size.

        Returns:
            float32 [T, h, w] in [0, 1]: relative densities, each scaled to its peak.

        Raises:
            FrameError: the frames are of another type or shape.
        """


class TeacherNet(nn.Module):
    """A teacher that is trained here, with any loss on its logits; no layer of it depends on the mode.

    Its input is what `prepare` makes of frames and their predecessors; `forward` gives logits [N, h, w].

    Args:
        width: multiplies the channels of all hidden layers; 1 is the paper's network.
        resolution: (height, width) of input and map, multiples of `stride`; the paper's unless given.
        output: how logits become a map; it follows from the loss: "peak" for those on densities, "sigmoid"
            for cross-entropy, "clamp" for L2.

    Raises:
        OptionError: an argument is not one of its choices.
    """

    name: ClassVar[str]
    default_resolution: ClassVar[Size]
    stride: ClassVar[int]

    def __init__(
        self, *, width: float = 1.0, resolution: Size | None = None, output: Output = "peak"
    ) -> None:
        super().__init__()
        if not isinstance(width, int | float) or not 0 < width <= MAX_WIDTH:
            raise OptionError(f"width must be a number above 0, at most {MAX_WIDTH}; got {width!r}")
        if output not in get_args(Output):
            raise OptionError(f"output must be one of {get_args(Output)}, got {output!r}")
        self.width = float(width)
        self.resolution = self._checked(self.default_resolution if resolution is None else resolution)
        self.output: Output = output
        self.pretrained = False
        """Whether `load_imagenet` gave it its first weights; otherwise training starts from scratch."""

    def _checked(self, resolution: Size) -> Size:
        sides = tuple(resolution)
        if len(sides) != 2 or not all(
            type(side) is int and 0 < side <= MAX_SIDE and side % self.stride == 0 for side in sides
        ):
            raise OptionError(
                f"resolution of {self.name} must be (height, width), multiples of {self.stride} up to "
                f"{MAX_SIDE}; got {resolution!r}"
            )
        return sides[0], sides[1]

    def options(self) -> dict[str, Any]:
        """The arguments that make this network, as JSON values."""
        return {"width": self.width, "resolution": list(self.resolution), "output": self.output}

    def channels(self, count: int) -> int:
        """The channels of a hidden layer that has `count` in the paper."""
        return max(1, round(count * self.width))

    def prepare(self, frames: NDArray[np.uint8], previous: NDArray[np.uint8]) -> Tensor:
        """The network's input, float32 [N, C, h, w] in the CPU's memory.

        Args:
            frames: uint8 [N, H, W, 3] RGB, of any size.
            previous: the frame before each; the frame itself where there is none.
        """
        raise NotImplementedError

    def outputs(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """All logits that may be supervised, [N, h, w] each; the first are those of `forward`."""
        logits: Tensor = self(inputs)
        return (logits,)

    def load_imagenet(self, path: Path) -> None:
        """Start from a classifier's weights, in a file that the user names.

        Raises:
            DataError: it can't be read, or a tensor is missing or of another shape; nothing is changed.
        """
        raise NotImplementedError

    def predict(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Teacher.predict`, on the device where the weights are."""
        maps: NDArray[np.float32] = self._maps(frames, lambda inputs: (self(inputs),))[0]
        return maps

    def predict_outputs(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The maps of all `outputs`, float32 [outputs, T, h, w]: what hierarchical distillation learns from."""
        return self._maps(frames, self.outputs)

    @torch.inference_mode()
    def _maps(
        self, frames: NDArray[np.uint8], outputs: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> NDArray[np.float32]:
        check_frames(frames)
        device = next(self.parameters()).device
        batches = []
        for start in range(0, len(frames), _BATCH):
            index = np.arange(start, min(start + _BATCH, len(frames)))
            inputs = self.prepare(frames[index], frames[np.maximum(index - 1, 0)])
            maps = [to_map(logits.float(), self.output) for logits in outputs(inputs.to(device))]
            batches.append(_scaled_to_peak(torch.stack(maps)).cpu().numpy())
        return np.asarray(np.concatenate(batches, axis=1), np.float32)


def _scaled_to_peak(maps: Tensor) -> Tensor:
    # A map that is zero everywhere, as "clamp" may give, stays so.
    peak = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / peak.clamp_min(torch.finfo(maps.dtype).tiny)


def check_frames(frames: NDArray[np.uint8]) -> None:
    """Whether `frames` is uint8 [T, H, W, 3].

    Raises:
        FrameError: it isn't, or holds no frame or no pixel.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise FrameError(
            f"a teacher takes uint8 [T, H, W, 3] RGB, at least one frame; got {frames.dtype} {frames.shape}"
        )


def resized(frames: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The frames, uint8 [N, H, W, 3], stretched to [N, h, w, 3]."""
    height, width = size
    if frames.shape[1:3] == size:
        return frames
    # INTER_AREA averages where it shrinks; where it enlarges it is bilinear.
    scaled = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.asarray(scaled, np.uint8)


def normalized(frames: NDArray[np.uint8], mean: tuple[float, ...], scale: tuple[float, ...]) -> Tensor:
    """``(x - mean) * scale`` per channel: uint8 [N, h, w, 3] to float32 [N, 3, h, w]."""
    values = (frames.astype(np.float32) - np.asarray(mean, np.float32)) * np.asarray(scale, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def initialize(network: nn.Module) -> None:
    """He's normal initialisation (ICCV 2015) of all convolutions, which keeps deep ReLU networks trainable.

    In a deconvolution every output sees ``(kernel / stride)^2`` of the kernel's cells, not all of them.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            cells = math.prod(layer.kernel_size)
            if isinstance(layer, nn.ConvTranspose2d):
                cells //= math.prod(layer.stride)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.in_channels * cells)))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
