"""Bundle: everything a device needs in one directory or .zip, read and checked there.

A bundle is plain data. Opening one runs no code and puts nothing on disk; every byte it gives out was hashed
first. Files of the directory that the manifest does not name are never read.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol

from uva_edge.archive import list_members, open_archive, open_member
from uva_edge.errors import (
    BundleError,
    BundleNotFoundError,
    HashMismatchError,
    ManifestError,
    MissingFileError,
    OptionError,
    TruncatedFileError,
    UnsafePathError,
)
from uva_edge.golden import Golden
from uva_edge.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Artifact, File, Manifest

__all__ = ["Bundle", "shipped_bundles"]

_REMEDY = "copy the bundle again, or export it anew"


class _Storage(Protocol):
    """Where the files of a bundle lie; stateless, so any number of threads may read."""

    location: str

    def open(self, path: str) -> AbstractContextManager[tuple[IO[bytes], int]]:
        """The file at `path` for reading, and how many bytes it says it has."""


class _Directory:
    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self._root = root

    @contextmanager
    def open(self, path: str) -> Iterator[tuple[IO[bytes], int]]:
        try:
            with open(self._descriptor(path), "rb") as stream:
                yield stream, os.fstat(stream.fileno()).st_size
        except (FileNotFoundError, NotADirectoryError):
            raise MissingFileError(f"expected a file, got none; {_REMEDY}") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, until Python 3.13
            raise BundleError(f"can't be read ({error})") from None

    def _descriptor(self, path: str) -> int:
        target = (self._root / path).resolve(strict=True)
        if not target.is_relative_to(self._root.resolve()):
            raise UnsafePathError(f"expected a file of the bundle, got a link out of it to {target}")
        # The target is free of links, so one that shows up now was swapped in. A pipe must not block.
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise MissingFileError(f"expected a file, got a directory or a device; {_REMEDY}")
        return descriptor


class _Zip:
    """A .zip of a bundle directory: of its contents, or of the directory itself."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path
        with self._stream() as stream, open_archive(stream) as archive:
            self._folder = _top_folder(list(list_members(archive)))

    @contextmanager
    def open(self, path: str) -> Iterator[tuple[IO[bytes], int]]:
        with self._stream() as stream, open_archive(stream) as archive:
            info = list_members(archive).get(self._folder + path)
            if info is None:
                raise MissingFileError(f"expected a file in the zip file, got none; {_REMEDY}")
            with open_member(archive, info) as member:
                yield member, info.file_size

    def _stream(self) -> IO[bytes]:
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise BundleError(f"can't be read ({error})") from None


def _top_folder(names: list[str]) -> str:
    """The folder that holds bundle.json: "" or the one at the top, with its "/"."""
    if MANIFEST_NAME in names:
        return ""
    folders = [name[: -len(MANIFEST_NAME)] for name in names if name.partition("/")[2] == MANIFEST_NAME]
    if len(folders) != 1:
        raise ManifestError(
            f"expected {MANIFEST_NAME} at the top of the zip file or in one folder there, "
            f"got it in {len(folders)} folders"
        )
    return folders[0]


