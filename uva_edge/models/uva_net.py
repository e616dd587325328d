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
Branches: TypeAlias = Literal["both", "spatial", "temporal"]
"""The paths of S_sp; one alone is an ablation of [UVA] and a student of [SKD]."""

RESOLUTIONS: Final = (32, 64, 96, 128, 256)


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
    branches: Branches = "both"
    width: int = 1
    """Times the channels of the paper's plan; a wider network is a teacher's assistant ([TinyHD])."""

    def __post_init__(self) -> None:
        # By type too: 64.0 and True equal integers, and would come back from JSON as shapes and sizes.
        if type(self.resolution) is not int or self.resolution not in RESOLUTIONS:
            raise OptionError(f"resolution must be one of {RESOLUTIONS}, got {self.resolution!r}")
        for name, kind in (
            ("block", BlockKind),
            ("pairing", Pairing),
            ("output", Output),
            ("branches", Branches),
        ):
            if getattr(self, name) not in get_args(kind):
                raise OptionError(f"{name} must be one of {get_args(kind)}, got {getattr(self, name)!r}")
        for name, largest in (("expansion", 16), ("width", 8)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= largest:
                raise OptionError(f"{name} must be an integer from 1 to {largest}, got {value!r}")

    def options(self) -> dict[str, str | int]:
        """The fields but the resolution, as JSON scalars."""
        return {name: value for name, value in asdict(self).items() if name != "resolution"}

    @property
    def features(self) -> int:
        """Channels of ``f_s``, at a quarter of the resolution: 64 in the paper's plan."""
        return 64 * self.width

    @property
    def state_shape(self) -> tuple[int, int, int, int]:
        """[1, 64, R/4, R/4], the shape of ``f_s`` of one frame."""
        return (1, self.features, self.resolution // 4, self.resolution // 4)


def normalize(frames: Tensor) -> Tensor:
    """uint8 [N, R, R, 3] RGB to float32 [N, 3, R, R], ``(x - 128) / 128``: exact in int8, padding is mid-grey."""
    # The cast comes first: some engines take bytes into nothing else.
    return (frames.to(torch.float32).permute(0, 3, 1, 2) - 128.0) * (1.0 / 128.0)


def low_level(config: UvaNetConfig) -> nn.Sequential:
    """``f_s``, layers 1 to 4: float32 [N, 3, R, R] to [N, 64, R/4, R/4]."""
    narrow, middle = 16 * config.width, 32 * config.width
    return nn.Sequential(
        ConvBlock(3, narrow, 3),
        _block(config, narrow, narrow, stride=2),
        _block(config, narrow, middle, stride=2),
        _block(config, middle, config.features),
    )


def branch(config: UvaNetConfig, inputs: int) -> nn.Sequential:
    """Layers 5 and 6 of one path: [N, inputs, R/4, R/4] to [N, 128, R/4, R/4]."""
    return nn.Sequential(
        _block(config, inputs, config.features), _block(config, config.features, 2 * config.features)
    )


def decoder(config: UvaNetConfig, inputs: int) -> nn.Sequential:
    """Layers 7 to 12: [N, inputs, R/4, R/4] to logits [N, 1, R, R]."""
    wide, middle, narrow = 32 * config.width, 16 * config.width, 8 * config.width
    return nn.Sequential(
        ConvBlock(inputs, wide, 1),
        _block(config, wide, wide),
        _block(config, wide, wide),
        _block(config, wide, middle),
        nn.ConvTranspose2d(middle, narrow, 4, stride=2, padding=1),
        nn.ReLU6(inplace=True),
        nn.ConvTranspose2d(narrow, 1, 4, stride=2, padding=1),
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
        self.spatial = branch(config, config.features)
        self.temporal = branch(config, 2 * config.features)
        self.spatial_decoder = decoder(config, 2 * config.features)
        self.temporal_decoder = decoder(config, 2 * config.features)

    def forward(self, frames: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Two uint8 [N, R, R, 3] to the spatial and the temporal logits, float32 [N, R, R] each."""
        current, other = self.low_level(normalize(frames)), self.low_level(normalize(others))
        spatial = self.spatial_decoder(self.spatial(current))
        temporal = self.temporal_decoder(self.temporal(temporal_features(current, other)))
        return spatial.squeeze(1), temporal.squeeze(1)


class UvaNet(nn.Module):
    """S_sp, the spatiotemporal network that ships ([UVA] Fig. 4b): 165,337 parameters.

    With one of the branches alone it is the single-branch student of [SKD].
    """

    def __init__(self, config: UvaNetConfig) -> None:
        super().__init__()
        self.config = config
        self.low_level = low_level(config)
        self.spatial = branch(config, config.features) if config.branches != "temporal" else None
        self.temporal = branch(config, 2 * config.features) if config.branches != "spatial" else None
        paths = 2 if config.branches == "both" else 1
        self.decoder = decoder(config, paths * 2 * config.features)

    def features(self, frames: Tensor) -> Tensor:
        """``f_s``: uint8 [N, R, R, 3] to float32 [N, 64, R/4, R/4]."""
        out: Tensor = self.low_level(normalize(frames))
        return out

    def paths(self, current: Tensor, other: Tensor) -> Tensor:
        """Layers 5 and 6 of the branches: ``f_s`` of frames and partners to [N, 256, R/4, R/4]."""
        found = []
        if self.spatial is not None:
            found.append(self.spatial(current))
        if self.temporal is not None:
            found.append(self.temporal(temporal_features(current, other)))
        return torch.cat(found, dim=1)

    def head(self, current: Tensor, other: Tensor) -> Tensor:
        """``f_s`` of the frames and of their partners, [N, 64, R/4, R/4], to logits [N, R, R]."""
        logits: Tensor = self.decoder(self.paths(current, other))
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
