"""golden.npz: written the same every time, read without evaluating anything, held to the contract."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.bundle import Bundle
from uva_edge.errors import GoldenError
from uva_edge.golden import MAX_GOLDEN_BYTES, Golden

Make = Callable[[Golden], bytes]


def test_written_for_numpy(golden: Golden) -> None:
    data = golden.to_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert sorted(arrays) == ["frames", "maps", "state"]
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], getattr(golden, name), err_msg=name)


def test_same_bytes(golden: Golden) -> None:
    data = golden.to_bytes()
    assert Golden.from_bytes(data).to_bytes() == data
    twisted = Golden(golden.frames, golden.maps.astype(">f4"), np.asfortranarray(golden.state))
    assert twisted.to_bytes() == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_compressed(golden: Golden) -> None:
    flat = Golden(np.zeros((64, 32, 32, 3), np.uint8), golden.maps, golden.state)
    assert len(flat.to_bytes()) < flat.frames.nbytes // 10


@pytest.mark.parametrize(("kept", "mapped"), [(4, [0, 1, 2, 3]), (3, [0, 2, 3]), (2, [0, 3]), (1, [0])])
def test_maps_may_be_kept_of_some_frames(
    golden: Golden, original: Bundle, kept: int, mapped: list[int]
) -> None:
    fewer = Golden(golden.frames, golden.maps[:kept], golden.state)
    Golden.from_bytes(fewer.to_bytes()).check(original.manifest.contract)
    assert fewer.mapped.tolist() == mapped


def test_other_types_are_not_written(golden: Golden) -> None:
    with pytest.raises(GoldenError, match="state: expected uint8 or float32, got float64"):
        Golden(golden.frames, golden.maps, golden.state.astype(np.float64)).to_bytes()


def with_arrays(**changes: Any) -> Make:
    """An npz as numpy writes it, with some arrays changed, added or (None) left out."""

    def make(golden: Golden) -> bytes:
        arrays = {**vars(golden), **changes}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
        return buffer.getvalue()

    return make


def with_maps(change: Callable[[Any], Any]) -> Make:
    return lambda golden: with_arrays(maps=change(golden.maps))(golden)


def with_one(value: float) -> Make:
    def change(maps: Any) -> Any:
        maps = maps.copy()
        maps[1, 2, 3] = value
        return maps

    return with_maps(change)


def with_member(contents: bytes) -> Make:
    """The member maps.npy with these contents."""

    def make(golden: Golden) -> bytes:
        buffer = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(golden.to_bytes())) as source,
            zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name in source.namelist():
                archive.writestr(name, contents if name == "maps.npy" else source.read(name))
        return buffer.getvalue()

    return make


def with_header(header: bytes) -> Make:
    return with_member(b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(64))


ARRAYS = "expected the arrays frames.npy, maps.npy, state.npy, got"
NOT_READ = "maps: expected a C-ordered uint8 or float32 array in npy format 1.0"
BAD: dict[str, tuple[Make, str]] = {
    "not an npz": (lambda golden: b"hello", "expected a zip file"),
    "empty": (lambda golden: b"", "expected a zip file"),
    "cut short": (lambda golden: golden.to_bytes()[:-1], "expected a zip file"),
    "an array less": (with_arrays(state=None), ARRAYS),
    "an array more": (with_arrays(more=np.zeros(1)), ARRAYS),
    "a pickle": (with_arrays(maps=np.array([{}], dtype=object)), NOT_READ),
    "no frames": (with_arrays(frames=np.zeros((0, 8, 8, 3), np.uint8)), "frames: expected at least one"),
    "frames of floats": (with_arrays(frames=np.zeros((4, 8, 8, 3), "f4")),
                         "frames: expected uint8 [4, 8, 8, 3], got"),
    "frames of another size": (with_arrays(frames=np.zeros((4, 9, 9, 3), "u1")), "got uint8 [4, 9, 9, 3]"),
    "more maps": (with_maps(lambda maps: maps[[0, 1, 2, 3, 3]]),
                  "expected float32 [4, 8, 8], got float32 [5, 8, 8]"),
    "no maps": (with_maps(lambda maps: maps[:0]), "expected float32 [1, 8, 8], got float32 [0, 8, 8]"),
    "maps of doubles": (with_maps(lambda maps: maps.astype("f8")), NOT_READ),
    "big-endian maps": (with_maps(lambda maps: maps.astype(">f4")), NOT_READ),
    "maps in Fortran's order": (with_maps(np.asfortranarray), NOT_READ),
    "maps with one number": (with_maps(lambda maps: maps[0, 0, 0]), NOT_READ),
    "another state": (with_arrays(state=np.zeros((1, 64, 4, 4), "f4")),
                      "expected float32 [1, 64, 2, 2], got"),
    "an infinite state": (with_arrays(state=np.full((1, 64, 2, 2), np.inf, "f4")), "state: expected finite"),
    "NaN": (with_one(float("nan")), "maps: expected finite numbers"),
    "below 0": (with_one(-0.5), "maps: expected values in [0, 1], got -0.5 to"),
    "above 1": (with_one(1.5), "to 1.5"),
    "no header": (with_member(b""), NOT_READ),
    "half a header": (with_member(b"\x93NUMPY\1\0\xff\xff{'descr': '<f4'"), NOT_READ),
    "code for a header": (with_header(b"__import__('os').abort()"), NOT_READ),
    "a false shape": (with_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 9999999), }"),
                      "maps: expected float32 [9999999, 9999999], got 64 bytes"),
    "a bomb": (with_member(bytes(MAX_GOLDEN_BYTES)), f"at most {MAX_GOLDEN_BYTES} bytes when decompressed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refused(case: str, golden: Golden, root: Path) -> None:
    make, message = BAD[case]
    data = make(golden)
    (root / "golden.npz").write_bytes(data)
    manifest = json.loads((root / "bundle.json").read_text())
    manifest["golden"].update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (root / "bundle.json").write_text(json.dumps(manifest))
    bundle = Bundle.open(root)
    for use in (bundle.golden, bundle.verify):
        with pytest.raises(GoldenError) as caught:
            use()
        assert str(caught.value).startswith(f"{root}/golden.npz: ")
        assert message in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
def test_damage_never_surprises(changes: list[tuple[int, int]], golden: Golden) -> None:
    raw = bytearray(golden.to_bytes())
    for at, value in changes:
        raw[-1 - at % len(raw)] = value
    try:
        again = Golden.from_bytes(bytes(raw))
    except GoldenError:
        return
    np.testing.assert_array_equal(again.maps, golden.maps)
