"""Point a gimbal at what draws attention: peaks of a live stream to the gimbal manager of an autopilot (MAVLink 2).

    python examples/mavlink_gimbal.py rtsp://10.0.0.2/cam --hfov 60 --link udpin:0.0.0.0:14550

It speaks the gimbal protocol v2 (https://mavlink.io/en/services/gimbal_v2.html): it finds the gimbal manager by
GIMBAL_MANAGER_INFORMATION, takes control by MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE, sends rates in
GIMBAL_MANAGER_SET_PITCHYAW after each frame, and knows from GIMBAL_DEVICE_ATTITUDE_STATUS where the gimbal points. It
stops, and says why, when the autopilot or the gimbal falls silent or another component takes control; and it stops the
gimbal while no frames come.

What is followed: what moves by itself near the peaks (gimbal_motion.py; `--still` takes the peaks as they are). It is
what is at `--at X,Y` of the first frame, or else the strongest; then in each frame the one that is nearest to where it
should be, if it is near enough (gimbal_control.py). What was lost is waited for, then the gimbal goes back to
`--neutral`.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gimbal_control import Direction, Mode, Pilot, Pinhole
from gimbal_motion import MotionSense

os.environ["MAVLINK20"] = "1"  # read when pymavlink is imported: the messages of gimbals are of version 2
from pymavlink import mavutil
from pymavlink.dialects.v20 import common as mavlink

EXIT_LINK = 4

_LOCKED = (
    mavlink.GIMBAL_MANAGER_FLAGS_ROLL_LOCK
    | mavlink.GIMBAL_MANAGER_FLAGS_PITCH_LOCK
    | mavlink.GIMBAL_MANAGER_FLAGS_YAW_LOCK
)
_RELEASE, _UNCHANGED = -3, -1
_SILENCE_S = {"the autopilot (HEARTBEAT)": 3.0, "the gimbal (GIMBAL_DEVICE_ATTITUDE_STATUS)": 1.0}
_HEARTBEAT_S = 1.0
_ATTITUDE_US = 50_000
_TRIES = 5
_STOP = math.radians(0.5)  # so near to a limit of the pitch is at it


class LinkError(Exception):
    """The link is lost, was never there, or control is another's."""


