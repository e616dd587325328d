"""The building blocks of UVA-Net: standard convolution, channel attention, CA-Res and its ablations."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

BlockKind: TypeAlias = Literal["mb", "mb_se", "ca_res"]
"""Plain MobileNetV2 block, with squeeze-excitation, with channel attention ([UVA] Fig. 6)."""


class ConvBlock(nn.Sequential):
    """Convolution without bias, batch norm, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class ChannelAttention(nn.Module):
    """``f_ca(F) = sigmoid(MLP(avgpool(F)) + MLP(maxpool(F)))``, one MLP for both poolings ([UVA] Eq. 2).

    Without the max pooling it is squeeze-excitation. F is float32 [N, C, H, W]; the weights are [N, C, 1, 1].
    """

    def __init__(self, channels: int, *, max_pool: bool, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(2, channels // reduction)
        self.max_pool = max_pool
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        hidden = torch.relu(self.squeeze(features.mean(dim=(2, 3), keepdim=True)))
        if self.max_pool:
            # The last layer of the MLP is linear: adding before it is the same sum with one layer less to run.
            hidden = hidden + torch.relu(self.squeeze(features.amax(dim=(2, 3), keepdim=True)))
        return torch.sigmoid(self.excite(hidden))


class CAResBlock(nn.Module):
    """``R_out = R_in + f_inv(R_in) * f_ca(f_inv(R_in))`` ([UVA] Eq. 1); no sum where the shape changes.

    ``f_inv`` is the inverted residual of MobileNetV2: 1x1 expansion, 3x3 depthwise, linear 1x1 projection.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, expansion: int = 2, kind: BlockKind = "ca_res"
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.inverted = nn.Sequential(
            ConvBlock(inputs, hidden, 1),
            ConvBlock(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.attention = None if kind == "mb" else ChannelAttention(outputs, max_pool=kind == "ca_res")
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.inverted(features)
        if self.attention is not None:
            out = out * self.attention(out)
        return features + out if self.residual else out
