"""A vehicle with a gimbal and a camera that hovers over the synthetic aerial scene, in steps of simulated time.

It speaks MAVLink over UDP as an autopilot with a gimbal manager does, integrates the rates that it is sent with the
delay, lag and limits of a real gimbal, drifts and turns in the wind, and renders what its camera sees: the ground of
`AerialScene` as a plane, with a car that drives its own way. What else stands in the scene stands still.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ["MAVLINK20"] = "1"
from gimbal_control import Direction, Pinhole, wrapped
from pymavlink import mavutil
from pymavlink.dialects.v20 import common as mavlink

from uva_edge.data.synthetic import AerialScene

FPS = 20
SIZE = (480, 270)
HFOV = math.radians(55)
PITCH_LIMITS = (math.radians(-85), math.radians(-20))

_GROUND = (1280, 720)
_METRE = _GROUND[0] / 96  # pixels of ground
_HEIGHT = 25.0
_HOME = (48.0, 52.0)  # metres on the ground, right and down (south)
_DELAY = 2  # steps from a command to its effect
_LAG_S = 0.08
_FASTEST = math.radians(90)
_GIMBAL = 154
_CORNERS = ((1, 1), (1, -1), (-1, -1), (-1, 1))
# Shadow, body and windows: length, width, shift to the right and down in metres, BGR.
_CAR = ((4.6, 2.0, 0.5, (40, 45, 45)), (4.6, 1.9, 0.0, (35, 40, 215)), (2.2, 1.5, 0.0, (60, 50, 60)))


def ground(seed: int) -> NDArray[np.uint8]:
    """96 x 54 metres, uint8 [720, 1280, 3] BGR."""
    return AerialScene(seed=seed, size=_GROUND).frame(0).image


class Pose(NamedTuple):
    """On the ground, in metres right and down; `yaw` from north, growing to the right."""

    x: float
    y: float
    yaw: float


@dataclass(frozen=True)
class Car:
    """Drives a figure that never repeats itself, at some 3 to 8 m/s."""

    seed: int

    def pose(self, time: float) -> Pose:
        phases = np.random.default_rng(self.seed).uniform(0, 2 * np.pi, 4)

        def at(moment: float) -> tuple[float, float]:
            waves = [
                math.sin(2 * math.pi * moment / period + phase)
                for period, phase in zip((31, 13, 23, 11), phases, strict=True)
            ]
            return 48 + 20 * waves[0] + 6 * waves[1], 24 + 9 * waves[2] + 4 * waves[3]

        (x, y), (further_x, further_y) = at(time), at(time + 0.01)
        return Pose(x, y, math.atan2(further_x - x, -(further_y - y)))


class Vehicle:
    """See the module. `pump` answers what came; `step` lets a frame time pass."""

    def __init__(self, port: int, seed: int, image: NDArray[np.uint8] | None = None) -> None:
        self._link: Any = mavutil.mavlink_connection(
            f"udpout:127.0.0.1:{port}",
            source_system=1,
            source_component=mavlink.MAV_COMP_ID_AUTOPILOT1,
            dialect="common",
        )
        self._ground, self.car = image, Car(seed)
        self._phases = np.random.default_rng([seed, 1]).uniform(0, 2 * np.pi, 4)
        self.has_ground, self.height = image is not None, _HEIGHT
        self.camera = Pinhole.of_view(SIZE, HFOV)
        self.time = 0.0
        self.gimbal = Direction(0.0, math.radians(-45))
        """In the world."""
        self.wanted = self._rates = Direction(0.0, 0.0)
        self._commands: deque[Direction] = deque([self.wanted] * _DELAY)
        self.heard: list[Direction] = []
        self.owner = (0, 0)
        self.commands: list[str] = []
        self.silent = False
        """The link is cut: nothing is sent or heard."""

    # --- the protocol

    def answer_while(self, stop: threading.Event) -> None:
        """For who waits for answers: heartbeats and replies in real time."""
        while not stop.wait(0.005):
            self.pump()
            self.report()

    def pump(self) -> None:
        while (message := self._link.recv_match(blocking=False)) is not None:
            if not self.silent:
                self._take(message)

    def _take(self, message: Any) -> None:
        kind = message.get_type()
        sender = message.get_srcSystem(), message.get_srcComponent()
        if kind == "COMMAND_LONG":
            self._obey(message, sender)
        elif kind == "GIMBAL_MANAGER_SET_PITCHYAW" and sender == self.owner:
            assert message.gimbal_device_id == _GIMBAL
            assert math.isnan(message.pitch)
            assert math.isnan(message.yaw)
            assert message.flags & mavlink.GIMBAL_MANAGER_FLAGS_YAW_LOCK
            self.wanted = Direction(message.yaw_rate, message.pitch_rate)
            self.heard.append(self.wanted)

    def _obey(self, message: Any, sender: tuple[int, int]) -> None:
        command, first = message.command, int(message.param1)
        self.commands.append(mavlink.enums["MAV_CMD"][command].name)
        self._link.mav.command_ack_send(command, mavlink.MAV_RESULT_ACCEPTED)
        if (
            command == mavlink.MAV_CMD_REQUEST_MESSAGE
            and first == mavlink.MAVLINK_MSG_ID_GIMBAL_MANAGER_INFORMATION
        ):
            self._link.mav.gimbal_manager_information_send(
                0,
                mavlink.GIMBAL_MANAGER_CAP_FLAGS_HAS_YAW_LOCK,
                _GIMBAL,
                0,
                0,
                *PITCH_LIMITS,
                -math.inf,
                math.inf,
            )
        elif command == mavlink.MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE:
            assert int(message.param7) == _GIMBAL
            self.owner = (0, 0) if first == -3 else (first, int(message.param2))

    def report(self) -> None:
        """Heartbeat, state of the manager, and attitude, as they are sent in every step."""
        if self.silent:
            return
        mav, heading = self._link.mav, self.pose().yaw
        mav.heartbeat_send(
            mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_AUTOPILOT_PX4, 0, 0, mavlink.MAV_STATE_ACTIVE
        )
        mav.gimbal_manager_status_send(0, 0, _GIMBAL, *self.owner, 0, 0)
        yaw, pitch = wrapped(self.gimbal.yaw - heading) / 2, self.gimbal.pitch / 2
        q = [
            math.cos(yaw) * math.cos(pitch), -math.sin(yaw) * math.sin(pitch),
            math.cos(yaw) * math.sin(pitch), math.sin(yaw) * math.cos(pitch),
        ]  # fmt: skip
        flags = mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_VEHICLE_FRAME
        mav.gimbal_device_attitude_status_send(
            0, 0, round(1000 * self.time), flags, q, 0, 0, 0, 0, heading, 0, _GIMBAL
        )

    def close(self) -> None:
        self._link.close()

    # --- the world

    def pose(self) -> Pose:
        """The vehicle drifts by a metre or two and turns by some degrees."""
        x, y, turn, gust = (
            math.sin(2 * math.pi * self.time / period + phase)
            for period, phase in zip((17, 13, 19, 3.1), self._phases, strict=True)
        )
        return Pose(_HOME[0] + 2 * x, _HOME[1] + 1.5 * y, math.radians(12 * turn + 2 * gust))

    def step(self) -> None:
        """1 / FPS seconds pass."""
        self.pump()
        self._commands.append(self.wanted)
        wanted, share = self._commands.popleft(), 1 - math.exp(-1 / FPS / _LAG_S)
        limited = Direction(*(max(-_FASTEST, min(_FASTEST, rate)) for rate in wanted))
        have = self._rates
        self._rates = Direction(
            have.yaw + share * (limited.yaw - have.yaw), have.pitch + share * (limited.pitch - have.pitch)
        )
        pitch = self.gimbal.pitch + self._rates.pitch / FPS
        self.gimbal = Direction(
            wrapped(self.gimbal.yaw + self._rates.yaw / FPS),
            min(PITCH_LIMITS[1], max(PITCH_LIMITS[0], pitch)),
        )
        self.time += 1 / FPS
        self.report()

    def projection(self) -> NDArray[np.float64]:
        """From metres on the ground (right, down, 1) to pixels of the camera, [3, 3]."""
        pose, (yaw, pitch) = self.pose(), self.gimbal
        east, north = np.array([1.0, 0.0, -pose.x]), np.array([0.0, -1.0, pose.y])
        down = np.array([0.0, 0.0, _HEIGHT])
        level = north * math.cos(yaw) + east * math.sin(yaw)
        right = east * math.cos(yaw) - north * math.sin(yaw)
        forward = level * math.cos(pitch) - down * math.sin(pitch)
        up = -level * math.sin(pitch) - down * math.cos(pitch)
        camera = self.camera
        return np.stack(
            [camera.cx * forward + camera.fx * right, camera.cy * forward - camera.fy * up, forward]
        )

    def car_in_frame(self) -> tuple[float, float]:
        """Where the middle of the car is, in pixels; far outside where it is behind the camera."""
        pose = self.car.pose(self.time)
        x, y, depth = self.projection() @ np.array([pose.x, pose.y, 1.0])
        return (float(x / depth), float(y / depth)) if depth > 0 else (math.inf, math.inf)

    def frame(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] BGR."""
        assert self._ground is not None
        pose = self.car.pose(self.time)
        along = np.array([math.sin(pose.yaw), -math.cos(pose.yaw)])
        across = np.array([-along[1], along[0]])
        scene = self._ground.copy()
        for length, width, shift, colour in _CAR:
            middle = np.array([pose.x + shift, pose.y + shift])
            corners = [middle + a * length / 2 * along + b * width / 2 * across for a, b in _CORNERS]
            points = np.rint(np.array(corners) * _METRE * 16).astype(np.int32)
            cv2.fillConvexPoly(scene, points, colour, cv2.LINE_AA, 4)
        to_frame = self.projection() @ np.diag([1 / _METRE, 1 / _METRE, 1.0])
        seen = cv2.warpPerspective(scene, to_frame, SIZE, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(seen, np.uint8)
