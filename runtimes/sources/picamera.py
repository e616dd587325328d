"""Raspberry Pi cameras through picamera2, whose object the caller makes and configures.

::

    from picamera2 import Picamera2
    from uva_edge.runtimes.sources import open_picamera

    camera = Picamera2()
    camera.configure(camera.create_video_configuration(lores={"size": (320, 240), "format": "YUV420"}))
    camera.start()
    with open_picamera(camera, stream="lores") as source:
        stream = predictor.stream(color=source.color, yuv_range=source.yuv_range)
        for frame in source:
            saliency = stream.push(frame.pixels)

The names of the formats are libcamera's, which count from the lowest byte of a word: "RGB888" is B, G, R in memory
("BGR888" is R, G, B), as the Picamera2 manual says in its chapter on image formats:
https://datasheets.raspberrypi.com/camera/picamera2-manual.pdf
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError
from uva_edge.preprocess import Color, YuvRange
from uva_edge.preprocess import Frame as Pixels

from .source import Losses, Picture, Source

_COLORS: Final[dict[str, Color]] = {
    "RGB888": "bgr",
    "BGR888": "rgb",
    "XRGB8888": "bgr",  # and a fourth byte, which is not used
    "XBGR8888": "rgb",
    "YUV420": "i420",
    "YVU420": "i420",
    "YUYV": "yuyv",
}


def open_picamera(
    camera: Any, *, stream: str = "main", yuv_range: YuvRange = "full", max_frames: int | None = None
) -> Source:
    """Frames of a Picamera2 that was configured and started. It stays the caller's: closing the source leaves it on.

    A small stream saves no time in the prediction, which reads a fixed number of samples, but in the copy that
    picamera2 makes of every frame.

    Args:
        stream: "main" or "lores".
        yuv_range: of YUV formats: "full" is picamera2's own choice for previews and stills (sYCC), "limited" is what a
            video configuration has (SMPTE 170M, Rec. 709).

    Raises:
        OptionError: there is no such stream, or its format is not supported.
    """
    configuration = camera.camera_configuration()
    layout = configuration.get(stream)
    if not layout:
        raise OptionError(
            f'the camera is configured without the stream "{stream}"; give it in create_..._configuration'
        )
    if layout["format"] not in _COLORS:
        raise OptionError(
            f'the stream "{stream}" has the format {layout["format"]}; expected one of {", ".join(_COLORS)}'
        )
    losses = Losses()
    return Source(
        _Picamera(camera, stream, layout["format"], tuple(layout["size"]), losses), "camera", f"picamera {stream}",
        live=True, max_frames=max_frames, color=_COLORS[layout["format"]], yuv_range=yuv_range, losses=losses,
    )  # fmt: skip


def picamera_pixels(array: NDArray[np.uint8], format: str, size: tuple[int, int]) -> Pixels:
    """A frame for `network_input` of an array as picamera2 gives it, without a copy.

    Args:
        array: uint8, of ``make_array`` or ``capture_array``. RGB888, BGR888: [H, W, 3]. XRGB8888, XBGR8888: [H, W, 4].
            YUV420, YVU420: [H * 3 / 2, stride], rows of Y and then of chroma, two of them in each row, all padded to
            the stride. YUYV: [H, stride / 2, 2].
        size: (width, height) of the stream.
    """
    width, height = size
    if format in ("YUV420", "YVU420"):
        stride = array.shape[1]
        chroma = array[height:].reshape(2, (height + 1) // 2, stride // 2)[:, :, : (width + 1) // 2]
        u, v = chroma if format == "YUV420" else chroma[::-1]
        return array[:height, :width], u, v
    return array[:, :width, :2] if format == "YUYV" else array[:, :width, :3]


class _Picamera:
    """Stamps are the sensor's: nanoseconds since the machine was started."""

    def __init__(self, camera: Any, stream: str, format: str, size: tuple[int, int], losses: Losses) -> None:
        self._camera, self._stream, self._format, self._size = camera, stream, format, size
        self._losses = losses
        self._start: int | None = None
        self._last = 0

    def read(self) -> Picture | None:
        request = self._camera.capture_request()
        try:  # the camera has few buffers: each goes back at once
            array, facts = request.make_array(self._stream), request.get_metadata()
        finally:
            request.release()
        stamp = facts.get("SensorTimestamp")
        pixels = picamera_pixels(array, self._format, self._size)
        name = f"picamera {self._stream}"
        if stamp is None:
            return Picture(pixels, None, name)
        if self._start is None:
            self._start = self._last = stamp
        if lasts := facts.get("FrameDuration"):  # microseconds
            self._losses.dropped += max(0, round((stamp - self._last) / 1000 / lasts) - 1)
        self._last = stamp
        return Picture(pixels, (stamp - self._start) / 1e9, name, stamp)

    def problem(self, frames: int, seconds: float) -> str | None:
        return f"the camera stopped after {frames} frames"

    def close(self) -> None:
        """The camera is the caller's."""
