"""TinyHD-S and TinyHD-M: a second family of networks, a teacher and a bundle of its own ([TinyHD]).

A window of 16 frames goes through MobileNetV2 inflated to three dimensions; three decoders of different kinds
(deep layer aggregation, U-Net and top-down pyramid) make six maps of its features, which a 1x1 convolution
fuses. TinyHD-S predicts the last frame of the window, TinyHD-M all 16. Parameters are named as in the public
checkpoints, which a user brings: they have no licence and don't come with uva_edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from uva_edge.errors import OptionError

Variant: TypeAlias = Literal["s", "m"]
Triple: TypeAlias = tuple[int, int, int]
Scales: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""Features at 1/2, 1/4, 1/8 and 1/16 of the input, [N, C, T, H, W]."""

WINDOW: Final = 16
"""Frames that the network sees at once."""
GRID: Final = (192, 256)
"""Rows and columns at which the public checkpoints were trained; the network takes all multiples of 32."""
MAX_WIDTH: Final = 4096

LAYERS: Final = 19
ADAPTERS: Final = 37
_MEAN: Final = (0.485, 0.456, 0.406)  # of ImageNet, RGB
_STD: Final = (0.229, 0.224, 0.225)
# What is not 1, by layer of the encoder and by number of the adapter.
_STRIDES: Final[dict[int, Triple]] = {2: (1, 2, 2), 4: (2, 2, 2), 7: (2, 2, 2), 14: (1, 2, 2)}
_TAPS: Final[tuple[tuple[int, ...], ...]] = (
    (1,),
    (2, 3),
    (4, 5, 6),
    tuple(range(7, 14)),
    tuple(range(14, 19)),
)
_TEMPORAL_STRIDES: Final[dict[Variant, frozenset[int]]] = {
    "s": frozenset((0, 2, 3, 4, 6, 8, 12, 18, *range(20, 26), *range(29, 36))),
    "m": frozenset((0, 2, 3, 4, 6, 8)),
}


@dataclass(frozen=True)
class Widths:
    """The channels of every layer.

    Attributes:
        encoder: outputs of the encoder's layers 0 to 18.
        adapters: inputs and outputs of the adapters 0 to 36.

    Raises:
        OptionError: another number of layers or adapters, or a width that is not from 1 to `MAX_WIDTH`.
    """

    encoder: tuple[int, ...]
    adapters: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if (len(self.encoder), len(self.adapters)) != (LAYERS, ADAPTERS):
            raise OptionError(
                f"TinyHD has {LAYERS} layers and {ADAPTERS} adapters; got widths of {len(self.encoder)} and "
                f"{len(self.adapters)}"
            )
        widths = (*self.encoder, *(width for pair in self.adapters for width in pair))
        if not 1 <= min(widths) <= max(widths) <= MAX_WIDTH:
            raise OptionError(f"widths must be from 1 to {MAX_WIDTH}, got {min(widths)} to {max(widths)}")


class TinyHD(nn.Module):
    """float32 [N, 3, 16, H, W] of `normalize`, H and W multiples of 32, to maps, float32 in [0, 1].

    S gives [N, H, W], the map of the last frame of each window; M gives [N, 16, H, W].

    Raises:
        OptionError: an unknown variant.
    """

    def __init__(self, variant: Variant, widths: Widths) -> None:
        super().__init__()
        if variant not in ("s", "m"):
            raise OptionError(f'the variant of TinyHD must be "s" or "m", got {variant!r}')
        self.variant: Variant = variant
        self.encoder = _Encoder(variant, widths.encoder)
        self.aggregator = _Decoders(variant, widths.adapters)
        self.decoder = _Fusion(variant)

    def forward(self, windows: Tensor) -> Tensor:
        maps: Tensor = self.decoder(self.aggregator(self.encoder(windows)))
        return maps


def normalize(frames: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] RGB to float32 [..., 3, H, W], ``(x / 255 - mean) / std`` of ImageNet."""
    mean, std = (torch.tensor(values, device=frames.device) for values in (_MEAN, _STD))
    return ((frames.to(torch.float32) / 255.0 - mean) / std).movedim(-1, -3)


# --- encoder --------------------------------------------------------------------------------------------


def _convolution(
    inputs: int,
    outputs: int,
    kernel: Triple = (1, 1, 1),
    *,
    stride: Triple = (1, 1, 1),
    depthwise: bool = False,
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU6. A time kernel of 2 has no padding, so it joins two steps."""
    time, height, width = kernel
    padding = (time // 2 if time % 2 else 0, height // 2, width // 2)
    groups = inputs if depthwise else 1
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU6(inplace=True),
    )


