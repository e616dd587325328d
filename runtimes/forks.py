"""Engines and other processes: none survives a fork, none can be sent.

A forked child has the parent's memory and none of its threads. An engine waits there for threads that are gone, when it
runs and even when it is freed, and a lock stays taken whose holder was not copied.
"""

from __future__ import annotations

import ctypes
import os
import threading
from types import TracebackType
from typing import Final, NoReturn
from weakref import WeakSet

from uva_edge.errors import ProcessError

_REMEDY: Final = "make a new SaliencyPredictor in each process, as in the initializer of a pool"
_OWNERS: Final[WeakSet[object]] = WeakSet()
_ENGINES: dict[str, int] = {}


class ProcessLock:
    """A lock of the process that makes it: elsewhere, taking it is a ProcessError, and so is sending it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this is the process."""
        return os.getpid() == self._process

    def expect_here(self) -> None:
        if not self.here:
            raise ProcessError(
                f"this predictor or stream is of process {self._process}, and this is a fork of it, {os.getpid()}: "
                f"engines don't survive a fork; {_REMEDY}"
            )

    def __enter__(self) -> None:
        self.expect_here()
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> NoReturn:
        raise ProcessError(
            f"a predictor or stream can't be pickled or copied: its engine stays here; {_REMEDY}"
        )


def expect_first_process(engine: str) -> None:
    """For an engine that can't be loaded in a child of a process that loaded it.

    Raises:
        ProcessError: this is one.
    """
    process = _ENGINES.setdefault(engine, os.getpid())
    if process != os.getpid():
        raise ProcessError(
            f"{engine} was loaded by process {process} before it forked this one, {os.getpid()}, and would wait for "
            "threads that are gone; load it after the fork only, or start processes by spawn or forkserver"
        )


def never_free_in_children(owner: object) -> None:
    """What the owner holds is not freed in forked children, not even when they end."""
    _OWNERS.add(owner)


def _keep() -> None:
    for owner in list(_OWNERS):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


os.register_at_fork(after_in_child=_keep)
