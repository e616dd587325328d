"""Movies of every kind, written with PyAV, and a predictor that looks where it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.saliency import Saliency

Frames = Sequence[NDArray[np.uint8]]


def write_movie(
    path: Path,
    frames: Frames,
    *,
    rate: Fraction = Fraction(25),
    stamps: Sequence[float] | None = None,
    sound: str | None = None,
    codec: str = "libx264",
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """BGR frames at these seconds, or at the rate; `sound`: the codec of a second stream, of a tone."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options={"crf": "8", "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12800)
        stream.gop_size = 4
        prepare(stream)
        tone: Any = container.add_stream(sound, rate=48000) if sound else None
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            frame = frame.reformat(format=stream.pix_fmt)
            seconds = stamps[index] if stamps else float(index / rate)
            frame.pts, frame.time_base = round(seconds * 12800), Fraction(1, 12800)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone is not None:
            _write_tone(container, tone, len(frames) / float(rate))
    return path


def _write_tone(container: Any, stream: Any, seconds: float) -> None:
    samples = (8000 * np.sin(np.arange(round(seconds * 48000)) * 0.06)).astype(np.int16)[None]
    tone = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    tone.sample_rate, tone.pts = 48000, 0
    container.mux(stream.encode(tone))
    container.mux(stream.encode())


class Looker:
    """Stands in for a predictor: everybody looks at `where(frame's number)`, x and y in parts of the picture."""

    def __init__(self, where: Callable[[int], tuple[float, float]] = lambda _: (0.25, 0.5)) -> None:
        self.where = where
        self.resets = 0
        self.seen = 0

    def stream(self) -> Any:
        """Each reads the frames from the first on."""
        self.seen = 0
        return nullcontext(self)

    def reset(self) -> None:
        self.resets += 1

    def push(self, image: NDArray[np.uint8]) -> Saliency:
        x, y = self.where(self.seen)
        self.seen += 1
        at = (np.arange(32) + 0.5) / 32
        bell = np.exp(-((at[None] - x) ** 2 + (at[:, None] - y) ** 2) / 0.02)
        return Saliency(bell.astype(np.float32), (image.shape[1], image.shape[0]))


@pytest.fixture
def make_movie() -> Callable[..., Path]:
    return write_movie


@pytest.fixture
def looker() -> type[Looker]:
    return Looker
