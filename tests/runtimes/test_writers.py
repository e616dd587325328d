"""Writers: what they write is exact and complete, or is not there."""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.errors import MissingPackageError, OptionError, OutputError
from uva_edge.runtimes.sources import Frame
from uva_edge.runtimes.writers import (
    MapArray,
    MapImages,
    OverlayVideo,
    PeakTable,
    Writer,
    contact_sheet,
    write_png,
)
from uva_edge.saliency import Saliency

SIDE = 8


def frame(index: int, size: tuple[int, int] = (32, 24), value: int = 100) -> Frame:
    return Frame(index, index / 10, np.full((size[1], size[0], 3), value, np.uint8), "clip.mp4")


def saliency(seed: int, size: tuple[int, int] = (32, 24)) -> Saliency:
    return Saliency(np.random.default_rng(seed).random((SIDE, SIDE), np.float32), size)


def fill(writer: Writer, count: int, size: tuple[int, int] = (32, 24)) -> None:
    for index in range(count):
        writer.add(frame(index, size), saliency(index, size))


def decoded(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


FILES: dict[str, Callable[[Path], Writer]] = {
    "video": lambda folder: OverlayVideo(folder / "out.mp4", 10),
    "array": lambda folder: MapArray(folder / "out.npy"),
    "table": lambda folder: PeakTable(folder / "out.csv"),
}
each_file = pytest.mark.parametrize("make", FILES.values(), ids=FILES.keys())


# --- files appear whole or not at all


@each_file
def test_file_appears_on_close_and_replaces_the_old_one_only_then(
    tmp_path: Path, make: Callable[[Path], Writer]
) -> None:
    writer = make(tmp_path)
    writer.path.write_bytes(b"old")
    fill(writer, 4)
    assert writer.path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    assert writer.close() == writer.path
    assert len(writer.path.read_bytes()) > 100
    assert list(tmp_path.iterdir()) == [writer.path]
    assert stat.S_IMODE(writer.path.stat().st_mode) == 0o666 & ~current_umask()
    whole = writer.path.read_bytes()
    writer.close()
    writer.discard()
    assert writer.path.read_bytes() == whole


@each_file
def test_discard_leaves_what_was_there(tmp_path: Path, make: Callable[[Path], Writer]) -> None:
    first = make(tmp_path)
    first.discard()
    old = first.path
    old.write_bytes(b"old")
    for count in (0, 4):
        writer = make(tmp_path)
        fill(writer, count)
        writer.discard()
        writer.discard()
        assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"old"


@each_file
def test_no_frame_no_file(tmp_path: Path, make: Callable[[Path], Writer]) -> None:
    assert make(tmp_path).close() is None
    assert list(tmp_path.iterdir()) == []


@each_file
def test_places_that_can_t_be_written_are_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Writer]
) -> None:
    with pytest.raises(OutputError, match=r"no/out\..*No such file or directory; create its folder first"):
        make(tmp_path / "no")
    first = make(tmp_path)
    first.discard()
    first.path.mkdir()
    with pytest.raises(OutputError, match="is a directory or a device"):
        make(tmp_path)


def test_a_device_is_never_replaced_and_a_link_stays_a_link(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="device"):
        MapArray("/dev/null")
    (tmp_path / "real").mkdir()
    (tmp_path / "link.npy").symlink_to(tmp_path / "real" / "maps.npy")
    writer = MapArray(tmp_path / "link.npy")
    fill(writer, 2)
    assert writer.close() == tmp_path / "real" / "maps.npy"
    assert (tmp_path / "link.npy").is_symlink()
    assert np.load(tmp_path / "link.npy").shape == (2, SIDE, SIDE)


