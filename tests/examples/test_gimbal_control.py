"""The gimbal's geometry, attention and control: pure functions of angles and time."""

from __future__ import annotations

import math

import pytest
from gimbal_control import (
    Attention,
    AttentionLimits,
    Direction,
    Mode,
    Pilot,
    Pinhole,
    RateControl,
    RateLimits,
    Sight,
    separation,
    wrapped,
)
from hypothesis import given
from hypothesis import strategies as st

STEP = 0.05
AHEAD = Direction(0.0, 0.0)
CAMERA = Pinhole.of_view((640, 360), math.radians(60))

angles = st.floats(-math.pi, math.pi)
pitches = st.floats(math.radians(-80), math.radians(20))


def degrees(yaw: float, pitch: float) -> Direction:
    return Direction(math.radians(yaw), math.radians(pitch))


# --- geometry


def test_pixels_are_directions() -> None:
    middle = (319.5, 179.5)
    assert CAMERA.direction(*middle, degrees(30, -40)) == pytest.approx(degrees(30, -40))
    right, _ = CAMERA.direction(639.5, 179.5, AHEAD)
    assert math.degrees(right) == pytest.approx(30)
    _, up = CAMERA.direction(319.5, 179.5 - 320 / math.tan(math.radians(30)), AHEAD)
    assert math.degrees(up) == pytest.approx(45)


def test_a_degree_in_a_steep_picture_is_more_than_a_degree_of_yaw() -> None:
    beside = CAMERA.fx * math.tan(math.radians(1))
    yaw, _ = CAMERA.direction(319.5 + beside, 179.5, degrees(0, -60))
    assert math.degrees(yaw) == pytest.approx(2, rel=0.01)


@given(angles, pitches, st.floats(0, 639), st.floats(0, 359))
def test_the_angle_to_the_middle_is_that_of_the_ray(yaw: float, pitch: float, x: float, y: float) -> None:
    gimbal = Direction(yaw, pitch)
    off = math.atan(math.hypot((x - 319.5) / CAMERA.fx, (y - 179.5) / CAMERA.fy))
    assert separation(gimbal, CAMERA.direction(x, y, gimbal)) == pytest.approx(off, abs=1e-6)


