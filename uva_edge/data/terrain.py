"""Draws the ground of the synthetic world once, as one large texture seen from straight above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uva_edge.data.layout import (
    CROPS,
    PATH_WIDTH,
    PAVEMENT,
    RIVER_WIDTH,
    ROOFS,
    TREE_VARIANTS,
    WORLD,
    Building,
    Field,
    Layout,
    Points,
    Road,
    distances,
    rectangle,
    tangents,
)

Colour = tuple[float, float, float]  # blue, green, red, 0 to 255
_LEAST_DETAIL = 4.0  # pixels per metre; coarser textures are drawn so and then averaged
_MOST_PIXELS = 5120  # of a side of the texture
_SHIFT = 4  # fractional bits of the coordinates given to OpenCV
_ASPHALT: Colour = (104, 101, 99)
_KERB: Colour = (168, 170, 172)
_PAVING: Colour = (148, 154, 160)
_PAINT: Colour = (222, 226, 226)
_GRAVEL: Colour = (146, 172, 190)


@dataclass(frozen=True)
class Palette:
    """The colours of one world: its season, its crops and its roofs."""

    grass: tuple[Colour, Colour, Colour]  # dark, middle, light
    crops: tuple[Colour, ...]
    roofs: tuple[Colour, ...]
    leaves: tuple[Colour, ...]
    water: tuple[Colour, Colour]  # at the shore, in the middle


_SEASONS: tuple[tuple[tuple[Colour, Colour, Colour], tuple[Colour, ...]], ...] = (
    (((56, 88, 74), (72, 114, 98), (98, 140, 128)), ((38, 72, 50), (46, 88, 64), (56, 100, 80))),  # summer
    (((66, 104, 100), (86, 130, 132), (116, 158, 166)), ((44, 80, 62), (58, 96, 84), (70, 104, 104))),  # dry
    (((52, 88, 84), (66, 110, 108), (88, 130, 134)), ((48, 92, 132), (56, 112, 150), (54, 84, 86))),  # autumn
    (((58, 98, 78), (76, 124, 102), (104, 150, 132)), ((44, 84, 58), (58, 108, 82), (92, 136, 116))),  # lush
)
_CROPS: tuple[Colour, ...] = (
    (112, 176, 200), (78, 128, 100), (92, 118, 142), (84, 150, 130), (120, 194, 214), (60, 108, 74),
    (96, 128, 156),
)  # fmt: skip
_ROOFS: tuple[Colour, ...] = (
    (74, 92, 158), (66, 78, 132), (92, 88, 86), (118, 112, 106), (72, 96, 124), (150, 148, 144),
    (84, 104, 176), (110, 92, 74), (168, 172, 176), (60, 66, 84),
)  # fmt: skip
_WATER: tuple[tuple[Colour, Colour], ...] = (
    ((128, 128, 98), (92, 78, 44)),
    ((118, 136, 108), (82, 92, 60)),
    ((150, 142, 92), (118, 92, 40)),
)


def _palette(rng: np.random.Generator) -> Palette:
    grass, leaves = _SEASONS[rng.integers(len(_SEASONS))]
    return Palette(
        grass=grass,
        crops=tuple(_CROPS[i] for i in rng.permutation(len(_CROPS))[:CROPS]),
        roofs=tuple(_ROOFS[i] for i in rng.permutation(len(_ROOFS))[:ROOFS]),
        leaves=leaves,
        water=_WATER[rng.integers(len(_WATER))],
    )


@dataclass(frozen=True)
class Terrain:
    """The texture of the ground, uint8 BGR, and how dark its shadows are (0 to 255, one pixel per metre)."""

    image: NDArray[np.uint8]
    detail: float  # pixels per metre of `image`
    shade: NDArray[np.uint8]


def draw_terrain(layout: Layout, seed: int, detail: float) -> Terrain:
    """Draw the world with about `detail` pixels per metre (less where the texture would be too large)."""
    import cv2

    rng = np.random.default_rng([seed, 2])
    palette = _palette(rng)
    wanted = max(2, min(_MOST_PIXELS, round(detail * WORLD)))
    side = max(wanted, round(_LEAST_DETAIL * WORLD))
    canvas = Canvas(_grass(rng, palette, side), side / WORLD)
    _draw_fields(canvas, rng, layout.fields, palette)
    _draw_paths(canvas, layout, palette)
    _draw_water(canvas, rng, layout, palette)
    _draw_roads(canvas, rng, layout)
    _weather(canvas, rng)
    shade = _cast_shadows(canvas, layout)
    for building in layout.buildings:
        _draw_building(canvas, rng, building, palette, layout.sun)
    _draw_trees(canvas, rng, layout, palette)
    image = canvas.image
    if wanted != side:
        image = np.asarray(cv2.resize(image, (wanted, wanted), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    small = cv2.resize(shade, (int(WORLD), int(WORLD)), interpolation=cv2.INTER_AREA)
    return Terrain(image, wanted / WORLD, np.asarray(small, dtype=np.uint8))


class Canvas:
    """Anti-aliased drawing in metres on an image of `detail` pixels per metre."""

    def __init__(self, image: NDArray[np.uint8], detail: float) -> None:
        self.image = image
        self.detail = detail

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        return np.rint((points * self.detail - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def area(self, outline: Points, colour: Colour) -> None:
        import cv2

        cv2.fillPoly(self.image, [self._pixels(outline)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: Points, width: float, colour: Colour, closed: bool = False) -> None:
        """A line of `width` metres, at least one pixel wide."""
        import cv2

        thickness = max(1, round(width * self.detail))
        cv2.polylines(self.image, [self._pixels(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)

    def disc(self, centre: Points, radius: float, colour: Colour) -> None:
        import cv2

        x, y = (int(value) for value in self._pixels(centre))
        cv2.circle(self.image, (x, y), max(1, round(radius * self.detail * (1 << _SHIFT))), colour, -1,
                   cv2.LINE_AA, _SHIFT)  # fmt: skip


def _noise(rng: np.random.Generator, side: int, cells: int) -> NDArray[np.float32]:
    """Smooth noise of unit variance, `cells` cells to the world's side."""
    import cv2

    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the way from one colour to the other."""
    blue, green, red = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return (blue, green, red)


def _grass(rng: np.random.Generator, palette: Palette, side: int) -> NDArray[np.uint8]:
    """Mottled grass: noise of four sizes looked up in the season's gradient."""
    import cv2

    tone = np.full((side, side), 128.0, np.float32)
    for cells, strength in ((7, 30.0), (45, 16.0), (260, 9.0), (900, 8.0)):
        tone += strength * _noise(rng, side, cells)
    index = cv2.convertScaleAbs(np.clip(tone, 0, 255))
    stops = np.array(palette.grass)
    gradient = [np.interp(np.arange(256), [40, 128, 216], stops[:, channel]) for channel in range(3)]
    table = np.rint(np.stack(gradient, axis=1)).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(cv2.merge([index, index, index]), table), dtype=np.uint8)


