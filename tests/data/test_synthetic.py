"""The synthetic aerial scene: the same every time, true about what moves, and moving as promised."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple
from functools import cache
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.data.layout import WORLD
from uva_edge.data.synthetic import AerialScene, SceneFrame
from uva_edge.errors import OptionError

SIZE = (256, 144)
SAMPLED = range(0, 2626, 15)  # a lap of the flight, and more than the 2000 frames that are promised


@cache
def scene(seed: int = 7, size: tuple[int, int] = SIZE) -> AerialScene:
    return AerialScene(seed=seed, size=size)


@cache
def flight() -> tuple[SceneFrame, ...]:
    small = scene(size=(96, 54))
    return tuple(small.frame(index) for index in SAMPLED)


def to_world(camera: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = np.linalg.inv(np.vstack([camera, [0, 0, 1]]))
    return points @ inverse[:2, :2].T + inverse[:2, 2]


def corners(frame: SceneFrame) -> NDArray[np.float64]:
    height, width = frame.mask.shape
    edges = np.array([(0, 0), (width, 0), (width, height), (0, height)]) - 0.5
    return to_world(frame.camera, edges)


def assert_same(one: SceneFrame, other: SceneFrame, case: object) -> None:
    assert one.image.tobytes() == other.image.tobytes(), f"{case}: images differ"
    assert one.mask.tobytes() == other.mask.tobytes(), f"{case}: masks differ"
    assert one.boxes == other.boxes, f"{case}: boxes differ"
    assert one.camera.tobytes() == other.camera.tobytes(), f"{case}: cameras differ"
    assert (one.time, one.exposure) == (other.time, other.exposure), f"{case}: times or exposures differ"


def test_a_frame_is_what_it_says() -> None:
    frame = scene().frame(50)
    assert frame.image.shape == (144, 256, 3)
    assert frame.mask.shape == (144, 256)
    assert frame.camera.shape == (2, 3)
    types = [str(array.dtype) for array in (frame.image, frame.mask, frame.camera)]
    assert types == ["uint8", "bool", "float64"]
    assert frame.time == 2.0
    assert frame.image.std() > 15, "the frame is nearly uniform"
    assert 60 < frame.image.mean() < 190, "the frame is too dark or too bright"


def test_the_same_seed_and_time_give_the_same_bytes() -> None:
    again = AerialScene(seed=7, size=SIZE, fps=5.0)
    for index in (400, 3, 50):
        expected = scene().frame(5 * index)
        assert_same(again.frame(index), expected, f"{expected.time} s at 5 and at 25 frames per second")


def test_the_order_of_asking_does_not_matter() -> None:
    wanted = [44, 40, 43, 40]
    asked = {index: scene().frame(index) for index in wanted}
    for index, frame in zip(range(40, 45), scene().frames(5, start=40), strict=True):
        if index in asked:
            assert_same(frame, asked[index], f"frame {index}")


def test_the_number_of_threads_does_not_matter() -> None:
    usual = cv2.getNumThreads()
    known = scene(size=(96, 54)).frame(9)
    try:
        cv2.setNumThreads(4 if usual == 1 else 1)
        assert_same(
            AerialScene(seed=7, size=(96, 54)).frame(9), known, f"{cv2.getNumThreads()} and {usual} threads"
        )
    finally:
        cv2.setNumThreads(usual)


def test_seeds_are_different_worlds() -> None:
    for one, other in combinations((7, 8, 9), 2):
        first, second = (scene(seed, (96, 54)) for seed in (one, other))
        difference = cv2.absdiff(first.frame(0).image, second.frame(0).image).mean()
        assert difference > 10, f"seeds {one} and {other}: frames differ by {difference:.1f} levels"
        ground = cv2.absdiff(first._terrain.image, second._terrain.image).mean()
        assert ground > 10, f"seeds {one} and {other}: worlds differ by {ground:.1f} levels"


@pytest.mark.parametrize("index", [0, 333, 1250])
def test_the_mask_is_what_the_movers_change(index: int) -> None:
    with_movers, without = scene()._render(index), scene()._render(index, bodies=False)
    changed = (with_movers.image != without.image).any(axis=2)
    assert with_movers.mask.sum() > 50, "no mover is in view"
    assert not (changed & ~with_movers.mask).any(), "a mover is drawn outside the mask"
    share = changed[with_movers.mask].mean()
    assert share > 0.97, f"only {share:.2f} of the mask's pixels show a mover"
    assert not without.mask.any(), "a mask without movers"
    assert without.boxes == ()


@pytest.mark.parametrize("index", [0, 333, 1250])
def test_boxes_enclose_the_mask_tightly(index: int) -> None:
    frame = scene().frame(index)
    height, width = frame.mask.shape
    boxed = np.zeros_like(frame.mask)
    for box in frame.boxes:
        x, y, right, bottom = (int(v) for v in (box.x, box.y, box.x + box.width, box.y + box.height))
        assert 0 <= x < right <= width, f"{box} leaves the frame"
        assert 0 <= y < bottom <= height, f"{box} leaves the frame"
        inside = frame.mask[y:bottom, x:right]
        for name, edge in zip(
            ("top", "bottom", "left", "right"), (inside[0], inside[-1], *inside.T[[0, -1]]), strict=True
        ):
            assert edge.any(), f"{box}: no mover at its {name} edge"
        boxed[y:bottom, x:right] = True
    assert not (frame.mask & ~boxed).any(), "a mover has no box"
    count, _ = cv2.connectedComponents(frame.mask.astype(np.uint8))
    assert 1 < count <= len(frame.boxes) + 1, f"{count - 1} spots, {len(frame.boxes)} boxes"
    identities = [box.identity for box in frame.boxes]
    assert len(set(identities)) == len(identities), "two boxes share an identity"


def test_a_box_is_where_its_mover_is() -> None:
    frame = scene().frame(333)
    poses = scene()._traffic.poses(frame.time)
    height, width = frame.mask.shape
    whole = [
        b for b in frame.boxes if b.x > 0 and b.y > 0 and b.x + b.width < width and b.y + b.height < height
    ]
    assert len(whole) >= 3
    for box in whole:
        x, y = frame.camera[:, :2] @ poses[box.identity, :2] + frame.camera[:, 2]
        assert abs(box.x + (box.width - 1) / 2 - x) < 1.2, f"{box} is not at column {x:.1f}"
        assert abs(box.y + (box.height - 1) / 2 - y) < 1.2, f"{box} is not at row {y:.1f}"


def test_vehicles_and_people_are_nearly_always_in_view() -> None:
    kinds = [{box.kind for box in frame.boxes} for frame in flight()]
    for kind, least in (("vehicle", 0.85), ("person", 0.7)):
        share = np.mean([kind in seen for seen in kinds])
        assert share > least, f"a {kind} is in view in only {share:.2f} of the frames"
    assert np.mean([bool(seen) for seen in kinds]) > 0.97


def test_movers_move_over_the_ground() -> None:
    speeds: dict[str, list[float]] = {"vehicle": [], "person": []}
    size = np.array(SIZE)
    for index in range(0, 1000, 100):
        one, other = scene().frame(index), scene().frame(index + 10)
        later = {box.identity: box for box in other.boxes}
        for box in one.boxes:
            pair = [np.array(astuple(b)[:4]) for b in (box, later.get(box.identity, box))]
            if (
                all((b[:2] > 0).all() and (b[:2] + b[2:] < size).all() for b in pair)
                and pair[0] is not pair[1]
            ):
                places = [
                    to_world(frame.camera, b[:2] + (b[2:] - 1) / 2)
                    for frame, b in zip((one, other), pair, strict=True)
                ]
                speeds[box.kind].append(float(np.hypot(*(places[1] - places[0]))) / (other.time - one.time))
    assert len(speeds["vehicle"]) > 10
    assert len(speeds["person"]) > 10
    assert 5 < np.median(speeds["vehicle"]) < 16, f"vehicles drive {np.median(speeds['vehicle']):.1f} m/s"
    assert 0.7 < np.median(speeds["person"]) < 2.5, f"people walk {np.median(speeds['person']):.1f} m/s"
    assert np.std(speeds["vehicle"]) > 0.3, "all vehicles drive at one speed"
    assert max(speeds["vehicle"]) < 22


def test_the_camera_explains_the_ground_but_not_the_movers() -> None:
    still, moving = [], []
    for index in (20, 420, 820):
        one, other = scene().frame(index), scene().frame(index + 12)
        back = np.vstack([one.camera, [0, 0, 1]]) @ np.linalg.inv(np.vstack([other.camera, [0, 0, 1]]))
        aligned = cv2.warpAffine(other.image, back[:2], SIZE, flags=cv2.INTER_LINEAR)
        seen = cv2.warpAffine(np.full(SIZE[::-1], 255, np.uint8), back[:2], SIZE) == 255
        other_movers = cv2.warpAffine(other.mask.astype(np.uint8), back[:2], SIZE) > 0
        difference = np.abs(one.image / one.exposure - aligned / other.exposure).mean(axis=2)
        movers = cv2.dilate((one.mask | other_movers).astype(np.uint8), np.ones((9, 9))) > 0
        still.append(difference[seen & ~movers].mean())
        moving.append(difference[seen & one.mask].mean())
    assert max(still) < 8, f"the ground differs by {max(still):.1f} levels after alignment"
    assert min(moving) > 3 * max(still), f"movers {moving} against ground {still}"


def test_the_flight_stays_over_the_world() -> None:
    reach = np.concatenate([corners(frame) for frame in flight()])
    assert reach.min() > 0, f"the camera sees {-reach.min():.1f} m beyond the edge"
    assert reach.max() < WORLD, f"the camera sees {reach.max() - WORLD:.1f} m beyond the edge"


def test_the_camera_pans_zooms_and_yaws() -> None:
    cameras = np.stack([frame.camera for frame in flight()])
    middles = np.stack([corners(frame).mean(axis=0) for frame in flight()])
    assert (np.ptp(middles, axis=0) > 100).all(), f"the flight spans only {np.ptp(middles, axis=0)} m"
    zoom = np.hypot(cameras[:, 0, 0], cameras[:, 1, 0])
    assert 1.35 < zoom.max() / zoom.min() < 2.5, f"zoom by {zoom.max() / zoom.min():.2f}"
    yaw = np.unwrap(np.arctan2(cameras[:, 0, 1], cameras[:, 0, 0]))
    assert np.ptp(yaw) > 1.0, f"yaw over {np.ptp(yaw):.2f} rad"
    assert np.abs(np.diff(yaw)).max() < 0.3, "the camera jumps round"
    for camera in cameras:
        assert np.allclose(camera[:, 0] @ camera[:, 1], 0, atol=1e-9), "not a similarity"


def test_the_camera_shakes() -> None:
    middle = np.array([WORLD / 2, WORLD / 2, 1.0])
    track = np.stack([frame.camera @ middle for frame in scene(size=(96, 54)).frames(200)])
    # The flight is smooth: over a few frames a parabola fits it, and what is left is the shake.
    shake = np.diff(track, n=3, axis=0).std(axis=0)
    assert (shake > 0.02).all(), f"no shake: {shake} pixels of 96"
    assert np.abs(np.diff(track, axis=0)).max() < 2, "a leap that no camera makes"


def test_the_exposure_changes_and_the_image_follows() -> None:
    exposures = np.array([frame.exposure for frame in flight()])
    assert 1.3 < exposures.max() / exposures.min() < 2.2
    step = int(np.abs(np.diff(np.log(exposures))).argmax())
    dark, bright = sorted((flight()[step], flight()[step + 1]), key=lambda frame: frame.exposure)
    back = np.vstack([dark.camera, [0, 0, 1]]) @ np.linalg.inv(np.vstack([bright.camera, [0, 0, 1]]))
    aligned = cv2.warpAffine(bright.image, back[:2], (96, 54))
    both = (aligned > 20) & (aligned < 200) & (dark.image > 20)
    measured = np.median(aligned[both] / dark.image[both])
    assert measured == pytest.approx(bright.exposure / dark.exposure, rel=0.1)
    assert measured > 1.1


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (401, 203)])
def test_every_size_shows_the_same_flight(size: tuple[int, int]) -> None:
    frame, known = scene(size=size).frame(333), scene().frame(333)
    assert frame.image.shape == (size[1], size[0], 3)
    assert frame.image.std() > 5
    assert corners(frame).mean(axis=0) == pytest.approx(corners(known).mean(axis=0), abs=1e-6)
    assert frame.exposure == known.exposure
    assert frame.mask.any() == bool(frame.boxes)
    poses = scene(size=size)._traffic.poses(frame.time)
    assert poses == pytest.approx(scene()._traffic.poses(known.time))


def test_vehicles_never_run_into_each_other() -> None:
    traffic = scene()._traffic
    vehicles = np.array([mover.kind == "vehicle" for mover in traffic.movers])
    assert vehicles.sum() > 30
    assert len({mover.course for mover in traffic.movers if mover.kind == "vehicle"}) > 6
    for time in np.arange(0.0, 60.0, 0.1):
        x, y = traffic.poses(float(time))[vehicles, :2].T
        apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
        assert apart.min() > 2.3, f"two vehicles are {apart.min():.1f} m apart at {time:.1f} s"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1), ("seed", 1.5), ("seed", True), ("seed", None), ("seed", 2**31),
        ("size", (15, 16)), ("size", (1921, 1080)), ("size", (640, 1081)), ("size", (640.0, 360)),
        ("size", (640,)), ("size", 640), ("size", "640x360"), ("size", (True, 64)), ("size", None),
        ("fps", 0), ("fps", -25.0), ("fps", float("nan")), ("fps", float("inf")), ("fps", "25"),
        ("fps", True), ("fps", 1e-9), ("fps", 1j),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"^{name} is .*; expected"):
        AerialScene(**{name: value})


@pytest.mark.parametrize("value", [-1, 0.0, "1", None, True, 2**31])
def test_wrong_indices_are_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"^index is .*; expected"):
        scene().frame(value)
    with pytest.raises(OptionError, match=r"^count is .*; expected"):
        scene().frames(value)
    with pytest.raises(OptionError, match=r"^start is .*; expected"):
        scene().frames(1, start=value)


def test_no_frames_are_no_frames() -> None:
    assert list(scene().frames(0)) == []


def test_importing_it_imports_only_numpy() -> None:
    code = "import sys, uva_edge.data.synthetic; print({'cv2', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", f"it also imports {done.stdout.strip()}"
