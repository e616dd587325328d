"""Views of a frame, of its past and of its ground truth that fit each other: crop, flip, ego-motion, and how a
cheap camera shows them.

A view is what a virtual camera of up to 2R x 2R pixels would see; `network_input` then makes the input from it as
it does from a real camera, so that training has no preprocessing of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError
from uva_edge.preprocess import network_input

Affine = NDArray[np.float64]
"""3x3, from the unit square of the view to the unit square of the frame."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges that a view is drawn from.

    Raises:
        OptionError: a field out of its range.
    """

    crop: tuple[float, float] = (0.6, 1.05)
    """Side of the view of a still in sides of the frame; beyond 1 the border is filled by reflection."""
    video_crop: tuple[float, float] = (0.9, 1.02)
    """The same for video, whose teacher saw whole frames: its map of a part is not the part of its map."""
    close_up: float = 0.0
    """Share of the video pairs that are cropped far more, and whose maps are left to an assistant to say:"""
    close_crop: tuple[float, float] = (0.5, 0.9)
    """sides of those views."""
    aspect: float = 0.15
    """Largest change of the ratio of width to height, either way."""
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.2
    tint: float = 0.1
    """Largest change of the gain of one colour against the others, as by another white balance."""
    grey: float = 0.05
    """Share of the pairs without colour, as an infrared camera's."""
    blur: float = 0.1
    """Share of the pairs that are out of focus,"""
    noise: float = 0.1
    """with sensor noise, which differs from frame to frame,"""
    compression: float = 0.1
    """and that a JPEG of low quality has been through."""
    pan: float = 0.03
    """Ego-motion between two frames: shift in sides of the view,"""
    zoom: float = 0.03
    """relative zoom,"""
    rotation: float = 0.03
    """and rotation in radians."""
    still: float = 0.25
    """Share of the pairs without ego-motion."""
    gap: int = 1
    """Frames from one of a video pair to the other, at most: as if the camera gave fewer."""
    backward: float = 0.0
    """Share of the video pairs whose time is turned round."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                if not 0 < value[0] <= value[1]:
                    raise OptionError(f"{item.name} must be a range above 0, least first; got {value}")
            elif item.name == "gap":
                if not 1 <= value <= 8:
                    raise OptionError(f"gap must be 1 to 8 frames, got {value}")
            elif not 0 <= value <= 1:
                raise OptionError(f"{item.name} must be in 0..1, got {value}")

    @classmethod
    def none(cls) -> Augmentation:
        """Whole frames as they are, and stills that stand still."""
        whole = (1.0, 1.0)
        return cls(
            crop=whole,
            video_crop=whole,
            aspect=0,
            flip=0,
            brightness=0,
            contrast=0,
            tint=0,
            grey=0,
            blur=0,
            noise=0,
            compression=0,
            still=1,
        )


def identity() -> Affine:
    return np.eye(3)


@dataclass(frozen=True, eq=False)
class Look:
    """How a camera shows a view; both frames of a pair get the same."""

    light: NDArray[np.uint8]
    """[256], a tone curve."""
    blur: float = 0.0
    """Sigma in cells of the network's input."""
    noise: float = 0.0
    """Standard deviation in grey levels of the input."""
    quality: int = 100
    """Of the JPEG; 100 is none."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Gains of red, green and blue, after the tone curve."""
    grey: bool = False
    """Without colour, and so without tint."""

    def shown(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The colours of uint8 [R, R, 3] RGB as this camera gives them."""
        if self.grey:
            grey = self.light[cv2.cvtColor(inputs, cv2.COLOR_RGB2GRAY)]
            return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
        table = np.clip(np.rint(self.light[:, None] * np.array(self.tint)), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(inputs, table[None]), np.uint8)


def random_view(rng: np.random.Generator, ranges: Augmentation, crop: tuple[float, float]) -> Affine:
    """A random crop of a random aspect, perhaps flipped."""
    side = rng.uniform(*crop)
    ratio = np.exp(rng.uniform(-1, 1) * ranges.aspect / 2)
    width, height = side * ratio, side / ratio
    left, top = (_offset(rng, extent) for extent in (width, height))
    view = np.array([[width, 0, left], [0, height, top], [0, 0, 1.0]])
    if rng.random() < ranges.flip:
        view = view @ np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
    return view


def _offset(rng: np.random.Generator, extent: float) -> float:
    slack = 1 - extent
    return float(rng.uniform(min(0, slack), max(0, slack)))


def random_motion(rng: np.random.Generator, ranges: Augmentation) -> Affine:
    """The small camera motion that leads from the frame in hand to the one before it."""
    if rng.random() < ranges.still:
        return identity()
    angle = rng.normal() * ranges.rotation / 2
    scale = np.exp(rng.normal() * ranges.zoom / 2)
    shift = rng.normal(size=2) * ranges.pan / 2
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    about_centre: Affine = np.array([[cosine, -sine, 0.5], [sine, cosine, 0.5], [0, 0, 1.0]])
    from_centre: Affine = np.array([[1.0, 0, shift[0] - 0.5], [0, 1, shift[1] - 0.5], [0, 0, 1]])
    return np.asarray(about_centre @ from_centre)


def random_look(rng: np.random.Generator, ranges: Augmentation) -> Look:
    """A random tone curve and tint, and rarely blur, noise, compression or no colour."""
    red, green, blue = 1 + rng.uniform(-1, 1, 3) * ranges.tint
    return Look(
        tint=(red, green, blue),
        grey=rng.random() < ranges.grey,
        light=_random_light(rng, ranges),
        blur=rng.uniform(0.2, 0.7) if rng.random() < ranges.blur else 0.0,
        noise=rng.uniform(1, 6) if rng.random() < ranges.noise else 0.0,
        quality=int(rng.integers(10, 50)) if rng.random() < ranges.compression else 100,
    )


def _random_light(rng: np.random.Generator, ranges: Augmentation) -> NDArray[np.uint8]:
    gain = 1 + rng.uniform(-1, 1) * ranges.contrast
    offset = rng.uniform(-1, 1) * ranges.brightness * 128
    values = (np.arange(256) - 128) * gain + 128 + offset
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def see(
    frame: NDArray[np.uint8],
    view: Affine,
    resolution: int,
    look: Look | None = None,
    rng: np.random.Generator | None = None,
) -> NDArray[np.uint8]:
    """The network's input, uint8 [R, R, 3] RGB, of a BGR frame through a view; `rng` draws the noise of `look`."""
    # Two samples a cell and axis, of a frame that was packed with an area filter: four would cost a batch as much
    # time as a quarter of its training step, and are averaged away.
    samples = int(np.clip(round(max(frame.shape[:2]) / resolution), 1, 2))
    side = samples * resolution
    matrix = _pixels(view, (side, side), (frame.shape[1], frame.shape[0]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(frame, matrix[:2], (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    if look is None:
        return network_input(np.asarray(seen, np.uint8), resolution)
    if look.blur:
        seen = cv2.GaussianBlur(seen, (0, 0), look.blur * samples)
    if look.quality < 100:
        _, packed = cv2.imencode(".jpg", seen, (cv2.IMWRITE_JPEG_QUALITY, look.quality))
        seen = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    inputs = look.shown(network_input(np.asarray(seen, np.uint8), resolution))
    if look.noise and rng is not None:
        noisy = inputs + rng.normal(scale=look.noise, size=inputs.shape)
        inputs = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return inputs


def see_density(density: NDArray[np.uint8], view: Affine, resolution: int) -> NDArray[np.float32]:
    """A relative density [h, w] through a view: float32 [R, R] that sums to 1 (or is all zero)."""
    # Area sampling at twice the resolution: a plain bilinear sample would skip narrow peaks.
    side = 2 * resolution
    matrix = _pixels(view, (side, side), (density.shape[1], density.shape[0]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    values = density.astype(np.float32)
    seen = cv2.warpAffine(values, matrix[:2], (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    mass = np.asarray(cv2.resize(seen, (resolution, resolution), interpolation=cv2.INTER_AREA), np.float32)
    total = mass.sum(dtype=np.float64)
    return (mass / total).astype(np.float32) if total > 0 else np.zeros_like(mass)


def see_points(points: NDArray[np.float32], view: Affine, resolution: int) -> NDArray[np.float32]:
    """How many of the points [N, 2] (x, y in 0..1) each cell of the view holds: float32 [R, R]."""
    inverse = np.linalg.inv(view)
    seen = points @ inverse[:2, :2].T + inverse[:2, 2]
    inside = ((seen >= 0) & (seen <= 1)).all(axis=1)
    cells = np.minimum((seen[inside] * resolution).astype(np.intp), resolution - 1)
    counts = np.zeros((resolution, resolution), np.float32)
    np.add.at(counts, (cells[:, 1], cells[:, 0]), 1)
    return counts


def _pixels(view: Affine, view_size: tuple[int, int], frame_size: tuple[int, int]) -> Affine:
    """The view between pixel centres: (x + 0.5) / width is the place in the unit square."""
    to_unit = np.array(
        [[1 / view_size[0], 0, 0.5 / view_size[0]], [0, 1 / view_size[1], 0.5 / view_size[1]], [0, 0, 1]]
    )
    to_pixels = np.array([[frame_size[0], 0, -0.5], [0, frame_size[1], -0.5], [0, 0, 1.0]])
    return np.asarray(to_pixels @ view @ to_unit, np.float64)
