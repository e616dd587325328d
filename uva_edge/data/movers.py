"""The vehicles and people of the synthetic world: where they go and what they look like.

Every mover repeats its course: a whole number of rounds in `CYCLE` seconds. So the place of each at any time
is a look-up, and that no two vehicles ever run into each other is checked once, when the traffic is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.layout import LANE, PAVEMENT, Layout, Points, Road, distances, resample, tangents
from uva_edge.data.terrain import Canvas, Colour, mix

Kind = Literal["vehicle", "person"]
Image = NDArray[np.float32]

CYCLE = 60.0  # seconds after which all traffic repeats
_SAMPLES = 1200  # of a course, evenly in time
_CHECKS = 300  # moments of the cycle at which vehicles are kept apart
_BERTH = 2.7  # metres between the discs of two vehicles, less than between two lanes
_COMFORT = 2.2  # m/s^2, what drivers accept in a bend
_FINE = 32.0  # pixels per metre, at most, at which movers are drawn before they are reduced


@dataclass(frozen=True)
class Vehicle:
    """A kind of vehicle, in metres."""

    share: float  # of all traffic
    length: float
    width: float
    height: float
    box: float = 0.0  # length of the cab before a box; 0 for a car
    cargo: Colour | None = None  # colour of the box, else the paint's


VEHICLES = (
    Vehicle(0.46, 4.5, 1.85, 1.5),
    Vehicle(0.20, 3.9, 1.75, 1.5),
    Vehicle(0.14, 4.9, 1.95, 1.8),
    Vehicle(0.10, 5.6, 2.05, 2.4, box=2.0),
    Vehicle(0.06, 8.2, 2.4, 3.2, box=2.1, cargo=(196, 204, 206)),
    Vehicle(0.04, 11.0, 2.5, 3.1, box=1.5),
)
PAINTS: tuple[Colour, ...] = (
    (236, 236, 234), (228, 230, 230), (196, 194, 190), (150, 146, 142), (62, 60, 60), (40, 38, 38),
    (44, 40, 184), (52, 44, 150), (160, 92, 40), (128, 64, 30), (70, 104, 54), (120, 150, 176),
    (60, 186, 228), (46, 108, 214),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (50, 44, 200), (180, 96, 44), (232, 232, 232), (54, 50, 48), (60, 190, 232), (96, 140, 60),
    (150, 80, 160), (200, 170, 130), (44, 110, 230),
)  # fmt: skip
HAIR: tuple[Colour, ...] = ((28, 30, 36), (40, 60, 92), (84, 130, 168), (132, 152, 172))


@dataclass(frozen=True)
class Look:
    """How one mover appears: premultiplied float32 BGRA [N, N, 4], heading right, at the frame's scale."""

    body: Image
    shadow: Image  # float32 [N, N], 0 to 1
    shadow_turns: bool  # with the mover; else it stays as drawn, towards the sun's shadow side
    shadow_shift: tuple[float, float]  # metres, in the world


@dataclass(frozen=True)
class Mover:
    kind: Kind
    identity: int
    course: int  # which of the courses
    phase: float  # of the course at time 0, 0 to 1
    rounds: int  # of the course in a cycle
    look: Look


@dataclass(frozen=True)
class Traffic:
    """All movers and the courses they follow."""

    movers: tuple[Mover, ...]
    places: Points  # [courses, _SAMPLES + 1, 2]
    headings: Points  # [courses, _SAMPLES + 1, 2], unit vectors

    def poses(self, time: float) -> Points:
        """x, y, cosine and sine of the heading of every mover, [movers, 4]."""
        course = np.array([mover.course for mover in self.movers])
        phase = np.array([mover.phase + mover.rounds * time / CYCLE for mover in self.movers])
        place = _look_up(self.places, course, phase)
        heading = _look_up(self.headings, course, phase)
        return np.concatenate([place, heading / np.linalg.norm(heading, axis=1, keepdims=True)], axis=1)


