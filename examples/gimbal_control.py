"""From a peak of saliency to the rates of a gimbal: geometry, attention and control, without any input or output.

Angles are in radians. Yaw grows to the right and pitch upward, as in MAVLink; a gimbal that looks straight down has the
pitch -pi/2. Times are in seconds of any clock that only goes forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

_PAUSE_S = 0.4  # after so long without a word a gimbal stands still
_STEEPEST = math.radians(85)  # nearer to straight down, yaw means little, and its error is not to be trusted


class Direction(NamedTuple):
    """Where something is, or how fast that changes."""

    yaw: float
    pitch: float


class Sight(NamedTuple):
    """A peak of the map as a direction, and its value in (0, 1]."""

    direction: Direction
    value: float


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion, in pixels: focal lengths `fx`, `fy` and the principal point `cx`, `cy`."""

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def of_view(cls, size: tuple[int, int], hfov: float) -> Pinhole:
        """Of frames of (width, height) pixels that show `hfov` radians from left to right."""
        if not 0 < hfov < math.pi:
            raise ValueError(
                f"a horizontal field of view is between 0 and 180 degrees; got {math.degrees(hfov):g}"
            )
        focal = size[0] / 2 / math.tan(hfov / 2)
        return cls(focal, focal, (size[0] - 1) / 2, (size[1] - 1) / 2)

    def direction(self, x: float, y: float, gimbal: Direction) -> Direction:
        """Where the pixel (x, y) is, when the gimbal points there: its ray turned by the gimbal's pitch and yaw."""
        right, up = (x - self.cx) / self.fx, -(y - self.cy) / self.fy
        cosine, sine = math.cos(gimbal.pitch), math.sin(gimbal.pitch)
        forward, height = cosine - sine * up, sine + cosine * up
        return Direction(
            wrapped(gimbal.yaw + math.atan2(right, forward)), math.atan2(height, math.hypot(right, forward))
        )


def wrapped(angle: float) -> float:
    """The same angle from -pi to pi."""
    return math.remainder(angle, math.tau)


def separation(one: Direction, other: Direction) -> float:
    """The angle between two directions."""
    cosine = math.sin(one.pitch) * math.sin(other.pitch) + math.cos(one.pitch) * math.cos(
        other.pitch
    ) * math.cos(one.yaw - other.yaw)
    return math.acos(max(-1.0, min(1.0, cosine)))


class Mode(Enum):
    SEARCHING = "searching"
    ATTENDING = "attending"
    HOLDING = "holding"
    RETURNING = "returning"


@dataclass(frozen=True)
class AttentionLimits:
    """When to follow what.

    Attributes:
        least: a peak below this value starts nothing.
        steady: seconds for which a new peak must be there, frame by frame, before it is followed.
        gate: how far from where it is expected a peak may be; what was not seen is looked for further away.
        widening: by how much the gate grows in a second without a sight, up to four times itself.
        slowing: seconds in which the speed of what is not seen falls to 37 %: it may have stopped.
        forget: seconds without a sight after which the target is lost.
        hold: seconds for which the gimbal then stays where it is, before it goes back.
        smoothing: of the target's direction; `1 - smoothing` of every deviation is taken over.
    """

    least: float = 0.5
    steady: float = 0.2
    gate: float = math.radians(3.5)
    widening: float = math.radians(10)
    slowing: float = 0.5
    forget: float = 2.0
    hold: float = 2.0
    smoothing: float = 0.6


class Attention:
    """Follows one thing among the peaks: the one that is nearest to where it should be now.

    Saliency is of many things, and the strongest peak changes from one to the next; what is attended to may not. Its
    direction is filtered in the world, not in the image (an alpha-beta filter), so that the gimbal's own motion is none
    of the target's.
    """

    def __init__(self, limits: AttentionLimits | None = None) -> None:
        self._limits = limits or AttentionLimits()
        self.mode = Mode.SEARCHING
        self.target: Direction | None = None
        """Where it is thought to be; in other modes than ATTENDING, what might become the target."""
        self.speed = Direction(0.0, 0.0)
        self._now = self._seen = self._found = self._lost = 0.0

    def designate(self, direction: Direction, now: float) -> None:
        """Attend to what is there, whatever is more salient: an operator's choice."""
        self.mode, self.target, self.speed = Mode.ATTENDING, direction, Direction(0.0, 0.0)
        self._now = self._seen = self._found = now

    def update(self, sights: Sequence[Sight], now: float) -> Mode:
        """Take in the peaks of a frame."""
        step, self._now = max(0.0, now - self._now), now
        if self.target is not None:
            self._track(self.target, sights, step)
        if self.target is None:
            self._look_for(sights)
        elif now - self._found >= self._limits.steady:
            self.mode = Mode.ATTENDING
        if self.mode is Mode.HOLDING and now - self._lost > self._limits.hold:
            self.mode = Mode.RETURNING
        return self.mode

    def arrived(self) -> None:
        """The gimbal is back where it looks when there is nothing to see."""
        if self.mode is Mode.RETURNING:
            self.mode = Mode.SEARCHING

    def _track(self, target: Direction, sights: Sequence[Sight], step: float) -> None:
        due = Direction(wrapped(target.yaw + self.speed.yaw * step), target.pitch + self.speed.pitch * step)
        nearest = min(
            (sight.direction for sight in sights), key=lambda seen: separation(seen, due), default=None
        )
        if nearest is not None and separation(nearest, due) <= self._gate():
            self._correct(due, nearest, step)
            return
        self.target = due
        kept = math.exp(-step / self._limits.slowing)
        self.speed = Direction(self.speed.yaw * kept, self.speed.pitch * kept)
        patience = self._limits.forget if self.mode is Mode.ATTENDING else 0.0
        if self._now - self._seen > patience:
            self.target = None
            if self.mode is Mode.ATTENDING:
                self.mode, self._lost = Mode.HOLDING, self._now

    def _correct(self, due: Direction, seen: Direction, step: float) -> None:
        alpha = 1 - self._limits.smoothing
        beta = alpha * alpha / (2 - alpha)  # of Benedict and Bordner: least noise for a given lag
        yaw, pitch = wrapped(seen.yaw - due.yaw), seen.pitch - due.pitch
        self.target = Direction(wrapped(due.yaw + alpha * yaw), due.pitch + alpha * pitch)
        if step > 0:
            self.speed = Direction(self.speed.yaw + beta * yaw / step, self.speed.pitch + beta * pitch / step)
        self._seen = self._now

    def _gate(self) -> float:
        limits = self._limits
        return min(4 * limits.gate, limits.gate + limits.widening * (self._now - self._seen))

    def _look_for(self, sights: Sequence[Sight]) -> None:
        strongest = max(sights, key=lambda sight: sight.value, default=None)
        if strongest is not None and strongest.value >= self._limits.least:
            self.target, self.speed = strongest.direction, Direction(0.0, 0.0)
            self._found = self._seen = self._now