class GimbalLink:
    """A gimbal manager at the other end of a MAVLink connection.

    Args:
        address: of pymavlink, such as udpin:0.0.0.0:14550, udpout:10.0.0.1:14550 or /dev/ttyAMA0,921600.
        system: the vehicle's system number, which is also ours: this is one of its components.
        clock: seconds; by it silence is judged.
        patience: seconds of the wall clock after which rates that nobody renews are set to zero, since the manager
            would go on with them.
    """

    def __init__(
        self,
        address: str,
        *,
        system: int = 1,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 0.5,
    ) -> None:
        device, _, baud = address.partition(",")
        self.clock = clock
        self._connection: Any = mavutil.mavlink_connection(
            device, baud=int(baud or 57600), source_system=system,
            source_component=mavlink.MAV_COMP_ID_ONBOARD_COMPUTER, dialect="common",
        )  # fmt: skip
        self._system = system
        self._manager = mavlink.MAV_COMP_ID_AUTOPILOT1
        self._device = 0
        self._pitch_limits = (-math.pi / 2, math.pi / 2)
        self._heard = dict.fromkeys(_SILENCE_S, -math.inf)
        self._greeted = -math.inf
        self._answers: dict[int, int] = {}
        self._taken_by: tuple[int, int] | None = None
        self._patience, self._turned_at = patience, math.inf
        self._sending, self._closed = threading.Lock(), threading.Event()
        self._watch: threading.Thread | None = None
        self.attitude: Direction | None = None
        """Where the gimbal points: in the world, if the vehicle's heading is known, else on the vehicle."""
        self.heading = 0.0
        """The vehicle's yaw in the same frame."""

    def connect(self, timeout: float = 10.0) -> None:
        """Find the gimbal manager and take control. Raises LinkError if nothing answers within `timeout` seconds."""
        autopilot, gimbal = _SILENCE_S
        self._await(lambda: self._heard[autopilot] > -math.inf, timeout, "no heartbeat of an autopilot")
        self._ask(
            mavlink.MAV_CMD_REQUEST_MESSAGE, mavlink.MAVLINK_MSG_ID_GIMBAL_MANAGER_INFORMATION,
            until=lambda: self._device > 0, timeout=timeout, failure="the autopilot tells of no gimbal manager",
        )  # fmt: skip
        self._acknowledged(
            mavlink.MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE, self._system, mavlink.MAV_COMP_ID_ONBOARD_COMPUTER,
            _UNCHANGED, _UNCHANGED, 0, 0, self._device, timeout=timeout,
        )  # fmt: skip
        self._ask(
            mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, mavlink.MAVLINK_MSG_ID_GIMBAL_DEVICE_ATTITUDE_STATUS, _ATTITUDE_US,
            until=lambda: self._heard[gimbal] > -math.inf, timeout=timeout, failure="the gimbal tells no attitude",
        )  # fmt: skip
        self._watch = threading.Thread(target=self._stop_when_forgotten, name="gimbal-watch", daemon=True)
        self._watch.start()

    def pump(self) -> None:
        """Take in what has come, and keep up our heartbeat; never waits.

        Raises:
            LinkError: somebody is silent for too long, or another component has taken control.
        """
        self._receive()
        now = self.clock()
        for who, limit in _SILENCE_S.items():
            if now - self._heard[who] > limit:
                raise LinkError(f"nothing was heard of {who} for {limit:g} s; check the link")
        if self._taken_by is not None:
            raise LinkError("system {} component {} has taken control of the gimbal".format(*self._taken_by))

    def send(self, rates: Direction) -> None:
        """Turn with these rates until others come, but not beyond the pitch that the gimbal can have."""
        pitch = rates.pitch
        if self.attitude is not None:
            low, high = self._pitch_limits
            pitch = max(pitch, 0.0) if self.attitude.pitch <= low + _STOP else pitch
            pitch = min(pitch, 0.0) if self.attitude.pitch >= high - _STOP else pitch
        self._turn(Direction(rates.yaw, pitch))

    def _turn(self, rates: Direction) -> None:
        with self._sending:
            self._turned_at = time.monotonic() if any(rates) else math.inf
            self._connection.mav.gimbal_manager_set_pitchyaw_send(
                self._system, self._manager, _LOCKED, self._device, math.nan, math.nan, rates.pitch, rates.yaw
            )

    def _stop_when_forgotten(self) -> None:
        while not self._closed.wait(self._patience / 5):
            if time.monotonic() - self._turned_at > self._patience:
                self._turn(Direction(0.0, 0.0))

    def close(self) -> None:
        """Stop the gimbal, give control back, and end the connection. A second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._watch is not None:
            self._watch.join()
        if self._device and self._taken_by is None:
            self._turn(Direction(0.0, 0.0))
            self._command(
                mavlink.MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE, _RELEASE, _RELEASE, _UNCHANGED, _UNCHANGED, 0, 0,
                self._device,
            )  # fmt: skip
        self._connection.close()

    def _receive(self) -> None:
        now = self.clock()
        if now - self._greeted >= _HEARTBEAT_S:
            self._greeted = now
            with self._sending:
                self._connection.mav.heartbeat_send(
                    mavlink.MAV_TYPE_ONBOARD_CONTROLLER,
                    mavlink.MAV_AUTOPILOT_INVALID,
                    0,
                    0,
                    mavlink.MAV_STATE_ACTIVE,
                )
        while (message := self._connection.recv_match(blocking=False)) is not None:
            if message.get_srcSystem() == self._system:
                self._take(message)

    def _take(self, message: Any) -> None:
        autopilot, gimbal = _SILENCE_S
        kind, sender = message.get_type(), message.get_srcComponent()
        if kind == "HEARTBEAT" and sender == self._manager:
            self._heard[autopilot] = self.clock()
        elif kind == "GIMBAL_MANAGER_INFORMATION" and sender == self._manager:
            self._device = message.gimbal_device_id
            if message.pitch_min < message.pitch_max:  # NaN where it is not known
                self._pitch_limits = (message.pitch_min, message.pitch_max)
        elif kind == "GIMBAL_MANAGER_STATUS" and self._device and message.gimbal_device_id == self._device:
            owner = message.primary_control_sysid, message.primary_control_compid
            ours = self._system, mavlink.MAV_COMP_ID_ONBOARD_COMPUTER
            self._taken_by = owner if self._in_control and owner not in (ours, (0, 0)) else None
        elif kind == "GIMBAL_DEVICE_ATTITUDE_STATUS" and message.gimbal_device_id in (0, self._device):
            self._heard[gimbal] = self.clock()
            self.attitude, self.heading = _attitude(message)
        elif kind == "COMMAND_ACK":
            self._answers[message.command] = message.result

    @property
    def _in_control(self) -> bool:
        configured = self._answers.get(mavlink.MAV_CMD_DO_GIMBAL_MANAGER_CONFIGURE)
        return configured == mavlink.MAV_RESULT_ACCEPTED

    def _command(self, command: int, *values: float) -> None:
        values = (*values, *[0.0] * (7 - len(values)))
        with self._sending:
            self._connection.mav.command_long_send(self._system, self._manager, command, 0, *values)

    def _acknowledged(self, command: int, *values: float, timeout: float) -> None:
        self._answers.pop(command, None)
        self._ask(
            command, *values, until=lambda: command in self._answers, timeout=timeout,
            failure=f"command {command} was not acknowledged",
        )  # fmt: skip
        if self._answers[command] != mavlink.MAV_RESULT_ACCEPTED:
            raise LinkError(f"command {command} was refused with result {self._answers[command]}")

    def _ask(
        self, command: int, *values: float, until: Callable[[], bool], timeout: float, failure: str
    ) -> None:
        """Datagrams are lost: what has no effect is sent again."""
        for attempt in range(_TRIES):
            self._command(command, *values)
            try:
                self._await(until, timeout / _TRIES, failure)
            except LinkError:
                if attempt == _TRIES - 1:
                    raise
            else:
                return

    def _await(self, condition: Callable[[], bool], timeout: float, failure: str) -> None:
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise LinkError(
                    f"{failure} within {timeout:g} s; check the address, and the vehicle's system number"
                )
            time.sleep(0.002)
            self._receive()


def _attitude(message: Any) -> tuple[Direction, float]:
    """Where the gimbal points, and the vehicle's heading; both in the world where the latter is known."""
    w, x, y, z = message.q
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    heading = message.delta_yaw if math.isfinite(message.delta_yaw) else 0.0
    if not message.flags & mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME:
        yaw += heading  # in the world, the vehicle's turns are none of the target's
    return Direction(yaw, math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))), heading