def _look_up(table: Points, course: NDArray[np.int64], phase: Points) -> Points:
    position = (phase % 1.0) * _SAMPLES
    before = np.minimum(position.astype(np.int64), _SAMPLES - 1)
    share = (position - before)[:, None]
    return np.asarray(table[course, before] * (1 - share) + table[course, before + 1] * share)


def make_traffic(layout: Layout, seed: int, detail: float) -> Traffic:
    """The movers of this seed, with looks for frames of about `detail` pixels per metre."""
    rng = np.random.default_rng([seed, 3])
    lanes, turns = _lanes(layout), _turns(layout, rng)
    walks, crowd = _walks(layout, rng)
    courses = [
        *(_Course.drive(line, closed, 15.0) for line, closed in lanes),
        *(_Course.drive(line, False, 12.0) for line in turns),
        *(_Course.walk(line, rng.uniform(1.1, 1.6)) for line in walks),
    ]
    looks = Looks(layout.sun, detail)
    ring, across = [0, 1], [*range(2, len(lanes))]
    wishes = ring * 9 + [*range(len(lanes), len(lanes) + len(turns))] + across * 6 + ring * 4
    vehicles = _vehicles(rng, courses, wishes, looks)
    people = _people(rng, courses, np.repeat(np.arange(len(crowd)) + len(lanes) + len(turns), crowd), looks)
    movers = tuple(replace(mover, identity=i) for i, mover in enumerate([*vehicles, *people]))
    return Traffic(movers, np.stack([c.places for c in courses]), np.stack([c.headings for c in courses]))


def _vehicles(
    rng: np.random.Generator, courses: Sequence[_Course], wishes: Sequence[int], looks: Looks
) -> list[Mover]:
    """One vehicle for each course wished for, wherever on it one fits among those already there."""
    vehicles: list[Mover] = []
    tracks: Points = np.empty((0, _CHECKS, 3, 2))
    for course in wishes:
        model = VEHICLES[rng.choice(len(VEHICLES), p=[model.share for model in VEHICLES])]
        colour = int(rng.integers(len(PAINTS)))
        for phase in rng.uniform(0, 1, 40):
            track = courses[course].discs(float(phase), model.length)
            if _keep_apart(track, tracks):
                tracks = np.concatenate([tracks, track[None]])
                look = looks.vehicle(model, PAINTS[colour])
                vehicles.append(Mover("vehicle", 0, course, float(phase), courses[course].rounds, look))
                break
    return vehicles


def _people(
    rng: np.random.Generator, courses: Sequence[_Course], wishes: NDArray[np.int64], looks: Looks
) -> list[Mover]:
    people = []
    for course in wishes:
        look = looks.person(CLOTHES[rng.integers(len(CLOTHES))], HAIR[rng.integers(len(HAIR))])
        people.append(Mover("person", 0, int(course), float(rng.uniform()), courses[course].rounds, look))
    return people


def _keep_apart(one: Points, others: Points) -> bool:
    """Whether a vehicle, as discs [moments, 3, 2], always passes the others, [N, moments, 3, 2], safely."""
    right, down = (np.abs(others[:, :, 1, axis] - one[:, 1, axis]) for axis in (0, 1))
    who, when = np.nonzero((right < 16.0) & (down < 16.0))
    gaps = others[who, when][:, :, None] - one[when][:, None]
    return not bool((np.square(gaps).sum(axis=-1) < _BERTH**2).any())


# Courses ------------------------------------------------------------------------------------------------


def _lanes(layout: Layout) -> list[tuple[Points, bool]]:
    """Both lanes of every road in their direction of travel (on the right), the ring's first."""
    return [
        (np.concatenate([lane, lane[:1]]) if road.closed else lane, road.closed)
        for road in layout.roads
        for lane in (road.beside(LANE), road.beside(-LANE)[::-1])
    ]


