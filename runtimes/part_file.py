"""A file that is there when it is complete: written under a temporary name, then moved in place."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from uva_edge.errors import OutputError

_MENDS: Final[dict[int | None, str]] = {
    errno.ENOENT: "create its folder first",
    errno.EACCES: "change the folder's permissions, or write elsewhere",
    errno.EPERM: "change the folder's permissions, or write elsewhere",
    errno.EROFS: "write to another file system",
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EFBIG: "the system limits the size of files (see ulimit -f); write fewer frames at a time",
}


class PartFile:
    """A file under its temporary name, `.NAME.XXXXXXXX.partial`, until `commit` moves it to `path` or `discard`
    removes it. Raises OutputError where the system refuses."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A link stays a link: its target is what gets replaced.
        self.path = Path(os.path.realpath(path))
        if self.path.exists() and not self.path.is_file():
            raise OutputError(f"{self.path} is a directory or a device; give the name of a file")
        name = self.path.name[:50]  # file systems allow 255 bytes
        self.temporary = self.path.with_name(f".{name}.{secrets.token_hex(4)}.partial")
        with reported(self.path):
            self.stream: IO[bytes] = self.temporary.open("xb")

    def commit(self) -> Path:
        with reported(self.path):
            self.stream.flush()
            os.fsync(self.stream.fileno())  # else a power cut could leave the new name on an empty file
            self.stream.close()
            os.replace(self.temporary, self.path)
        return self.path

    def discard(self) -> None:
        """Never raises."""
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """What the system refuses within the block is an OutputError about this path."""
    try:
        yield
    except OSError as error:
        raise refused(path, error) from None


def refused(path: Path, error: Exception) -> OutputError:
    """What the system, or FFmpeg, said when the path was to be written, with the way out."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    mend = _MENDS.get(getattr(error, "errno", None), "try another place")
    return OutputError(f"{path} can't be written: {reason}; {mend}")
