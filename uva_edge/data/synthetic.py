"""A synthetic aerial scene: a drone's flight over roads, roofs, water and fields, with traffic and people.

It needs no download and no licence, and it knows the truth: which pixels move, and how the camera does. The
demo, the golden clips of the bundles and the tests are made from it. Frames are a function of the seed and
their index alone, so they can be asked for in any order and come out the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError

if TYPE_CHECKING:
    from uva_edge.data.movers import Image, Look

Matrix = NDArray[np.float64]

_LEAST_SIZE = 16
_MOST_SIZE = (1920, 1080)
_LEAST_FPS, _MOST_FPS = 0.1, 1000.0
_VIEW = 110.0  # metres of ground along the frame's diagonal at zoom 1
_LAP = 105.0  # seconds in which the flight follows the ring once
_CAST = np.array([0.50, 0.54, 0.58], np.float32)  # what the shadow of a mover takes of blue, green and red
_SHADE = 0.45  # share of the light that a mover loses in the shadow of a house or tree


@dataclass(frozen=True)
class Box:
    """The upright rectangle round the visible pixels of one mover, in pixels of the frame.

    It covers columns x to x + width - 1 and rows y to y + height - 1. `identity` stays with the mover.
    """

    x: float
    y: float
    width: float
    height: float
    kind: Literal["vehicle", "person"]
    identity: int


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """One frame and the truth about it.

    image: uint8 [H, W, 3], BGR.
    mask: bool [H, W], true where a vehicle or person is drawn (their shadows are not counted).
    boxes: one for each mover of which a pixel is visible.
    time: seconds since frame 0.
    camera: float64 [2, 3], from metres of the world to pixels of the frame (pixel centres are whole numbers).
    exposure: float, how bright the frame is against the average exposure (1.0).
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    boxes: tuple[Box, ...]
    time: float
    camera: Matrix
    exposure: float


class AerialScene:
    """A flight that never ends, over a world drawn from `seed`.

    The camera looks straight down. It follows a winding main road, drifts to its sides, zooms, yaws, shakes
    and changes its exposure; vehicles drive on the right along several roads, people walk on pavements, round
    parks and over lawns. The world is the same for every size and frame rate; only its detail changes.

    Args:
        seed: which world, which flight; 0 or more.
        size: (width, height) of the frames in pixels, from (16, 16) to (1920, 1080).
        fps: frames per second of flight time, from 0.1 to 1000.

    Raises:
        OptionError: an argument is not of that kind.
    """

    def __init__(self, *, seed: int = 0, size: tuple[int, int] = (640, 360), fps: float = 25.0) -> None:
        self.seed = _checked_index("seed", seed)
        self.size = _checked_size(size)
        self.fps = _checked_fps(fps)

        from uva_edge.data.layout import make_layout
        from uva_edge.data.movers import PAINTS, VEHICLES, Looks, make_traffic
        from uva_edge.data.terrain import draw_terrain

        self._detail = float(np.hypot(*self.size)) / _VIEW
        layout = make_layout(self.seed)
        self._terrain = draw_terrain(layout, self.seed, self._detail)
        self._traffic = make_traffic(layout, self.seed, self._detail)
        self._flight = _Flight(layout.ring.line, self.seed)
        looks = Looks(layout.sun, self._terrain.detail)
        to_texture = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]) * self._terrain.detail
        to_texture[:, 2] = -0.5
        for i, (x, y, heading) in enumerate(layout.parked):
            look = looks.vehicle(VEHICLES[i % 3], PAINTS[(5 * i + self.seed) % len(PAINTS)])
            pose = np.array([x, y, np.cos(heading), np.sin(heading)])
            _cast(self._terrain.image, look, self._terrain.detail, to_texture, pose)
            _paste(self._terrain.image, look.body, _placed(to_texture, pose, self._terrain.detail, look.body))

    def frame(self, index: int) -> SceneFrame:
        """Frame `index`, 0 or more; OptionError for anything else."""
        return self._render(_checked_index("index", index))

    def frames(self, count: int, start: int = 0) -> Iterator[SceneFrame]:
        """`count` frames from frame `start` on, drawn as they are asked for."""
        count, start = _checked_index("count", count), _checked_index("start", start)
        return (self._render(index) for index in range(start, start + count))

    def _render(self, index: int, *, bodies: bool = True) -> SceneFrame:
        """Without `bodies` the movers are left out and their shadows stay."""
        import cv2

        time = index / self.fps
        width, height = self.size
        view = self._flight.view(time)
        camera = view.camera(self.size, self._detail)
        image = self._ground(camera)
        owner = np.full((height, width), -1, np.int32)
        movers, poses = self._traffic.movers, self._traffic.poses(time)
        reach = _VIEW / 2 / view.zoom + 12.0  # 12 metres: the longest vehicle with its shadow
        near = np.flatnonzero(np.hypot(poses[:, 0] - view.x, poses[:, 1] - view.y) < reach)
        for i in near:
            _cast(image, movers[i].look, self._detail, camera, poses[i])
        spots: dict[int, tuple[slice, slice]] = {}
        for i in near if bodies else ():
            light = self._light(poses[i])
            body = movers[i].look.body * np.array([light, light, light, 1.0], np.float32)
            pasted = _paste(image, body, _placed(camera, poses[i], self._detail, body))
            if pasted is not None:
                spots[int(i)], drawn = pasted
                owner[spots[int(i)]][drawn] = i
        boxes = [
            _box(owner[spot] == i, spot, movers[i].kind, movers[i].identity) for i, spot in spots.items()
        ]
        return SceneFrame(
            image=np.asarray(cv2.LUT(image, view.development()), dtype=np.uint8),
            mask=owner >= 0,
            boxes=tuple(box for box in boxes if box is not None),
            time=time,
            camera=camera,
            exposure=view.exposure,
        )

    def _ground(self, camera: Matrix) -> NDArray[np.uint8]:
        import cv2

        to_frame = camera / np.array([self._terrain.detail, self._terrain.detail, 1.0])
        to_frame[:, 2] += to_frame[:, :2] @ np.array([0.5, 0.5])  # the texture's pixel centres
        return np.asarray(
            cv2.warpAffine(self._terrain.image, to_frame, self.size, flags=cv2.INTER_LINEAR), dtype=np.uint8
        )

    def _light(self, pose: Matrix) -> float:
        """How much light falls on a mover: less in the shadow of a house or tree."""
        x, y = np.clip(pose[:2].astype(np.int64), 0, np.array(self._terrain.shade.shape[::-1]) - 1)
        return 1.0 - _SHADE * float(self._terrain.shade[y, x]) / 255


