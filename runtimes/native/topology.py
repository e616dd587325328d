"""The shape of a UVA-Net as the C sees it: blocks with their channels, strides and sizes, derived from its options.

Spatial sizes and channels are all constants of a bundle, so the generated C is specialised to them. Names of layers
are those of the parameters in `network.Parameters` and of the arrays in the C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from uva_edge.errors import SessionError
from uva_edge.manifest import Contract, Network

FAMILY: Final = "uva-net"
LANES: Final = 16
"""Output channels of a panel of packed weights; every convolution's are padded to it."""


@dataclass(frozen=True)
class BlockShape:
    """A CA-Res block: 1x1 expansion, 3x3 depthwise, 1x1 projection, channel attention, sum.

    Attributes:
        prefix: of its tensors in a checkpoint, such as "low_level.1".
        size: side of its input in pixels.
        attention: hidden units of the attention's MLP; 0 for none.
        max_pool: whether the maximum is looked at beside the mean.
    """

    name: str
    prefix: str
    inputs: int
    hidden: int
    outputs: int
    size: int
    stride: int
    residual: bool
    attention: int
    max_pool: bool

    @property
    def output_size(self) -> int:
        return self.size // self.stride

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions."""
        area, small = self.size**2, self.output_size**2
        return area * self.inputs * self.hidden + small * self.hidden * (9 + self.outputs)


@dataclass(frozen=True)
class Topology:
    """A whole network; `spatial` or `temporal` is empty where it has one branch alone."""

    resolution: int
    pairing: str
    output: str
    width: int
    low_level: tuple[BlockShape, ...]
    spatial: tuple[BlockShape, ...]
    temporal: tuple[BlockShape, ...]
    decoder: tuple[BlockShape, ...]

    @classmethod
    def of(cls, network: Network, contract: Contract) -> Topology:
        """Raises SessionError for another family."""
        if network.family != FAMILY:
            raise SessionError(f"the C is of the family {FAMILY}; this network is {network.family}")
        of_contract = {"pairing": contract.pairing, "output": contract.output}
        return cls.of_options(contract.resolution, {**network.options, **of_contract})

    @classmethod
    def of_options(cls, resolution: int, options: Mapping[str, Any]) -> Topology:
        """From the options of a checkpoint (`uva_edge.models.uva_net.UvaNetConfig`)."""
        width, kind, branches = options["width"], options["block"], options["branches"]

        def block(
            name: str, prefix: str, inputs: int, outputs: int, size: int, stride: int = 1
        ) -> BlockShape:
            return BlockShape(
                name=name,
                prefix=prefix,
                inputs=inputs,
                hidden=inputs * options["expansion"],
                outputs=outputs,
                size=size,
                stride=stride,
                residual=stride == 1 and inputs == outputs,
                attention=0 if kind == "mb" else max(2, outputs // 16),
                max_pool=kind == "ca_res",
            )

        def branch(name: str, inputs: int) -> tuple[BlockShape, ...]:
            return (
                block(f"{name}5", f"{name}.0", inputs, 64 * width, resolution // 4),
                block(f"{name}6", f"{name}.1", 64 * width, 128 * width, resolution // 4),
            )

        narrow, middle, wide = 16 * width, 32 * width, 64 * width
        quarter = resolution // 4
        return cls(
            resolution=resolution,
            pairing=options["pairing"],
            output=options["output"],
            width=width,
            low_level=(
                block("low2", "low_level.1", narrow, narrow, resolution, 2),
                block("low3", "low_level.2", narrow, middle, resolution // 2, 2),
                block("low4", "low_level.3", middle, wide, quarter),
            ),
            spatial=branch("spatial", wide) if branches != "temporal" else (),
            temporal=branch("temporal", 2 * wide) if branches != "spatial" else (),
            decoder=(
                block("fuse8", "decoder.1", middle, middle, quarter),
                block("fuse9", "decoder.2", middle, middle, quarter),
                block("fuse10", "decoder.3", middle, narrow, quarter),
            ),
        )

    @property
    def blocks(self) -> Iterator[BlockShape]:
        """All blocks, in the order in which they run."""
        yield from (*self.low_level, *self.spatial, *self.temporal, *self.decoder)

    @property
    def narrow(self) -> int:
        """Channels after the first convolution, and before the first deconvolution."""
        return 16 * self.width

    @property
    def features(self) -> int:
        """Channels of f_s, the state."""
        return 64 * self.width

    @property
    def quarter(self) -> int:
        """Side of the state and of all that follows it up to the deconvolutions."""
        return self.resolution // 4

    @property
    def paths(self) -> int:
        """Channels that the decoder's first convolution sees."""
        return 128 * self.width * (bool(self.spatial) + bool(self.temporal))

    @property
    def fused(self) -> int:
        """Channels after the decoder's first convolution."""
        return 32 * self.width

    @property
    def up(self) -> int:
        """Channels between the two deconvolutions."""
        return 8 * self.width
