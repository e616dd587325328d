"""examples/mavlink_gimbal.py flown against a simulated vehicle over UDP, in simulated time."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pymavlink", reason="needs the extra 'mavlink'")

from gimbal_control import Direction, Mode, Pilot
from mavlink_gimbal import GimbalLink, LinkError, fly
from simulated_vehicle import FPS, PITCH_LIMITS, SIZE, Vehicle, ground

from uva_edge import SaliencyPredictor
from uva_edge.runtimes.sources import Frame

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "mavlink_gimbal.py"
NEUTRAL = Direction(0.0, math.radians(-45))
ACQUIRED_S = 1.0
BLANK = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


class Peak(NamedTuple):
    x: float
    y: float
    value: float


class Eye:
    """Stands in for a stream: sees the car to within some pixels, not always, and other things more strongly."""

    def __init__(self, vehicle: Vehicle, seed: int) -> None:
        self._vehicle, self._rng = vehicle, np.random.default_rng(seed)

    def push(self, pixels: Any) -> Eye:
        return self

    def peaks(self, count: int) -> list[Peak]:
        rng, (x, y) = self._rng, self._vehicle.car_in_frame()
        found = [
            Peak(rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1]), rng.uniform(0.3, 1)) for _ in range(4)
        ]
        if 0 <= x < SIZE[0] and 0 <= y < SIZE[1] and rng.random() > 0.15:
            found.append(Peak(x + rng.normal(0, 3), y + rng.normal(0, 3), 0.4))
        return found


class Blind:
    def push(self, pixels: Any) -> Blind:
        return self

    def peaks(self, count: int) -> list[Peak]:
        return []


@contextmanager
def answering(vehicle: Vehicle) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=vehicle.answer_while, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def flight(
    seed: int, image: NDArray[np.uint8] | None = None, patience: float = 600
) -> Iterator[tuple[Vehicle, GimbalLink, Pilot]]:
    """Connected and in control; time is the vehicle's."""
    port = free_port()
    vehicle = Vehicle(port, seed, image)
    link = GimbalLink(f"udpin:127.0.0.1:{port}", clock=lambda: vehicle.time, patience=patience)
    try:
        with answering(vehicle):
            link.connect()
        yield vehicle, link, Pilot(vehicle.camera, NEUTRAL)
    finally:
        link.close()
        vehicle.close()


def frames(vehicle: Vehicle, seconds: float, each: Callable[[], None] = lambda: None) -> Iterator[Frame]:
    """What the camera sees (nothing, without an image of the ground), one frame time after the other."""
    for index in range(round(seconds * FPS)):
        vehicle.step()
        each()
        yield Frame(index, vehicle.time, vehicle.frame() if vehicle.has_ground else BLANK, "camera")


def test_the_vehicle_s_camera_agrees_with_the_pinhole() -> None:
    """Two ways to where the car is: the projection that renders, and the ray that is steered by."""
    with flight(4) as (vehicle, link, _):
        for _ in range(20):
            vehicle.step()
            link.pump()
            assert link.attitude is not None
            pose, car = vehicle.pose(), vehicle.car.pose(vehicle.time)
            east, north = car.x - pose.x, pose.y - car.y
            expected = math.atan2(east, north), -math.atan2(vehicle.height, math.hypot(east, north))
            found = vehicle.camera.direction(*vehicle.car_in_frame(), link.attitude)
            assert found == pytest.approx(expected, abs=1e-4)


def share_inside(
    vehicle: Vehicle, link: GimbalLink, pilot: Pilot, stream: Any, seconds: float, *, moving: bool
) -> float:
    """Of the frames after the car was acquired, the share in which its middle is in the frame's middle third, across
    and down. It is shown to the pilot in the first frame."""
    inside: list[bool] = []

    def look() -> None:
        x, y = vehicle.car_in_frame()
        near = abs(x - vehicle.camera.cx) < SIZE[0] / 6 and abs(y - vehicle.camera.cy) < SIZE[1] / 6
        if vehicle.time > ACQUIRED_S:
            inside.append(near)

    fly(frames(vehicle, seconds, look), stream, pilot, link, at=vehicle.car_in_frame(), moving=moving)
    assert len(inside) >= (seconds - ACQUIRED_S) * FPS - 1
    return float(np.mean(inside))


@pytest.mark.parametrize("seed", range(8))
def test_the_car_stays_in_the_middle_third(seed: int) -> None:
    """For 90 % of 30 s, among peaks that come and go."""
    with flight(seed) as (vehicle, link, pilot):
        share = share_inside(vehicle, link, pilot, Eye(vehicle, seed), 30, moving=False)
        assert share >= 0.9
        assert pilot.attention.mode is Mode.ATTENDING


def test_the_network_keeps_the_car_in_the_middle_third() -> None:
    """As above with real saliency of rendered frames, and what moves near its peaks."""
    with (
        flight(0, ground(5)) as (vehicle, link, pilot),
        SaliencyPredictor("uva-64", backend="onnxruntime") as predictor,
        predictor.stream() as stream,
    ):
        assert share_inside(vehicle, link, pilot, stream, 12, moving=True) >= 0.9


