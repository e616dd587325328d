"""Images: one, a folder, a pattern."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import cut, write_image

from uva_edge.errors import OptionError, SourceError
from uva_edge.runtimes.sources import NOMINAL_FPS, open_source


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif", "ppm"])
def test_image_is_a_source_of_one_frame(tmp_path: Path, suffix: str) -> None:
    with open_source(write_image(tmp_path / f"a.{suffix}", 77)) as source:
        assert (source.kind, source.size, source.fps, source.frame_count) == ("image", (20, 10), None, 1)
        (frame,) = source
    assert (frame.index, frame.time, frame.name, frame.image.shape) == (0, 0.0, f"a.{suffix}", (10, 20, 3))
    assert np.abs(frame.image.astype(int) - 77).max() <= 2
    assert source.problem is None


@pytest.mark.parametrize(("value", "expected"), [(0, (0, 0, 0)), (40000, (156, 156, 156))])
def test_deep_and_gray_images_become_bgr_bytes(tmp_path: Path, value: int, expected: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 6), value, np.uint16))
    (frame,) = open_source(tmp_path / "deep.png")
    assert (frame.image.shape, frame.image.dtype) == ((4, 6, 3), np.uint8)
    assert tuple(frame.image[0, 0]) == expected


def test_folder_is_read_in_natural_order_whatever_else_lies_there(tmp_path: Path) -> None:
    order = ["Frame1.png", "frame02.png", "frame2.png", "frame10.JPG", "frame10b.png", "other.bmp"]
    for value, name in enumerate(order):
        target = tmp_path / name
        source = write_image(tmp_path / f"tmp{target.suffix.lower()}", 20 * value, (10 + value, 8))
        source.rename(target)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._frame3.png").write_text("a resource fork")
    (tmp_path / "folder.png").mkdir()
    with open_source(tmp_path) as source:
        assert (source.kind, source.frame_count, source.size) == ("images", 6, (10, 8))
        frames = list(source)
    assert [frame.name for frame in frames] == order
    assert [frame.image.shape[1] for frame in frames] == [10, 11, 12, 13, 14, 15]
    assert [int(frame.image.mean() + 0.5) for frame in frames] == pytest.approx(
        [0, 20, 40, 60, 80, 100], abs=2
    )
    assert [frame.time for frame in frames] == pytest.approx([index / NOMINAL_FPS for index in range(6)])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif"])
def test_damaged_image_in_a_folder_is_named(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "a1.png", 9)
    whole = tmp_path / f"whole.{suffix}"
    cv2.imwrite(str(whole), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    cut(whole, 0.6, tmp_path / f"a2.{suffix}")
    whole.unlink()
    frames = iter(open_source(tmp_path))
    assert next(frames).name == "a1.png"
    with pytest.raises(SourceError, match=rf"a2\.{suffix}"):
        next(frames)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_first_image_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.png is empty"):
        open_source(tmp_path)


# --- patterns


def write_numbered(folder: Path, numbers: Iterable[int], shape: str = "f%03d.png") -> None:
    for number in numbers:
        write_image(folder / (shape % number), number % 200)


def test_a_numbered_pattern_follows_its_numbers_and_tells_the_gaps(tmp_path: Path) -> None:
    write_numbered(tmp_path, [8, 9, 10, 13, 14, 16, 1000])
    for name in ("f12.png", "f0011.png", "g011.png", "f011.png.txt"):  # none of them is what %03d would be
        (tmp_path / name).write_bytes(b"")
    with open_source(tmp_path / "f%03d.png", fps=10) as source:
        assert (source.kind, source.name, source.frame_count, source.fps) == ("images", "f%03d.png", 7, 10)
        frames = list(source)
    assert [frame.name for frame in frames] == [f"f{n:03d}.png" for n in (8, 9, 10, 13, 14, 16, 1000)]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.5, 0.6, 0.8, 99.2])
    assert source.problem is not None
    assert source.problem.startswith(
        "986 images are missing between f008.png and f1000.png, of number 11-12, 15, 17-999;"
    )


def test_a_numbered_pattern_without_gaps_is_whole(tmp_path: Path) -> None:
    write_numbered(tmp_path, range(95, 105), "%d.png")
    with open_source(tmp_path / "%d.png") as source:
        assert [frame.name for frame in source] == [f"{n}.png" for n in range(95, 105)]
    assert source.problem is None


def test_a_glob_is_read_in_natural_order(tmp_path: Path) -> None:
    write_numbered(tmp_path, [1, 2, 10, 7], "a%d.png")
    write_image(tmp_path / "b.jpg", 3)
    (tmp_path / "a.png").mkdir()
    with open_source(tmp_path / "a*.png", fps=5) as source:
        frames = list(source)
    assert [frame.name for frame in frames] == ["a1.png", "a2.png", "a7.png", "a10.png"]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert source.problem is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x%04d.png", "no file fits this pattern"),
        ("x*.png", "no file fits this pattern"),
        ("%d-%d.png", "expected one number in the name"),
        ("%d-%s.png", "expected one number in the name"),
        ("none/%d.png", "does not exist"),
    ],
)
def test_a_pattern_that_names_nothing(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / name)


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    for name in ("a[1].png", "b%d.png", "c*.png"):
        with open_source(write_image(tmp_path / name, 50)) as source:
            assert (source.kind, source.name) == ("image", name)


@pytest.mark.parametrize("fps", [0, -1, 1001, math.nan])
def test_a_rate_that_is_none(tmp_path: Path, fps: float) -> None:
    with pytest.raises(OptionError, match="fps must be above 0"):
        open_source(tmp_path, fps=fps)
