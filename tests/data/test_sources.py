"""Every layout read: what comes out of which file, and in what order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.data.footage import Footage
from uva_edge.data.sources import OPENERS, open_footage
from uva_edge.data.still_images import list_stills
from uva_edge.data.synthetic import AerialScene
from uva_edge.errors import DamagedFileError, DataError, OptionError

Tell = Callable[[NDArray[np.uint8]], int]
MakeVideo = Callable[[Path, int], None]

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def names(footage: list[Footage]) -> list[str]:
    return [f"{item.dataset}/{item.name}" for item in footage]


def only(footage: list[Footage], name: str) -> Footage:
    (found,) = (item for item in footage if item.name == name)
    return found


# --- stills and clips -----------------------------------------------------------------------------------


def test_stills_in_the_order_of_the_table(annotated: Path, tell: Tell) -> None:
    stills = open_footage(f"stills:{annotated}", "train")
    assert names(stills) == ["osie/a", "sun500/b", "osie/d"]
    for still, number in zip(stills, (0, 1, 3), strict=True):
        assert still.kind == "still"
        (frame,) = still.read()
        assert frame.image.shape == (48, 64, 3)
        assert tell(frame.image) == number
        assert frame.density is None
        assert frame.teacher is not None
        assert (frame.teacher == 60 * (3 - number)).all()
    (first,) = stills[0].read()
    assert first.fixations is not None
    assert first.fixations.dtype == np.float32
    assert first.fixations.tolist() == [[0, 1], [0.125, 0.75]]
    assert names(list_stills(annotated, "train", "sun500")) == ["sun500/b"]


def test_clips_of_a_split(annotated: Path, tell: Tell) -> None:
    (clip,) = open_footage(f"clips:{annotated}", "val")
    assert (clip.name, clip.dataset, clip.kind) == ("v", "clips", "video")
    for number, frame in enumerate(clip.read()):
        assert tell(frame.image) == number
        assert frame.teacher is not None
        assert (frame.teacher == number).all()
        assert frame.fixations is None
        assert frame.density is None
    assert number == 8


def test_a_path_alone_holds_stills_clips_or_both(annotated: Path) -> None:
    assert names(open_footage(str(annotated), "train")) == ["osie/a", "sun500/b", "osie/d", "clips/t"]
    (annotated / "clips.csv").unlink()
    assert names(open_footage(str(annotated), "val")) == ["osie/c"]
    (annotated / "images.csv").unlink()
    with pytest.raises(DataError, match=r"annotated: expected images\.csv or clips\.csv"):
        open_footage(str(annotated), "val")


def test_without_teacher_maps_there_is_no_teacher(annotated: Path) -> None:
    shutil.rmtree(annotated / "teacher_maps")
    for item in open_footage(str(annotated), "train"):
        assert all(frame.teacher is None for frame in item.read())
        assert not any(path.suffix == ".npz" for path in item.files)


# --- AVS1K ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", ["avs1k/boat_1", "avs1k/car_02"]), ("val", ["avs1k/car_03"]), ("test", ["avs1k/car_04"])],
)
def test_avs1k_by_split(avs1k: Path, split: str, expected: list[str]) -> None:
    assert names(open_footage(f"avs1k:{avs1k}", split)) == expected


def test_avs1k_frames_with_their_ground_truth(avs1k: Path, tell: Tell) -> None:
    frames = list(only(open_footage(f"avs1k:{avs1k}", "train"), "car_02").read())
    assert [tell(frame.image) for frame in frames] == [1, 2, 3]
    for number, frame in enumerate(frames, 1):
        assert frame.density is not None
        assert frame.density.dtype == np.uint8
        assert frame.density.shape == (6, 8)
        assert np.flatnonzero(frame.density[0]).tolist() == [number]
        assert frame.fixations is None


def test_avs1k_copies_of_all_videos_in_one_folder(avs1k: Path) -> None:
    for part in ("Frame", "Ground"):
        folder = avs1k / "trainSet" / part
        for path in [*folder.glob("*/*")]:
            (folder / "32").mkdir(exist_ok=True)
            path.rename(folder / "32" / path.name)
    footage = open_footage(f"avs1k:{avs1k}", "train")
    assert names(footage) == ["avs1k/32/boat_1", "avs1k/32/car_02"]
    assert [len(list(item.read())) for item in footage] == [3, 3]


def test_a_black_density_tells_nothing(avs1k: Path) -> None:
    cv2.imwrite(str(avs1k / "validSet/Ground/car_03/car_03_00002.bmp"), np.zeros((6, 8), np.uint8))
    (video,) = open_footage(f"avs1k:{avs1k}", "val")
    assert [frame.density is None for frame in video.read()] == [False, True]


# --- DHF1K, Hollywood-2 and UCF-Sports ------------------------------------------------------------------


def test_dhf1k_videos_and_folders_of_frames(dhf1k: Path, tell: Tell) -> None:
    footage = open_footage(f"dhf1k:{dhf1k}", "train")
    assert names(footage) == ["dhf1k/0001", "dhf1k/0600"]
    assert names(open_footage(f"dhf1k:{dhf1k}", "val")) == ["dhf1k/0601"]
    for item, first in zip(footage, (0, 1), strict=True):
        assert item.kind == "video"
        assert all(path.is_file() for path in item.files)
        for number, frame in enumerate(item.read()):
            assert tell(frame.image) == number + first
            assert frame.density is not None
            assert np.flatnonzero(frame.density[0]).tolist() == [number + 1]
            assert frame.fixations is not None
            assert frame.fixations.dtype == np.float32
            # Pixel centres of rows 1 and 4 of 6, column n of 8.
            expected = [[(number + 1.5) / 8, 1.5 / 6], [(number + 1.5) / 8, 4.5 / 6]]
            assert np.allclose(frame.fixations, expected)
        assert number == 3


@pytest.mark.parametrize("kind", ["ucf", "hollywood2"])
def test_action_videos(ucf: Path, tell: Tell, kind: str) -> None:
    footage = open_footage(f"{kind}:{ucf}", "train")
    assert names(footage) == [f"{kind}/Dive-1", f"{kind}/Run-1"]
    assert names(open_footage(f"{kind}:{ucf}", "test")) == [f"{kind}/Dive-2"]
    frames = list(footage[0].read())
    assert [tell(frame.image) for frame in frames] == [1, 2, 3]
    assert all(frame.fixations is not None and len(frame.fixations) == 2 for frame in frames)
    with pytest.raises(DataError, match=f"{kind} has no 'val' split"):
        open_footage(f"{kind}:{ucf}", "val")


def test_fixations_of_an_inner_folder_are_preferred(ucf: Path, matlab: Callable[..., bytes]) -> None:
    inner = ucf / "testing/Dive-2/fixation/maps"
    inner.mkdir()
    for number in range(1, 4):
        fixated = np.zeros((2, 2), np.uint8)
        fixated[1, 0] = number > 1
        (inner / f"Dive-2_{number:03d}.mat").write_bytes(matlab(I=fixated))
    (video,) = open_footage(f"ucf:{ucf}", "test")
    first, *others = video.read()
    assert first.fixations is None, "nobody looked"
    for frame in others:
        assert frame.fixations is not None
        assert frame.fixations.tolist() == [[0.25, 0.75]]


# --- videos and the synthetic scene ---------------------------------------------------------------------


def test_any_folder_of_videos(videos: Path, tell: Tell) -> None:
    footage = open_footage(f"videos:{videos}", "train")
    assert names(footage) == ["videos/a/c", "videos/b"]
    frames = list(footage[0].read())
    assert [tell(frame.image) for frame in frames] == [0, 1, 2, 3]
    assert all(frame.teacher is None and frame.density is None for frame in frames)


def test_videos_with_stored_teacher_maps(videos: Path) -> None:
    for name, count in (("b", 3), ("a/c", 4)):
        path = videos / "teacher_maps" / "clips" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, maps=np.arange(count, dtype=np.uint8)[:, None, None] + np.ones((1, 2, 2), np.uint8))
    for item in open_footage(f"videos:{videos}", "train"):
        frames = list(item.read())
        assert [frame.teacher is not None and frame.teacher[0, 0] for frame in frames] == [
            number + 1 for number in range(len(frames))
        ]


def test_the_synthetic_scene_is_brightest_where_something_moves(scene: AerialScene) -> None:
    (flight,) = open_footage("synthetic:3:2", "train")
    frames = list(flight.read())
    assert len(frames) == 2
    truth = scene.frame(1)
    assert np.array_equal(frames[1].image, truth.image)
    assert {path.stem for path in flight.files} >= {"synthetic", "layout", "movers", "terrain"}
    assert all(path.is_file() for path in flight.files)
    assert flight.name != open_footage("synthetic:4:2", "train")[0].name
    mask = truth.mask.astype(np.float32)
    density = frames[1].density
    assert density is not None
    assert frames[1].fixations is None
    on_movers = cv2.resize(mask, density.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    assert density[on_movers].mean() > 2 * density.mean()


# --- words that name no footage -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "is no data: expected KIND:PLACE with a kind of stills, clips, avs1k"),
        ("nowhere", "'nowhere' is no data"),
        ("movies:nowhere", "'movies:nowhere' is no data"),
        ("stills:", "behind the colon"),
        ("synthetic:1", "expected synthetic:SEED:FRAMES"),
        ("synthetic:1:0", "of 1 to 100000 frames"),
        ("synthetic:-1:5", "expected synthetic:SEED:FRAMES"),
        ("synthetic:1:100001", "of 1 to 100000 frames"),
        ("synthetic:1:" + "9" * 5000, "expected synthetic:SEED:FRAMES"),
    ],
)
def test_other_words_are_refused(
    spec: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=words):
        open_footage(spec, "train")


def test_other_splits_are_refused(annotated: Path) -> None:
    with pytest.raises(OptionError, match="split is 'all'; expected 'train', 'val' or 'test'"):
        open_footage(str(annotated), "all")


@pytest.mark.parametrize("kind", [kind for kind in OPENERS if kind != "synthetic"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_folder_is_named(kind: str, split: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)) as raised:
        open_footage(f"{kind}:{tmp_path}", split)
    assert not isinstance(raised.value, DamagedFileError)


# --- the real data --------------------------------------------------------------------------------------


@pytest.mark.skipif(not (DATA / "images.csv").exists(), reason=f"no data at {DATA}")
def test_the_data_beside_the_repository() -> None:
    train, val = (open_footage(str(DATA), split) for split in ("train", "val"))
    stills = [item for item in train + val if item.kind == "still"]
    assert len(stills) == 1000
    assert len({item.name for item in train + val}) == len(train) + len(val)
    (frame,) = stills[0].read()
    assert frame.fixations is not None
    assert len(frame.fixations) > 50
    assert frame.teacher is not None
    assert frame.teacher.shape == (96, 128)
    clip = next(item for item in val if item.kind == "video")
    frames = list(clip.read())
    assert len(frames) >= 16
    assert all(frame.teacher is not None and frame.teacher.max() == 255 for frame in frames)
