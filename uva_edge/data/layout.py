"""What is where in the synthetic world: roads, water, fields, buildings, footpaths and trees, in metres.

The world is a square of `WORLD` metres, x to the right and y down, like an image. A closed main road (the
ring) runs around its centre, and the flight follows it; cross roads pass through the whole world. Everything
else is put where it is free, so nothing stands on a road and nobody walks through a house. Nothing here
depends on the size of the frames: one seed is one world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

WORLD = 400.0
CENTRE = WORLD / 2
PAVEMENT = 2.4  # width of the pavement on either side of a road
LANE = 1.75  # from the centre line of a road to the middle of a lane
_RING_RADIUS = 92.0


@dataclass(frozen=True)
class Road:
    """A road by its centre line, [N, 2] points about one metre apart."""

    line: Points
    width: float
    closed: bool

    def beside(self, offset: float) -> Points:
        """The line that runs `offset` metres to the right of the centre line (negative: to the left)."""
        return self.line + offset * right_of(tangents(self.line, self.closed))


@dataclass(frozen=True)
class Building:
    """A rectangular building: its footprint, how high it is and how its roof looks."""

    corners: Points  # [4, 2]; the ridge runs along the first side
    height: float
    gabled: bool
    colour: int  # which of the palette's roofs


@dataclass(frozen=True)
class Field:
    """A ploughed or sown quadrangle whose rows run from the first side to the third."""

    corners: Points  # [4, 2]
    colour: int  # which of the palette's crops
    spacing: float  # between rows


@dataclass(frozen=True)
class Tree:
    x: float
    y: float
    radius: float
    variant: int


@dataclass(frozen=True)
class Layout:
    """Everything that stands still."""

    ring: Road
    cross_roads: tuple[Road, ...]
    junctions: Points  # [N, 2]
    river: Points | None  # [N, 2], the middle of the river
    lakes: tuple[Points, ...]  # outlines
    paths: tuple[Points, ...]  # closed footpaths
    fields: tuple[Field, ...]
    buildings: tuple[Building, ...]
    driveways: tuple[Points, ...]  # [4, 2] each
    parked: Points  # [N, 3]: x, y, heading of cars that stand still
    trees: tuple[Tree, ...]
    sun: tuple[float, float]  # metres of shadow, right and down, that one metre of height casts

    @property
    def roads(self) -> tuple[Road, ...]:
        return (self.ring, *self.cross_roads)


RIVER_WIDTH = 15.0
PATH_WIDTH = 2.0
CROPS = 5
ROOFS = 6
TREE_VARIANTS = 12


def tangents(line: Points, closed: bool) -> Points:
    """Unit vectors along a line, [N, 2]."""
    step = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0) if closed else np.gradient(line, axis=0)
    return np.asarray(step / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None])


def right_of(direction: Points) -> Points:
    """The unit vectors to the right of `direction`, as seen from above."""
    return np.stack([-direction[:, 1], direction[:, 0]], axis=1)


def distances(one: Points, other: Points) -> Points:
    """From every point of one line, [N, 2], to every point of the other, [M, 2]: [N, M]."""
    return np.asarray(np.hypot(one[:, None, 0] - other[None, :, 0], one[:, None, 1] - other[None, :, 1]))


def resample(line: Points, step: float = 1.0) -> Points:
    """The same line with points `step` metres apart; a closed line must repeat its first point."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    wanted = np.linspace(0.0, length[-1], max(2, round(length[-1] / step) + 1))
    return np.stack([np.interp(wanted, length, line[:, axis]) for axis in (0, 1)], axis=1)


def rectangle(centre: Points, along: Points, length: float, depth: float) -> Points:
    """The corners [4, 2] of a rectangle whose first side runs along the unit vector `along`."""
    across = np.array([-along[1], along[0]])
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    return np.asarray(centre + signs[:, :1] * length * along + signs[:, 1:] * depth * across)


def blob(rng: np.random.Generator, centre: Points, radius: float, wobble: float) -> Points:
    """A smooth closed outline around `centre`, [N + 1, 2], the last point being the first."""
    angle = np.linspace(0.0, 2 * np.pi, 361)
    distance = np.ones_like(angle)
    for order in (2, 3, 4):
        distance += wobble / order * rng.uniform(0.4, 1.0) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    outline = centre + radius * distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline[-1] = outline[0]
    return np.asarray(outline)


class _Ground:
    """Which square metres are taken."""

    def __init__(self) -> None:
        self.taken = np.zeros((int(WORLD), int(WORLD)), np.uint8)

    def take(self, line: Points, width: float) -> None:
        import cv2

        cv2.polylines(self.taken, [np.rint(line).astype(np.int32)], False, 1, max(1, round(width)))

    def take_area(self, outline: Points, margin: float = 1.0) -> None:
        import cv2

        cv2.fillPoly(self.taken, [np.rint(outline).astype(np.int32)], 1)
        self.take(np.concatenate([outline, outline[:1]]), 2 * margin)

    def is_free(self, outline: Points) -> bool:
        import cv2

        area = np.zeros_like(self.taken)
        cv2.fillPoly(area, [np.rint(outline).astype(np.int32)], 1)
        return not bool((area & self.taken).any())

    def clearance(self) -> NDArray[np.float32]:
        """Metres from each square metre to the nearest taken one, [WORLD, WORLD]."""
        import cv2

        return np.asarray(cv2.distanceTransform(1 - self.taken, cv2.DIST_L2, 5), dtype=np.float32)