def _draw_fields(canvas: Canvas, rng: np.random.Generator, fields: Sequence[Field], palette: Palette) -> None:
    for field in fields:
        first, second, third, fourth = field.corners
        colour = mix(palette.crops[field.colour], (90, 120, 110), float(rng.uniform(0, 0.35)))
        canvas.area(field.corners, colour)
        rows = max(4, round(float(np.hypot(*(fourth - first))) / field.spacing))
        for row in range(rows):
            share = (row + 0.5) / rows
            ends = np.stack([first + (fourth - first) * share, second + (third - second) * share])
            tint = 0.86 + 0.05 * float(rng.normal())
            canvas.line(ends, field.spacing * 0.42, mix((0, 0, 0), colour, tint))
        for share in (0.14, 0.38, 0.62, 0.86):  # the tracks of the tractor
            ends = np.stack([first + (fourth - first) * share, second + (third - second) * share])
            canvas.line(ends, 0.5, mix(colour, (92, 116, 132), 0.6))
        canvas.line(field.corners, 1.2, mix(colour, palette.grass[0], 0.6), closed=True)


def _draw_paths(canvas: Canvas, layout: Layout, palette: Palette) -> None:
    for path in layout.paths:
        canvas.area(path, palette.grass[2])
        canvas.area(path.mean(axis=0) + (path - path.mean(axis=0)) * 0.8, mix(*palette.grass[1:], 0.55))
        canvas.line(path, PATH_WIDTH + 0.5, mix(_GRAVEL, (70, 100, 90), 0.55))
        canvas.line(path, PATH_WIDTH, _GRAVEL)
    for driveway in layout.driveways:
        canvas.area(driveway, mix(_PAVING, _ASPHALT, 0.35))


