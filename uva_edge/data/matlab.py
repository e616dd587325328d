"""Matrices from MATLAB files of version 5 to 7 (MathWorks, "MAT-File Format", level 5).

Only what a fixation map is: a real matrix of numbers at the top of the file, plain or compressed. SciPy reads
far more, and some damaged files crash its reader, and the process with it; here they are an error.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.files import MAX_SIDE
from uva_edge.errors import DamagedFileError, DataError
from uva_edge.whole_files import read_bytes

MAX_BYTES: Final = 2**24
"""The largest file and the largest matrix in one: a fixation map has less than 2 MB."""

_Order: TypeAlias = Literal["<", ">"]
"""Of bytes in a number, as `struct` and NumPy write it."""

_HEADER_BYTES: Final = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""NumPy's names of the types of stored numbers."""
_NUMBER_CLASSES: Final = range(6, 16)
_OTHER_CLASSES: Final = {1: "a cell array", 2: "a structure", 3: "an object", 4: "text", 5: "a sparse matrix"}
_COMPLEX: Final = 0x800


def read_matrix(path: Path, name: str) -> NDArray[Any]:
    """The matrix of this name, [h, w] of the type it is stored in, with sides of at most `MAX_SIDE`.

    Raises:
        DamagedFileError: the file can't be decoded, or ends too early.
        DataError: it can't be read, is larger than `MAX_BYTES`, is of another version, or has no such matrix.
    """
    data = read_bytes(path, MAX_BYTES, "a MATLAB file")
    try:
        order = _byte_order(data)
        for matrix in _matrices(data[_HEADER_BYTES:], order):
            found = _values_of(matrix, order, name)
            if found is not None:
                return found
    except _RefusedError as error:
        raise DataError(f"{path}: {error}") from None
    except (ValueError, struct.error, zlib.error) as error:
        raise DamagedFileError(
            f"{path}: expected a MATLAB file of version 5 to 7, got {len(data)} bytes that can't be decoded ({error})"
        ) from None
    raise DataError(f"{path}: expected a matrix {name} in it; there is none")


class _RefusedError(Exception):
    """The file is sound, and not what is read here."""


def _byte_order(data: bytes) -> _Order:
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        raise _RefusedError("expected version 5 to 7, got 7.3; save it anew with the option -v7")
    orders: dict[bytes, _Order] = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
    if data[124:128] not in orders:
        raise ValueError("the header is another one")
    return orders[data[124:128]]


def _elements(data: bytes, order: _Order) -> Iterator[tuple[int, bytes]]:
    """The type and the bytes of each element, one after the other."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start, end = place + 8, place + 8 + size
        if kind > 0xFFFF:  # a small one: its size, its type and up to four bytes are in the eight
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = place + 4, place + 4 + size
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        if end > len(data):
            raise ValueError("it ends too early")
        yield kind, data[start:end]
        place = end if kind == _COMPRESSED else -(-end // 8) * 8


def _matrices(data: bytes, order: _Order) -> Iterator[bytes]:
    for kind, content in _elements(data, order):
        if kind == _COMPRESSED:
            kind, content = next(_elements(_inflated(content), order), (0, b""))
        if kind == _MATRIX and content:
            yield content


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, MAX_BYTES)
    if stream.unconsumed_tail:
        raise _RefusedError(f"more than {MAX_BYTES} bytes in a matrix; a fixation map is smaller")
    if not stream.eof:
        raise ValueError("it ends too early")
    return content


def _values_of(matrix: bytes, order: _Order, name: str) -> NDArray[Any] | None:
    """The numbers of a matrix if it has this name."""
    parts = _elements(matrix, order)
    head = list(islice(parts, 3))
    if len(head) < 3:
        raise ValueError("a matrix without flags, size or name")
    (_, flags), (_, size), (_, found) = head
    if found.decode("latin-1") != name:
        return None
    (flag_bits,) = struct.unpack_from(f"{order}I", flags)
    shape = struct.unpack(f"{order}{len(size) // 4}i", size)
    matrix_class = flag_bits & 0xFF
    if matrix_class not in _NUMBER_CLASSES or flag_bits & _COMPLEX:
        what = _OTHER_CLASSES.get(matrix_class, "of complex numbers or of an unknown class")
        raise _RefusedError(f"expected a matrix of numbers {name}; it is {what}")
    if len(shape) != 2 or not all(1 <= side <= MAX_SIDE for side in shape):
        raise _RefusedError(f"expected a matrix {name} with two sides of 1 to {MAX_SIDE}; they are {shape}")
    kind, content = next(parts, (0, b""))
    if kind not in _NUMBERS:
        raise ValueError(f"numbers of type {kind}")
    values = np.frombuffer(content, np.dtype(_NUMBERS[kind]).newbyteorder(order))
    if len(values) != shape[0] * shape[1]:
        raise ValueError(f"{len(values)} numbers in a matrix of {shape}")
    return values.reshape(shape, order="F")