def make_layout(seed: int) -> Layout:
    """The world of this seed."""
    rng = np.random.default_rng([seed, 1])
    ground = _Ground()
    ring = _ring(rng)
    cross_roads = _cross_roads(rng)
    roads = (ring, *cross_roads)
    junctions = _junctions(roads)
    river = _river(rng) if rng.random() < 0.6 else None
    for road in roads:
        ground.take(road.line, road.width + 2 * PAVEMENT + 1)
    if river is not None:
        ground.take(river, RIVER_WIDTH + 5)
    lake_count = 2 if river is None else 1
    lakes = _free_blobs(rng, ground, count=lake_count, radius=(13.0, 24.0), wobble=0.5, margin=3)
    paths = _free_blobs(rng, ground, count=9, radius=(11.0, 17.0), wobble=0.35, margin=2)
    town = _town(rng)
    buildings, driveways, parked = _buildings(rng, ground, roads, town)
    fields = _fields(rng, ground)
    azimuth, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.95)
    return Layout(
        ring=ring,
        cross_roads=cross_roads,
        junctions=junctions,
        river=river,
        lakes=lakes,
        paths=paths,
        fields=fields,
        buildings=buildings,
        driveways=driveways,
        parked=parked,
        trees=_trees(rng, ground, roads, paths, town),
        sun=(float(length * np.cos(azimuth)), float(length * np.sin(azimuth))),
    )


def _ring(rng: np.random.Generator) -> Road:
    outline = blob(rng, np.array([CENTRE, CENTRE]), _RING_RADIUS, wobble=0.22)
    return Road(resample(outline)[:-1], width=7.6, closed=True)


def _cross_roads(rng: np.random.Generator) -> tuple[Road, ...]:
    """Two roads that cross near the centre and a third that runs beside the first."""
    first = rng.uniform(0, np.pi)
    side = rng.choice([-1.0, 1.0])
    courses = [
        (first, side * rng.uniform(10, 25)),
        (first + np.pi / 2 + rng.uniform(-0.3, 0.3), rng.uniform(-25, 25)),
        (first + rng.uniform(-0.15, 0.15), -side * rng.uniform(42, 55)),
    ]
    along = np.linspace(-310.0, 310.0, 621)  # ends beyond the corners of the world
    roads = []
    for angle, offset in courses:
        bend = rng.uniform(4, 9) * np.sin(along / rng.uniform(38, 55) + rng.uniform(0, 2 * np.pi))
        local = np.stack([along, offset + bend], axis=1)
        roads.append(Road(_across_world(local, angle), width=6.8, closed=False))
    return tuple(roads)


def _across_world(local: Points, angle: float) -> Points:
    """A line given along the x axis, turned and put through the centre of the world."""
    return resample(
        local @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + CENTRE
    )


def _junctions(roads: tuple[Road, ...]) -> Points:
    found: list[Points] = []
    for i, one in enumerate(roads):
        for other in roads[i + 1 :]:
            for a, b in np.argwhere(distances(one.line, other.line) < 1.0):
                point = (one.line[a] + other.line[b]) / 2
                if all(np.hypot(*(point - known)) > 12 for known in found):
                    found.append(point)
    return np.array(found)


def _river(rng: np.random.Generator) -> Points:
    """A winding line across the world that stays off its centre, where the roads meet."""
    along = np.linspace(-310.0, 310.0, 621)
    first, second = rng.uniform(0, 2 * np.pi, 2)
    bend = 16 * np.sin(along / 42 + first) + 6 * np.sin(along / 17 + second)
    offset = rng.choice([-1.0, 1.0]) * rng.uniform(55, 75)
    return _across_world(np.stack([along, offset + bend], axis=1), rng.uniform(0, np.pi))


def _near_flight(rng: np.random.Generator, reach: float) -> Points:
    """A point within `reach` metres of the mean ring, where the camera looks."""
    angle = rng.uniform(0, 2 * np.pi)
    distance = _RING_RADIUS + rng.uniform(-reach, reach)
    return CENTRE + distance * np.array([np.cos(angle), np.sin(angle)])


def _free_blobs(
    rng: np.random.Generator,
    ground: _Ground,
    *,
    count: int,
    radius: tuple[float, float],
    wobble: float,
    margin: float,
) -> tuple[Points, ...]:
    blobs: list[Points] = []
    for _ in range(count * 60):
        outline = blob(rng, _near_flight(rng, 60.0), rng.uniform(*radius), wobble)
        if len(blobs) < count and ground.is_free(outline):
            ground.take_area(outline, margin)
            blobs.append(outline)
    return tuple(blobs)