class Bundle:
    """A bundle that was found and whose manifest was read; the files are read and checked on demand.

    Attributes:
        manifest: what bundle.json says.
        manifest_bytes: bundle.json as it is.
        location: the directory or .zip it came from.

    Safe to use from several threads.
    """

    manifest: Manifest
    manifest_bytes: bytes
    location: str

    def __init__(self, storage: _Storage) -> None:
        self._storage = storage
        self._elsewhere: Mapping[File, Bundle] = {}
        self.location = storage.location
        with _naming(self.location, MANIFEST_NAME):
            self.manifest_bytes = _read_manifest(storage)
            self.manifest = Manifest.from_bytes(self.manifest_bytes)

    @classmethod
    def open(cls, reference: str | os.PathLike[str]) -> Bundle:
        """Open a bundle that ships with uva_edge, by name, or any other, by path.

        A string that is the name of a shipped bundle means that one, wherever the program runs. To open a
        directory of that name, write "./uva-64" or pass a Path. Where the working directory holds another
        bundle of that name, the string could be taken either way, and is refused.

        Args:
            reference: a name such as "uva-64", a directory, or a .zip of one.

        Raises:
            BundleNotFoundError: nothing is there; the message lists the shipped names.
            OptionError: the string is a shipped name and a bundle in the working directory.
            ManifestError, SchemaVersionError, UnsafePathError: bundle.json can't be accepted.
            BundleError: the .zip is damaged, or the place can't be read.
        """
        if not isinstance(reference, (str, os.PathLike)):
            raise OptionError(f"expected the name or path of a bundle, got {type(reference).__name__}")
        path = os.fsdecode(reference)
        if isinstance(reference, str) and reference in shipped_bundles():
            shipped = _shipped_root() / reference
            if os.path.isfile(os.path.join(path, MANIFEST_NAME)) and not os.path.samefile(path, shipped):
                raise OptionError(
                    f'"{reference}" is a bundle that ships with uva_edge and a directory here; write '
                    f'"./{reference}" for the directory, or Bundle.shipped("{reference}")'
                )
            return cls(_Directory(shipped))
        if os.path.isdir(path):
            return cls(_Directory(Path(path)))
        if os.path.isfile(path):
            with _naming(path):
                storage = _Zip(Path(path))
            return cls(storage)
        raise _not_found(f"there is no bundle {path!r}")

    @classmethod
    def shipped(cls, name: str) -> Bundle:
        """Open the bundle `name` of those that ship with uva_edge, and no other.

        Raises:
            BundleNotFoundError: there is none; the message lists those there are.
        """
        if name not in shipped_bundles():
            raise _not_found(f'no bundle named "{name}" ships with uva_edge')
        return cls(_Directory(_shipped_root() / name))

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def sha256(self) -> str:
        """The hash of bundle.json. It holds the hashes of all other files, so it identifies the bundle."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    def artifact(self, name: str) -> Artifact:
        """The artifact called `name`; OptionError with the names there are if there is none."""
        for artifact in self.manifest.artifacts:
            if artifact.name == name:
                return artifact
        names = ", ".join(artifact.name for artifact in self.manifest.artifacts)
        raise OptionError(f'{self.location} has no artifact "{name}"; it has {names}')

    def joined(self, other: Bundle, artifacts: Sequence[Artifact]) -> Bundle:
        """This bundle, with artifacts of another one in the place of those that have their names.

        Their files are read from the other. The hash stays this bundle's.

        Raises:
            ManifestError: a path of theirs is one of this bundle's too.
        """
        names = {artifact.name for artifact in artifacts}
        own = tuple(artifact for artifact in self.manifest.artifacts if artifact.name not in names)
        result = copy(self)
        result.manifest = replace(self.manifest, artifacts=(*own, *artifacts))
        theirs = {file: other for artifact in artifacts for file in artifact.files}
        result._elsewhere = {**self._elsewhere, **theirs}
        return result

    def read(self, file: File) -> bytes:
        """The contents of `file`; the bytes that are returned are those that were hashed.

        Raises:
            MissingFileError: it is not there.
            TruncatedFileError: it is shorter or longer than the manifest says.
            HashMismatchError: it has other bytes.
            UnsafePathError: it is a link that leaves the directory.
            BundleError: it can't be read.
        """
        if file in self._elsewhere:
            return self._elsewhere[file].read(file)
        with _naming(self.location, file.path):
            with self._storage.open(file.path) as (stream, size):
                data = stream.read(file.bytes + 1) if size == file.bytes else b""
            if size != file.bytes or len(data) != size:
                length = size if size != file.bytes else len(data)
                raise TruncatedFileError(f"expected {file.bytes} bytes, got {length}; {_REMEDY}")
            digest = hashlib.sha256(data).hexdigest()
            if digest != file.sha256:
                raise HashMismatchError(f"expected sha256 {file.sha256}, got {digest}; {_REMEDY}")
        return data

    def golden(self) -> Golden:
        """The reference clip, checked against the contract.

        Raises:
            GoldenError: it is damaged or does not fit.
            BundleError: as `read` does.
        """
        file = self.manifest.golden
        data = self.read(file)
        with _naming(self.location, file.path):
            golden = Golden.from_bytes(data)
            golden.check(self.manifest.contract)
        return golden

    def problems(self) -> Iterator[BundleError]:
        """Read everything, and give what is wrong with it, one error per file."""
        for file in self.manifest.files:
            problem = self._problem(file)
            if problem is not None:
                yield problem

    def verify(self) -> None:
        """Read everything; raise the first problem."""
        for problem in self.problems():
            raise problem

    def _problem(self, file: File) -> BundleError | None:
        try:
            if file == self.manifest.golden:
                self.golden()
            else:
                self.read(file)
        except BundleError as error:
            return error
        return None

    def __repr__(self) -> str:
        return f"Bundle({self.location!r})"


def shipped_bundles() -> tuple[str, ...]:
    """The names of the bundles that ship with uva_edge, sorted."""
    root = _shipped_root()
    return tuple(sorted(path.parent.name for path in root.glob(f"*/{MANIFEST_NAME}")))


def _shipped_root() -> Path:
    return Path(str(importlib.resources.files("uva_edge.bundles")))


def _not_found(what: str) -> BundleNotFoundError:
    names = ", ".join(shipped_bundles()) or "none"
    return BundleNotFoundError(f"{what}; expected a directory, a .zip, or a bundle that ships: {names}")


def _read_manifest(storage: _Storage) -> bytes:
    try:
        with storage.open(MANIFEST_NAME) as (stream, size):
            # A byte more than allowed is enough for Manifest.from_bytes to refuse it.
            return stream.read(min(size, MAX_MANIFEST_BYTES) + 1)
    except (MissingFileError, TruncatedFileError, HashMismatchError) as error:
        raise ManifestError(f"{error} (a bundle is known by its {MANIFEST_NAME})") from None


@contextmanager
def _naming(*place: str) -> Iterator[None]:
    """Put the file's place before the message of every BundleError."""
    try:
        yield
    except BundleError as error:
        raise type(error)(f"{os.path.join(*place)}: {error}") from None
