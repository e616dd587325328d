"""Zip files: read from anyone within bounds, and written as the same bytes every time."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from uva_edge.errors import BundleError, HashMismatchError, ManifestError, TruncatedFileError, UnsafePathError

MAX_DIRECTORY_BYTES = 1 << 20  # of the list of members, which zipfile reads whole; over 10,000 of them

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_END = struct.Struct("<4s4H2LH")  # APPNOTE.TXT 4.3.16, the end of central directory record
_END_MAGIC = b"PK\x05\x06"
_LOCATOR_MAGIC = b"PK\x06\x07"
_LOCATOR_BYTES = 20
_MAX_COMMENT = 0xFFFF

# What zipfile raises on damaged input; RuntimeError stands for a password, NotImplementedError for a method.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@contextmanager
def open_archive(stream: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The zip file in `stream`.

    Raises:
        BundleError: it is not one, or is damaged, or has more members than a bundle may have.
    """
    try:
        _bound_directory(stream)
        archive = zipfile.ZipFile(stream)
    except _DAMAGE as error:
        raise BundleError(f"expected a zip file, got one that can't be read ({_reason(error)})") from None
    with archive:
        yield archive


def list_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files in `archive` by name.

    Raises:
        UnsafePathError: a name would leave the folder that the archive stands for.
        ManifestError: a name occurs twice.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename
        if name.startswith("/") or ".." in name.split("/") or any(sign in name for sign in "\\\0:"):
            raise UnsafePathError(f"the zip file has a member {name[:80]!a}; expected one that stays inside")
        if name in members:
            raise ManifestError(f"the zip file has the member {name[:80]!a} twice; expected each name once")
        if not name.endswith("/"):
            members[name] = info
    return members


@contextmanager
def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """One member, for reading; it never gives more than ``info.file_size`` bytes.

    Raises:
        BundleError: it is encrypted or compressed by an unusual method.
        TruncatedFileError: its data end early; raised out of the with block, as is the next.
        HashMismatchError: its data don't decompress to what was stored.
    """
    name = f"the zip member {info.filename[:80]!a}"
    if info.flag_bits & _ENCRYPTED:
        raise BundleError(f"{name} is encrypted; expected a plain zip file")
    if info.compress_type not in _METHODS:
        raise BundleError(f"{name} uses compression method {info.compress_type}; expected stored or deflated")
    try:
        with archive.open(info) as stream:
            yield stream
    except EOFError:
        raise TruncatedFileError(f"{name} ends before its {info.file_size} bytes; copy it again") from None
    except _DAMAGE as error:
        raise HashMismatchError(f"{name} is damaged ({_reason(error)}); copy it again") from None


def write_archive(stream: IO[bytes], members: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip file that depends on nothing but the members, their order and the zlib in use."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, on every system
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)


def _bound_directory(stream: IO[bytes]) -> None:
    """Refuse a list of members too long to hold in memory, before zipfile reads it."""
    length = stream.seek(0, 2)
    stream.seek(max(0, length - _END.size - _MAX_COMMENT - _LOCATOR_BYTES))
    tail = stream.read()
    stream.seek(0)
    end = tail.rfind(_END_MAGIC, 0, len(tail) - _END.size + len(_END_MAGIC))
    if end < 0:
        raise ValueError("it has no end record, so it is cut short or no zip file")
    if tail[max(0, end - _LOCATOR_BYTES) : end].startswith(_LOCATOR_MAGIC):
        raise ValueError("zip64 is not supported")
    size = _END.unpack_from(tail, end)[5]
    if size > MAX_DIRECTORY_BYTES:
        raise ValueError(f"its list of members takes {size} bytes, the limit is {MAX_DIRECTORY_BYTES}")


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