def _draw_water(canvas: Canvas, rng: np.random.Generator, layout: Layout, palette: Palette) -> None:
    shore, deep = palette.water
    bank = mix(_GRAVEL, palette.grass[0], 0.45)
    steps = 9
    if layout.river is not None:
        canvas.line(layout.river, RIVER_WIDTH + 3.0, mix(bank, palette.grass[0], 0.6))
        canvas.line(layout.river, RIVER_WIDTH + 1.2, bank)
        for step in range(steps):
            share = step / (steps - 1)
            canvas.line(layout.river, RIVER_WIDTH * (1 - 0.6 * share), mix(shore, deep, share))
    for lake in layout.lakes:
        middle = lake.mean(axis=0)
        canvas.area(middle + (lake - middle) * 1.08, mix(bank, palette.grass[0], 0.5))
        canvas.area(middle + (lake - middle) * 1.03, bank)
        for step in range(steps):
            share = step / (steps - 1)
            canvas.area(middle + (lake - middle) * (1 - 0.5 * share), mix(shore, deep, share))
        for x, y in rng.normal(0, 0.28, (40, 2)) * np.ptp(lake, axis=0) / 2:
            ripple = np.array([[x - 0.8, y], [x + 0.8, y + 0.1]])
            canvas.line(middle + ripple, 0.12, mix(deep, shore, 0.45))


def _draw_roads(canvas: Canvas, rng: np.random.Generator, layout: Layout) -> None:
    """Pavements first, then all asphalt, then paint, so that crossings come out clean."""
    asphalt = [mix(_ASPHALT, (84, 84, 86), float(rng.uniform(0, 1))) for _ in layout.roads]
    for road in layout.roads:
        canvas.line(road.line, road.width + 2 * PAVEMENT, _PAVING, road.closed)
    for road in layout.roads:
        canvas.line(road.line, road.width + 0.5, _KERB, road.closed)
    for point in layout.junctions:
        canvas.disc(point, 7.6, _KERB)
    for road, colour in zip(layout.roads, asphalt, strict=True):
        canvas.line(road.line, road.width, colour, road.closed)
    for point in layout.junctions:
        canvas.disc(point, 7.3, asphalt[0])
    for road, colour in zip(layout.roads, asphalt, strict=True):
        clear = distances(road.line, layout.junctions).min(axis=1) > 7.0
        for track in (-2.5, -1.0, 1.0, 2.5):  # tyres polish the asphalt
            for run in _runs(road.beside(track), clear):
                canvas.line(run, 0.5, mix(colour, (70, 70, 72), 0.22))
    for road in layout.roads:
        _paint_road(canvas, road, layout.junctions)


def _paint_road(canvas: Canvas, road: Road, junctions: Points) -> None:
    """Edge lines, a dashed middle, and zebra crossings before the junctions."""
    faded = mix(_ASPHALT, _PAINT, 0.75)
    away = distances(road.line, junctions).min(axis=1)
    if road.closed:  # begin at a junction, where there is no paint, so that no seam shows
        first = -int(away.argmin())
        road, away = Road(np.roll(road.line, first, axis=0), road.width, True), np.roll(away, first)
    for edge in (road.width / 2 - 0.35, 0.35 - road.width / 2):
        for run in _runs(road.beside(edge), away > 9.0):
            canvas.line(run, 0.15, faded)
    dashes = (np.arange(len(road.line)) % 7 < 3) & (away > 14.0)
    for run in _runs(road.line, dashes):
        canvas.line(run, 0.18, _PAINT)
    ahead = tangents(road.line, road.closed)
    crossing = (away[:-1] < 10.5) != (away[1:] < 10.5)
    for at in np.flatnonzero(crossing):
        across = np.array([-ahead[at, 1], ahead[at, 0]])
        for stripe in np.arange(-road.width / 2 + 0.7, road.width / 2 - 0.3, 1.0):
            canvas.area(rectangle(road.line[at] + across * stripe, ahead[at], 2.6, 0.5), _PAINT)