def fly(
    source: Iterable[Any],
    stream: Any,
    pilot: Pilot,
    link: GimbalLink,
    *,
    at: Sequence[float] | None = None,
    moving: bool = True,
    peaks: int = 8,
) -> None:
    """Until the source ends, or a LinkError does it.

    Args:
        source: of frames, as `open_source` gives them.
        stream: `push` of a frame's pixels gives a Saliency.
        at: the pixel of the first frame at which is what to follow.
        moving: look only at what moves by itself, and where it does.
        peaks: of a frame, that are looked at.
    """
    mode: Mode | None = None
    motion = MotionSense()
    for frame in source:
        link.pump()
        gimbal, now = link.attitude, link.clock()
        if gimbal is None:
            continue
        if at is not None and mode is None:
            pilot.choose(at[0], at[1], gimbal, now)
        found = [(peak.x, peak.y, peak.value) for peak in stream.push(frame.pixels).peaks(peaks)]
        if moving:
            motion.update(frame.image)
            places = [(motion.near(x, y), value) for x, y, value in found]
            found = [(*place, value) for place, value in places if place is not None]
        link.send(pilot.step(found, gimbal, now, link.heading))
        if pilot.attention.mode is not mode:
            mode = pilot.attention.mode
            print(f"{frame.time:8.2f} s  {mode.value}", file=sys.stderr)


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    def parse(text: str) -> tuple[float, ...]:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise argparse.ArgumentTypeError(
                f"expected {count} numbers with commas between them, got {text!r}"
            )
        return values

    return parse


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="of uva-edge predict: a URL, camera:NAME, a camera number, a video")
    parser.add_argument(
        "--link", default="udpin:0.0.0.0:14550", help="MAVLink address (default: %(default)s)"
    )
    parser.add_argument("--system", type=int, default=1, help="the vehicle's system number (default: 1)")
    view = parser.add_mutually_exclusive_group(required=True)
    view.add_argument("--hfov", type=float, help="horizontal field of view in degrees")
    view.add_argument("--intrinsics", type=_numbers(4), help="FX,FY,CX,CY in pixels")
    parser.add_argument("--at", type=_numbers(2), help="X,Y: follow what is there in the first frame")
    parser.add_argument(
        "--neutral", type=_numbers(2), default=(0.0, -45.0), help="YAW,PITCH in degrees (0,-45)"
    )
    parser.add_argument("--still", action="store_true", help="follow what does not move, too")
    parser.add_argument("--bundle", default="uva-64")
    parser.add_argument("--peaks", type=int, default=8, help="looked at in each frame (default: 8)")
    args = parser.parse_args()
    # A service manager's stop also stops the gimbal.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    from uva_edge import SaliencyPredictor
    from uva_edge.errors import UvaEdgeError
    from uva_edge.runtimes.sources import open_source

    link, place = GimbalLink(args.link, system=args.system), Path(args.source)
    try:
        with (
            SaliencyPredictor(args.bundle) as predictor,
            open_source(args.source, latest=not (place.is_file() or place.is_dir())) as source,
            predictor.stream(color=source.color, yuv_range=source.yuv_range) as stream,
        ):
            hfov = math.radians(args.hfov or 0)
            camera = Pinhole(*args.intrinsics) if args.intrinsics else Pinhole.of_view(source.size, hfov)
            pilot = Pilot(camera, Direction(*map(math.radians, args.neutral)))
            link.connect()
            fly(source, stream, pilot, link, at=args.at, moving=not args.still, peaks=args.peaks)
    except (LinkError, UvaEdgeError, ValueError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return EXIT_LINK if isinstance(error, LinkError) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        link.close()
    if source.problem:
        print(source.problem, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