class Full(io.BytesIO):
    """A file on a disk that is full after `room` bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: Any) -> int:
        self.room -= len(bytes(data))
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)

    def fileno(self) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("make", [FILES["array"], FILES["table"]], ids=["array", "table"])
@pytest.mark.parametrize("room", [0, 600, 10**9])
def test_full_disk_names_the_file_and_the_reason(
    tmp_path: Path, make: Callable[[Path], Writer], room: int
) -> None:
    writer: Any = make(tmp_path)
    writer._file.stream.close()
    writer._file.stream = Full(room)
    with pytest.raises(OutputError, match=r"out\.\w+ can't be written: No space left on device; free"):
        fill_and_close(writer, 30)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("video", 1_000), ("video", 40_000), ("video", 200_000), ("array", 60_000), ("images", 9_000)],
)
def test_a_real_limit_on_the_file_s_size_is_reported(tmp_path: Path, kind: str, limit: int) -> None:
    """In a process of its own, whose files may have so many bytes: what FFmpeg and the kernel really do."""
    script = f"""
        import resource, sys
        import numpy as np
        from uva_edge.errors import OutputError
        from uva_edge.runtimes.sources import Frame
        from uva_edge.runtimes.writers import MapArray, MapImages, OverlayVideo
        from uva_edge.saliency import Saliency
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        noise = np.random.default_rng(0)
        writer = {{
            "video": lambda: OverlayVideo("out.mp4", 10),
            "array": lambda: MapArray("out.npy"),
            "images": lambda: MapImages("maps", full_size=True),
        }}["{kind}"]()
        try:
            for index in range(20):
                image = noise.integers(0, 256, (240, 320, 3), np.uint8)
                map = noise.random((64, 64), np.float32)
                writer.add(Frame(index, 0.0, image, "x"), Saliency(map, (320, 240)))
            writer.close()
        except OutputError as error:
            writer.discard()
            print(error)
            sys.exit(3)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, ""), done.stdout
    assert "can't be written: File too large; the system limits the size of files" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def fill_and_close(writer: Writer, count: int) -> None:
    fill(writer, count)
    writer.close()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- video


def test_video_holds_the_overlays_in_order(tmp_path: Path) -> None:
    writer = OverlayVideo(tmp_path / "out.mp4", 10, alpha=0.6, peaks=1, crf=10)
    size = (64, 48)
    for index in range(12):
        writer.add(frame(index, size, 20 * index), saliency(index, size))
    writer.close()
    images = [picture.to_ndarray(format="bgr24").astype(int) for picture in decoded(writer.path)]
    assert len(images) == 12
    for index, image in enumerate(images):
        expected = saliency(index, size).overlay(frame(index, size, 20 * index).image, alpha=0.6, peaks=1)
        assert np.abs(image - expected).mean() < 6, index


def test_video_is_what_browsers_play(tmp_path: Path) -> None:
    writer = OverlayVideo(tmp_path / "out.mp4", 30000 / 1001)
    fill(writer, 9)
    writer.close()
    with av.open(str(writer.path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.frames) == (Fraction(30000, 1001), 9)
        assert (stream.codec_context.color_range, stream.codec_context.colorspace) == (1, 5)
    times = [float(picture.time) for picture in decoded(writer.path)]
    assert times == pytest.approx([index * 1001 / 30000 for index in range(9)])
    data = writer.path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "the index must come first"


@pytest.mark.parametrize("color", [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0)])
def test_video_keeps_colors_and_range(tmp_path: Path, color: tuple[int, int, int]) -> None:
    writer = OverlayVideo(tmp_path / "out.mp4", 10)
    image = np.full((48, 64, 3), color, np.uint8)
    writer.add(Frame(0, 0.0, image, "x"), Saliency(np.zeros((SIDE, SIDE), np.float32), (64, 48)))
    writer.close()
    ok, shown = cv2.VideoCapture(str(writer.path)).read()
    assert ok
    assert shown[24, 32].tolist() == pytest.approx(color, abs=4)


@pytest.mark.parametrize(
    ("size", "coded"), [((33, 25), (34, 26)), ((32, 25), (32, 26)), ((1, 1), (2, 2)), ((2, 2), (2, 2))]
)
def test_odd_sizes_gain_a_copy_of_the_last_line(
    tmp_path: Path, size: tuple[int, int], coded: tuple[int, int]
) -> None:
    writer = OverlayVideo(tmp_path / "out.mp4", 10, alpha=0, crf=1)
    ramp = np.linspace(20, 220, size[0]).astype(np.uint8)
    image = np.repeat(np.tile(ramp, (size[1], 1))[:, :, None], 3, axis=2)
    writer.add(Frame(0, 0.0, image, "x"), saliency(0, size))
    writer.close()
    (picture,) = decoded(writer.path)
    shown = picture.to_ndarray(format="bgr24").astype(int)
    assert shown.shape == (coded[1], coded[0], 3)
    padded = np.pad(image, ((0, coded[1] - size[1]), (0, coded[0] - size[0]), (0, 0)), mode="edge")
    assert np.abs(shown - padded).max() <= 4