class _InvertedResidual(nn.Module):
    """The block of MobileNetV2 in three dimensions; no 1x1x1 expansion where `expansion` is 1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Triple,
        *,
        expansion: int,
        stride: Triple = (1, 1, 1),
        residual: bool = False,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = residual
        self.conv = nn.Sequential(
            *([_convolution(inputs, hidden)] if expansion > 1 else []),
            _convolution(hidden, hidden, kernel, stride=stride, depthwise=True),
            nn.Conv3d(hidden, outputs, 1, bias=False),
            nn.BatchNorm3d(outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.conv(features)
        return features + out if self.residual else out


class _Encoder(nn.Module):
    """The layers 0 to 18 of MobileNetV2, whose outputs are gathered into four scales."""

    def __init__(self, variant: Variant, outputs: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, outputs[0], (3, 3, 3), stride=(2, 2, 2))]
        for index in range(1, LAYERS - 1):
            inputs, stride = outputs[index - 1], _STRIDES.get(index, (1, 1, 1))
            layers.append(
                _InvertedResidual(
                    inputs,
                    outputs[index],
                    _encoder_kernel(variant, index),
                    expansion=1 if index == 1 else 6,
                    stride=stride,
                    residual=index > 1 and stride == (1, 1, 1) and inputs == outputs[index],
                )
            )
        layers.append(_convolution(outputs[-2], outputs[-1]))
        self.encoder = nn.ModuleList(layers)

    def forward(self, windows: Tensor) -> Scales:
        outputs = [windows]
        for layer in self.encoder:
            outputs.append(layer(outputs[-1]))
        # outputs[0] is the input, so layer i left outputs[i + 1].
        first, *others = (torch.cat([outputs[index + 1] for index in taps], dim=1) for taps in _TAPS)
        x0, x1, x2, x3 = (_shuffle(scale) for scale in others)
        return torch.cat((first, x0), dim=1), x1, x2, x3


def _encoder_kernel(variant: Variant, index: int) -> Triple:
    """M joins its last two steps in layer 14, and has one step from there on."""
    if variant == "s" or index < 14:
        return (3, 3, 3)
    return (2, 3, 3) if index == 14 else (1, 3, 3)


# --- decoders -------------------------------------------------------------------------------------------


class _Decoders(nn.Module):
    """Four scales to six maps, [N, 6, T, H, W] of a sigmoid; T is 1 for S and 16 for M.

    An adapter is an inverted residual without residual. In S they shorten time on the way; M makes its time
    longer again, in the second and third decoder.
    """

    def __init__(self, variant: Variant, widths: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self._every_frame = variant == "m"
        strides = _TEMPORAL_STRIDES[variant]
        self.aggregate_adapter = nn.ModuleList(
            _InvertedResidual(
                inputs,
                outputs,
                (3 if variant == "m" or index in strides else 1, 3, 3),
                expansion=2,
                stride=(2 if index in strides else 1, 1, 1),
            )
            for index, (inputs, outputs) in enumerate(widths)
        )

    def forward(self, scales: Scales) -> Tensor:
        later = (self._u_net(*scales), self._pyramid(*scales))
        frames = later[0].shape[2]
        # In M the maps of the first decoder have one step, which stands for all frames.
        first = [single.expand(-1, -1, frames, -1, -1) for single in self._deep(*scales)]
        return torch.sigmoid(torch.cat((*first, *later), dim=1))

    def _deep(self, x0: Tensor, x1: Tensor, x2: Tensor, x3: Tensor) -> tuple[Tensor, ...]:
        """D1: every scale by itself becomes a map."""
        a = self.aggregate_adapter
        return (
            a[3](a[2](_shuffle(a[1](a[0](x0))))),
            a[7](a[6](_shuffle(a[5](_shuffle(a[4](x1)))))),
            a[11](_shuffle(a[10](_shuffle(a[9](_shuffle(a[8](x2))))))),
            a[15](_shuffle(a[14](_shuffle(a[13](_shuffle(a[12](_widen(x3)))))))),
        )

    def _u_net(self, x0: Tensor, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        """D2: from the coarsest scale up, the finer ones added on the way."""
        a, long = self.aggregate_adapter, self._lengthen
        up = long(_shuffle(a[16](x3))) + x2
        up = long(_shuffle(a[17](up))) + a[18](x1)
        up = long(_shuffle(a[19](up))) + a[21](a[20](x0))
        out: Tensor = a[23](_widen(long(a[22](up))))
        return out

    def _pyramid(self, x0: Tensor, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        """D3: neighbouring scales are merged, four to three to two to one."""
        a, long = self.aggregate_adapter, self._lengthen
        u0 = _widen(long(x0))
        u1 = _widen(long(x1)) + a[24](x0)
        u2 = _widen(long(x2)) + a[25](x1)
        u3 = _widen(long(x3)) + a[26](x2)
        v1 = long(_shuffle(a[27](u1))) + a[30](u0)
        v2 = long(_shuffle(a[28](u2))) + a[31](u1)
        v3 = long(_shuffle(a[29](u3))) + a[32](u2)
        w1 = long(_shuffle(v2)) + a[33](v1)
        w2 = long(_shuffle(v3)) + a[34](v2)
        out: Tensor = a[36](long(_shuffle(w2)) + a[35](w1))
        return out

    def _lengthen(self, features: Tensor) -> Tensor:
        """In M, twice as many steps in time."""
        return _interpolate(features, (2, 1, 1)) if self._every_frame else features


class _Fusion(nn.Module):
    """The six maps to one, by a 1x1 convolution with bias and a sigmoid."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        kind = nn.Conv3d if variant == "m" else nn.Conv2d
        self.decoder = nn.ModuleList([kind(6, 1, 1)])

    def forward(self, maps: Tensor) -> Tensor:
        convolution = self.decoder[0]
        if isinstance(convolution, nn.Conv2d):
            maps = maps.squeeze(2)
        return torch.sigmoid(convolution(maps)).squeeze(1)


def _shuffle(features: Tensor) -> Tensor:
    """Pixel shuffle by two, frame by frame: [N, 4 C, T, H, W] to [N, C, T, 2 H, 2 W]."""
    _, channels, steps, rows, columns = features.shape
    split = features.reshape(-1, channels // 4, 2, 2, steps, rows, columns)
    return split.permute(0, 1, 4, 5, 2, 6, 3).reshape(-1, channels // 4, steps, 2 * rows, 2 * columns)


def _widen(features: Tensor) -> Tensor:
    """Twice as many rows and columns."""
    return _interpolate(features, (1, 2, 2))


def _interpolate(features: Tensor, scale: Triple) -> Tensor:
    factors = [float(factor) for factor in scale]
    return functional.interpolate(features, scale_factor=factors, mode="trilinear", align_corners=True)