@dataclass(frozen=True)
class RateLimits:
    """How the gimbal may be moved.

    Attributes:
        gain: rate per error, 1/s.
        leave, enter: errors beyond which it starts to turn, and within which it stops: a dead zone with hysteresis.
        rate: the fastest, rad/s.
        slew: how fast the rate may change, rad/s^2.
        back: the rate at which it goes back to neutral, rad/s.
    """

    gain: float = 2.0
    leave: float = math.radians(2.0)
    enter: float = math.radians(0.7)
    rate: float = math.radians(60)
    slew: float = math.radians(180)
    back: float = math.radians(15)


class RateControl:
    """The rates that bring a gimbal to a direction, never faster or more suddenly than the limits allow."""

    def __init__(self, limits: RateLimits | None = None) -> None:
        self._limits = limits or RateLimits()
        self._turning = False
        self._now: float | None = None
        self.rates = Direction(0.0, 0.0)

    def follow(self, gimbal: Direction, target: Direction, speed: Direction, now: float) -> Direction:
        """Towards a target that moves with `speed`; still while it is within the dead zone."""
        limits, off = self._limits, separation(gimbal, target)
        self._turning = off > (limits.enter if self._turning else limits.leave)
        if not self._turning:
            return self._approach(Direction(0.0, 0.0), now)
        steep = abs(gimbal.pitch) > _STEEPEST
        yaw = 0.0 if steep else limits.gain * wrapped(target.yaw - gimbal.yaw) + speed.yaw
        return self._approach(Direction(yaw, limits.gain * (target.pitch - gimbal.pitch) + speed.pitch), now)

    def stop(self, now: float) -> Direction:
        self._turning = False
        return self._approach(Direction(0.0, 0.0), now)

    def go_back(self, gimbal: Direction, neutral: Direction, now: float) -> tuple[Direction, bool]:
        """Slowly to `neutral`; and whether it is there."""
        off = Direction(wrapped(neutral.yaw - gimbal.yaw), neutral.pitch - gimbal.pitch)
        there = max(abs(off.yaw), abs(off.pitch)) <= self._limits.leave
        back = self._limits.back
        wanted = Direction(*(max(-back, min(back, self._limits.gain * angle)) for angle in off))
        return self._approach(Direction(0.0, 0.0) if there else wanted, now), there

    def _approach(self, wanted: Direction, now: float) -> Direction:
        step = 0.0 if self._now is None else max(0.0, now - self._now)
        self._now = now
        if step > _PAUSE_S:
            self.rates, step = Direction(0.0, 0.0), 0.0
        most = self._limits.slew * step
        rates = []
        for want, have in zip(wanted, self.rates, strict=True):
            change = max(-self._limits.rate, min(self._limits.rate, want)) - have
            rates.append(have + max(-most, min(most, change)))
        self.rates = Direction(*rates)
        return self.rates


class Pilot:
    """Peaks of a frame and the gimbal's direction in, rates out.

    Args:
        neutral: where it looks when there is nothing to attend to, its yaw from the vehicle's heading.
    """

    def __init__(
        self,
        camera: Pinhole,
        neutral: Direction,
        attention: AttentionLimits | None = None,
        rates: RateLimits | None = None,
    ) -> None:
        self._camera, self._neutral = camera, neutral
        self.attention, self._control = Attention(attention), RateControl(rates)

    def choose(self, x: float, y: float, gimbal: Direction, now: float) -> None:
        """Attend to the thing at this pixel."""
        self.attention.designate(self._camera.direction(x, y, gimbal), now)

    def step(
        self, peaks: Sequence[tuple[float, float, float]], gimbal: Direction, now: float, heading: float = 0.0
    ) -> Direction:
        """The rates after a frame with peaks (x, y, value), taken while gimbal and vehicle pointed there."""
        sights = [Sight(self._camera.direction(x, y, gimbal), value) for x, y, value in peaks]
        mode, target = self.attention.update(sights, now), self.attention.target
        if mode is Mode.ATTENDING and target is not None:
            return self._control.follow(gimbal, target, self.attention.speed, now)
        if mode in (Mode.RETURNING, Mode.SEARCHING):
            neutral = Direction(wrapped(heading + self._neutral.yaw), self._neutral.pitch)
            rates, there = self._control.go_back(gimbal, neutral, now)
            if there:
                self.attention.arrived()
            return rates
        return self._control.stop(now)
