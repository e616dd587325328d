"""The constants of an int8 network: what a bundle stores, the C holds, and `reference` computes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import SessionError

from .parameters import shapes
from .topology import BlockShape, Topology

_MULTIPLIED: Final = ("first", "fuse7", "up11")


@dataclass(frozen=True, eq=False)
class Integers:
    """Integer arrays by name; scalars are arrays of one int32.

    Of a convolution NAME: `NAME.weight` int8 in the layout of `parameters`, `NAME.bias` int32 with the zero point of
    the input and the rounding of the shift in it (of a deconvolution [2, 2, outputs], by the phase of the output),
    `NAME.shift`, and where uint8 comes out `NAME.multiplier` int16.
    Of a block: `gain` int16 and, where it adds its input, `residual`, both with 13 fraction bits; `narrow` and `zero`,
    by which its int16 become uint8; of its attention `mean`, `squeeze` and `excite` int16, `squeeze.shift`, `score`.
    Scales, by which integers stand for numbers: `state.scale` float32.
    """

    topology: Topology
    arrays: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def scalar(self, name: str) -> int:
        return int(self.arrays[name][0])

    def zero(self, name: str) -> int:
        """Zero point of a block's uint8."""
        return self.scalar(f"{name}.zero")

    @property
    def state_scale(self) -> float:
        """What 1 of the state's int16 stands for."""
        return float(self.arrays["state.scale"][0])

    def to_bytes(self) -> bytes:
        """A .safetensors file, the same for the same numbers."""
        from safetensors.numpy import save

        return bytes(save({name: np.ascontiguousarray(self.arrays[name]) for name in sorted(self.arrays)}))

    @classmethod
    def from_bytes(cls, data: bytes, topology: Topology) -> Integers:
        """Raises SessionError where this is not what `to_bytes` made for such a topology."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
        except (SafetensorError, ValueError, TypeError) as error:
            raise SessionError(
                f"its integer constants can't be read: {error}; export the bundle again"
            ) from None
        expected = dict(layout(topology))
        if sorted(arrays) != sorted(expected):
            odd = sorted(set(arrays) ^ set(expected))[:5]
            raise SessionError(
                f"expected the integer constants of this network, which differ in {', '.join(odd)}; export the "
                "bundle again"
            )
        for name, (dtype, shape) in expected.items():
            found = arrays[name]
            if found.dtype != np.dtype(dtype) or found.shape != shape:
                raise SessionError(
                    f"integer constant {name}: expected {dtype} {shape}, got {found.dtype} {found.shape}"
                )
        _expect_ranges(arrays)
        return cls(topology, arrays)


_BOUNDS: Final = {
    # By the last word of a name: what the C computes with stays within its integers, whatever the frames are.
    "weight": (-63, 63),
    "bias": (-(2**30), 2**30),
    "multiplier": (0, 2**15 - 1),
    "shift": (0, 24),
    "gain": (-(2**14), 2**14),
    "residual": (0, 2**14),
    "narrow": (1, 2**15 - 1),
    "zero": (0, 255),
    "mean": (0, 2**31 - 1),
    "score": (0, 2**31 - 1),
    "cap": (1, 2**31 - 1),
}
_SUMMED: Final = ("squeeze", "excite")
"""Times int16 and added up, over the first axis, in int32."""


def _expect_ranges(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raises SessionError for numbers with which a sum could overflow."""
    multiplier, cap = (int(arrays[f"peak.{name}"][0]) for name in ("multiplier", "cap"))
    if multiplier * cap >= 2**31:
        raise SessionError(
            f"integer constants: peak.multiplier times peak.cap is {multiplier * cap}, no int32"
        )
    for name, array in arrays.items():
        word = name.rpartition(".")[2]
        if word in _SUMMED:
            low, high, array = 0, 2**16 - 1, np.abs(array.astype(np.int64)).sum(axis=0)
        elif name == "peak.multiplier":
            low, high = 1, 2**31 - 1
        elif word in _BOUNDS:
            low, high = _BOUNDS[word]
        else:
            low, high = 0, 2**15  # the state's scale
        if not ((array >= low) & (array <= high)).all():
            raise SessionError(
                f"integer constants: {name} has values from {array.min()} to {array.max()}, expected {low} to {high}; "
                "export the bundle again"
            )


def layout(topology: Topology) -> list[tuple[str, tuple[str, tuple[int, ...]]]]:
    """Name, dtype and shape of every array."""
    found: list[tuple[str, tuple[str, tuple[int, ...]]]] = []

    def scalars(*names: str) -> None:
        found.extend((name, ("int32", (1,))) for name in names)

    for name, shape in shapes(topology):
        kind = name.rpartition(".")[2]
        phases = (2, 2) if name in ("up11.bias", "up12.bias") else ()
        found.append((name, ({"weight": "int8", "bias": "int32"}.get(kind, "int16"), (*phases, *shape))))
        if kind == "bias":
            layer = name.removesuffix(".bias")
            if layer in _MULTIPLIED or layer.endswith((".expand", ".depthwise")):
                found.append((f"{layer}.multiplier", ("int16", shape)))
            if layer != "up12":
                scalars(f"{layer}.shift")
    for block in topology.blocks:
        found += _of_block(block)
    if topology.temporal:
        scalars("difference.narrow", "difference.zero")
    scalars("peak.cap", "peak.multiplier", "peak.shift")
    found.append(("state.scale", ("float32", (1,))))
    return found


def _of_block(block: BlockShape) -> list[tuple[str, tuple[str, tuple[int, ...]]]]:
    names = ["narrow", "zero"]
    if block.residual:
        names.append("residual")
    if block.attention:
        names += ["mean", "squeeze.shift", "score"]
    gain = (f"{block.name}.gain", ("int16", (block.outputs,)))
    return [gain, *((f"{block.name}.{name}", ("int32", (1,))) for name in names)]
