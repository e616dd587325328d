"""The hub: to every viewer the newest, to nobody a queue."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from uva_edge.errors import OptionError
from uva_edge.runtimes.view.hub import MOST_VIEWERS, Hub, Viewer

Result = TypeVar("Result")


def soon(waiting: Awaitable[Result]) -> Awaitable[Result]:
    return asyncio.wait_for(waiting, 10)


async def nothing_comes(viewer: Viewer) -> bool:
    try:
        await asyncio.wait_for(viewer.next(), 0.05)
    except asyncio.TimeoutError:
        return True
    return False


def test_a_late_viewer_gets_the_status_and_the_last_picture() -> None:
    async def late() -> None:
        hub = Hub()
        hub.tell("running")
        hub.show(4, b"four")
        viewer = hub.join()
        assert await soon(viewer.next()) == "running"
        assert await soon(viewer.next()) == b"four"
        assert await nothing_comes(viewer)

    asyncio.run(late())


def test_a_viewer_that_acknowledges_nothing_gets_two_pictures() -> None:
    async def slow() -> None:
        hub = Hub()
        viewer, other = hub.join(), hub.join()
        got, got_by_other = [], []
        for serial in range(1, 101):
            hub.show(serial, b"%d" % serial)
            got_by_other.append(await soon(other.next()))
            other.seen(serial)
            if len(got) < 2:
                got.append(await soon(viewer.next()))
        assert got == [b"1", b"2"]
        assert await nothing_comes(viewer)
        assert len(got_by_other) == 100, "nobody waits for the slow one"
        viewer.seen(1)
        assert await soon(viewer.next()) == b"100", "the newest, not the third"

    asyncio.run(slow())


def test_an_acknowledgement_counts_for_what_came_before_it() -> None:
    async def counted() -> None:
        hub = Hub()
        viewer = hub.join()
        for serial in (1, 2):
            hub.show(serial, b"%d" % serial)
            await soon(viewer.next())
        viewer.seen(2)
        for serial in (3, 4):
            hub.show(serial, b"%d" % serial)
            assert await soon(viewer.next()) == b"%d" % serial
        viewer.seen(10**9)  # of a viewer that lies: it gets more, and only harms itself
        hub.show(5, b"5")
        assert await soon(viewer.next()) == b"5"

    asyncio.run(counted())


def test_the_last_status_and_the_last_errors_are_kept() -> None:
    async def told() -> None:
        hub = Hub()
        viewer = hub.join()
        for number in range(1000):
            hub.tell(f"status {number}")
            viewer.refuse(f"error {number}")
        messages = [await soon(viewer.next()) for _ in range(5)]
        assert messages[-1] == "status 999"
        assert [json.loads(text)["message"] for text in messages[:4]] == [
            f"error {n}" for n in range(996, 1000)
        ]
        assert await nothing_comes(viewer)

    asyncio.run(told())


def test_pictures_come_from_another_thread() -> None:
    async def threaded() -> None:
        hub = Hub()
        viewer = hub.join()
        waiting = asyncio.ensure_future(soon(viewer.next()))
        await asyncio.sleep(0.01)
        thread = threading.Thread(target=hub.show, args=(1, b"one"))
        thread.start()
        assert await waiting == b"one"
        thread.join()

    asyncio.run(threaded())


def test_it_is_watched_while_there_are_viewers_and_they_are_counted() -> None:
    async def counted() -> None:
        hub = Hub()
        assert not hub.watched
        viewers = [hub.join() for _ in range(MOST_VIEWERS)]
        assert hub.watched
        with pytest.raises(OptionError, match=str(MOST_VIEWERS)):
            hub.join()
        for viewer in viewers:
            hub.leave(viewer)
        assert not hub.watched

    asyncio.run(counted())


def test_what_comes_after_the_event_loop_is_lost_and_harmless() -> None:
    hub = Hub()

    async def joined() -> None:
        hub.join()

    asyncio.run(joined())
    hub.show(1, b"one")
    hub.tell("stopped")
    assert hub.picture == (1, b"one")