def _runs(line: Points, keep: NDArray[np.bool_]) -> list[Points]:
    """The stretches of a line where `keep` holds."""
    cuts = np.flatnonzero(np.diff(keep.astype(np.int8))) + 1
    parts = zip(np.split(line, cuts), np.split(keep, cuts), strict=True)
    return [part for part, kept in parts if kept[0] and len(part) > 1]


def _weather(canvas: Canvas, rng: np.random.Generator) -> None:
    """Uneven wear, dirt and grain over everything flat."""
    import cv2

    side = canvas.image.shape[0]
    tone = np.full((side, side), 128.0, np.float32)
    for cells, strength in ((30, 3.0), (150, 3.0), (700, 3.5)):
        tone += strength * _noise(rng, side, cells)
    tone += 3.0 * rng.standard_normal((side, side), dtype=np.float32)
    factor = cv2.convertScaleAbs(tone)
    cv2.multiply(canvas.image, cv2.merge([factor, factor, factor]), canvas.image, 1 / 128)


def _cast_shadows(canvas: Canvas, layout: Layout) -> NDArray[np.uint8]:
    """Darken what lies in the shadow of buildings and trees; returns the shadows, 0 (sun) to 255."""
    import cv2

    side = canvas.image.shape[0]
    shadows = Canvas(np.zeros((side, side), np.uint8), canvas.detail)
    sun = np.array(layout.sun)
    full: Colour = (255, 255, 255)
    for building in layout.buildings:
        both = np.concatenate([building.corners, building.corners + sun * building.height])
        shadows.area(cv2.convexHull(both.astype(np.float32))[:, 0].astype(np.float64), full)
    for tree in layout.trees:
        for far in (0.65, 1.3):
            shadows.disc(np.array([tree.x, tree.y]) + sun * tree.radius * far, tree.radius * 0.95, full)
    blurred = cv2.GaussianBlur(shadows.image, (0, 0), max(0.5, 0.22 * canvas.detail))
    light = np.arange(256)[:, None] / 255 * (1 - np.array([0.62, 0.54, 0.50]))  # shade is bluish
    table = np.rint(255 * (1 - light)).astype(np.uint8)[None]
    cv2.multiply(canvas.image, cv2.LUT(cv2.merge([blurred, blurred, blurred]), table), canvas.image, 1 / 255)
    return np.asarray(blurred, dtype=np.uint8)


def _draw_building(
    canvas: Canvas, rng: np.random.Generator, building: Building, palette: Palette, sun: tuple[float, float]
) -> None:
    colour = mix(palette.roofs[building.colour], (110, 110, 112), float(rng.uniform(0, 0.3)))
    first, second, third, fourth = building.corners
    outward = (first - fourth) / np.hypot(*(first - fourth))
    slope = -float(outward @ np.array(sun)) / float(np.hypot(*sun))  # 1 where the first side faces the sun
    if building.gabled:
        left, right = (first + fourth) / 2, (second + third) / 2
        for near, far, facing in ((first, second, slope), (fourth, third, -slope)):
            lit = mix((30, 26, 24), colour, 0.93 + 0.22 * facing)
            canvas.area(np.stack([near, far, right, left]), lit)
            for share in np.arange(0.12, 1.0, 0.16):  # courses of tiles
                course = np.stack([near + (left - near) * share, far + (right - far) * share])
                canvas.line(course, 0.12, mix(lit, (20, 20, 20), 0.13))
        canvas.line(np.stack([left, right]), 0.3, mix(colour, (235, 235, 235), 0.25))
        chimney = left + (right - left) * rng.uniform(0.2, 0.8) + outward * 1.1
        along = (second - first) / np.hypot(*(second - first))
        canvas.area(rectangle(chimney + 0.5 * np.array(sun), along, 0.9, 0.8), mix(colour, (0, 0, 0), 0.5))
        canvas.area(rectangle(chimney, along, 0.9, 0.8), (92, 98, 128))
    else:
        _draw_flat_roof(canvas, rng, building.corners, mix(colour, (150, 150, 148), 0.55), sun)
    canvas.line(building.corners, 0.2, mix(colour, (20, 20, 20), 0.35), closed=True)


