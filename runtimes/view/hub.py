"""Several viewers of one loop: each is sent the newest picture that it has time for, and never a queue of them.

A viewer acknowledges what it has shown, and gets no third picture while two are on their way. So a slow link or
browser drops pictures here, at the source, where TCP would fill every buffer between with old ones; nobody else
waits for it, and its memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from uva_edge.errors import OptionError

from .protocol import error_message

MOST_VIEWERS: Final = 16
_ON_THEIR_WAY: Final = 2
_MOST_ERRORS: Final = 4


class Hub:
    """The newest picture and status, and who waits for them. `show` and `tell` may be called from any thread, all
    else belongs to the event loop in which the viewers join."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.picture: tuple[int, bytes] | None = None
        self.status = ""

    @property
    def watched(self) -> bool:
        return bool(self._viewers)

    def show(self, serial: int, picture: bytes) -> None:
        self.picture = (serial, picture)
        self._wake()

    def tell(self, status: str) -> None:
        self.status = status
        self._wake()

    def join(self) -> Viewer:
        """A new viewer; raises OptionError when there are too many."""
        if len(self._viewers) >= MOST_VIEWERS:
            raise OptionError(
                f"{MOST_VIEWERS} viewers look already, and no more are served; close another page"
            )
        self._loop = asyncio.get_running_loop()
        viewer = Viewer(self)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake_viewers)

    def _wake_viewers(self) -> None:
        for viewer in self._viewers:
            viewer.wake()


class Viewer:
    """What one viewer is sent next."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._changed = asyncio.Event()
        self._status = ""
        self._serial = 0
        self._unseen: deque[int] = deque()
        self._errors: deque[str] = deque(maxlen=_MOST_ERRORS)

    def wake(self) -> None:
        self._changed.set()

    def seen(self, serial: int) -> None:
        """It has shown the picture of that serial number, so those before are done with too."""
        while self._unseen and self._unseen[0] <= serial:
            self._unseen.popleft()
        self.wake()

    def refuse(self, words: str) -> None:
        """Tell this viewer alone what went wrong; of many errors it gets the last ones."""
        self._errors.append(error_message(words))
        self.wake()

    async def next(self) -> str | bytes:
        """The next message, waited for: errors first, then a new status, then the newest picture."""
        while True:
            self._changed.clear()
            if self._errors:
                return self._errors.popleft()
            if self._status != self._hub.status:
                self._status = self._hub.status
                return self._status
            picture = self._hub.picture
            if picture is not None and picture[0] != self._serial and len(self._unseen) < _ON_THEIR_WAY:
                self._serial = picture[0]
                self._unseen.append(self._serial)
                return picture[1]
            await self._changed.wait()