def _town(rng: np.random.Generator) -> NDArray[np.float32]:
    """How built-up each square metre is, about 0 (country) to 1 (town), [WORLD, WORLD]."""
    import cv2

    coarse = rng.uniform(0, 1, (6, 6)).astype(np.float32)
    smooth = cv2.resize(coarse, (int(WORLD), int(WORLD)), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, dtype=np.float32)


def _at(grid: NDArray[np.float32], point: Points) -> float:
    x, y = np.clip(np.rint(point).astype(int), 0, int(WORLD) - 1)
    return float(grid[y, x])


def _buildings(
    rng: np.random.Generator, ground: _Ground, roads: tuple[Road, ...], town: NDArray[np.float32]
) -> tuple[tuple[Building, ...], tuple[Points, ...], Points]:
    """Houses, halls and their driveways along both sides of every road."""
    buildings: list[Building] = []
    driveways: list[Points] = []
    parked: list[tuple[float, float, float]] = []
    for road in roads:
        ahead = tangents(road.line, road.closed)
        for side in (-1.0, 1.0):
            place = rng.uniform(5, 15)
            while place < len(road.line) - 5:
                at = int(place)
                out = side * right_of(ahead[at : at + 1])[0]
                density = _at(town, road.line[at])
                big = density > 0.72 and rng.random() < 0.6
                length, depth = rng.uniform((16, 12), (28, 18)) if big else rng.uniform((9, 7.5), (14, 10))
                edge = road.width / 2 + PAVEMENT
                setback = rng.uniform(4.0, 8.5)
                centre = road.line[at] + out * (edge + setback + depth / 2)
                corners = rectangle(centre, ahead[at], length, depth)
                if rng.random() < density + 0.25 and ground.is_free(corners):
                    ground.take_area(corners, margin=1.5)
                    height = rng.uniform(6, 11) if big else rng.uniform(4.5, 6.5)
                    buildings.append(Building(corners, height, not big, int(rng.integers(ROOFS))))
                    driveway = road.line[at] + out * (edge - 0.3 + (setback + 0.6) / 2)
                    driveway += ahead[at] * rng.uniform(-0.3, 0.3) * length
                    driveways.append(rectangle(driveway, ahead[at], 3.4, setback + 0.6))
                    ground.take_area(driveways[-1], margin=0.5)
                    if setback > 6.0 and rng.random() < 0.6:
                        parked.append((*(driveway + out * 0.6), np.arctan2(out[1], out[0])))
                place += length + rng.uniform(3, 14)
    return tuple(buildings), tuple(driveways), np.array(parked, dtype=np.float64).reshape(-1, 3)


def _fields(rng: np.random.Generator, ground: _Ground) -> tuple[Field, ...]:
    fields: list[Field] = []
    turn = rng.uniform(0, np.pi)
    for attempt in range(420):
        shrink = 1.0 - attempt / 700  # large fields first, then what still fits
        angle = turn + rng.normal(0, 0.12)
        along = np.array([np.cos(angle), np.sin(angle)])
        length, depth = shrink * rng.uniform((45, 30), (85, 60))
        corners = rectangle(rng.uniform(0, WORLD, 2), along, length, depth)
        if ground.is_free(corners):
            ground.take_area(corners, margin=1.5)
            fields.append(Field(corners, int(rng.integers(CROPS)), float(rng.uniform(1.0, 1.9))))
    return tuple(fields)


def _trees(
    rng: np.random.Generator,
    ground: _Ground,
    roads: tuple[Road, ...],
    paths: tuple[Points, ...],
    town: NDArray[np.float32],
) -> tuple[Tree, ...]:
    """Woods in the country, single trees and bushes elsewhere, rows along the roads, one in each park."""
    clearance = ground.clearance()
    woods = np.clip(1.0 - town * 1.6, 0.16, 1.0)
    trees: list[Tree] = []

    def plant(point: Points, radius: float) -> None:
        trees.append(Tree(float(point[0]), float(point[1]), float(radius), int(rng.integers(TREE_VARIANTS))))

    x, y, size, chance = rng.uniform(0, 1, (4, 12000))
    points, radii = np.stack([x, y], axis=1) * WORLD, 0.8 + 3.0 * size**1.5
    column, row = points.astype(int).T
    grows = (chance < 0.6 * woods[row, column]) & (clearance[row, column] > 0.85 * radii + 0.7)
    for point, radius in zip(points[grows], radii[grows], strict=True):
        plant(point, radius)
    for road in roads:
        for side in (-1.0, 1.0):
            avenue = road.beside(side * (road.width / 2 + PAVEMENT + 2.7))[:: int(rng.integers(9, 14))]
            for point in avenue[rng.random(len(avenue)) < 0.7]:
                if (point > 0).all() and (point < WORLD).all() and _at(clearance, point) > 1.4:
                    plant(point, rng.uniform(1.2, 1.9))
    for path in paths:
        plant(path.mean(axis=0), rng.uniform(1.6, 2.4))
    return tuple(sorted(trees, key=lambda tree: (tree.radius, tree.x)))  # the tall ones over the low ones
