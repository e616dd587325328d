"""Single files, hostile or broken: refused within bounds, or read as what they are."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.data import files
from uva_edge.data.files import (
    checked_name,
    decode_video,
    read_arrays,
    read_density,
    read_grey,
    read_image,
    read_map_shape,
    read_table,
    with_labels,
)
from uva_edge.errors import DamagedFileError, DataError

MAPS = np.arange(192, dtype=np.uint8).reshape(4, 6, 8)
NAMES = np.array(list("abcd"))
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


# --- tables and names -----------------------------------------------------------------------------------


def test_further_columns_and_quoted_values_are_fine(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('note,name\n"a, b",é\n', encoding="utf-8")
    assert [row["name"] for row in read_table(tmp_path / "t.csv", ("name",))] == ["é"]


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a\\b", "C:a", ".hidden", "a\0"])
def test_a_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv: .* is to name a file"):
        checked_name(Path("t.csv"), name)


@pytest.mark.parametrize("name", ["a", "seq-person12_p0", "frame 1 (of 2)", "é..b"])
def test_an_ordinary_name_passes(name: str) -> None:
    assert checked_name(Path("t.csv"), name) == name


# --- arrays ---------------------------------------------------------------------------------------------


def test_arrays_and_their_shape(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", names=NAMES, maps=MAPS)
        names, maps = read_arrays(tmp_path / "a.npz", "names", "maps")
        assert names.tolist() == NAMES.tolist()
        assert np.array_equal(maps, MAPS)
        assert read_map_shape(tmp_path / "a.npz") == MAPS.shape


SHAPE_OF_A_TERABYTE = npy(MAPS).replace(b"(4, 6, 8)", b"(9999999, 9999, 9)").replace(b" " * 9 + b"\n", b"\n")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (npy(MAPS)[:-5], "expected an .npz file"),
        (SHAPE_OF_A_TERABYTE, "expected an .npz file"),
        (npy(MAPS.astype(object)), "[Oo]bject arrays"),
        (b"none", "expected an .npz file"),
    ],
)
def test_broken_arrays_are_refused(tmp_path: Path, member: bytes, words: str) -> None:
    with pytest.raises(DataError, match=rf"a\.npz: .*{words}"):
        read_arrays(npz(tmp_path / "a.npz", maps=member), "maps")


def test_large_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path / "a.npz", maps=npy(MAPS))
    monkeypatch.setattr(files, "MAX_ARRAY_BYTES", 300)
    with pytest.raises(DataError, match=r"a\.npz: .*maps\.npy has 320 bytes, the limit is 300"):
        read_arrays(path, "maps")
    with pytest.raises(DataError, match="the limit is 300"):
        read_map_shape(path)


def test_the_shape_of_another_format_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, MAPS, version=(2, 0))
    with pytest.raises(DataError, match=r"a\.npz: .*version \(2, 0\) of the \.npy format"):
        read_map_shape(npz(tmp_path / "a.npz", maps=buffer.getvalue()))


@FUZZ
@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_arrays_are_refused_or_read(tmp_path: Path, place: float, value: int, cut: bool) -> None:
    path = tmp_path / "fuzz.npz"
    np.savez(path, names=NAMES, maps=MAPS)
    damage(path, place, value, cut)
    with suppress(DataError):
        names, maps = read_arrays(path, "names", "maps")
        assert len(names) == len(maps) == 4
    with suppress(DataError):
        assert read_map_shape(path)


def damage(path: Path, place: float, value: int, cut: bool) -> None:
    """Change one byte, or cut the file before it."""
    data = bytearray(path.read_bytes())
    index = int(place * (len(data) - 1))
    data[index] = value
    path.write_bytes(bytes(data[:index] if cut else data))


# --- images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", files.IMAGE_SUFFIXES)
def test_an_image_and_its_grey_values(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.full((48, 64, 3), (200, 100, 50), np.uint8))
    image, grey = read_image(path), read_grey(path)
    assert image.shape == (48, 64, 3)
    assert np.abs(image.mean(axis=(0, 1)) - (200, 100, 50)).max() < 3
    assert grey.shape == (48, 64)
    assert grey.dtype == np.uint8


@pytest.mark.parametrize("suffix", files.IMAGE_SUFFIXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_density_is_grey(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    cv2.imwrite(str(path), np.repeat(grey[:, :, None], channels, axis=2))
    density = read_density(path)
    assert density is not None
    assert density.shape == (48, 64)
    assert np.abs(density.astype(int) - grey).max() <= 3
    cv2.imwrite(str(path), np.zeros((48, 64, channels), np.uint8))
    assert read_density(path) is None


@pytest.mark.parametrize("suffix", files.IMAGE_SUFFIXES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_cut_image_is_damaged(tmp_path: Path, suffix: str, share: float) -> None:
    """OpenCV's imread fills up a cut JPEG and says nothing."""
    path = tmp_path / f"a{suffix}"
    data = cv2.imencode(suffix, noise())[1].tobytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DamagedFileError, match=rf"a{suffix}: expected an image, got \d+ bytes"):
        read_image(path)