def test_frames_of_another_size_are_stretched_to_the_first(tmp_path: Path) -> None:
    writer = OverlayVideo(tmp_path / "out.mp4", 10, alpha=0)
    for index, size in enumerate([(40, 30), (81, 61), (10, 90)]):
        writer.add(frame(index, size, 60 * (index + 1)), saliency(index, size))
    writer.close()
    images = [picture.to_ndarray(format="bgr24") for picture in decoded(writer.path)]
    assert [image.shape for image in images] == [(30, 40, 3)] * 3
    assert [float(image.mean()) for image in images] == pytest.approx([60, 120, 180], abs=4)


def test_video_without_pyav_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'uva-edge\[video\]'") as caught:
        OverlayVideo(tmp_path / "out.mp4", 10)
    assert caught.value.__suppress_context__
    assert list(tmp_path.iterdir()) == []


def test_pyav_without_h264_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(MissingPackageError, match="libx264"):
        OverlayVideo(tmp_path / "out.mp4", 10)


@pytest.mark.parametrize(
    "arguments", [{"fps": 0}, {"fps": float("nan")}, {"fps": 2000}, {"crf": 60}, {"threads": 0}]
)
def test_video_options_out_of_range(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(arguments))):
        OverlayVideo(tmp_path / "out.mp4", **{"fps": 10, **arguments})
    assert list(tmp_path.iterdir()) == []


# --- maps


