"""golden.npz: a chained clip and what the float32 reference made of it, carried by every bundle."""

from __future__ import annotations

import io
import math
import re
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uva_edge.archive import list_members, open_archive, open_member, write_archive
from uva_edge.errors import BundleError, GoldenError
from uva_edge.manifest import Contract

__all__ = ["GOLDEN_NAME", "MAX_GOLDEN_BYTES", "Golden", "spread"]

GOLDEN_NAME = "golden.npz"
MAX_GOLDEN_BYTES = 128 << 20  # decompressed: 292 frames at R = 256

_MEMBERS = ("frames", "maps", "state")
_DTYPES: dict[str, type[np.generic]] = {"|u1": np.uint8, "<f4": np.float32}
# The header of version 1.0 of the npy format, exactly as numpy writes it for the arrays that are used here.
# numpy's own reader evaluates the header as a Python literal and allocates whatever shape it names.
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([^']{3})', 'fortran_order': False, "
    rb"'shape': \((\d{1,9},|\d{1,9}(?:, \d{1,9}){1,7})\), \} *\n"
)


@dataclass(frozen=True, eq=False)
class Golden:
    """A clip of N consecutive frames with its reference outputs.

    The first step starts as every stream does, from a state that frame 0 alone makes.

    Attributes:
        frames: uint8 [N, R, C, 3], RGB.
        maps: float32 [M, R, C] in [0, 1], of the frames `mapped`; M is N where the file has the room.
        state: the state after the last frame, as the contract has it.
    """

    frames: npt.NDArray[np.uint8]
    maps: npt.NDArray[np.float32]
    state: npt.NDArray[Any]

    @property
    def mapped(self) -> npt.NDArray[np.intp]:
        """Indices of the frames that `maps` belong to: all, or M of them from the first to the last."""
        return spread(len(self.frames), len(self.maps))

    def check(self, contract: Contract) -> None:
        """Raise GoldenError unless the arrays are what `contract` promises."""
        count = self.frames.shape[0] if self.frames.ndim else 0
        if count < 1:
            raise GoldenError("frames: expected at least one frame, got none")
        _expect("frames", self.frames, "uint8", (count, *contract.grid, 3))
        known = self.maps.shape[0] if self.maps.ndim else 0
        _expect("maps", self.maps, "float32", (min(max(known, 1), count), *contract.grid))
        _expect("state", self.state, contract.state_out.dtype, contract.state_shape)
        for name, array in (("maps", self.maps), ("state", self.state)):
            if not np.isfinite(array).all():
                raise GoldenError(f"{name}: expected finite numbers, got NaN or an infinity")
        low, high = float(self.maps.min()), float(self.maps.max())
        if low < 0 or high > 1:
            raise GoldenError(f"maps: expected values in [0, 1], got {low:g} to {high:g}")

    def to_bytes(self) -> bytes:
        """The file golden.npz: compressed, readable by numpy.load, the same bytes for the same arrays."""
        buffer = io.BytesIO()
        write_archive(buffer, [(f"{name}.npy", _to_npy(name, getattr(self, name))) for name in _MEMBERS])
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Golden:
        """Read what `to_bytes` made; nothing in it is evaluated or unpickled.

        Raises:
            GoldenError: not such a file, or larger than `MAX_GOLDEN_BYTES` when decompressed.
        """
        try:
            with open_archive(io.BytesIO(data)) as archive:
                arrays = _read_members(archive)
        except GoldenError:
            raise
        except BundleError as error:
            raise GoldenError(str(error)) from None
        return cls(**arrays)


def spread(count: int, chosen: int) -> npt.NDArray[np.intp]:
    """Indices of so many of `count` frames, evenly from the first to the last."""
    return np.linspace(0, count - 1, chosen).round().astype(np.intp)


def _expect(name: str, array: npt.NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise GoldenError(
            f"{name}: expected {dtype} {list(shape)}, got {array.dtype} {list(array.shape)}; "
            "export the bundle again"
        )


def _read_members(archive: zipfile.ZipFile) -> dict[str, npt.NDArray[Any]]:
    members = list_members(archive)
    expected = [f"{name}.npy" for name in _MEMBERS]
    if sorted(members) != expected:
        raise GoldenError(f"expected the arrays {', '.join(expected)}, got {ascii(sorted(members))[:120]}")
    size = sum(info.file_size for info in members.values())
    if size > MAX_GOLDEN_BYTES:
        raise GoldenError(f"expected at most {MAX_GOLDEN_BYTES} bytes when decompressed, got {size}")
    arrays = {}
    for name in _MEMBERS:
        info = members[f"{name}.npy"]
        with open_member(archive, info) as stream:
            arrays[name] = _from_npy(name, stream.read(info.file_size + 1))
    return arrays


def _to_npy(name: str, array: npt.NDArray[Any]) -> bytes:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if little.dtype.str not in _DTYPES:
        raise GoldenError(f"{name}: expected uint8 or float32, got {array.dtype}")
    buffer = io.BytesIO()
    np.save(buffer, little, allow_pickle=False)
    return buffer.getvalue()


def _from_npy(name: str, data: bytes) -> npt.NDArray[Any]:
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(data[start:end])
    if not data.startswith(_MAGIC) or header is None or header[1].decode("latin-1") not in _DTYPES:
        raise GoldenError(f"{name}: expected a C-ordered uint8 or float32 array in npy format 1.0")
    dtype = np.dtype(_DTYPES[header[1].decode("ascii")])
    shape = tuple(int(size) for size in header[2].split(b",") if size)
    if math.prod(shape) * dtype.itemsize != len(data) - end:
        raise GoldenError(f"{name}: expected {dtype} {list(shape)}, got {len(data) - end} bytes of it")
    return np.frombuffer(data, dtype.newbyteorder("<"), offset=end).reshape(shape).astype(dtype)