# The flight ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """Where the camera is at one moment, and how it exposes."""

    x: float  # metres, of the point under the middle of the frame
    y: float
    yaw: float  # radians
    zoom: float
    jolt: tuple[float, float]  # shake, in shares of the frame's diagonal
    exposure: float
    warmth: float  # white balance: red gains what blue loses

    def camera(self, size: tuple[int, int], detail: float) -> Matrix:
        """World metres to frame pixels, [2, 3]."""
        scale = detail * self.zoom
        cosine, sine = scale * np.cos(self.yaw), scale * np.sin(self.yaw)
        matrix = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0]])
        middle = (np.array(size) - 1) / 2 + np.array(self.jolt) * np.hypot(*size)
        matrix[:, 2] = middle - matrix[:, :2] @ np.array([self.x, self.y])
        return matrix

    def development(self) -> NDArray[np.uint8]:
        """The look-up table [1, 256, 3] from light to pixel: gain, white balance and a soft shoulder."""
        gain = self.exposure * np.array([1 - self.warmth, 1.0, 1 + self.warmth])
        light = np.arange(256)[:, None] / 255 * gain
        return np.asarray(np.rint(255 * light / (1 + light**6) ** (1 / 6)), dtype=np.uint8)[None]


class _Flight:
    """A smooth closed course over the ring; slow waves that never fall together make no lap like another."""

    def __init__(self, ring: Matrix, seed: int) -> None:
        rng = np.random.default_rng([seed, 4])
        self._ring = np.concatenate([ring, ring[:1]])
        self._start, self._facing = rng.uniform(0, 1), rng.uniform(0, 2 * np.pi)
        self._phases = rng.uniform(0, 2 * np.pi, 32)

    def _wave(self, which: int, period: float, time: float) -> float:
        return float(np.sin(2 * np.pi * time / period + self._phases[which]))

    def _along(self, time: float) -> Matrix:
        lap = (self._start + time / _LAP) % 1.0 * (len(self._ring) - 1)
        return np.array([np.interp(lap, np.arange(len(self._ring)), self._ring[:, axis]) for axis in (0, 1)])

    def view(self, time: float) -> _View:
        # Averaging two seconds of the course rounds off its corners and the steps between its points.
        x, y = np.mean([self._along(time + early) for early in np.linspace(-1.0, 1.0, 9)], axis=0)
        gust = 0.55 + 0.45 * self._wave(0, 9.7, time)  # the shake comes and goes with the wind
        shake = [
            0.0011 * self._wave(1 + i, 0.83 - 0.1 * i, time)
            + 0.0006 * self._wave(3 + i, 0.29 + 0.04 * i, time)
            + 0.0003 * self._wave(5 + i, 0.127 + 0.02 * i, time)
            for i in (0, 1)
        ]
        cloud = np.tanh(6 * self._wave(16, 19.0, time))  # the sun goes behind one, and comes back
        return _View(
            x=float(x) + 5.0 * self._wave(7, 23.0, time) + 1.2 * self._wave(8, 6.1, time),
            y=float(y) + 5.0 * self._wave(9, 29.0, time) + 1.2 * self._wave(10, 7.3, time),
            yaw=self._facing + 2 * np.pi * time / 240 + 0.30 * self._wave(11, 17.0, time)
            + 0.002 * gust * self._wave(12, 0.61, time),
            zoom=float(np.exp(0.15 * self._wave(13, 13.0, time) + 0.07 * self._wave(14, 31.0, time))),
            jolt=(gust * shake[0], gust * shake[1]),
            exposure=float(np.exp(0.13 * self._wave(15, 11.0, time) + 0.08 * cloud)),
            warmth=0.025 * self._wave(17, 37.0, time),
        )  # fmt: skip