def _turns(layout: Layout, rng: np.random.Generator) -> list[Points]:
    """Courses that come in on a cross road, follow the ring for a while and leave on another road."""
    turns = []
    lanes = _lanes(layout)
    for _ in range(10):
        incoming, outgoing = (lanes[2 + i][0] for i in rng.permutation(len(lanes) - 2)[:2])
        ring = lanes[rng.integers(2)][0][:-1]
        to_ring = _splice(incoming, np.concatenate([ring, ring]), 0)
        if to_ring is not None:
            course = _splice(to_ring[0], outgoing, to_ring[1] + 25)
            if course is not None:
                turns.append(_rounded(course[0]))
    return [turn for turn in turns if _tightest(turn) > 3.0]


def _tightest(line: Points) -> float:
    """The smallest radius, in metres, of the bends of an open line."""
    line = resample(line, 0.5)
    turned = np.hypot(*np.diff(tangents(line, False), axis=0).T)
    return float(0.5 / turned.max())


def _splice(one: Points, other: Points, start: int) -> tuple[Points, int] | None:
    """Follow `one` until it meets `other`, at its point `start` or later, and go on along that.

    Returns the line and how many of its points lie on `one`, or None where the two don't meet.
    """
    near = distances(one[start:], other)
    meeting = np.flatnonzero(near.min(axis=1) < 0.8)
    if not len(meeting):
        return None
    leave = start + int(meeting[0])
    join = int(near[meeting[0]].argmin())
    return np.concatenate([one[:leave], other[join:]]), leave


def _rounded(line: Points) -> Points:
    """The line with its corners smoothed, as a car takes them."""
    weights = np.exp(-0.5 * (np.arange(-12, 13) / 4.0) ** 2)
    padded = np.concatenate([2 * line[0] - line[12:0:-1], line, 2 * line[-1] - line[-2:-14:-1]])
    return np.stack([np.convolve(padded[:, i], weights / weights.sum(), "valid") for i in (0, 1)], axis=1)


def _walks(layout: Layout, rng: np.random.Generator) -> tuple[list[Points], list[int]]:
    """Closed walks along pavements, round parks and over lawns, and how many people take each."""
    walks: list[Points] = []
    crowd: list[int] = []
    for path in layout.paths:
        walks += [path, path[::-1]]
        crowd += [int(rng.integers(1, 4)), int(rng.integers(0, 3))]
        middle = path.mean(axis=0)
        walks.append(middle + (path - middle) * rng.uniform(0.4, 0.7))
        crowd.append(int(rng.integers(0, 4)))
    for road, tries in ((layout.ring, 40), *((road, 12) for road in layout.cross_roads)):
        for _ in range(tries):
            walk = _stroll(road, rng)
            others = np.concatenate([other.line for other in layout.roads if other is not road])
            if distances(walk[::4], others[::2]).min() > 7.0:
                walks.append(walk)
                crowd.append(int(rng.choice([1, 1, 2, 2, 3])))
    return walks, crowd


def _stroll(road: Road, rng: np.random.Generator) -> Points:
    """Some way along a pavement and back."""
    length = int(rng.integers(28, 60))
    first = int(rng.integers(len(road.line) - (0 if road.closed else length)))
    side = rng.choice([-1.0, 1.0]) * (road.width / 2 + PAVEMENT / 2 + 0.1)
    stretch = np.arange(first, first + length) % len(road.line)
    there, back = road.beside(side - 0.45)[stretch], road.beside(side + 0.45)[stretch[::-1]]
    return np.concatenate([there, back, there[:1]])


