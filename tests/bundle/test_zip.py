"""A bundle in a .zip that was damaged or made with bad intent is refused, with the reason."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uva_edge.archive import MAX_DIRECTORY_BYTES
from uva_edge.bundle import Bundle
from uva_edge.errors import (
    BundleError,
    HashMismatchError,
    ManifestError,
    TruncatedFileError,
    UnsafePathError,
)

Change = Callable[[bytes], bytes]
Form = Callable[[Path], Path]
MODEL = b"fp32.onnx"

# Offsets in a record of the central directory, and in the end record (APPNOTE.TXT 4.3.12 and 4.3.16).
FLAGS, METHOD, CRC, SIZE, OFFSET = 8, 10, 16, 24, 42
DIRECTORY_SIZE = 12


def overwrite(data: bytes, start: int, value: bytes) -> bytes:
    return data[:start] + value + data[start + len(value) :]


def patch_record(offset: int, value: bytes) -> Change:
    """Change what the central directory says about the model."""

    def change(data: bytes) -> bytes:
        return overwrite(data, data.rfind(b"PK\x01\x02", 0, data.rfind(MODEL)) + offset, value)

    return change


def patch_end(offset: int, value: bytes) -> Change:
    return lambda data: overwrite(data, data.rfind(b"PK\x05\x06") + offset, value)


def patch_data(data: bytes) -> bytes:
    return overwrite(data, data.find(MODEL) + len(MODEL) + 20, b"\xff" * 4)


def rename(old: bytes, new: bytes) -> Change:
    return lambda data: data.replace(old, new)


def as_zip64(data: bytes) -> bytes:
    return data[:-22] + b"PK\x06\x07" + bytes(16) + data[-22:]


DAMAGED: dict[str, tuple[Change, type[BundleError], str]] = {
    "no zip file": (lambda data: b"hello" * 100, BundleError, "it is cut short or no zip file"),
    "an empty file": (lambda data: b"", BundleError, "it is cut short or no zip file"),
    "truncated": (lambda data: data[:-30], BundleError, "it is cut short or no zip file"),
    "the first part gone": (lambda data: data[-900:], ManifestError, "is damaged"),
    "no members": (lambda data: b"PK\x05\x06" + bytes(18), ManifestError, "at the top of the zip file"),
    "a long directory": (patch_end(DIRECTORY_SIZE, struct.pack("<I", MAX_DIRECTORY_BYTES + 1)), BundleError,
                         "its list of members takes 1048577 bytes"),
    "zip64": (as_zip64, BundleError, "zip64 is not supported"),
    "a member with a backslash": (rename(b"README.md", b"..\\README"), UnsafePathError,
                                  "expected one that stays in"),
    "a member with a NUL": (rename(b"README.md", b"README\0md"), UnsafePathError, "that stays inside"),
    "encrypted": (patch_record(FLAGS, b"\1\0"), BundleError, "is encrypted; expected a plain zip file"),
    "another method": (patch_record(METHOD, b"\x63\0"), BundleError, "compression method 99; expected"),
    "a false method": (patch_record(METHOD, b"\0\0"), HashMismatchError, "fp32.onnx: "),
    "a larger size": (patch_record(SIZE, struct.pack("<I", 1 << 30)), TruncatedFileError,
                      "expected 2048 bytes, got 1073741824"),
    "a smaller size": (patch_record(SIZE, struct.pack("<I", 7)), TruncatedFileError, "2048 bytes, got 7"),
    "a wrong checksum": (patch_record(CRC, b"abcd"), HashMismatchError, "Bad CRC-32"),
    "damaged data": (patch_data, HashMismatchError, "the zip member 'fp32.onnx' is damaged"),
    "a false offset": (patch_record(OFFSET, b"\1\0\0\0"), HashMismatchError, "fp32.onnx: "),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged(case: str, root: Path, zip_of: Form) -> None:
    change, expected, message = DAMAGED[case]
    path = zip_of(root)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(expected) as caught:
        Bundle.open(path).verify()
    assert type(caught.value) is expected
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_members_that_mean_nothing(root: Path, zip_of: Form) -> None:
    path = zip_of(root)
    with zipfile.ZipFile(path, "a") as archive:
        unnamed = zipfile.ZipInfo("x")
        unnamed.filename = ""
        archive.writestr(unnamed, b"x")
        archive.writestr("folder/", b"")
    Bundle.open(path).verify()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:/evil", ".."])
def test_member_that_would_leave(name: str, root: Path, zip_of: Form) -> None:
    path = zip_of(root)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(UnsafePathError, match="expected one that stays inside") as caught:
        Bundle.open(path)
    assert f"'{name}'" in str(caught.value)


def test_member_twice(root: Path, zip_of: Form) -> None:
    path = zip_of(root)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("bundle.json", b"{}")
    with pytest.raises(ManifestError, match=r"the zip file has the member 'bundle\.json' twice"):
        Bundle.open(path)


def test_two_folders(root: Path, zip_of: Form) -> None:
    path = zip_of(root)
    with zipfile.ZipFile(path, "w") as archive:
        for folder in ("one", "two"):
            archive.write(root / "bundle.json", f"{folder}/bundle.json")
    with pytest.raises(ManifestError, match="got it in 2 folders"):
        Bundle.open(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression(method: int, root: Path, zip_of: Form) -> None:
    path = zip_of(root)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.write(root / "bundle.json", "bundle.json")
    with pytest.raises(BundleError, match=f"compression method {method}; expected stored or deflated"):
        Bundle.open(path)


def test_bomb(root: Path, zip_of: Form) -> None:
    """A member far larger than the manifest says is refused by its size, before it is decompressed."""
    (root / "fp32.onnx").write_bytes(bytes(32 << 20))
    path = zip_of(root)
    assert path.stat().st_size < 100_000
    bundle = Bundle.open(path)
    with pytest.raises(TruncatedFileError, match=f"expected 2048 bytes, got {32 << 20}"):
        bundle.read(bundle.artifact("onnx-fp32").files[0])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.data())
def test_damage_never_surprises(changes: st.DataObject, root: Path, zip_of: Form) -> None:
    """Whatever the bytes, it is a bundle that verifies or a BundleError with the path."""
    raw = bytearray(zip_of(root).read_bytes())
    for _ in range(changes.draw(st.integers(1, 3))):
        # Mostly in the records at the end, where a change means something.
        from_end = changes.draw(st.integers(1, 700) | st.integers(1, len(raw)))
        raw[-from_end] = changes.draw(st.integers(0, 255))
    path = root.parent / "damaged.zip"
    path.write_bytes(bytes(raw))
    try:
        Bundle.open(path).verify()
    except BundleError as error:
        message = str(error)
    else:
        message = str(path)
    assert message.startswith(str(path))
