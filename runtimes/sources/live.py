"""Live sources: the latest frame instead of every one, and a connection that is found again when it was lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from uva_edge.errors import SourceError

from .source import Losses, Picture, Reader

_log = logging.getLogger("uva_edge.sources")


@runtime_checkable
class Waiting(Protocol):
    """A reader that may wait for long."""

    def stop(self) -> None:
        """End its waiting, from any thread: its reads give None from now on."""


class Latest:
    """Reads in a thread of its own as fast as pictures come, and gives the newest: whoever is slow sees the present.

    A picture that was replaced before it was asked for is counted as dropped. What the reader raises is raised where
    its picture would have been.
    """

    def __init__(self, reader: Reader, losses: Losses) -> None:
        self._reader, self._losses = reader, losses
        self._newest: Picture | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def read(self) -> Picture | None:
        if self._thread is None:
            # A daemon: one that waits for a camera must not keep a process alive that was interrupted twice.
            self._thread = threading.Thread(target=self._run, name="uva-edge-latest", daemon=True)
            self._thread.start()
        with self._changed:
            while self._newest is None and not self._ended:
                self._changed.wait()
            picture, self._newest = self._newest, None
            if picture is None and self._error is not None:
                error, self._error = self._error, None
                raise error
            return picture

    def problem(self, frames: int, seconds: float) -> str | None:
        return self._reader.problem(frames, seconds)

    def close(self) -> None:
        """A read that is under way is waited for, unless it can be ended: no library likes to be closed meanwhile."""
        with self._changed:
            self._stopped = True
        if isinstance(self._reader, Waiting):
            self._reader.stop()
        if self._thread is not None:
            self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        try:
            while not self._stopped:
                picture = self._reader.read()
                if picture is None:
                    break
                with self._changed:
                    self._losses.dropped += self._newest is not None
                    self._newest = picture
                    self._changed.notify()
        except BaseException as error:  # raised again in the thread that asks for the picture
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()


@dataclass(frozen=True)
class Retry:
    """When to try again, in seconds: after `first`, then after twice as long each time, `longest` at most; and when
    nothing came for `give_up`, no more."""

    first: float = 0.5
    longest: float = 8.0
    give_up: float = 60.0


class Reconnecting:
    """A connection that is opened again when it ends. Its losses are logged (logger `uva_edge.sources`) and counted.

    Time goes on over a gap: the first picture after it is as much later than the last before it as the monotonic clock
    says. All other stamps are the stream's own.

    Args:
        connect: makes a reader, or None where nothing answers.
        name: for people, free of passwords.
    """

    def __init__(
        self, reader: Reader, connect: Callable[[], Reader | None], name: str, losses: Losses, retry: Retry
    ) -> None:
        self._reader: Reader | None = reader
        self._connect, self._name, self._losses, self._retry = connect, name, losses, retry
        self._stopped = threading.Event()
        self._shift = 0.0
        self._last = 0.0
        # The shortest way from a stamp to its arrival. Decoders give their last pictures late.
        self._lag = math.inf
        self._pictures = 0
        self._given_up = ""

    def read(self) -> Picture | None:
        picture = self._next()
        if picture is None and self._pictures:
            picture = self._found_again()
        if picture is None:
            return None
        self._pictures += 1
        seconds = picture.seconds
        if seconds is not None and math.isfinite(seconds):
            seconds = self._last = seconds + self._shift
        self._lag = min(self._lag, time.monotonic() - self._last)
        return Picture(picture.pixels, seconds, picture.name, picture.stamp_ns)

    def _next(self) -> Picture | None:
        return None if self._reader is None else self._reader.read()

    def _found_again(self) -> Picture | None:
        lost, delay, attempts = time.monotonic(), self._retry.first, 0
        _log.warning("%s: lost after %d frames; trying to connect again", self._name, self._pictures)
        while time.monotonic() - lost < self._retry.give_up:
            self._drop()
            if self._stopped.wait(delay):
                return None
            delay, attempts = min(2 * delay, self._retry.longest), attempts + 1
            try:
                self._reader = self._connect()
                picture = self._next()
            except SourceError as error:
                _log.warning("%s: %s", self._name, error)
                continue
            if picture is not None:
                self._resume(picture)
                return picture
        self._given_up = f", and did not come back in {self._retry.give_up:g} s ({attempts} attempts)"
        return None

    def _resume(self, picture: Picture) -> None:
        now = time.monotonic()
        gap = max(0.0, now - (self._last + self._lag))
        self._lag = math.inf
        self._shift = self._last + gap - (picture.seconds or 0.0)
        self._losses.reconnects += 1
        self._losses.seconds += gap
        _log.warning("%s: connected again; %.1f s are missing", self._name, gap)

    def problem(self, frames: int, seconds: float) -> str | None:
        return f"{self._name} stopped after {frames} frames: ended by the sender, or cut off{self._given_up}"

    def stop(self) -> None:
        """End the waiting between two attempts."""
        self._stopped.set()

    def close(self) -> None:
        self.stop()
        self._drop()

    def _drop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
