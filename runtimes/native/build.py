"""The generated C as a shared library of this machine: compiled once by its own C compiler, and kept.

Nothing of a bundle is ever compiled but numbers: the C around them is the package's own.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Final

from uva_edge.environment import Availability, probe_cpu
from uva_edge.errors import SessionError

from .source import Source

FLAGS: Final = ("-std=c99", "-O3", "-march=native", "-fPIC", "-shared")
_COMPILERS: Final = ("cc", "gcc", "clang")
_SECONDS: Final = 300
_SEAL: Final = b"\nuva_edge sha256 "
"""After it, at a library's end, the hash of all before. The loader maps what lies between its offsets, and passes this
over; of a file that was cut short it would run into what is not there."""
_FIX: Final = "install a C compiler (Debian: apt install gcc libc6-dev), or name one in the variable CC"


@lru_cache(maxsize=4)
def _version_of(compiler: str) -> str | None:
    """First line of what a compiler says of itself; None where it does not run."""
    try:
        words = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return words.stdout.partition("\n")[0].strip()


def find_compiler() -> str | None:
    """The C compiler of this machine: $CC, or cc, gcc or clang on the path."""
    wanted = os.environ.get("CC")
    names = (wanted,) if wanted else _COMPILERS
    return next((path for path in map(shutil.which, names) if path), None)


def probe_compiler() -> Availability:
    """Whether there is a C compiler, and which."""
    compiler = find_compiler()
    if compiler is None:
        wanted = os.environ.get("CC")
        reason = f"CC is {wanted}, which is not there" if wanted else "there is no C compiler here"
        return Availability("missing", reason=reason, fix=_FIX)
    version = _version_of(compiler)
    if version is None:
        return Availability("broken", reason=f"{compiler} does not run", fix=_FIX)
    return Availability("ok", version=version)


def library_of(source: Source, directory: Path) -> Path:
    """The library of a source, from the directory or compiled into it: the cache of a user.

    Its name has a hash of all that it depends on: source, compiler, flags and the processor's features. One that was
    damaged, as by a loss of power, is compiled anew.

    Raises:
        SessionError: no compiler, one that fails, or a directory that is not this user's own.
    """
    compiler = find_compiler()
    if compiler is None:
        raise SessionError(f"there is no C compiler; {_FIX}")
    cpu = probe_cpu()
    facts = (source.header, source.code, _version_of(compiler), FLAGS, cpu.model, cpu.features)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    path = directory / f"{source.stem}-{key}.so"
    try:
        _expect_own(directory)
        if not _is_whole(path):
            _compile(source, compiler, path)
    except OSError as error:
        raise SessionError(
            f"its library can't be kept in {directory}: {error}; set XDG_CACHE_HOME"
        ) from error
    return path


def load_library(path: Path) -> ctypes.CDLL:
    """Raises SessionError where the loader refuses it."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise SessionError(
            f"{path}: {error}; where its file system forbids to run what lies there (noexec), set XDG_CACHE_HOME to a "
            "directory on another"
        ) from error


def compile_source(source: Source, compiler: str, flags: tuple[str, ...], output: Path) -> None:
    """Compile the source of a model by itself.

    Raises:
        SessionError: the compiler refuses it; the message has its words.
    """
    with tempfile.TemporaryDirectory(prefix="uva-edge-c-") as scratch:
        source.write(Path(scratch))
        command = [compiler, *flags, "-o", str(output), str(Path(scratch, f"{source.stem}.c"))]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.SubprocessError as error:
            raise SessionError(f"{compiler} did not end: {error}") from error
    if found.returncode:
        raise SessionError(f"{compiler} failed on {source.stem}.c: {found.stderr[-2000:].strip()}")


def _compile(source: Source, compiler: str, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file, tempfile.TemporaryDirectory(prefix="uva-edge-c-") as scratch:
            built = Path(scratch, path.name)
            compile_source(source, compiler, FLAGS, built)
            code = built.read_bytes()
            file.write(code + _SEAL + hashlib.sha256(code).digest())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o700)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """Whether a library is there, as it was written."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    code, seal, digest = data.rpartition(_SEAL)
    return bool(seal) and hashlib.sha256(code).digest() == digest


def _expect_own(directory: Path) -> None:
    """What lies in the directory is run: nobody else may write to it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SessionError(
            f"libraries are kept in {directory}, which others can write to; expected a directory of this user's "
            f"own: chmod 700 {directory}"
        )
