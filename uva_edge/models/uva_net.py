"""UVA-Net: the two-branch student S and the spatiotemporal network S_sp that ships ([UVA] Fig. 4).

Both see a frame pair through the low-level module ``f_s``, which shares its weights between the frames. The
spatial path gets ``f_s(I_t)``, the temporal path ``cat(f_s(I_t), f_s(I_t) - f_s(I_o))``, where ``I_o`` is the
other frame of the pair: the one before (`causal`) or the one after (`lookahead`, the paper's).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from uva_edge.errors import OptionError
from uva_edge.models.blocks import BlockKind, CAResBlock, ConvBlock

Pairing: TypeAlias = Literal["causal", "lookahead"]
Output: TypeAlias = Literal["peak", "sigmoid", "clamp"]
"""How the head's numbers become [0, 1]: exp scaled to the frame's peak, sigmoid, or clamp."""

RESOLUTIONS: Final = (32, 64, 96, 128, 256)
FEATURES: Final = 64
"""Channels of ``f_s``, at a quarter of the resolution."""


@dataclass(frozen=True)
class UvaNetConfig:
    """What defines the architecture; a bundle stores it so that the reference can be rebuilt.

    Raises:
        OptionError: a field is not one of its choices.
    """

    resolution: int = 64
    block: BlockKind = "ca_res"
    expansion: int = 2
    pairing: Pairing = "causal"
    output: Output = "peak"

    def __post_init__(self) -> None:
        # By type too: 64.0 and True equal integers, and would come back from JSON as shapes and sizes.
        if type(self.resolution) is not int or self.resolution not in RESOLUTIONS:
            raise OptionError(f"resolution must be one of {RESOLUTIONS}, got {self.resolution!r}")
        for name, choices in (("block", BlockKind), ("pairing", Pairing), ("output", Output)):
            if getattr(self, name) not in get_args(choices):
                raise OptionError(f"{name} must be one of {get_args(choices)}, got {getattr(self, name)!r}")
        if type(self.expansion) is not int or not 1 <= self.expansion <= 16:
            raise OptionError(f"expansion must be an integer from 1 to 16, got {self.expansion!r}")

    def options(self) -> dict[str, str | int]:
        """The fields but the resolution, as JSON scalars."""
        return {name: value for name, value in asdict(self).items() if name != "resolution"}

    @property
    def state_shape(self) -> tuple[int, int, int, int]:
        """[1, 64, R/4, R/4], the shape of ``f_s`` of one frame."""
        return (1, FEATURES, self.resolution // 4, self.resolution // 4)


def normalize(frames: Tensor) -> Tensor:
    """uint8 [N, R, R, 3] RGB to float32 [N, 3, R, R], ``(x - 128) / 128``: exact in int8, padding is mid-grey."""
    return (frames.permute(0, 3, 1, 2).to(torch.float32) - 128.0) * (1.0 / 128.0)


def low_level(config: UvaNetConfig) -> nn.Sequential:
    """``f_s``, layers 1 to 4: float32 [N, 3, R, R] to [N, 64, R/4, R/4]."""
    return nn.Sequential(
        ConvBlock(3, 16, 3),
        _block(config, 16, 16, stride=2),
        _block(config, 16, 32, stride=2),
        _block(config, 32, FEATURES),
    )


def branch(config: UvaNetConfig, inputs: int) -> nn.Sequential:
    """Layers 5 and 6 of one path: [N, inputs, R/4, R/4] to [N, 128, R/4, R/4]."""
    return nn.Sequential(_block(config, inputs, 64), _block(config, 64, 128))


def decoder(config: UvaNetConfig, inputs: int) -> nn.Sequential:
    """Layers 7 to 12: [N, inputs, R/4, R/4] to logits [N, 1, R, R]."""
    return nn.Sequential(
        ConvBlock(inputs, 32, 1),
        _block(config, 32, 32),
        _block(config, 32, 32),
        _block(config, 32, 16),
        nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1),
        nn.ReLU6(inplace=True),
        nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1),
    )


def _block(config: UvaNetConfig, inputs: int, outputs: int, *, stride: int = 1) -> CAResBlock:
    return CAResBlock(inputs, outputs, stride=stride, expansion=config.expansion, kind=config.block)


def temporal_features(current: Tensor, other: Tensor) -> Tensor:
    """``cat(f_s(I_t), f_s(I_t) - f_s(I_o))``: [N, 128, R/4, R/4]."""
    return torch.cat((current, current - other), dim=1)


class Student(nn.Module):
    """S, which learns from two teachers at once: a spatial and a temporal map ([UVA] Fig. 4a)."""

    def __init__(self, config: UvaNetConfig) -> None:
        super().__init__()
        self.config = config
        self.low_level = low_level(config)
        self.spatial = branch(config, FEATURES)
        self.temporal = branch(config, 2 * FEATURES)
        self.spatial_decoder = decoder(config, 128)
        self.temporal_decoder = decoder(config, 128)

    def forward(self, frames: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Two uint8 [N, R, R, 3] to the spatial and the temporal logits, float32 [N, R, R] each."""
        current, other = self.low_level(normalize(frames)), self.low_level(normalize(others))
        spatial = self.spatial_decoder(self.spatial(current))
        temporal = self.temporal_decoder(self.temporal(temporal_features(current, other)))
        return spatial.squeeze(1), temporal.squeeze(1)


class UvaNet(nn.Module):
    """S_sp, the spatiotemporal network that ships ([UVA] Fig. 4b): 165,337 parameters."""

    def __init__(self, config: UvaNetConfig) -> None:
        super().__init__()
        self.config = config
        self.low_level = low_level(config)
        self.spatial = branch(config, FEATURES)
        self.temporal = branch(config, 2 * FEATURES)
        self.decoder = decoder(config, 256)

    def features(self, frames: Tensor) -> Tensor:
        """``f_s``: uint8 [N, R, R, 3] to float32 [N, 64, R/4, R/4]."""
        out: Tensor = self.low_level(normalize(frames))
        return out

    def head(self, current: Tensor, other: Tensor) -> Tensor:
        """``f_s`` of the frames and of their partners, [N, 64, R/4, R/4], to logits [N, R, R]."""
        paths = (self.spatial(current), self.temporal(temporal_features(current, other)))
        logits: Tensor = self.decoder(torch.cat(paths, dim=1))
        return logits.squeeze(1)

    def forward(self, frames: Tensor, others: Tensor) -> Tensor:
        """Frames and their partners, uint8 [N, R, R, 3] each, to logits, float32 [N, R, R]."""
        return self.head(self.features(frames), self.features(others))

    @classmethod
    def from_student(cls, student: Student) -> UvaNet:
        """S_sp whose first six layers are the student's; the fusion sub-net is new ([UVA] step 2)."""
        network = cls(student.config)
        for name in ("low_level", "spatial", "temporal"):
            getattr(network, name).load_state_dict(getattr(student, name).state_dict())
        return network


def to_map(logits: Tensor, output: Output) -> Tensor:
    """Logits [N, R, R] to saliency in [0, 1], each frame by itself."""
    if output == "peak":
        return torch.exp(logits - logits.amax(dim=(1, 2), keepdim=True))
    return torch.sigmoid(logits) if output == "sigmoid" else logits.clamp(0.0, 1.0)