def _draw_flat_roof(
    canvas: Canvas, rng: np.random.Generator, corners: Points, colour: Colour, sun: tuple[float, float]
) -> None:
    """A parapet with its shadow, sky-lights and ventilators."""
    middle = corners.mean(axis=0)
    inner = middle + (corners - middle) * 0.93
    along = (corners[1] - corners[0]) / np.hypot(*(corners[1] - corners[0]))
    across = (corners[3] - corners[0]) / np.hypot(*(corners[3] - corners[0]))
    length, depth = np.hypot(*(corners[1] - corners[0])), np.hypot(*(corners[3] - corners[0]))
    canvas.area(corners, mix(colour, (235, 235, 235), 0.4))
    canvas.area(inner, mix(colour, (40, 40, 44), 0.3))
    canvas.area(middle + (inner - middle) * 0.985 + 0.35 * np.array(sun), colour)
    for i in range(int(rng.integers(3, 7))):
        place = middle + along * rng.uniform(-0.36, 0.36) * length + across * rng.uniform(-0.3, 0.3) * depth
        size = rng.uniform(1.2, 2.6)
        shadow = rectangle(place + 0.9 * np.array(sun), along, size, size * 0.7)
        canvas.area(shadow, mix(colour, (30, 28, 30), 0.45))
        canvas.area(rectangle(place, along, size, size * 0.7), (200, 204, 204) if i % 2 else (168, 156, 140))


def _draw_trees(canvas: Canvas, rng: np.random.Generator, layout: Layout, palette: Palette) -> None:
    """Stamp crowns; each of the few drawn once, large, and reduced to the size of the tree."""
    import cv2

    crowns = [_crown(rng, palette.leaves[i % len(palette.leaves)], layout.sun) for i in range(TREE_VARIANTS)]
    for tree in layout.trees:
        size = max(3, round(2.4 * tree.radius * canvas.detail))
        crown = cv2.resize(crowns[tree.variant], (size, size), interpolation=cv2.INTER_AREA)
        x, y = (round(value * canvas.detail - size / 2) for value in (tree.x, tree.y))
        top, left = max(0, -y), max(0, -x)
        under = canvas.image[max(0, y) : y + size, max(0, x) : x + size]
        over = crown[top : top + under.shape[0], left : left + under.shape[1]]
        if under.size:
            cover = over[:, :, 3:].astype(np.float32) / 255
            under[:] = np.rint(under * (1 - cover) + over[:, :, :3] * cover)


def _crown(rng: np.random.Generator, colour: Colour, sun: tuple[float, float]) -> NDArray[np.uint8]:
    """A tree from above, uint8 BGRA [96, 96]: clumps of leaves, brighter towards the sun and the top."""
    import cv2

    side, radius = 96, 40.0
    image = np.zeros((side, side, 4), np.uint8)
    image[:, :, :3] = np.array(mix(colour, (0, 0, 0), 0.45), np.uint8)
    towards = -np.array(sun) / np.hypot(*sun)
    tint = mix(colour, (90, 150, 150), float(rng.uniform(0, 0.25)))
    for share in np.linspace(1.0, 0.0, 110):
        angle = rng.uniform(0, 2 * np.pi)
        offset = share * radius * 0.82 * np.array([np.cos(angle), np.sin(angle)])
        light = 0.88 + 0.30 * float(offset @ towards) / radius - 0.14 * share + 0.09 * float(rng.normal())
        blue, green, red = (max(0.0, min(255.0, channel * light)) for channel in tint)
        x, y = (round(float(side / 2 - 0.5 + value) * (1 << _SHIFT)) for value in offset)
        size = int(rng.uniform(6, 11) * (1 << _SHIFT))
        cv2.circle(image, (x, y), size, (blue, green, red, 255.0), -1, cv2.LINE_AA, _SHIFT)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.2), dtype=np.uint8)