def test_an_image_of_too_many_pixels_is_damaged(tmp_path: Path) -> None:
    """A few bytes that announce more pixels than OpenCV takes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(DamagedFileError, match=r"a\.png: expected an image"):
        read_image(tmp_path / "a.png")


def test_images_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), noise())
    monkeypatch.setattr(files, "MAX_SIDE", 63)
    with pytest.raises(DataError, match=r"a\.png: expected sides of at most 63 pixels, got \(48, 64\)"):
        read_image(path)
    monkeypatch.setattr(files, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(DataError, match=r"a\.png: more than 100 bytes; an image is smaller"):
        read_image(path)


def test_a_missing_image_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: No such file") as raised:
        read_image(tmp_path / "a.png")
    assert not isinstance(raised.value, DamagedFileError)


# --- videos ---------------------------------------------------------------------------------------------


def test_frames_come_one_after_the_other(tmp_path: Path, make_video: Callable[[Path, int], None]) -> None:
    make_video(tmp_path / "a.mp4", 3)
    frames = decode_video(tmp_path / "a.mp4")
    assert next(frames).shape == (48, 64, 3)
    assert len(list(frames)) == 2
    with pytest.raises(DataError, match=r"b\.mp4: No such file"):
        next(decode_video(tmp_path / "b.mp4"))


def test_a_video_with_a_broken_frame_in_it_ends_early(
    tmp_path: Path, make_video: Callable[[Path, int], None]
) -> None:
    path = tmp_path / "a.avi"
    make_video(path, 5)
    data = bytearray(path.read_bytes())
    third = [index for index in range(len(data)) if data[index : index + 4] == b"00dc"][2] + 8
    data[third : third + 400] = bytes(400)
    path.write_bytes(bytes(data))
    with pytest.raises(DamagedFileError, match=r"a\.avi: expected a video of 5 frames, could decode [0-4]"):
        list(decode_video(path))


def test_frames_are_bounded(
    tmp_path: Path, make_video: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "a.mp4", 2)
    monkeypatch.setattr(files, "MAX_SIDE", 63)
    with pytest.raises(DataError, match=r"a\.mp4: expected sides of at most 63"):
        next(decode_video(tmp_path / "a.mp4"))


@given(frames=st.integers(0, 6), labels=st.integers(0, 6))
def test_labels_are_as_many_as_frames(frames: int, labels: int) -> None:
    pictures = [np.full((1, 1, 3), number, np.uint8) for number in range(frames)]
    pairs = with_labels(iter(pictures), range(labels), Path("maps.npz"))
    if frames == labels:
        assert [(int(picture[0, 0, 0]), label) for picture, label in pairs] == [
            (number, number) for number in range(frames)
        ]
    else:
        found = "more" if frames > labels else f"{frames}$"
        with pytest.raises(DataError, match=rf"maps\.npz: labels of {labels} frames, .* has {found}"):
            list(pairs)