@dataclass(frozen=True)
class _Course:
    """A line with its timetable: places and headings at even times, [_SAMPLES + 1, 2]."""

    places: Points
    headings: Points
    rounds: int  # in a cycle

    @classmethod
    def walk(cls, line: Points, speed: float) -> _Course:
        line = resample(line, 0.25)[:-1]
        return cls._timed(line, True, np.full(len(line), speed))

    @classmethod
    def drive(cls, line: Points, closed: bool, top_speed: float) -> _Course:
        """Slower where the line bends, and before and after."""
        line = resample(line, 0.5)[: -1 if closed else None]
        ahead = tangents(line, closed)
        bend = np.linalg.norm(np.roll(ahead, -2, axis=0) - np.roll(ahead, 2, axis=0), axis=1) / 2.0
        if not closed:
            bend[:2] = bend[-2:] = 0.0
        speed = np.clip(np.sqrt(_COMFORT / np.maximum(bend, 1e-4)), 3.0, top_speed)
        reach = 30  # half metres
        padded = np.pad(speed, 2 * reach, mode="wrap" if closed else "edge")
        slowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
        even = np.convolve(slowest, np.full(2 * reach + 1, 1 / (2 * reach + 1)), "valid")
        return cls._timed(line, closed, even)

    @classmethod
    def _timed(cls, line: Points, closed: bool, speed: Points) -> _Course:
        ahead = tangents(line, closed)
        if closed:
            line, ahead, speed = (np.concatenate([value, value[:1]]) for value in (line, ahead, speed))
        lengths = np.hypot(*np.diff(line, axis=0).T)
        time = np.concatenate([[0.0], np.cumsum(lengths * 2 / (speed[1:] + speed[:-1]))])
        even = np.linspace(0.0, time[-1], _SAMPLES + 1)
        places, headings = (
            np.stack([np.interp(even, time, value[:, axis]) for axis in (0, 1)], axis=1)
            for value in (line, ahead)
        )
        return cls(places, headings, max(1, round(CYCLE / time[-1])))

    def discs(self, phase: float, length: float) -> Points:
        """Rear, middle and front of a vehicle on this course through the cycle, [_CHECKS, 3, 2]."""
        at = ((phase + self.rounds * np.arange(_CHECKS) / _CHECKS) % 1.0 * _SAMPLES).astype(np.int64)
        reach = np.array([-0.6, 0.0, 0.6])[None, :, None] * length
        return np.asarray(self.places[at][:, None] + reach * self.headings[at][:, None])


# Looks --------------------------------------------------------------------------------------------------


