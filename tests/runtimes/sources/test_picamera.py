"""picamera2, by an object that gives what its manual says: arrays with padding, formats named backwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.errors import OptionError
from uva_edge.preprocess import network_input
from uva_edge.runtimes.sources import open_picamera

SIZE = (46, 30)
BGR = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
LUMA = BGR[:, :, 0]
CHROMA = BGR[: SIZE[1] // 2, : SIZE[0] // 2, 1:]
PACKED = BGR[:, :, :2]


class FakePicamera:
    """Picamera2 as configured: its `make_array` lays a buffer out as picamera2's own does."""

    def __init__(self, format: str, buffer: NDArray[np.uint8], stride: int, stamps: list[int]) -> None:
        self._layout = {"format": format, "size": SIZE, "stride": stride, "framesize": buffer.size}
        self._buffer, self._stamps = buffer.ravel(), iter(stamps)
        self.requests = self.released = 0

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": self._layout, "lores": None, "raw": None}

    def capture_request(self) -> Any:
        self.requests += 1
        return FakeRequest(self, next(self._stamps))

    def array(self) -> NDArray[np.uint8]:
        format, (width, height), stride = (self._layout[key] for key in ("format", "size", "stride"))
        array = self._buffer.copy()
        if format in ("YUV420", "YVU420"):
            return array.reshape(height * 3 // 2, stride)
        if format == "YUYV":
            return array.reshape(height, stride // 2, 2)
        channels = 4 if format.startswith("X") else 3
        return array.reshape(height, stride)[:, : width * channels].reshape(height, width, channels)


class FakeRequest:
    def __init__(self, camera: FakePicamera, stamp: int) -> None:
        self._camera, self._stamp = camera, stamp

    def make_array(self, stream: str) -> NDArray[np.uint8]:
        assert stream == "main"
        return self._camera.array()

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": self._stamp, "FrameDuration": 33_333, "Lux": 400.0}

    def release(self) -> None:
        self._camera.released += 1


def padded(rows: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Bytes of rows, with rubbish up to the stride."""
    rows = rows.reshape(len(rows), -1)
    return np.pad(rows, ((0, 0), (0, stride - rows.shape[1])), constant_values=123)


def planes(u: NDArray[np.uint8], v: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    chroma = [padded(plane, stride // 2).ravel() for plane in (u, v)]
    return np.concatenate([padded(LUMA, stride).ravel(), *chroma])


DUMMY = np.full((SIZE[1], SIZE[0], 1), 255, np.uint8)
RGB = np.ascontiguousarray(BGR[:, :, ::-1])
CASES: dict[str, tuple[NDArray[np.uint8], int, Any, str]] = {
    "RGB888": (padded(BGR, 160), 160, BGR, "bgr"),
    "BGR888": (padded(RGB, 160), 160, RGB, "rgb"),
    "XRGB8888": (padded(np.dstack([BGR, DUMMY]), 192), 192, BGR, "bgr"),
    "XBGR8888": (padded(np.dstack([RGB, DUMMY]), 192), 192, RGB, "rgb"),
    "YUV420": (
        planes(CHROMA[..., 0], CHROMA[..., 1], 64),
        64,
        (LUMA, CHROMA[..., 0], CHROMA[..., 1]),
        "i420",
    ),
    "YVU420": (
        planes(CHROMA[..., 1], CHROMA[..., 0], 64),
        64,
        (LUMA, CHROMA[..., 0], CHROMA[..., 1]),
        "i420",
    ),
    "YUYV": (padded(PACKED, 96), 96, PACKED, "yuyv"),
}


@pytest.mark.parametrize("format", CASES)
def test_every_format_is_what_the_manual_says(format: str) -> None:
    buffer, stride, expected, color = CASES[format]
    stamps = [7_000_000_000 + 33_333_000 * place for place in (0, 1, 4)]
    camera = FakePicamera(format, buffer, stride, stamps)
    with open_picamera(camera, max_frames=3) as source:
        assert (source.kind, source.size, source.color, source.yuv_range) == ("camera", SIZE, color, "full")
        frames = list(source)
    for frame in frames:
        found = network_input(frame.pixels, 6, color=source.color, yuv_range="full")
        wanted = network_input(expected, 6, color=source.color, yuv_range="full")
        np.testing.assert_array_equal(found, wanted)
        assert frame.image.shape == (SIZE[1], SIZE[0], 3)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.033333, 0.133332])
    assert [frame.stamp_ns for frame in frames] == stamps
    assert source.dropped == 2
    assert (camera.requests, camera.released) == (3, 3)


def test_a_stream_that_is_not_configured() -> None:
    camera = FakePicamera("RGB888", BGR, SIZE[0] * 3, [])
    with pytest.raises(OptionError, match='without the stream "lores"'):
        open_picamera(camera, stream="lores")


def test_a_format_that_is_not_read() -> None:
    camera = FakePicamera("MJPEG", BGR, SIZE[0] * 3, [])
    with pytest.raises(OptionError, match="has the format MJPEG; expected one of RGB888"):
        open_picamera(camera)


def test_a_buffer_goes_back_when_its_array_can_t_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = FakePicamera("RGB888", BGR, SIZE[0] * 3, [1])
    monkeypatch.setattr(camera, "array", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_picamera(camera)
    assert camera.released == 1
