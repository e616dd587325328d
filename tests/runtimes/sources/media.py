"""Videos, images, a camera and servers for the tests of sources."""

from __future__ import annotations

import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

FRAMES = 24


FPS = 12


def level(index: int) -> int:
    """The grey that frame `index` of a test video has; coding and colour conversion move it by a few."""
    return 30 + 8 * index


def write_video(
    path: Path, codec: str = "mpeg4", frames: int = FRAMES, size: tuple[int, int] = (96, 64)
) -> Path:
    """Noise around a grey that rises with the frames, so that each frame has bytes to lose."""
    noise = np.random.default_rng(0)
    options = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.width, stream.height = size
        stream.bit_rate, stream.gop_size = 4_000_000, 4
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for index in range(frames):
            image = level(index) + noise.integers(-30, 31, (size[1], size[0], 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="bgr24")))
        container.mux(stream.encode())
    return path


def write_image(path: Path, value: int, size: tuple[int, int] = (20, 10)) -> Path:
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def cut(path: Path, part: float, target: Path) -> Path:
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * part)])
    return target


class FakeCapture:
    """What cv2.VideoCapture gives for a camera that delivers an image at each of these stamps (ms)."""

    def __init__(self, stamps: list[float], fps: float = 10.0, size: tuple[int, int] = (8, 6)) -> None:
        self.stamps, self.fps, self.size, self.released = stamps, fps, size, False
        self.position = -1

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        self.position += 1
        if self.position >= len(self.stamps):
            return False, None
        return True, np.full((self.size[1], self.size[0], 3), self.position, np.uint8)

    def get(self, prop: int) -> float:
        return {
            cv2.CAP_PROP_POS_MSEC: self.stamps[min(self.position, len(self.stamps) - 1)],
            cv2.CAP_PROP_FPS: self.fps,
            cv2.CAP_PROP_FRAME_COUNT: -1.0,
            cv2.CAP_PROP_FRAME_WIDTH: self.size[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self.size[1],
        }[prop]

    def release(self) -> None:
        self.released = True


@contextmanager
def listening() -> Iterator[tuple[int, list[Any]]]:
    """A port, and the list of those who connected to it."""
    callers: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                callers.append(address)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], callers
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
    thread.join()
