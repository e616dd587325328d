"""Reading ahead: the next items of an iterator are made in a thread of their own while the last ones are used."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


@contextmanager
def read_ahead(items: Iterator[Item], most: int) -> Iterator[Iterator[Item]]:
    """The same items in the same order, of which up to `most` are made before they are asked for.

    What `items` raises is raised where the item would have been, with its own traceback. When the block ends,
    however it does, the thread has ended too and `items` is closed if it is a generator; an item that is being
    made is waited for.

    Args:
        most: with 0 there is no thread, and each item is made when it is asked for.
    """
    if not most:
        try:
            yield items
        finally:
            _close(items)
        return
    reader = _Reader(items, most)
    try:
        yield reader
    finally:
        reader.stop()


class _Reader(Generic[Item]):
    """The thread, and what it has made."""

    def __init__(self, items: Iterator[Item], most: int) -> None:
        self._items, self._most = items, most
        self._made: deque[Item] = deque()
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._changed = threading.Condition()
        # The iterator is the caller's code, and finds the caller's context. A daemon: one that waits for a camera
        # must not keep a process alive that was interrupted twice.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._read,), name="uva-edge-ahead", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._changed:
            while not self._made and not self._ended:
                self._changed.wait()
            if self._made:
                self._changed.notify()
                return self._made.popleft()
            error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # or it would keep this frame, and this frame it
        raise StopIteration

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _read(self) -> None:
        try:
            try:
                while self._has_room():
                    item = next(self._items)
                    with self._changed:
                        self._made.append(item)
                        self._changed.notify()
            except StopIteration:
                pass
            finally:
                _close(self._items)
        except BaseException as error:  # raised again in the thread that asks for the item
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _has_room(self) -> bool:
        """Waits for it; False when nobody wants any more."""
        with self._changed:
            while len(self._made) >= self._most and not self._stopped:
                self._changed.wait()
            return not self._stopped


def _close(items: Iterator[object]) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()
