"""Sources whose every frame a test decides, and a view that is served to whoever asks."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.errors import SourceError
from uva_edge.runtimes.sources import Picture, Source
from uva_edge.runtimes.view.access import Access
from uva_edge.runtimes.view.choices import Choice, Choices
from uva_edge.runtimes.view.hub import Hub
from uva_edge.runtimes.view.loop import Look, PredictionLoop

CHOICE = Choice("uva-32", "onnxruntime", "fp32")
PATIENCE_S = 30.0
"""How long a test waits for what must come; a test that waits so long has failed."""


@dataclass
class Script:
    """A source: `frames` grey frames, each a level brighter, then its end. As a reader it counts what it gave.

    `gate` holds each read until it is set; `fails` is what is raised after the last frame; `refuses` what opening
    raises; `live` frames come as fast as they are read; `images` are shown instead of grey ones.
    """

    frames: int = 50
    fps: float = 100.0
    live: bool = False
    file: bool = False
    fails: str = ""
    refuses: str = ""
    remark: str = ""
    size: tuple[int, int] = (64, 48)
    images: Any = None
    gate: threading.Event = field(default_factory=threading.Event)
    opened: int = 0
    closed: int = 0
    given: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def open(self) -> Source:
        if self.refuses:
            raise SourceError(self.refuses)
        self.opened += 1
        kind = "camera" if self.live else "video"
        path = Path("/somewhere/clip.mp4") if self.file else None
        return Source(_Reader(self), kind, "script", path=path, fps=self.fps, live=self.live)  # type: ignore[arg-type]


class _Reader:
    def __init__(self, script: Script) -> None:
        self._script, self._at = script, 0

    def read(self) -> Picture | None:
        script = self._script
        if self._at:  # the first is read when it is opened
            assert script.gate.wait(PATIENCE_S)
        if self._at == script.frames:
            if script.fails:
                raise SourceError(script.fails)
            return None
        image = self._image()
        self._at += 1
        script.given += 1
        return Picture(image, None, "")

    def _image(self) -> NDArray[np.uint8]:
        if self._script.images is not None:
            return np.asarray(self._script.images[self._at])
        width, height = self._script.size
        image = np.full((height, width, 3), self._at % 256, np.uint8)
        image[: height // 2, : width // 2] = 255
        return image

    def problem(self, frames: int, seconds: float) -> str | None:
        return self._script.remark or None

    def close(self) -> None:
        self._script.closed += 1


@dataclass
class Listener:
    """An audience that keeps everything, for tests of the loop alone."""

    watched: bool = True
    pictures: list[tuple[int, bytes]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def show(self, serial: int, picture: bytes) -> None:
        with self.changed:
            self.pictures.append((serial, picture))
            self.changed.notify_all()

    def tell(self, status: str) -> None:
        with self.changed:
            self.statuses.append(json.loads(status))
            self.changed.notify_all()

    def wait_for(self, what: Callable[[], Any]) -> Any:
        with self.changed:
            found = self.changed.wait_for(what, PATIENCE_S)
        assert found, f"waited in vain; states were {[status['state'] for status in self.statuses]}"
        return found

    def wait_state(self, *states: str) -> dict[str, Any]:
        self.wait_for(lambda: self.statuses[-1]["state"] in states)
        return self.statuses[-1]


def header_of(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """A picture message taken apart, as the page does it."""
    length = int.from_bytes(message[:4], "big")
    header = json.loads(message[4 : 4 + length])
    parts, at = [], 4 + length
    for size in header["parts"]:
        parts.append(message[at : at + size])
        at += size
    assert at == len(message)
    return header, parts


@dataclass
class Served:
    """A running server: plain HTTP to it, and WebSockets."""

    loop: PredictionLoop
    hub: Hub
    port: int
    end: Callable[[], None]

    def get(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers={"Host": f"localhost:{self.port}", **headers})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def connect(self, origin: str | None = "same", host: str = "localhost", **headers: str) -> Any:
        """A viewer, with the page's own origin unless the test says another."""
        from websockets.sync.client import connect

        own = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        return connect(
            f"ws://{host}:{self.port}/live",
            sock=own,
            origin=f"http://{host}:{self.port}" if origin == "same" else origin,  # type: ignore[arg-type]
            additional_headers=headers,
            proxy=None,
            max_size=None,
            compression=None,
        )


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def taken_apart() -> Callable[[bytes], tuple[dict[str, Any], list[bytes]]]:
    return header_of


@pytest.fixture
def make_loop(listener: Listener) -> Iterator[Callable[..., PredictionLoop]]:
    """A loop of a script, told to `listener`; closed when the test ends."""
    with ExitStack() as stack:

        def _make(script: Script, **options: Any) -> PredictionLoop:
            loop = PredictionLoop(script.open, Choices("uva-32"), CHOICE, listener, **options)
            stack.callback(loop.close)
            return loop

        yield _make


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serve a script at a port of its own, in a thread; the loop is not started."""
    for package in ("starlette", "uvicorn", "websockets"):
        pytest.importorskip(package, reason="needs the extra 'view'")
    from uva_edge.runtimes.view import server

    with ExitStack() as stack:

        def _serve(script: Script, token: str | None = None, **options: Any) -> Served:
            hub = Hub()
            look = options.pop("look", Look(64))
            loop = PredictionLoop(script.open, Choices("uva-32"), CHOICE, hub, look=look, **options)
            stack.callback(loop.close)
            listening = stack.enter_context(server.bind("127.0.0.1", 0))
            port = listening.getsockname()[1]
            app = server.make_app(hub, loop, Access("127.0.0.1", token), port)
            running: list[Any] = []
            thread = threading.Thread(
                target=server.run, args=(app, listening), kwargs={"ready": running.append}
            )
            thread.start()

            def end() -> None:
                running[0].should_exit = True
                thread.join(PATIENCE_S)
                assert not thread.is_alive(), "the server did not end"

            stack.callback(end)
            return Served(loop, hub, port, end)

        yield _serve