def test_a_lost_target_is_waited_for_and_the_gimbal_goes_back(capsys: pytest.CaptureFixture[str]) -> None:
    with flight(1) as (vehicle, link, pilot):
        vehicle.step()
        fly(frames(vehicle, 4), Eye(vehicle, 1), pilot, link, at=vehicle.car_in_frame(), moving=False)
        away = vehicle.gimbal
        assert abs(away.yaw) + abs(away.pitch - NEUTRAL.pitch) > math.radians(4)
        fly(frames(vehicle, 12), Blind(), pilot, link, moving=False)
        heading = vehicle.pose().yaw
        assert vehicle.gimbal.pitch == pytest.approx(NEUTRAL.pitch, abs=math.radians(3))
        assert vehicle.gimbal.yaw == pytest.approx(
            heading, abs=math.radians(4)
        )  # the vehicle goes on turning
    told = [line.split()[-1] for line in capsys.readouterr().err.splitlines()]
    assert told[0] == "attending"
    assert told[-3:] == ["holding", "returning", "searching"]


def test_control_is_asked_for_and_given_back() -> None:
    with flight(0) as (vehicle, link, pilot):
        assert vehicle.commands[0] == "MAV_CMD_REQUEST_MESSAGE"
        assert "MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE" in vehicle.commands
        assert vehicle.owner == (1, 191)  # the vehicle's onboard computer
        fly(frames(vehicle, 1), Eye(vehicle, 0), pilot, link, at=(0, 0), moving=False)
        vehicle.pump()
        link.send(Direction(0.1, 0.1))
        link.close()
        vehicle.pump()
        assert vehicle.wanted == Direction(0.0, 0.0)
        assert vehicle.owner == (0, 0)


def test_a_silent_vehicle_ends_the_flight() -> None:
    with flight(0) as (vehicle, link, pilot):

        def cut() -> None:
            vehicle.silent = vehicle.time > 2

        with pytest.raises(LinkError, match=r"nothing was heard of the gimbal .* for 1 s"):
            fly(frames(vehicle, 10, cut), Eye(vehicle, 0), pilot, link, moving=False)
        assert vehicle.time == pytest.approx(3.1, abs=0.1)


def test_who_takes_control_has_it() -> None:
    with flight(0) as (vehicle, link, pilot):

        def take() -> None:
            vehicle.owner = (255, 190) if vehicle.time > 1 else vehicle.owner

        with pytest.raises(LinkError, match="system 255 component 190 has taken control"):
            fly(frames(vehicle, 10, take), Eye(vehicle, 0), pilot, link, moving=False)
        link.close()
        vehicle.pump()
        assert vehicle.owner == (255, 190)  # nothing is given back that is another's


def test_rates_that_nobody_renews_are_set_to_zero() -> None:
    """As when the camera's connection is lost, and the next frame is waited for."""
    with flight(0, patience=0.05) as (vehicle, link, _):
        link.send(Direction(0.25, -0.125))
        end = time.monotonic() + 20
        while len(vehicle.heard) < 2 and time.monotonic() < end:
            time.sleep(0.005)
            vehicle.pump()
        assert vehicle.heard == [Direction(0.25, -0.125), Direction(0.0, 0.0)]


def test_limits_of_the_pitch_are_kept() -> None:
    with flight(0) as (vehicle, link, _):
        for wanted, limit in ((-1.0, PITCH_LIMITS[0]), (1.0, PITCH_LIMITS[1])):
            for _ in range(60):
                vehicle.step()
                link.pump()
                link.send(Direction(0.0, wanted))
            vehicle.pump()
            assert vehicle.gimbal.pitch == pytest.approx(limit, abs=math.radians(0.6))
            assert vehicle.wanted.pitch == 0  # it is not pushed against its stop


def test_nobody_there() -> None:
    link = GimbalLink(f"udpin:127.0.0.1:{free_port()}")
    with pytest.raises(LinkError, match=r"no heartbeat of an autopilot within 0\.1 s; check the address"):
        link.connect(timeout=0.1)
    link.close()


def test_the_program_flies_a_clip(tmp_path: Path, flight_clip: Path) -> None:
    """The whole command, in real time, against the vehicle in a thread."""
    port = free_port()
    vehicle = Vehicle(port, 0)
    with answering(vehicle):
        words = [str(flight_clip), "--hfov", "55", "--link", f"udpin:127.0.0.1:{port}", "--bundle", "uva-32"]
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=120
        )
    vehicle.pump()
    owner, commands = vehicle.owner, vehicle.commands
    vehicle.close()
    assert done.returncode == 0, done.stderr
    assert commands.count("MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE") == 2
    assert owner == (0, 0)


@pytest.fixture
def flight_clip(tmp_path: Path, scene: Any) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 180))  # type: ignore[attr-defined]
    for frame in scene.frames(12):
        writer.write(frame.image)
    writer.release()
    return path
