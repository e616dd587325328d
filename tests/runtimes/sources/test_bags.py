"""ROS bags, written by rosbags: both generations, every encoding, stamps, and damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rosbags", reason="needs the extra 'ros'")

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from uva_edge.errors import OptionError, SourceError
from uva_edge.preprocess import network_input
from uva_edge.runtimes.sources import open_source
from uva_edge.runtimes.sources.bags import image_pixels

START = 1_700_000_000_123_456_789
STEP = 33_366_700
SIZE = (16, 12)
KINDS = ("ros1", "sqlite3", "mcap")


def header(types: dict[str, Any], kind: str, stamp: int) -> Any:
    time = types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    fields = {"stamp": time, "frame_id": "camera"}
    return types["std_msgs/msg/Header"](**fields, **({"seq": 0} if kind == "ros1" else {}))


def image(
    types: dict[str, Any], head: Any, encoding: str, rows: NDArray[np.uint8], size: tuple[int, int]
) -> Any:
    return types["sensor_msgs/msg/Image"](
        header=head, height=size[1], width=size[0], encoding=encoding, is_bigendian=0, step=rows.shape[1],
        data=rows.ravel(),
    )  # fmt: skip


def write_bag(folder: Path, kind: str, topics: dict[str, Sequence[Callable[..., Any] | None]]) -> Path:
    """A bag whose topics have these messages, one a frame time; each is made of (types, header)."""
    store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
    if kind == "ros1":
        path = folder / "flight.bag"
        writer: Any = Writer1(path)
    else:
        path = folder / "flight"
        plugin = StoragePlugin.SQLITE3 if kind == "sqlite3" else StoragePlugin.MCAP
        writer = Writer2(path, version=9, storage_plugin=plugin)
    serialize = store.serialize_ros1 if kind == "ros1" else store.serialize_cdr
    with writer:
        for topic, makers in topics.items():
            connection = None
            for index, make in enumerate(makers):
                stamp = START + index * STEP
                message = make(store.types, header(store.types, kind, stamp)) if make else text(store.types)
                if connection is None:
                    connection = writer.add_connection(topic, message.__msgtype__, typestore=store)
                # Recorded later than taken, by more each time.
                writer.write(
                    connection, stamp + 5_000_000 * (index + 1), serialize(message, message.__msgtype__)
                )
    return path


def text(types: dict[str, Any]) -> Any:
    return types["std_msgs/msg/String"](data="no image")


def bgr(value: int) -> Callable[..., Any]:
    rows = np.full((SIZE[1], SIZE[0] * 3), value, np.uint8)
    return lambda types, head: image(types, head, "bgr8", rows, SIZE)


def compressed(value: int, suffix: str = "png", format: str = "png") -> Callable[..., Any]:
    data = cv2.imencode(f".{suffix}", np.full((SIZE[1], SIZE[0], 3), value, np.uint8))[1]
    return lambda types, head: types["sensor_msgs/msg/CompressedImage"](header=head, format=format, data=data)


@pytest.mark.parametrize("kind", KINDS)
def test_images_come_with_the_stamps_of_their_headers(tmp_path: Path, kind: str) -> None:
    path = write_bag(tmp_path, kind, {"/camera/image": [bgr(10 * i) for i in range(6)], "/words": [None] * 3})
    with open_source(path) as source:
        assert (source.kind, source.size, source.color, source.frame_count) == ("bag", SIZE, "bgr", 6)
        assert (source.name, source.path, source.live) == (f"{path.name} /camera/image", path, False)
        frames = list(source)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 10, 20, 30, 40, 50]
    assert [frame.stamp_ns for frame in frames] == [START + index * STEP for index in range(6)]
    assert [frame.time for frame in frames] == pytest.approx([index * STEP / 1e9 for index in range(6)])
    assert source.problem is None


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_several_topics_is_asked_for(tmp_path: Path, kind: str) -> None:
    path = write_bag(
        tmp_path, kind, {"/left": [bgr(1)] * 2, "/right/compressed": [compressed(2)] * 3, "/w": [None]}
    )
    for spec, topic in ((f"bag:{path}?topic=/right/compressed", None), (str(path), "/right/compressed")):
        with open_source(spec, topic=topic) as source:
            assert [int(frame.image[0, 0, 0]) for frame in source] == [2, 2, 2]
    for topic, message in {
        None: "several topics have images; its topics with images are /left, /right/compressed",
        "/w": "no images of the topic /w; its topics with images are /left, /right/compressed",
    }.items():
        with pytest.raises(SourceError, match=message):
            open_source(path, topic=topic)
    with pytest.raises(OptionError, match="given twice"):
        open_source(f"bag:{path}?topic=/left", topic="/right")


def test_a_bag_without_images_says_so(tmp_path: Path) -> None:
    path = write_bag(tmp_path, "ros1", {"/words": [None] * 3})
    with pytest.raises(SourceError, match="no images; it has no topics with images"):
        open_source(path)
    with pytest.raises(SourceError, match="does not exist"):
        open_source(f"bag:{tmp_path}/none.bag")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_compressed_images_are_decoded(tmp_path: Path, suffix: str) -> None:
    path = write_bag(tmp_path, "ros1", {"/a": [compressed(90, suffix, f"bgr8; {suffix} compressed bgr8")]})
    with open_source(path) as source:
        (frame,) = source
    assert np.abs(frame.image.astype(int) - 90).max() <= 1


def test_a_compressed_image_that_is_none(tmp_path: Path) -> None:
    def broken(types: dict[str, Any], head: Any) -> Any:
        data = np.arange(50, dtype=np.uint8)
        return types["sensor_msgs/msg/CompressedImage"](header=head, format="h264", data=data)

    path = write_bag(tmp_path, "mcap", {"/a": [compressed(1), broken]})
    with open_source(path) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(SourceError, match="format 'h264' can't be decoded"):
            next(frames)


# --- encodings

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
YUYV = RNG.integers(0, 256, (SIZE[1], SIZE[0], 2), np.uint8)
LUMA = RNG.integers(0, 256, (SIZE[1], SIZE[0]), np.uint8)
CHROMA = RNG.integers(0, 256, (SIZE[1] // 2, SIZE[0] // 2, 2), np.uint8)
ALPHA = np.dstack([RGB, LUMA])
NV12 = np.concatenate([LUMA, CHROMA.reshape(SIZE[1] // 2, -1)])
NV21 = np.concatenate([LUMA, CHROMA[:, :, ::-1].reshape(SIZE[1] // 2, -1)])

ENCODINGS = {
    "rgb8": (RGB, RGB, "rgb"),
    "bgr8": (RGB, RGB, "bgr"),
    "8UC3": (RGB, RGB, "bgr"),
    "rgba8": (ALPHA, RGB, "rgb"),
    "bgra8": (ALPHA, RGB, "bgr"),
    "mono8": (LUMA, LUMA, "gray"),
    "8UC1": (LUMA, LUMA, "gray"),
    "yuv422_yuy2": (YUYV, YUYV, "yuyv"),
    "yuyv": (YUYV, YUYV, "yuyv"),
    "yuv422": (YUYV[:, :, ::-1], YUYV, "yuyv"),  # U Y V Y
    "uyvy": (YUYV[:, :, ::-1], YUYV, "yuyv"),
    "nv12": (NV12, (LUMA, CHROMA), "nv12"),
    "nv21": (NV21, (LUMA, CHROMA), "nv12"),
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_read_as_ros_defines_it(tmp_path: Path, encoding: str, padding: int) -> None:
    recorded, expected, color = ENCODINGS[encoding]
    rows = np.pad(np.ascontiguousarray(recorded).reshape(len(recorded), -1), ((0, 0), (0, padding)))
    path = write_bag(
        tmp_path, "mcap", {"/a": [lambda types, head: image(types, head, encoding, rows, SIZE)] * 2}
    )
    with open_source(path) as source:
        assert source.color == color
        for frame in source:
            found = network_input(frame.pixels, 4, color=source.color, yuv_range=source.yuv_range)
            np.testing.assert_array_equal(found, network_input(expected, 4, color=color))  # type: ignore[arg-type]
            assert frame.image.shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoding": "16UC1"}, "encoding '16UC1' are not supported; expected one of rgb8"),
        ({"step": 47}, "needs 12 rows of 48 bytes or more; got a step of 47"),
        ({"data": np.zeros(500, np.uint8)}, "and 500 bytes"),
        ({"width": 0}, "an image of 0x12"),
        ({"height": 2**31, "width": 2**31}, "an image of 2147483648x2147483648"),
    ],
)
def test_fields_that_contradict_each_other(change: dict[str, Any], message: str) -> None:
    fields = {"height": 12, "width": 16, "step": 48, "encoding": "bgr8", "data": np.zeros(576, np.uint8)}
    with pytest.raises(SourceError, match=message):
        image_pixels(type("Message", (), {**fields, **change}))


def test_an_encoding_that_changes_ends_the_frames(tmp_path: Path) -> None:
    rows = LUMA
    gray = lambda types, head: image(types, head, "mono8", rows, SIZE)  # noqa: E731
    with open_source(write_bag(tmp_path, "ros1", {"/a": [bgr(1), gray]})) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(SourceError, match="changes from bgr to gray after 1 messages"):
            next(frames)


# --- damage


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.995])
def test_a_truncated_bag_is_told(tmp_path: Path, kind: str, part: float) -> None:
    noise = RNG.integers(0, 256, (SIZE[1], SIZE[0] * 3), np.uint8)
    path = write_bag(
        tmp_path, kind, {"/a": [lambda types, head: image(types, head, "bgr8", noise, SIZE)] * 40}
    )
    file = path if kind == "ros1" else next(path.glob("*.mcap" if kind == "mcap" else "*.db3"))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    told, frames = "", 0
    try:
        with open_source(path) as source:
            for frame in source:
                assert frame.image.shape == (SIZE[1], SIZE[0], 3)
                frames += 1
        told = source.problem or ""
    except SourceError as error:
        told = str(error)
    # The last page of an SQLite file may hold nothing of the messages.
    assert told or (kind == "sqlite3" and frames == 40), f"{kind} cut to {part} was taken for whole"


@pytest.mark.parametrize("name", ["a.bag", "b.mcap"])
def test_garbage_that_begins_like_a_bag(tmp_path: Path, name: str) -> None:
    magic = b"#ROSBAG V2.0\n" if name == "a.bag" else b"\x89MCAP0\r\n"
    (tmp_path / name).write_bytes(magic + RNG.bytes(5000))
    with pytest.raises(SourceError, match="can't be read as a ROS bag"):
        open_source(tmp_path / name)
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: 7")
    with pytest.raises(SourceError, match="can't be read as a ROS bag"):
        open_source(tmp_path)


def test_the_table_of_peaks_has_the_stamps(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from uva_edge.cli import main

    noise = [RNG.integers(0, 256, (SIZE[1], SIZE[0] * 3), np.uint8) for _ in range(3)]
    makers = [lambda types, head, rows=rows: image(types, head, "rgb8", rows, SIZE) for rows in noise]
    path = write_bag(tmp_path, "sqlite3", {"/a": makers, "/b": [bgr(0)]})
    words = [
        "predict",
        str(path),
        "--topic",
        "/a",
        "--save",
        "csv",
        "-o",
        str(tmp_path / "out"),
        "--bundle",
        "uva-32",
    ]
    result = CliRunner().invoke(main, [*words, "--backend", "onnxruntime"])
    assert result.exit_code == 0, result.stderr
    rows = [line.split(",") for line in (tmp_path / "out" / "peaks.csv").read_text().splitlines()]
    assert rows[0] == ["frame", "time_s", "name", "rank", "x", "y", "value", "stamp_ns"]
    assert {int(row[-1]) - START - int(row[0]) * STEP for row in rows[1:]} == {0}
    assert {row[0] for row in rows[1:]} == {"0", "1", "2"}
