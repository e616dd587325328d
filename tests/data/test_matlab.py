"""MATLAB files: read as SciPy writes them, and refused whatever is wrong with them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from uva_edge.data import matlab as reader
from uva_edge.data.matlab import read_matrix
from uva_edge.errors import DamagedFileError, DataError

Matlab = Callable[..., bytes]

VALUES = np.arange(35, dtype=np.uint8).reshape(5, 7)


def put(folder: Path, data: bytes) -> Path:
    (folder / "a.mat").write_bytes(data)
    return folder / "a.mat"


@pytest.mark.parametrize("compressed", [True, False])
def test_the_matrix_of_a_name(tmp_path: Path, matlab: Matlab, compressed: bool) -> None:
    path = put(tmp_path, matlab(compressed=compressed, other=VALUES.T, I=VALUES, II=VALUES[:1]))
    assert np.array_equal(read_matrix(path, "I"), VALUES)
    assert np.array_equal(read_matrix(path, "other"), VALUES.T)
    with pytest.raises(DataError, match=r"a\.mat: expected a matrix J in it; there is none"):
        read_matrix(path, "J")


def test_a_file_of_a_big_endian_machine(tmp_path: Path) -> None:
    """With small elements, in which size and type share a word."""
    flags, size = struct.pack(">IIII", 6, 8, 9, 0), struct.pack(">IIii", 5, 8, 2, 2)
    name, values = (
        struct.pack(">I4s", 1 << 16 | 1, b"I"),
        struct.pack(">I4s", 4 << 16 | 2, bytes([1, 2, 3, 4])),
    )
    matrix = flags + size + name + values
    data = b"MATLAB".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(matrix)) + matrix
    assert read_matrix(put(tmp_path, data), "I").tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("compressed", [True, False])
def test_what_scipy_writes(tmp_path: Path, kind: type, compressed: bool) -> None:
    values = (VALUES % 3).astype(kind)
    path = tmp_path / "a.mat"
    savemat(
        path, {"text": "x", "cells": np.array([["a", 1]], object), "I": values}, do_compression=compressed
    )
    found = read_matrix(path, "I")
    assert np.array_equal(found, values)
    assert np.array_equal(found, loadmat(path)["I"])


# --- what is refused ------------------------------------------------------------------------------------


def one(matlab: Matlab, change: Callable[[bytearray], None]) -> bytes:
    """A plain file of the matrix I, changed; its element begins at byte 128."""
    data = bytearray(matlab(compressed=False, I=VALUES))
    change(data)
    return bytes(data)


def set_bytes(place: int, value: bytes) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[place : place + len(value)] = value

    return change


FLAGS, SIDES, NUMBERS = 144, 160, 184
"""Where the class of `one` stands, its two sides, and the type of its numbers."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_bytes(FLAGS, b"\x01"), "expected a matrix of numbers I; it is a cell array"),
        (set_bytes(FLAGS, b"\x02"), "it is a structure"),
        (set_bytes(FLAGS, b"\x03"), "it is an object"),
        (set_bytes(FLAGS, b"\x05"), "it is a sparse matrix"),
        (set_bytes(FLAGS, b"\x11"), "of an unknown class"),
        (set_bytes(FLAGS, b"\x09\x08"), "of complex numbers"),
        (set_bytes(SIDES, struct.pack("<i", 2**14 + 1)), r"two sides of 1 to 16384; they are \(16385, 7\)"),
        (set_bytes(SIDES, struct.pack("<i", -5)), r"they are \(-5, 7\)"),
        (set_bytes(124, b"\x00\x02"), "got 7.3; save it anew with the option -v7"),
        (set_bytes(0, b"\x89HDF\r\n\x1a\n"), "got 7.3"),
    ],
)
def test_another_content_is_refused(
    tmp_path: Path, matlab: Matlab, change: Callable[[bytearray], None], words: str
) -> None:
    with pytest.raises(DataError, match=rf"a\.mat: .*{words}") as raised:
        read_matrix(put(tmp_path, one(matlab, change)), "I")
    assert not isinstance(raised.value, DamagedFileError)


@pytest.mark.parametrize(
    "change",
    [
        set_bytes(124, b"\x07\x07"),
        set_bytes(132, b"\xff\xff\xff\xff"),
        set_bytes(SIDES, struct.pack("<i", 6)),
        set_bytes(NUMBERS, b"\x08"),
        set_bytes(NUMBERS, b"\x07"),
        lambda data: data.clear(),
        lambda data: data.__delitem__(slice(60, None)),
        lambda data: data.__delitem__(slice(170, None)),
    ],
)
def test_damage_is_named(tmp_path: Path, matlab: Matlab, change: Callable[[bytearray], None]) -> None:
    with pytest.raises(
        DamagedFileError, match=r"a\.mat: expected a MATLAB file of version 5 to 7, got \d+ bytes"
    ):
        read_matrix(put(tmp_path, one(matlab, change)), "I")


def test_a_cut_or_changed_stream_is_damage(tmp_path: Path, matlab: Matlab) -> None:
    data = matlab(I=VALUES)
    for broken in (data[:-1], data[:-20], data[:-4] + bytes(4)):
        with pytest.raises(DamagedFileError, match=r"a\.mat"):
            read_matrix(put(tmp_path, broken), "I")


def test_sizes_are_bounded(tmp_path: Path, matlab: Matlab, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, matlab(I=np.zeros((100, 100), np.uint8)))
    assert path.stat().st_size < 300
    monkeypatch.setattr(reader, "MAX_BYTES", 9_000)
    with pytest.raises(DataError, match=r"a\.mat: more than 9000 bytes in a matrix"):
        read_matrix(path, "I")
    monkeypatch.setattr(reader, "MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"a\.mat: more than 100 bytes; a MATLAB file is smaller"):
        read_matrix(path, "I")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), compressed=st.booleans())
def test_any_damage_is_refused_or_read(
    tmp_path: Path, matlab: Matlab, data: st.DataObject, compressed: bool
) -> None:
    whole = bytearray(matlab(compressed=compressed, J=VALUES[:2], I=VALUES))
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=3)
    ):
        whole[place] = value
    path = put(tmp_path, bytes(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))]))
    with suppress(DataError):
        matrix: NDArray[Any] = read_matrix(path, "I")
        assert matrix.ndim == 2
        assert matrix.dtype.kind in "iuf"


def test_a_damaged_matrix_within_a_sound_stream_is_refused(tmp_path: Path) -> None:
    stream = zlib.compress(struct.pack("<II", 14, 1000))
    data = b"MATLAB".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(stream)) + stream
    with pytest.raises(DamagedFileError, match=r"a\.mat: .*ends too early"):
        read_matrix(put(tmp_path, data), "I")
