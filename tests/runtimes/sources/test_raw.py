"""Raw video: the bytes of a pipe or file are the network's frames, and BGR only for who looks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.errors import OptionError, SourceError
from uva_edge.preprocess import COLORS, Color, YuvRange, frame_size, network_input
from uva_edge.runtimes.sources import RawFormat, open_source
from uva_edge.runtimes.sources.bgr import to_bgr


def noise(layout: RawFormat, frames: int) -> bytes:
    return np.random.default_rng(1).integers(0, 256, frames * layout.frame_bytes, np.uint8).tobytes()


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("size", [(32, 20), (34, 21)])
def test_a_file_of_raw_video_gives_its_frames(tmp_path: Path, color: Color, size: tuple[int, int]) -> None:
    layout = RawFormat(color, size)
    path = tmp_path / "clip.yuv"
    data = noise(layout, 3)
    path.write_bytes(data)
    with open_source(path, raw=layout, fps=10) as source:
        assert (source.kind, source.size, source.color, source.live) == ("raw", size, color, False)
        assert (source.frame_count, source.fps, source.path) == (3, 10, path)
        frames = list(source)
    assert [frame.time for frame in frames] == [0.0, 0.1, 0.2]
    assert source.problem is None
    for index, frame in enumerate(frames):
        assert frame_size(frame.pixels, color=color) == size
        planes = [frame.pixels] if isinstance(frame.pixels, np.ndarray) else list(frame.pixels)
        found = b"".join(plane.tobytes() for plane in planes)
        assert found == data[index * layout.frame_bytes : (index + 1) * layout.frame_bytes], f"frame {index}"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(COLORS),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(get_args(YuvRange)),
)
def test_bgr_is_what_the_network_sees(color: Color, width: int, height: int, yuv_range: YuvRange) -> None:
    """Each way has its own rounding, so they may be one level apart."""
    width += color == "yuyv" and width % 2
    layout = RawFormat(color, (width, height), yuv_range)
    pixels = layout.pixels(np.frombuffer(noise(layout, 1), np.uint8))
    image = to_bgr(pixels, color, yuv_range)
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    seen = network_input(pixels, (8, 12), color=color, yuv_range=yuv_range).astype(int)
    shown = network_input(image, (8, 12)).astype(int)
    assert np.abs(seen - shown).max() <= 1


@pytest.mark.parametrize("color", ["nv12", "i420"])
def test_bgr_of_one_array_is_that_of_its_planes(color: Color) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(16, 256, (30, 24), np.uint8)  # OpenCV cuts off darker luma
    layout = RawFormat(color, (24, 20))
    separate = to_bgr(layout.pixels(image.ravel()), color, "limited")
    np.testing.assert_array_equal(to_bgr(image, color, "limited"), separate)
    code = cv2.COLOR_YUV2BGR_NV12 if color == "nv12" else cv2.COLOR_YUV2BGR_I420
    assert np.abs(separate.astype(int) - cv2.cvtColor(image, code)).max() <= 1


@pytest.mark.parametrize("whole", [0, 2])
def test_a_short_last_frame_is_told(tmp_path: Path, whole: int) -> None:
    layout = RawFormat("nv12", (32, 20))
    path = tmp_path / "clip.nv12"
    path.write_bytes(noise(layout, whole) + bytes(100))
    words = f"ended within frame {whole}: 100 of the 960 bytes of a nv12 frame of 32x20"
    if not whole:
        with pytest.raises(SourceError, match=words):
            open_source(path, raw=layout)
        return
    with open_source(path, raw=layout) as source:
        assert sum(1 for _ in source) == whole
    assert source.problem is not None
    assert words in source.problem
    assert source.truncated


def test_a_pipe_is_read_as_it_is_written(tmp_path: Path) -> None:
    """In pieces that end anywhere."""
    layout, path = RawFormat("rgb", (16, 8)), tmp_path / "pipe"
    os.mkfifo(path)
    data = noise(layout, 4)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for start in range(0, len(data), 101):
                pipe.write(data[start : start + 101])

    thread = threading.Thread(target=write)
    thread.start()
    with open_source(path, raw=layout) as source:
        assert (source.live, source.frame_count, source.path) == (True, None, None)
        frames = b"".join(np.asarray(frame.pixels).tobytes() for frame in source)
    thread.join()
    assert frames == data
    assert source.problem is None


def test_the_latest_frame_of_a_pipe_and_closing_while_it_waits(tmp_path: Path) -> None:
    """Its sender is alive and silent: closing does not wait for it."""
    layout, path = RawFormat("gray", (8, 4)), tmp_path / "pipe"
    os.mkfifo(path)
    opened: list[Any] = []
    thread = threading.Thread(target=lambda: opened.append(path.open("wb", buffering=0)))
    thread.start()
    seen = threading.Event()

    def read() -> None:
        with open_source(path, raw=layout, latest=True) as source:
            assert next(iter(source)).image[0, 0, 0] == 7
        seen.set()

    reader = threading.Thread(target=read)
    reader.start()
    thread.join()
    opened[0].write(bytes([7] * layout.frame_bytes + [1, 2]))
    assert seen.wait(timeout=20)
    reader.join()
    opened[0].close()


@pytest.mark.parametrize("rest", [0, 77])
def test_the_command_predicts_standard_input(tmp_path: Path, rest: int) -> None:
    """A real process at the end of a real pipe; its maps are those of the same frames in Python."""
    from uva_edge import SaliencyPredictor

    layout = RawFormat("nv12", (64, 36), "full")
    data = noise(layout, 5)
    words = ["predict", "-", "--format", "nv12", "--size", "64x36", "--yuv-range", "full", "--fps", "20"]
    words += [
        "--bundle",
        "uva-32",
        "--backend",
        "onnxruntime",
        "--save",
        "npy,csv,video",
        "-o",
        str(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "uva_edge", *words], input=data + bytes(rest), capture_output=True, timeout=120
    )
    told = done.stderr.decode()
    assert done.returncode == (3 if rest else 0), told
    assert ("stdin ended within frame 5: 77 of the 3456 bytes" in told) == bool(rest), told
    frames = np.frombuffer(data, np.uint8).reshape(5, -1)
    with SaliencyPredictor("uva-32", backend="onnxruntime") as predictor:
        stream = predictor.stream(color="nv12", yuv_range="full")
        maps = [stream.push(layout.pixels(frame)).map for frame in frames]
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npy", allow_pickle=False), maps)
    times = {line.split(",")[1] for line in (tmp_path / "peaks.csv").read_text().splitlines()[1:]}
    assert times == {"0.000000", "0.050000", "0.100000", "0.150000", "0.200000"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nv21", (32, 20)), "one of bgr, rgb, gray, nv12, i420, yuyv; got 'nv21'"),
        (("nv12", (0, 20)), "got 0x20"),
        (("nv12", (32, 20000)), "got 32x20000"),
        (("yuyv", (31, 20)), "its width is even; got 31"),
        (("nv12", (32, 20), "tv"), 'must be "limited" or "full"'),
    ],
)
def test_a_layout_that_is_none(arguments: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        RawFormat(*arguments)


def test_what_raw_video_can_t_be(tmp_path: Path) -> None:
    layout = RawFormat("gray", (2, 2))
    (tmp_path / "a").write_bytes(bytes(8))
    with pytest.raises(OptionError, match="all count"):
        open_source(tmp_path / "a", raw=layout, latest=True)
    with pytest.raises(OptionError, match="a topic is of a ROS bag"):
        open_source(tmp_path / "a", raw=layout, topic="/a")
    with pytest.raises(OptionError, match="standard input has no header"):
        open_source("-")
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / "b", raw=layout)
    with pytest.raises(SourceError, match="Is a directory"):
        open_source(tmp_path, raw=layout)