@pytest.mark.parametrize("hfov", [0, 180, -3])
def test_a_view_that_is_none(hfov: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 180 degrees"):
        Pinhole.of_view((640, 360), math.radians(hfov))


# --- attention


def seen(*directions: Direction, value: float = 0.9) -> list[Sight]:
    return [Sight(direction, value) for direction in directions]


def run(attention: Attention, sights: list[list[Sight]], start: float = 0.0) -> list[Mode]:
    return [attention.update(items, start + STEP * index) for index, items in enumerate(sights)]


def test_a_peak_must_stay_before_it_is_followed() -> None:
    attention = Attention()
    modes = run(attention, [seen(degrees(3, 0))] * 6)
    assert modes == [Mode.SEARCHING] * 4 + [Mode.ATTENDING] * 2
    flicker = Attention()
    assert set(run(flicker, [seen(degrees(20 * (i % 2), 0)) for i in range(40)])) == {Mode.SEARCHING}
    faint = Attention()
    assert set(run(faint, [seen(degrees(3, 0), value=0.4)] * 40)) == {Mode.SEARCHING}
    assert faint.target is None


def test_the_target_is_followed_past_stronger_peaks() -> None:
    attention = Attention()
    attention.designate(AHEAD, 0.0)
    for index in range(1, 100):
        own = degrees(0.5 * index, 0.1 * index)  # 10 and 2 degrees per second
        sights = [*seen(own, value=0.2), *seen(degrees(20, 10), degrees(-30, 5), value=1.0)]
        assert attention.update(sights, STEP * index) is Mode.ATTENDING
        assert attention.target is not None
        assert separation(attention.target, own) < math.radians(1.5), index
    assert attention.speed == pytest.approx(degrees(10, 2), abs=math.radians(0.5))


def test_what_is_hidden_is_found_again_where_it_went() -> None:
    attention = Attention()
    attention.designate(AHEAD, 0.0)
    for index in range(1, 60):
        hidden = 40 <= index < 50  # half a second
        attention.update([] if hidden else seen(degrees(0.25 * index, 0)), STEP * index)
    assert attention.mode is Mode.ATTENDING
    assert attention.target is not None
    assert separation(attention.target, degrees(0.25 * 59, 0)) < math.radians(1)


def test_what_is_lost_is_waited_for_then_given_up() -> None:
    limits = AttentionLimits(forget=0.5, hold=1.0)
    attention = Attention(limits)
    attention.designate(AHEAD, 0.0)
    modes = run(attention, [[]] * 60, STEP)
    assert modes.index(Mode.HOLDING) == 10
    assert modes.index(Mode.RETURNING) in (30, 31)
    assert modes[-1] is Mode.RETURNING
    attention.arrived()
    assert attention.mode is Mode.SEARCHING


@pytest.mark.parametrize("after", [Mode.HOLDING, Mode.RETURNING])
def test_a_new_target_is_taken_while_holding_and_on_the_way_back(after: Mode) -> None:
    attention = Attention(AttentionLimits(forget=0.1, hold=0.5))
    attention.designate(AHEAD, 0.0)
    now = 0.0
    while attention.mode is not after:
        now += STEP
        attention.update([], now)
    modes = run(attention, [seen(degrees(9, 9))] * 8, now + STEP)
    assert modes[0] is after
    assert modes[-1] is Mode.ATTENDING


# --- control


def test_the_dead_zone_has_hysteresis() -> None:
    control = RateControl(RateLimits(leave=math.radians(2), enter=math.radians(1), slew=1e9))
    turning = []
    for index, off in enumerate([0, 1.5, 1.9, 2.1, 1.5, 1.1, 0.9, 1.5, 1.9, -2.1, -1.5]):
        turning.append(control.follow(AHEAD, degrees(off, 0), AHEAD, index * STEP).yaw != 0)
    assert turning == [False, False, False, True, True, True, False, False, False, True, True]


@given(st.lists(st.tuples(angles, pitches, angles, pitches), min_size=2, max_size=30))
def test_rates_and_their_changes_are_limited_whatever_comes(steps: list[tuple[float, ...]]) -> None:
    limits = RateLimits()
    control, last = RateControl(limits), AHEAD
    for index, (yaw, pitch, target_yaw, target_pitch) in enumerate(steps):
        target = Direction(target_yaw, target_pitch)
        rates = control.follow(Direction(yaw, pitch), target, Direction(9.0, -9.0), index * STEP)
        assert max(map(abs, rates)) <= limits.rate + 1e-9
        assert max(abs(a - b) for a, b in zip(rates, last, strict=True)) <= limits.slew * STEP + 1e-9
        last = rates


def test_after_a_pause_rates_begin_at_zero() -> None:
    control, target = RateControl(), degrees(90, 0)
    for index in range(20):
        before = control.follow(AHEAD, target, AHEAD, index * STEP).yaw
    assert before == RateLimits().rate
    assert control.follow(AHEAD, target, AHEAD, 100).yaw == 0
    assert 0 < control.follow(AHEAD, target, AHEAD, 100 + STEP).yaw < before / 2


def test_yaw_rests_where_the_gimbal_looks_straight_down() -> None:
    control = RateControl(RateLimits(slew=1e9))
    control.follow(degrees(0, -89), degrees(170, -80), AHEAD, 0.0)
    rates = control.follow(degrees(0, -89), degrees(170, -80), AHEAD, STEP)
    assert rates.yaw == 0
    assert rates.pitch > 0


def test_the_shorter_way_round_is_taken() -> None:
    control = RateControl(RateLimits(slew=1e9))
    control.stop(0.0)
    assert control.follow(degrees(175, 0), degrees(-175, 0), AHEAD, STEP).yaw > 0
    assert wrapped(math.radians(350)) == pytest.approx(math.radians(-10))


def test_the_pilot_goes_back_to_neutral_of_the_vehicle() -> None:
    """Integrated without lag, from a lost target 40 degrees off, on a vehicle that heads 90 degrees east."""
    pilot = Pilot(CAMERA, degrees(0, -45), AttentionLimits(forget=0.1, hold=0.2))
    gimbal, heading = degrees(130, -20), math.radians(90)
    pilot.choose(319.5, 179.5, gimbal, 0.0)
    modes = set()
    for index in range(200):
        rates = pilot.step([], gimbal, index * STEP, heading)
        assert max(map(abs, rates)) <= math.radians(15) + 1e-9
        gimbal = Direction(wrapped(gimbal.yaw + rates.yaw * STEP), gimbal.pitch + rates.pitch * STEP)
        modes.add(pilot.attention.mode)
    assert modes == {Mode.ATTENDING, Mode.HOLDING, Mode.RETURNING, Mode.SEARCHING}
    assert separation(gimbal, Direction(heading, math.radians(-45))) < math.radians(3)
