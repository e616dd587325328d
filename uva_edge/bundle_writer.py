"""Writing bundles: built beside their place, verified, and moved in only when complete.

A bundle that stood there before stays whole until then, and comes back if the last step fails. A directory
that holds anything else is never touched.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from uva_edge.archive import write_archive
from uva_edge.bundle import Bundle
from uva_edge.errors import BundleError, OutputError
from uva_edge.golden import GOLDEN_NAME, Golden
from uva_edge.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Artifact,
    Contract,
    File,
    Lineage,
    Manifest,
    Network,
)

__all__ = ["ArtifactSource", "write_bundle", "zip_bundle"]

_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP)


@dataclass(frozen=True)
class ArtifactSource:
    """An artifact to write: as `Artifact`, but with its files as path -> contents, the main one first."""

    name: str
    format: str
    precision: Literal["fp32", "fp16", "bf16", "int8"]
    frames: int | None
    files: Mapping[str, bytes]
    requires: Mapping[str, str]
    parity: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    streams: int | None = 1

    def describe(self) -> Artifact:
        return Artifact(
            name=self.name,
            format=self.format,
            precision=self.precision,
            frames=self.frames,
            files=_describe(self.files),
            requires=dict(self.requires),
            parity=dict(self.parity),
            details=dict(self.details),
            streams=self.streams,
        )


def write_bundle(
    destination: str | os.PathLike[str],
    *,
    name: str,
    network: Network,
    contract: Contract,
    artifacts: Sequence[ArtifactSource],
    golden: Golden,
    accuracy: Mapping[str, Mapping[str, float]],
    lineage: Lineage,
    documents: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write the bundle directory `destination`; missing parent directories are made.

    A bundle that is already there is replaced. The same arguments give the same bytes.

    Args:
        documents: further files, path -> contents, such as {"README.md": ...}.

    Returns:
        The bundle, opened where it now is.

    Raises:
        OutputError: something else is at `destination`, or the disk is full or read-only.
        BundleError: the arguments don't make a bundle; raised before anything is written.
    """
    golden.check(contract)
    contents = {
        **{path: data for artifact in artifacts for path, data in artifact.files.items()},
        GOLDEN_NAME: golden.to_bytes(),
        **(documents or {}),
    }
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        network=network,
        contract=contract,
        artifacts=tuple(artifact.describe() for artifact in artifacts),
        golden=_describe({GOLDEN_NAME: contents[GOLDEN_NAME]})[0],
        accuracy={data_set: dict(metrics) for data_set, metrics in accuracy.items()},
        lineage=lineage,
        documents=_describe(documents or {}),
    )
    contents[MANIFEST_NAME] = manifest.to_bytes()
    place = Path(os.path.abspath(destination))
    with _as_output_error(place):
        _expect_replaceable(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace_directory(place, contents)
    return Bundle.open(place)


def expect_place(destination: str | os.PathLike[str]) -> None:
    """Refuse a place that `write_bundle` would refuse, before the work on what it is to write.

    Raises:
        OutputError: something else is there, or nothing can be written there.
    """
    place = Path(os.path.abspath(destination))
    with _as_output_error(place):
        _expect_replaceable(place)
        there = next(parent for parent in place.parents if parent.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise PermissionError(errno.EACCES, f"{there} is no directory that takes new files")


def zip_bundle(bundle: Bundle, destination: str | os.PathLike[str]) -> Path:
    """Write `bundle` as the .zip `destination`, replacing a file that is there.

    The same bundle gives the same bytes (with one version of zlib), wherever and whenever it is zipped.

    Raises:
        OutputError: `destination` is a directory, or the disk is full or read-only.
        BundleError: a file of the bundle is missing or damaged.
    """
    place = Path(os.path.abspath(destination))
    members = {file.path: file for file in bundle.manifest.files}

    def contents() -> Iterator[tuple[str, bytes]]:
        for path in sorted([MANIFEST_NAME, *members]):
            yield path, bundle.manifest_bytes if path == MANIFEST_NAME else bundle.read(members[path])

    new = _sibling(place, "new")
    with _as_output_error(place):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(new, "xb") as stream:
                write_archive(stream, contents())
                _flush(stream)
            Bundle.open(new).verify()
            os.replace(new, place)
            _sync_directory(place.parent)
        finally:
            new.unlink(missing_ok=True)
    return place


def _describe(contents: Mapping[str, bytes]) -> tuple[File, ...]:
    return tuple(File(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in contents.items())


def _expect_replaceable(place: Path) -> None:
    """Refuse to replace anything but an empty directory or a bundle with nothing added to it."""
    if not os.path.lexists(place):
        return
    if place.is_symlink() or not place.is_dir():
        raise OutputError(f"{place}: expected a directory or nothing there, got a file or a link")
    if not any(place.iterdir()):
        return
    remedy = "nothing was changed; choose another place or remove it yourself"
    try:
        named = {MANIFEST_NAME, *(file.path for file in Bundle.open(place).manifest.files)}
    except BundleError as error:
        raise OutputError(f"{place}: expected a bundle to replace; {remedy} ({error})") from None
    present = (path for path in place.rglob("*") if path.is_symlink() or not path.is_dir())
    for path in present:
        if path.relative_to(place).as_posix() not in named:
            raise OutputError(f"{path}: expected only the bundle's own files, got this one too; {remedy}")


def _replace_directory(place: Path, contents: Mapping[str, bytes]) -> None:
    new, old = _sibling(place, "new"), _sibling(place, "old")
    try:
        new.mkdir()
        for path, data in contents.items():
            _write_file(new / path, data)
        for directory in (new, *(path for path in new.rglob("*") if path.is_dir())):
            _sync_directory(directory)
        Bundle.open(new).verify()
        if place.exists():
            os.rename(place, old)
        os.rename(new, place)
        _sync_directory(place.parent)
    finally:
        # Wherever it stopped: the old bundle comes back unless a new one is in its place.
        if old.exists() and not place.exists():
            os.rename(old, place)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _sibling(place: Path, role: str) -> Path:
    """A name beside `place`, so that moving it there is one rename within one file system."""
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}.{role}")


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as stream:
        stream.write(data)
        _flush(stream)


def _flush(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:  # some network file systems can't
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _as_output_error(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{place}: can't be written ({error.strerror or error}); free the disk or choose another place"
        ) from error