class Looks:
    """Draws movers once, large, and reduces them to `detail` pixels per metre."""

    def __init__(self, sun: tuple[float, float], detail: float) -> None:
        self._sun = sun
        self._detail = detail
        self.vehicle = lru_cache(self._vehicle)
        self.person = lru_cache(self._person)

    def _vehicle(self, model: Vehicle, paint: Colour) -> Look:
        """A vehicle from above: body, glass, roof and lamps, or a cab with a box behind it."""
        length, width = model.length, model.width
        sheet = _Sheet(length + 1.6, self._detail, paint)
        sheet.shape(_oval(0, 0, length, width, 0.3))
        dark, light = mix(paint, (18, 16, 16), 0.4), mix(paint, (255, 255, 255), 0.22)
        glass = (58, 46, 38)
        sheet.paint(_oval(0, 0, length * 0.985, width * 0.9, 0.35), mix(paint, (255, 255, 255), 0.06))
        if model.box:  # cab in front, box behind
            cab = length / 2 - model.box
            sheet.paint(_oval(cab + 0.3 * model.box, 0, 0.75 * model.box, width * 0.86, 0.4), glass)
            sheet.paint(_oval(cab + 0.08 * model.box, 0, 0.75 * model.box, width * 0.84, 0.4), light)
            middle, rest = (cab - length / 2) / 2, length - model.box
            sheet.paint(_oval(middle, 0, rest, width, 0.12), dark)
            sheet.paint(_oval(middle, 0, rest - 0.16, width - 0.16, 0.12), model.cargo or light)
            for seam in (-0.3, 0.0, 0.3):
                line = _oval(middle + seam * rest, 0, 0.1, width * 0.9, 0.1)
                sheet.paint(line, mix(model.cargo or light, dark, 0.3))
        else:
            sheet.paint(_oval(-0.06 * length, 0, 0.62 * length, width * 0.88, 0.4), glass)
            sheet.paint(_oval(-0.1 * length, 0, 0.37 * length, width * 0.76, 0.35), light)
            sheet.paint(_oval(0.36 * length, 0, 0.012 * length, width * 0.7, 0.4), dark)
        for side in (-0.36, 0.36):
            sheet.paint(_oval(0.475 * length, side * width, 0.16, 0.34, 0.6), (236, 244, 248))
            sheet.paint(_oval(-0.48 * length, side * width, 0.12, 0.36, 0.6), (40, 36, 190))
        shadow = _Sheet(length + 2.2, self._detail, paint)
        shadow.shape(_oval(0, 0, length + 0.1, width + 0.25, 0.35))
        shift = (self._sun[0] * model.height * 0.55, self._sun[1] * model.height * 0.55)
        return Look(sheet.body(), shadow.soft(0.12), True, shift)

    def _person(self, coat: Colour, hair: Colour) -> Look:
        """Somebody walking: shoulders, legs, head and a long shadow."""
        sheet = _Sheet(2.0, self._detail, coat)
        sheet.shape(_oval(0, 0, 0.46, 0.84, 0.8))
        for side in (-1, 1):
            sheet.shape(_oval(side * 0.26, side * 0.2, 0.46, 0.24, 0.7))
            sheet.paint(_oval(side * 0.3, side * 0.2, 0.4, 0.24, 0.7), mix(coat, (46, 40, 36), 0.7))
        sheet.paint(_oval(0, 0, 0.5, 0.92, 0.8), coat)
        sheet.paint(_oval(0.04, 0, 0.36, 0.36, 1.0), hair)
        fall = np.array(self._sun) * 1.75
        shadow = _Sheet(2 * float(np.hypot(*fall)) + 1.6, self._detail, coat)
        for share, size in zip(np.linspace(0.0, 1.0, 12), np.linspace(0.62, 0.4, 12), strict=True):
            shadow.shape(_oval(fall[0] * share, fall[1] * share, size, size, 1.0))
        return Look(sheet.body(), shadow.soft(0.05), False, (0.0, 0.0))


class _Sheet:
    """A square drawing board with its origin in the middle, `extent` metres or a little more wide."""

    def __init__(self, extent: float, detail: float, colour: Colour) -> None:
        self._fine = min(_FINE, max(4.0, 8 * detail))
        self._side = int(np.ceil(extent * detail)) + 4
        fine = round(self._side / detail * self._fine)
        self._centre = np.full(2, fine / self._fine / 2)
        self._colour = Canvas(np.full((fine, fine, 3), np.rint(colour), np.uint8), self._fine)
        self._cover = Canvas(np.zeros((fine, fine), np.uint8), self._fine)

    def shape(self, outline: Points) -> None:
        self._cover.area(outline + self._centre, (255, 255, 255))

    def paint(self, outline: Points, colour: Colour) -> None:
        self._colour.area(outline + self._centre, colour)

    def body(self) -> Image:
        cover = self._cover.image[:, :, None].astype(np.float32) / np.float32(255)
        image: Image = np.empty((*cover.shape[:2], 4), np.float32)
        image[:, :, :3] = self._colour.image * cover
        image[:, :, 3:] = cover
        return self._reduced(image)

    def soft(self, blur: float) -> Image:
        import cv2

        cover = cv2.GaussianBlur(self._cover.image, (0, 0), blur * self._fine)
        return self._reduced(np.asarray(cover, dtype=np.float32) / np.float32(255))

    def _reduced(self, image: Image) -> Image:
        import cv2

        reduced = cv2.resize(image, (self._side, self._side), interpolation=cv2.INTER_AREA)
        return np.asarray(reduced, dtype=np.float32)


def _oval(x: float, y: float, length: float, width: float, roundness: float) -> Points:
    """An outline between a rectangle (roundness near 0) and an ellipse (1), [N, 2]."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    wave = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline = np.sign(wave) * np.abs(wave) ** roundness * np.array([length, width]) / 2
    return np.asarray(outline + np.array([x, y]))