# Movers in the frame ------------------------------------------------------------------------------------


def _placed(camera: Matrix, pose: Matrix, detail: float, sprite: Image) -> Matrix:
    """From pixels of a sprite to pixels of the frame, for a mover at x, y, cosine, sine."""
    x, y, cosine, sine = pose
    turn = np.array([[cosine, -sine], [sine, cosine]]) / detail
    middle = (np.array(sprite.shape[1::-1]) - 1) / 2
    linear = camera[:, :2] @ turn
    shift = camera[:, :2] @ np.array([x, y]) + camera[:, 2] - linear @ middle
    return np.concatenate([linear, shift[:, None]], axis=1)


def _warped(
    image: NDArray[np.uint8], sprite: Image, matrix: Matrix
) -> tuple[tuple[slice, slice], Image] | None:
    """The part of `image` under the sprite, and the sprite as it lies there; None outside the image."""
    import cv2

    height, width = sprite.shape[:2]
    corners = matrix[:, :2] @ np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1]])
    corners += matrix[:, 2:]
    left, top = np.maximum(np.floor(corners.min(axis=1)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(axis=1)) + 1, image.shape[1::-1]).astype(int)
    if left >= right or top >= bottom:
        return None
    local = matrix - np.array([[0.0, 0.0, left], [0.0, 0.0, top]])
    warped = cv2.warpAffine(sprite, local, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR)
    return (slice(top, bottom), slice(left, right)), np.asarray(warped, dtype=np.float32)


def _paste(
    image: NDArray[np.uint8], sprite: Image, matrix: Matrix
) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
    """Draw a sprite into `image`; returns where, and which pixels of that part it covers."""
    found = _warped(image, sprite, matrix)
    if found is None:
        return None
    part, warped = found
    drawn = warped[:, :, 3] > 0.04  # fainter edges would move a pixel by a few levels at most: not drawn
    warped *= drawn[:, :, None]
    image[part] = np.rint(image[part] * (1 - warped[:, :, 3:]) + warped[:, :, :3])
    return part, drawn


def _cast(image: NDArray[np.uint8], look: Look, detail: float, camera: Matrix, pose: Matrix) -> None:
    """Darken the ground under the shadow of a mover."""
    x, y, cosine, sine = pose
    turned = (cosine, sine) if look.shadow_turns else (1.0, 0.0)
    fallen = np.array([x + look.shadow_shift[0], y + look.shadow_shift[1], *turned])
    found = _warped(image, look.shadow, _placed(camera, fallen, detail, look.shadow))
    if found is not None:
        part, warped = found
        image[part] = np.rint(image[part] * (1 - warped[:, :, None] * _CAST))


def _box(
    visible: NDArray[np.bool_], part: tuple[slice, slice], kind: Literal["vehicle", "person"], identity: int
) -> Box | None:
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return None
    return Box(
        x=float(part[1].start + columns[0]),
        y=float(part[0].start + rows[0]),
        width=float(columns[-1] - columns[0] + 1),
        height=float(rows[-1] - rows[0] + 1),
        kind=kind,
        identity=identity,
    )


# Arguments ----------------------------------------------------------------------------------------------


def _checked_index(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**31:
        raise OptionError(f"{name} is {value!r}; expected a whole number from 0 to 2**31 - 1")
    return int(value)


def _checked_size(size: object) -> tuple[int, int]:
    if isinstance(size, tuple | list) and len(size) == 2:
        width, height = size
        if _is_length(width, _MOST_SIZE[0]) and _is_length(height, _MOST_SIZE[1]):
            return int(width), int(height)
    raise OptionError(
        f"size is {size!r}; expected (width, height) in whole pixels, "
        f"from ({_LEAST_SIZE}, {_LEAST_SIZE}) to {_MOST_SIZE}"
    )


def _is_length(value: object, most: int) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and _LEAST_SIZE <= int(value) <= most  # type: ignore[call-overload]


def _checked_fps(fps: object) -> float:
    is_number = isinstance(fps, int | float | np.integer | np.floating) and not isinstance(fps, bool)
    if not is_number or not _LEAST_FPS <= float(fps) <= _MOST_FPS:  # type: ignore[arg-type]
        raise OptionError(f"fps is {fps!r}; expected frames per second from {_LEAST_FPS} to {_MOST_FPS}")
    return float(fps)  # type: ignore[arg-type]