@given(values=st.lists(st.floats(0, 1, width=32), min_size=SIDE * SIDE, max_size=SIDE * SIDE))
@settings(max_examples=25)
def test_map_image_is_the_map_times_255_rounded(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "exact"
    writer = MapImages(folder)
    given_map = np.array(values, np.float32).reshape(SIDE, SIDE)
    writer.add(frame(3), Saliency(given_map, (32, 24)))
    assert writer.close() == folder.resolve()
    image = cv2.imread(str(folder / "000003.png"), cv2.IMREAD_UNCHANGED)
    assert image.shape == (SIDE, SIDE)
    assert image.dtype == np.uint8
    assert np.abs(image - given_map.astype(np.float64) * 255).max() <= 0.5001


def test_map_images_are_named_by_frame_and_stay(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "maps"
    writer = MapImages(folder, full_size=True)
    fill(writer, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["000000.png", "000001.png", "000002.png"]
    image = cv2.imread(str(folder / "000002.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(image, np.rint(saliency(2).resized() * 255))
    writer.discard()
    assert len(list(folder.iterdir())) == 3


def test_map_images_without_a_frame_leave_only_what_was_there(tmp_path: Path) -> None:
    assert MapImages(tmp_path / "new").close() is None
    assert MapImages(tmp_path).close() is None
    assert tmp_path.exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="File exists"):
        MapImages(tmp_path / "file")


@pytest.mark.parametrize("count", [1, 9, 10, 101])
def test_map_array_loads_and_is_exact(tmp_path: Path, count: int) -> None:
    writer = MapArray(tmp_path / "maps.npy")
    fill(writer, count)
    writer.close()
    maps = np.load(tmp_path / "maps.npy", allow_pickle=False)
    assert (maps.shape, maps.dtype) == ((count, SIDE, SIDE), np.dtype("<f4"))
    assert np.array_equal(maps, [saliency(index).map for index in range(count)])
    assert (tmp_path / "maps.npy").stat().st_size == 128 + maps.nbytes
    assert np.array_equal(np.load(tmp_path / "maps.npy", mmap_mode="r")[-1], maps[-1])


def test_map_array_goes_to_disk_as_it_comes(tmp_path: Path) -> None:
    writer = MapArray(tmp_path / "maps.npy")
    fill(writer, 400)
    (partial,) = tmp_path.iterdir()
    assert partial.stat().st_size > 300 * 4 * SIDE * SIDE
    writer.discard()


def test_map_array_holds_maps_of_one_size(tmp_path: Path) -> None:
    writer = MapArray(tmp_path / "maps.npy")
    fill(writer, 1)
    with pytest.raises(OutputError, match=r"holds maps of \(8, 8\), got one of \(4, 4\)"):
        writer.add(frame(1), Saliency(np.ones((4, 4), np.float32), (32, 24)))
    writer.discard()


# --- table


def test_peak_table_has_a_row_per_peak(tmp_path: Path) -> None:
    writer = PeakTable(tmp_path / "peaks.csv", peaks=2)
    spots = np.zeros((SIDE, SIDE), np.float32)
    spots[1, 2], spots[6, 5] = 0.5, 1.0
    writer.add(Frame(0, 0.0, frame(0).image, 'a "b",\nc.png'), Saliency(spots, (32, 24)))
    writer.add(Frame(1, 0.1, frame(1).image, "ü\udcff.png"), Saliency(np.zeros_like(spots), (32, 24)))
    writer.add(Frame(2, 1 / 3, frame(2).image, "ü\udcff.png"), Saliency(spots.T.copy(), (32, 24)))
    writer.close()
    with (tmp_path / "peaks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["frame", "time_s", "name", "rank", "x", "y", "value"],
        ["0", "0.000000", 'a "b",\nc.png', "1", "21.50", "19.00", "1.000000"],
        ["0", "0.000000", 'a "b",\nc.png', "2", "9.50", "4.00", "0.500000"],
        ["2", "0.333333", "ü\\udcff.png", "1", "25.50", "16.00", "1.000000"],
        ["2", "0.333333", "ü\\udcff.png", "2", "5.50", "7.00", "0.500000"],
    ]


def test_peak_table_wants_a_peak(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="peaks must be 1 or more, got 0"):
        PeakTable(tmp_path / "peaks.csv", peaks=0)


# --- pictures


def test_png_is_exact_and_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / "a.png"
    assert write_png(path, image) == path
    assert np.array_equal(cv2.imread(str(path)), image)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"a\.png can't be written: No space left"):
        write_png(path, image * 0)
    assert list(tmp_path.iterdir()) == [path]
    assert np.array_equal(cv2.imread(str(path)), image)


def colored(width: int, height: int, color: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((height, width, 3), color, np.uint8)


def test_contact_sheet_places_pictures_row_by_row() -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0), (0, 90, 90)]
    sheet = contact_sheet([colored(30, 20, color) for color in colors], 3, gutter=4)
    assert sheet.shape == (4 + 2 * 24, 4 + 3 * 34, 3)
    for place, color in enumerate(colors):
        row, column = divmod(place, 3)
        y, x = 4 + 24 * row, 4 + 34 * column
        assert (sheet[y : y + 20, x : x + 30] == color).all(), place
    assert (sheet[:4] == 32).all()
    assert (sheet[28:48, 72:] == 32).all(), "the last cell is empty"


def test_contact_sheet_keeps_proportions_and_prints_captions() -> None:
    pictures = [colored(40, 20, (0, 0, 200)), colored(100, 400, (0, 200, 0))]
    plain = contact_sheet(pictures, 2, captions=["", ""], gutter=2)
    printed = contact_sheet(pictures, 2, captions=["map", "a caption far too long for this"], gutter=2)
    assert (plain[2:22, 2:42] == (0, 0, 200)).all()
    tall = (plain[2:22, 44:84] == (0, 200, 0)).all(axis=2)
    assert tall.sum() == 20 * 5
    changed = (plain != printed).any(axis=2)
    assert changed[22:40, 2:42].any()
    assert changed[22:40, 44:84].any()
    changed[22:40, 2:42] = changed[22:40, 44:84] = False
    assert not changed.any(), "a caption stays below its own picture"


@pytest.mark.parametrize(("count", "columns", "captions"), [(0, 1, ()), (1, 0, ()), (2, 1, ("one",))])
def test_contact_sheet_refuses_what_it_can_t_lay_out(
    count: int, columns: int, captions: tuple[str, ...]
) -> None:
    with pytest.raises(OptionError, match="got"):
        contact_sheet([colored(4, 4, (1, 2, 3))] * count, columns, captions=captions)
